"""A TCP proxy that cuts connections."""

from __future__ import annotations

import contextlib
import socket
import threading
from urllib.parse import urlsplit


class Proxy:
    """Passes connections on to a service.

    The first is cut after the first number of bytes that came back over it, and so on; later ones
    are not, or, where ``then_refuse``, not let through at all.
    """

    def __init__(self, service: str, cuts: list[int], then_refuse: bool = False) -> None:
        parts = urlsplit(service)
        self.target = (parts.hostname or "", parts.port or 0)
        self.cuts, self.then_refuse = cuts, then_refuse
        self.connections = 0
        self.open: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self.listener.accept()
                number, self.connections = self.connections, self.connections + 1
                left = self.cuts[number] if number < len(self.cuts) else None
                if left is None and self.then_refuse:
                    caller.close()
                    continue
                service = socket.create_connection(self.target)
                self.open += [caller, service]
                for source, sink, limit in ((caller, service, None), (service, caller, left)):
                    threading.Thread(target=self._pass, args=(source, sink, limit), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, left: int | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data if left is None else data[:left])
                if left is not None and (left := left - len(data)) <= 0:
                    break
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Cut the connections that there are, and let no other through where ``then_refuse``."""
        self.cuts = [0] * self.connections
        for end in self.open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for end in [self.listener, *self.open]:
            end.close()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
