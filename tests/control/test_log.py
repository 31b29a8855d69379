"""The lines of master and control: JSON, and readable ones on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re

from headgate.control.log import Log


def test_a_line_is_one_json_object() -> None:
    reading, writing = os.pipe()
    try:
        Log("control", writing)("error", "refused", reason="SIGHUP", problems=["one\n", "two"])
        line = os.read(reading, 4096).decode()
    finally:
        os.close(reading)
        os.close(writing)
    record = json.loads(line)
    assert line.endswith("}\n")
    assert record.pop("timestamp")
    assert record == {
        "level": "ERROR",
        "message": "refused",
        "process": "control",
        "reason": "SIGHUP",
        "problems": ["one\n", "two"],
    }


def test_on_a_terminal_a_list_stands_below_its_line() -> None:
    master, terminal = pty.openpty()
    try:
        Log("control", terminal)("error", "refused", reason="SIGHUP", problems=["a.yaml:1:1: bad\x1b[2J", "two"])
        said = os.read(master, 4096).decode().replace("\r\n", "\n")
    finally:
        os.close(master)
        os.close(terminal)
    pattern = r"\d\d:\d\d:\d\d ERROR   control  refused reason=SIGHUP\n    a\.yaml:1:1: bad\\x1b\[2J\n    two\n"
    assert re.fullmatch(pattern, said), said


def test_a_closed_standard_error_costs_the_line_only() -> None:
    reading, writing = os.pipe()
    log = Log("master", writing)
    os.close(reading)
    log("info", "nobody reads this")
    os.close(writing)
    log("info", "nor this")
