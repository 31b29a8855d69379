"""Moments as texts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from headgate.config.surface_names import NAMES, Many
from headgate.control.surface.moments import MOMENTS, in_words


def test_moments_are_written_and_all_else_stays() -> None:
    record = {
        "timestamp": 1764239400.5,
        "value": 1764239400.5,
        "spans": [{"start_time": 0, "end_time": 1764239400.123456, "duration_ms": 2.5, "tags": {"path": "/x"}}],
        "last_check": None,
        "nested": {"opened_at": 1, "list": (1, 2)},
    }
    assert in_words(record) == {
        "timestamp": "2025-11-27T10:30:00.500000Z",
        "value": 1764239400.5,
        "spans": [
            {
                "start_time": "1970-01-01T00:00:00.000000Z",
                "end_time": "2025-11-27T10:30:00.123456Z",
                "duration_ms": 2.5,
                "tags": {"path": "/x"},
            }
        ],
        "last_check": None,
        "nested": {"opened_at": "1970-01-01T00:00:01.000000Z", "list": [1, 2]},
    }
    assert record["timestamp"] == 1764239400.5


def names_of(shape: Any) -> Iterator[str]:
    below = shape.each if isinstance(shape, Many) else shape
    if isinstance(below, Mapping):
        for name, each in below.items():
            yield name
            yield from names_of(each)


def test_every_moment_of_every_view_is_known_as_one() -> None:
    moments = re.compile(r"timestamp|started|.*_(at|until|seen|check)|(start|end)_time|last_.*_time")
    found = {name for shape in NAMES.values() for name in names_of(shape) if moments.fullmatch(name)}
    assert {"last_success_time", "checked_at"} < found <= MOMENTS
