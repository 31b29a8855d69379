"""Limits that are decided together: all admit, or none is consumed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.policy.limit.algorithm import Algorithm, Raw, Reading
from headgate.policy.limit.concurrency import Concurrency
from headgate.policy.limit.fixed_window import FixedWindow
from headgate.policy.limit.group import PEEK, Group
from headgate.policy.limit.sliding_window import SlidingWindow
from headgate.policy.limit.sliding_window_log import SlidingWindowLog
from headgate.policy.limit.token_bucket import TokenBucket
from tests.policy.limit.cases import OWNER, SECOND, START

MINUTE, HOUR = 60 * SECOND, 3600 * SECOND
FINGERPRINT = b"settings"


def group_of(*algorithms: Algorithm) -> Group:
    return Group([f"limit {place}" for place in range(len(algorithms))], algorithms, FINGERPRINT)


def read(group: Group, allowed: bool, raws: tuple[Raw, ...]) -> list[Reading]:
    return [each.read(allowed, raw) for each, raw in zip(group.algorithms, raws, strict=True)]


def test_a_group_of_one_keeps_the_bare_state() -> None:
    bucket = TokenBucket(2, SECOND, 2)
    group = group_of(bucket)
    allowed, record, raws = group.admit(b"", START, (1,), OWNER)
    assert (allowed, record, raws[0]) == bucket.admit(b"", START, 1, OWNER)
    assert group.expires(record, START) == START + SECOND // 2
    assert group.settle(record, START, (-1,), OWNER) == b""


def test_a_record_of_several_holds_each_state_behind_its_length() -> None:
    group = group_of(FixedWindow(2, MINUTE), SlidingWindow(9, HOUR))
    _, record, _ = group.admit(b"", START, (1, 1), OWNER)
    assert len(record) == 2 + 12 + 2 + 16
    assert record[:2] == b"\x0c\x00"
    assert record[14:16] == b"\x10\x00"


def test_a_refusal_consumes_none_and_tells_each_as_it_stands() -> None:
    """60 a minute and 1,000 an hour: what the minute refuses leaves the hour as it was."""
    group = group_of(FixedWindow(2, MINUTE), FixedWindow(10, HOUR))
    record = b""
    for _ in range(2):
        allowed, record, raws = group.admit(record, START, (1, 1), OWNER)
        assert allowed
    assert [each.remaining for each in read(group, True, raws)] == [0, 8]
    for _ in range(3):
        allowed, after, raws = group.admit(record, START, (1, 1), OWNER)
        assert not allowed
        assert after is record
        assert read(group, False, raws) == [Reading(2, 0, MINUTE, MINUTE, 0), Reading(10, 8, HOUR, 0, 0)]


def test_the_later_limit_refuses_for_the_earlier_one_too() -> None:
    group = group_of(FixedWindow(10, HOUR), FixedWindow(1, MINUTE), FixedWindow(5, SECOND))
    _, record, _ = group.admit(b"", START, (1, 1, 1), OWNER)
    allowed, after, raws = group.admit(record, START, (1, 1, 1), OWNER)
    assert (allowed, after is record) == (False, True)
    assert [(each.remaining, each.wait) for each in read(group, False, raws)] == [(9, 0), (0, MINUTE), (4, 0)]


def test_each_limit_has_its_own_cost() -> None:
    group = group_of(FixedWindow(100, MINUTE), FixedWindow(100, MINUTE))
    _, record, raws = group.admit(b"", START, (1, 40), OWNER)
    assert [each.remaining for each in read(group, True, raws)] == [99, 60]
    record = group.settle(record, START, (0, 70), OWNER)
    allowed, _, raws = group.admit(record, START, (1, 0), OWNER)
    assert not allowed
    assert [each.remaining for each in read(group, False, raws)] == [99, 0]


def test_who_only_looks_is_told_and_never_refused() -> None:
    bucket = TokenBucket(1, SECOND, 1)
    alone = group_of(bucket)
    together = group_of(bucket, FixedWindow(1, MINUTE))
    for group, costs, looks in ((alone, (1,), (PEEK,)), (together, (1, 1), (PEEK, PEEK))):
        _, record, _ = group.admit(b"", START, costs, OWNER)
        record = group.settle(record, START, costs, OWNER)
        allowed, after, raws = group.admit(record, START, looks, OWNER)
        assert allowed
        assert after is record
        assert [each.remaining for each in read(group, True, raws)] == [0] * len(looks)
        assert raws == group.look(record, START, OWNER)
    _, after, _ = together.admit(b"", START, (PEEK, 1), OWNER)
    assert after[:2] == b"\x00\x00"


def test_what_cost_nothing_or_settled_to_nothing_leaves_nothing() -> None:
    group = group_of(FixedWindow(3, MINUTE), TokenBucket(3, MINUTE, 3))
    assert group.admit(b"", START, (0, 0), OWNER)[1] == b""
    _, record, _ = group.admit(b"", START, (1, 1), OWNER)
    assert group.settle(record, START, (0, 0), OWNER) is record
    assert group.settle(record, START, (-1, -1), OWNER) == b""


def test_a_record_lasts_as_long_as_its_longest_state() -> None:
    group = group_of(FixedWindow(3, MINUTE), FixedWindow(3, HOUR), Concurrency(3))
    assert group.expires(b"", START) == START
    _, record, _ = group.admit(b"", START, (1, 1, 1), OWNER)
    assert group.expires(record, START) == START + HOUR
    record = group.settle(record, START, (0, -1, 0), OWNER)
    assert group.expires(record, START) == START + MINUTE


def test_the_longest_record_fits_its_lengths() -> None:
    group = group_of(SlidingWindowLog(8_000, HOUR), SlidingWindowLog(8_000, HOUR))
    record = group.settle(b"", START, (1_000_000, 1_000_000), OWNER)
    assert len(record) == 2 * (2 + 8_001 * 8)
    assert [each.remaining for each in read(group, True, group.look(record, START, OWNER))] == [0, 0]
    assert not group.admit(record, START, (1, 1), OWNER)[0]
    workers = group_of(Concurrency(10**6), Concurrency(10**6))
    record = b""
    for owner in range(1, 3):
        _, record, _ = workers.admit(record, START, (1, 1), owner)
    assert [each.remaining for each in read(workers, True, workers.look(record, START, 1))] == [999_998] * 2


@settings(max_examples=200, deadline=None)
@given(garbage=st.binary(max_size=60))
def test_a_record_that_is_none_counts_as_nothing_or_harms_nobody(garbage: bytes) -> None:
    group = group_of(FixedWindow(3, MINUTE), TokenBucket(3, MINUTE, 3), SlidingWindowLog(3, MINUTE))
    allowed, _, raws = group.admit(garbage, START, (1, 1, 1), OWNER)
    read(group, allowed, raws)
    group.settle(garbage, START, (1, -1, 1), OWNER)
    group.expires(garbage, START)


def test_a_record_cut_off_or_of_other_limits_counts_as_nothing() -> None:
    group = group_of(FixedWindow(1, MINUTE), FixedWindow(1, HOUR))
    _, record, _ = group.admit(b"", START, (1, 1), OWNER)
    for broken in (
        record[:-1],
        record + b"\x00",
        record[2:],
        group_of(FixedWindow(1, MINUTE)).admit(record, START, (1,), OWNER)[1],
    ):
        assert group.admit(broken, START, (1, 1), OWNER)[0]
        assert group.expires(broken, START) == START
