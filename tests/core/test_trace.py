"""Where a fault happened is told, and nothing of what was worked on."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable

import pytest

from headgate.core.trace import kind_of, places_of

PLANTED = "planted-0123456789"


def decode() -> None:
    json.loads(f'{{"{PLANTED}": {PLANTED}')


def look_up() -> None:
    dict[str, int]()[PLANTED]


def undecodable() -> None:
    (PLANTED.encode() + b"\xff").decode()


def over() -> None:
    try:
        look_up()
    except KeyError as error:
        raise RuntimeError(PLANTED) from error


@pytest.mark.parametrize("fault", [decode, look_up, undecodable, over])
def test_frames_and_types_but_no_words(fault: Callable[[], None]) -> None:
    with pytest.raises(Exception) as caught:
        fault()
    told = places_of(caught.value)
    assert fault.__name__ in told
    assert type(caught.value).__name__ in told
    assert "test_trace.py" in told
    assert PLANTED not in told


def test_what_it_came_from_stands_first_and_a_circle_has_an_end() -> None:
    with pytest.raises(RuntimeError) as caught:
        over()
    told = places_of(caught.value)
    assert told.index("KeyError") < told.index("and then") < told.rindex("RuntimeError")
    error = RuntimeError()
    error.__cause__ = cause = ValueError()
    cause.__cause__ = error
    assert places_of(error).count("ValueError") == 1


def test_the_system_s_own_word_is_told_and_no_file_name() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", f"/{PLANTED}")
    assert kind_of(full) == "OSError: [Errno 28] No space left on device"
    assert kind_of(OSError(PLANTED)) == "OSError"
    assert kind_of(json.JSONDecodeError(PLANTED, PLANTED, 0)) == "json.decoder.JSONDecodeError"
