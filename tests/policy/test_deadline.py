"""The deadline a caller sends: what is believed, what goes on, when it has passed."""

from __future__ import annotations

import pytest

from headgate.policy.deadline import LONGEST, DeadlineHeader, expired

NAME = b"X-Request-Timeout-Ms"
HEADER = DeadlineHeader(NAME.decode())


@pytest.mark.parametrize(
    ("values", "until"),
    [
        ([], None),
        ([b"1500"], 11.5),
        ([b"0"], 10.0),
        ([b"007"], 10.007),
        ([b"999999999999999"], 10.0 + LONGEST),
        # The earliest of several; what is no number is no deadline.
        ([b"3000", b"1000", b"2000"], 11.0),
        ([b"soon", b"2000"], 12.0),
        *(
            ([garbage], None)
            for garbage in (b"", b"-1", b"+1", b"1.5", b"1s", b" 1", b"1e3", b"0x1", b"\xb2", b"1" * 16)
        ),
    ],
)
def test_only_digits_are_a_deadline(values: list[bytes], until: float | None) -> None:
    fields = [(b"Accept", b"5"), *((NAME.swapcase(), value) for value in values)]
    assert HEADER.read(fields, 10.0) == until


def test_what_goes_on_is_what_is_left_in_whole_milliseconds() -> None:
    fields = [(b"A", b"1"), (b"x-request-timeout-ms", b"3000"), (b"B", b"2"), (NAME, b"junk")]
    assert HEADER.replaced(fields, 13.0, 10.5) == [(b"A", b"1"), (b"B", b"2"), (NAME, b"2500")]
    assert HEADER.replaced([], 13.0, 12.9985) == [(NAME, b"1")]
    assert HEADER.replaced([], 13.0, 14.0) == [(NAME, b"0")]


def test_it_shrinks_at_every_hop_and_never_grows() -> None:
    until = HEADER.read([(NAME, b"1000")], 0.0)
    now = 0.0
    left = []
    while until is not None and not expired(until, now):
        field = HEADER.field(until, now)
        left.append(int(field[1]))
        now += 0.1
        until = HEADER.read([field], now)
        now += 0.0001
    assert left == sorted(set(left), reverse=True)
    assert left[0] == 1000


@pytest.mark.parametrize(("now", "over"), [(9.0, False), (9.998, False), (9.9995, True), (10.0, True), (11.0, True)])
def test_less_than_a_millisecond_is_nothing(now: float, over: bool) -> None:
    assert expired(10.0, now) is over
