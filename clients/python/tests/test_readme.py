"""The README's program does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from conftest import Services


def test_the_five_calls(services: Services) -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    program = program.replace("http://127.0.0.1:8081", services.features)
    program = program.replace("http://127.0.0.1:8082", services.inference)
    found: dict[str, Any] = {}
    exec(program, found)
    assert found["rows"].column_names[:3] == ["user_id", "event_time", "label"]
    assert found["table"]["user_ratings.count_7d.status"][0].is_valid
    assert found["ranking"].table.num_rows == 2
