"""The lines of master and control: JSON, and readable ones on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
from collections import OrderedDict
from pathlib import Path

import pytest

from headgate.control.log import ALIKE_SECONDS, LEVELS, MOST_ALIKE, Level, Line, Log


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


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[Line]:
    """What listeners of this process hear, which is apart from that of other tests."""
    lines: list[Line] = []
    monkeypatch.setattr(Log, "listeners", [lines.append])
    monkeypatch.setattr(Log, "level", "info")
    monkeypatch.setattr(Log, "_alike", OrderedDict())
    return lines


@pytest.mark.parametrize("level", LEVELS)
def test_lines_below_the_level_are_dropped(level: Level, heard: list[Line]) -> None:
    Log.level = level
    log = Log("control", -1)
    for each in LEVELS:
        log(each, each)
    assert [line.message for line in heard] == list(LEVELS[LEVELS.index(level) :])


def test_who_listens_hears_what_is_written(heard: list[Line]) -> None:
    Log("worker-3", -1)("warning", "look out", count=2, where=Path("a"), problems=[1, "two"])
    [line] = heard
    assert (line.level, line.process, line.message) == ("warning", "worker-3", "look out")
    told = line.as_message()
    assert json.loads(json.dumps(told)) == {
        "type": "log",
        "at": line.at,
        "level": "warning",
        "message": "look out",
        "fields": {"count": 2, "where": "a", "problems": ["1", "two"]},
    }


def test_a_storm_of_one_fault_is_not_a_storm_of_lines(heard: list[Line], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [50.0]
    monkeypatch.setattr("headgate.control.log.time.monotonic", lambda: now[0])
    log = Log("worker-1", -1)
    for number in range(MOST_ALIKE + 30):
        log("error", "internal error", traceback="frame 1", request_id=str(number))
    log("error", "internal error", traceback="frame 2")
    log("error", "refused")
    assert [line.fields.get("request_id") for line in heard] == [*map(str, range(MOST_ALIKE)), None, None]
    now[0] += ALIKE_SECONDS
    log("error", "internal error", traceback="frame 1")
    log("error", "internal error", traceback="frame 1")
    assert [line.fields.get("left_out") for line in heard[-2:]] == [30, None]


def test_kinds_of_faults_are_not_remembered_without_bound(heard: list[Line]) -> None:
    for number in range(1000):
        Log("worker-1", -1)("error", "internal error", traceback=f"frame {number}")
    assert len(heard) == 1000 and len(Log._alike) == 200
