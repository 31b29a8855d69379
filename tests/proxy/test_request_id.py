"""The id of a request: taken when well formed, made otherwise, never twice the same."""

from __future__ import annotations

import re
import uuid

from hypothesis import given
from hypothesis import strategies as st

from headgate.proxy.request_id import RequestIds
from headgate.wire.settings import RequestId

WELL_FORMED = re.compile(rb"[A-Za-z0-9._~+/=:-]{1,128}")


def test_made_ids_are_random_uuids() -> None:
    ids = RequestIds(RequestId())
    made = [ids.make() for _ in range(10_000)]
    assert len(set(made)) == len(made)
    for each in (made[0], made[4096], made[-1]):
        assert (uuid.UUID(each).version, uuid.UUID(each).variant) == (4, uuid.RFC_4122)
        assert str(uuid.UUID(each)) == each


def test_two_processes_worth_of_ids_do_not_meet() -> None:
    first, second = RequestIds(RequestId()), RequestIds(RequestId())
    assert not {first.make() for _ in range(5000)} & {second.make() for _ in range(5000)}


def test_the_form_and_the_prefix_are_configurable() -> None:
    assert re.fullmatch("req_[0-9a-f]{32}", RequestIds(RequestId(format="hex", prefix="req_")).make())


@given(st.binary(max_size=140))
def test_only_what_is_well_formed_is_taken(value: bytes) -> None:
    chosen = RequestIds(RequestId()).choose([(b"x-request-id", value)])
    assert (chosen.encode("latin-1") == value) == bool(WELL_FORMED.fullmatch(value))


def test_the_first_name_that_brings_a_good_one_wins() -> None:
    ids = RequestIds(RequestId(headers=["X-First", "X-Second"]))
    assert ids.choose([(b"x-second", b"two"), (b"X-FIRST", b"one")]) == "one"
    assert ids.choose([(b"X-First", b"not good"), (b"X-Second", b"two")]) == "two"
    assert ids.choose([(b"X-First", b"bad one"), (b"x-first", b"good")]) == "good"
    assert len(ids.choose([])) == len(ids.choose(None)) == 36


def test_nothing_is_taken_where_that_is_switched_off() -> None:
    assert RequestIds(RequestId(accept=False)).choose([(b"x-request-id", b"mine")]) != "mine"
