#!/bin/sh
# Makes a Docker engine available and prints the shell commands that point clients to it:
#
#	eval "$(internal/containers/engine.sh)"      use the engine that runs, or start one
#	internal/containers/engine.sh stop           stop the one started here
#
# ONEHOP_DOCKER_STARTED=1 is among the commands when the engine was started by this call.
# Without a running engine it needs root and Debian or Ubuntu; docker.io is installed if dockerd is missing. The engine's
# data lie in ONEHOP_DOCKER_DIR, by default onehop-docker in the directory for temporary files.
set -eu

dir=${ONEHOP_DOCKER_DIR:-${TMPDIR:-/tmp}/onehop-docker}
socket=$dir/docker.sock

say() { echo "engine.sh: $*" >&2; }

# answers HOST: an engine answers there within some seconds.
answers() { DOCKER_HOST=$1 timeout 10 docker version >/dev/null 2>&1; }

exports() {
	echo "export DOCKER_HOST='$1'"
	echo "export TESTCONTAINERS_HOST_OVERRIDE=127.0.0.1"
	# The reaper's image may be out of reach; what starts containers here also ends them.
	echo "export TESTCONTAINERS_RYUK_DISABLED=true"
}

stop() {
	[ -f "$dir/docker.pid" ] || { say "no engine was started in $dir"; return 0; }
	pid=$(cat "$dir/docker.pid")
	kill "$pid" 2>/dev/null || true
	tries=150
	while kill -0 "$pid" 2>/dev/null && [ $tries -gt 0 ]; do
		sleep 0.2
		tries=$((tries - 1))
	done
	say "stopped the engine in $dir"
}

# start DRIVER: starts dockerd and waits until it answers or has ended.
start() {
	mkdir -p "$dir"
	setsid dockerd --storage-driver="$1" --data-root="$dir/data-$1" --exec-root="$dir/exec" --pidfile="$dir/docker.pid" \
		--host="unix://$socket" >"$dir/dockerd.log" 2>&1 </dev/null &
	daemon=$!
	tries=150
	while [ $tries -gt 0 ]; do
		if answers "unix://$socket"; then return 0; fi
		kill -0 $daemon 2>/dev/null || return 1
		sleep 0.2
		tries=$((tries - 1))
	done
	kill $daemon 2>/dev/null || true
	return 1
}

if [ "${1:-}" = stop ]; then
	stop
	exit
fi

if command -v docker >/dev/null; then
	for host in "${DOCKER_HOST:-unix:///var/run/docker.sock}" "unix://$socket"; do
		if answers "$host"; then
			exports "$host"
			exit
		fi
	done
fi
if [ "$(id -u)" != 0 ]; then
	say "no Docker engine answers, and only root can start one: start Docker, or set DOCKER_HOST"
	exit 1
fi
if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null; then
	command -v apt-get >/dev/null || { say "dockerd is not installed, nor is apt-get: install Docker"; exit 1; }
	say "installing docker.io"
	apt-get update -qq >&2 || true # without lists, or with old ones, there is nothing to install from
	DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends docker.io iptables >&2
fi
for driver in overlay2 vfs; do # vfs works where overlays can't be stacked, such as in a container.
	if start $driver; then
		say "started an engine with storage driver $driver in $dir"
		exports "unix://$socket"
		echo "export ONEHOP_DOCKER_STARTED=1"
		exit
	fi
	say "dockerd with storage driver $driver didn't come up:"
	tail -n 5 "$dir/dockerd.log" >&2
done
exit 1
