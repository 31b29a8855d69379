"""The health protocol's two messages, held against the library that others use."""

from __future__ import annotations

import struct

import pytest
from grpc_health.v1 import health_pb2
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.message import Fields
from headgate.policy import grpc_health

SERVING = b"\0\0\0\0\2\x08\1"


def framed(message: bytes) -> bytes:
    return b"\0" + struct.pack(">I", len(message)) + message


@given(st.text(max_size=300).filter(lambda text: not any("\ud800" <= each <= "\udfff" for each in text)))
def test_the_question_is_the_one_that_the_library_writes(service: str) -> None:
    message = health_pb2.HealthCheckRequest(service=service).SerializeToString()
    assert grpc_health.question(service) == framed(message)


@given(st.integers(0, 1 << 20))
def test_the_state_is_the_one_that_the_library_wrote(state: int) -> None:
    message = health_pb2.HealthCheckResponse(status=state).SerializeToString()
    assert grpc_health.state(framed(message)) == state


def test_fields_of_the_future_are_passed_over() -> None:
    rest = b"\x12\x03abc" + b"\x1d" + b"1234" + b"\x21" + b"12345678" + b"\x28\x96\x01"
    assert grpc_health.state(framed(rest + b"\x08\x01")) == 1
    assert grpc_health.state(framed(b"\x08\x02" + rest)) == 2
    assert grpc_health.state(framed(rest)) == 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0\0",
        b"\1\0\0\0\2\x08\1",
        b"\0\0\0\0\3\x08\1",
        SERVING + b"x",
        framed(b"\x08"),
        framed(b"\x08" + b"\xff" * 10),
        framed(b"\x12\x7fabc"),
        framed(b"\x12"),
        framed(b"\x1dabc"),
        framed(b"\x0b"),
    ],
)
def test_what_is_no_message_has_no_state(data: bytes) -> None:
    assert grpc_health.state(data) is None


@given(st.binary(max_size=64))
def test_whatever_comes_is_read_without_an_error(data: bytes) -> None:
    for each in (data, framed(data)):
        state = grpc_health.state(each)
        assert state is None or state >= 0


@pytest.mark.parametrize(
    ("status", "fields", "body", "verdict", "why"),
    [
        (200, [(b"grpc-status", b"0")], SERVING, "well", ""),
        (200, [(b"Grpc-Status", b"0")], SERVING, "well", ""),
        (503, [(b"grpc-status", b"0")], SERVING, "status", "status 503"),
        (200, [], SERVING, "grpc_status", "the answer has no grpc-status"),
        (200, [(b"grpc-status", b"5")], b"", "grpc_status", "grpc-status 5 (NOT_FOUND)"),
        (200, [(b"grpc-status", b"junk")], SERVING, "grpc_status", "grpc-status 2 (UNKNOWN)"),
        (200, [(b"grpc-status", b"0")], framed(b"\x08\x02"), "not_serving", "it says NOT_SERVING"),
        (200, [(b"grpc-status", b"0")], framed(b""), "not_serving", "it says UNKNOWN"),
        (200, [(b"grpc-status", b"0")], framed(b"\x08\x07"), "not_serving", "it says 7"),
        (200, [(b"grpc-status", b"0")], b"<html>", "not_serving", "the answer is no HealthCheckResponse"),
    ],
)
def test_what_an_answer_means(status: int, fields: Fields, body: bytes, verdict: str, why: str) -> None:
    assert grpc_health.judge(status, fields, body) == (verdict, why)
