"""What gRPC's codes mean beside HTTP's, what a refusal says, and how a deadline is read and written."""

from __future__ import annotations

from urllib.parse import unquote

import grpc as official
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.failure import REASONS
from headgate.core.message import speaks_grpc
from headgate.policy import grpc
from headgate.policy.deadline import LONGEST
from headgate.policy.grpc import (
    CANCELLED,
    DEADLINE_EXCEEDED,
    INTERNAL,
    NAMES,
    OCCASIONS,
    OK,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    UNAVAILABLE,
    UNIMPLEMENTED,
    UNKNOWN,
    GrpcTimeout,
)

CODES = {each.name: each.value[0] for each in official.StatusCode}


def test_the_codes_are_those_of_the_library() -> None:
    assert dict(zip(NAMES, range(17), strict=True)) == CODES
    named = {name: getattr(grpc, name) for name in CODES if hasattr(grpc, name)}
    assert len(named) == 10
    assert named == {name: CODES[name] for name in named}
    assert {name: CODES[name.upper().replace("-", "_")] for name in OCCASIONS} == OCCASIONS


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"0", OK),
        (b"14", UNAVAILABLE),
        (b"016", UNKNOWN),
        (b"16", UNAUTHENTICATED),
        (b"17", UNKNOWN),
        (b"99", UNKNOWN),
        (b"", UNKNOWN),
        (b"-1", UNKNOWN),
        (b"1.0", UNKNOWN),
        (b" 1", UNKNOWN),
        (b"\xb2", UNKNOWN),
    ],
)
def test_a_code_that_nobody_knows_is_unknown(value: bytes, code: int) -> None:
    assert grpc.code_in(value) == code


@pytest.mark.parametrize(
    ("kind", "is_grpc"),
    [
        (b"application/grpc", True),
        (b"application/grpc+proto", True),
        (b"application/grpc+json", True),
        (b"Application/GRPC;charset=x", True),
        (b"application/grpc ; x=y", True),
        (b"application/grpc-web", False),
        (b"application/grpc-web+proto", False),
        (b"application/grpcx", False),
        (b"application/json", False),
        (b"", False),
    ],
)
def test_a_call_is_told_by_its_content_type(kind: bytes, is_grpc: bool) -> None:
    assert speaks_grpc(kind) is is_grpc


# -- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("rate_limited", RESOURCE_EXHAUSTED),
        ("payload_too_large", RESOURCE_EXHAUSTED),
        ("headers_too_large", RESOURCE_EXHAUSTED),
        ("missing_credentials", UNAUTHENTICATED),
        ("expired_token", UNAUTHENTICATED),
        ("invalid_api_key", UNAUTHENTICATED),
        ("forbidden", PERMISSION_DENIED),
        ("address_forbidden", PERMISSION_DENIED),
        ("denied_by_plugin", PERMISSION_DENIED),
        ("route_not_found", UNIMPLEMENTED),
        ("service_not_found", UNIMPLEMENTED),
        ("method_not_allowed", UNIMPLEMENTED),
        ("breaker_open", UNAVAILABLE),
        ("no_endpoint", UNAVAILABLE),
        ("overloaded", UNAVAILABLE),
        ("shed", UNAVAILABLE),
        ("draining", UNAVAILABLE),
        ("connect_refused", UNAVAILABLE),
        ("connect_timeout", UNAVAILABLE),
        ("upstream_reset", UNAVAILABLE),
        ("upstream_protocol", INTERNAL),
        ("bad_request", INTERNAL),
        ("internal", INTERNAL),
        ("deadline_exceeded", DEADLINE_EXCEEDED),
        ("response_timeout", DEADLINE_EXCEEDED),
        ("total_timeout", DEADLINE_EXCEEDED),
        ("request_timeout", DEADLINE_EXCEEDED),
        ("client_closed", CANCELLED),
    ],
)
def test_a_refusal_has_the_code_that_says_what_to_do(reason: str, code: int) -> None:
    assert grpc.code_of(REASONS[reason].status, reason) == code


def test_every_refusal_has_a_code_and_none_is_ok() -> None:
    for reason, row in REASONS.items():
        assert OK < grpc.code_of(row.status, reason) <= UNAUTHENTICATED, reason


@given(st.integers(100, 999))
def test_no_answer_without_a_status_of_its_own_is_ok(status: int) -> None:
    assert grpc.concluded(status) != OK
    assert grpc.code_of(status) != OK


def test_what_clients_conclude_is_as_their_table_has_it() -> None:
    # http-grpc-status-mapping.md; all others are UNKNOWN.
    table = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
    assert {status: grpc.concluded(status) for status in range(100, 600)} == {
        status: table.get(status, 2) for status in range(100, 600)
    }


def test_only_codes_that_blame_the_server_count_against_it() -> None:
    against = {name for name, code in CODES.items() if grpc.counts_as(code) >= 500}
    assert against == {"UNKNOWN", "INTERNAL", "DATA_LOSS", "UNAVAILABLE", "DEADLINE_EXCEEDED"}
    assert grpc.counts_as(OK) == 200
    assert grpc.counts_as(RESOURCE_EXHAUSTED) == 429
    assert grpc.counts_as(99) == grpc.counts_as(UNKNOWN)


@given(st.text())
def test_a_message_is_visible_ascii_and_is_read_back(text: str) -> None:
    written = grpc.message(text)
    assert all(0x20 <= byte < 0x7F for byte in written)
    assert unquote(written.decode()) == text


@pytest.mark.parametrize(
    ("seconds", "value"), [(0.2504, b"250"), (30.0, b"30000"), (1e9, b"2147483647"), (0.001, b"1")]
)
def test_a_client_is_told_when_to_come_again(seconds: float, value: bytes) -> None:
    assert grpc.pushback(seconds) == (b"grpc-retry-pushback-ms", value)
    assert grpc.pushed_back(value) == int(value) / 1000


@pytest.mark.parametrize("value", [b"-1", b"", b"soon", b"1.5", b"99999999999"])
def test_a_pushback_that_is_no_number_means_never(value: bytes) -> None:
    assert grpc.pushed_back(value) is None
    assert grpc.pushed_back(None) == 0.0


# -- deadlines -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1H", 3600.0),
        (b"2M", 120.0),
        (b"3S", 3.0),
        (b"250m", 0.25),
        (b"99999999u", 99.999999),
        (b"5n", 5e-9),
        (b"0S", 0.0),
        (b"99999999H", LONGEST),
        (b"123456789S", None),
        (b"1", None),
        (b"1s", None),
        (b"-1S", None),
        (b"1.5S", None),
        (b" 1S", None),
        (b"1S ", None),
        (b"", None),
        (b"\xb2S", None),
    ],
)
def test_a_timeout_is_read_as_the_protocol_writes_it(value: bytes, seconds: float | None) -> None:
    said = GrpcTimeout().read([(b"grpc-timeout", value)], 1000.0)
    assert said == (None if seconds is None else pytest.approx(1000.0 + seconds))


def test_of_several_timeouts_the_earliest_counts_and_one_goes_on() -> None:
    timeout = GrpcTimeout()
    fields = [(b"grpc-timeout", b"3S"), (b"x", b"y"), (b"Grpc-Timeout", b"1S"), (b"grpc-timeout", b"junk")]
    until = timeout.read(fields, 5.0)
    assert until == 6.0
    assert timeout.replaced(fields, until, 5.75) == [(b"x", b"y"), (b"grpc-timeout", b"250000u")]
    assert timeout.read([(b"x", b"1S")], 5.0) is None


@given(st.floats(0, LONGEST), st.floats(0, 1e6))
def test_what_goes_on_is_never_more_than_what_is_left_and_next_to_all_of_it(left: float, now: float) -> None:
    timeout = GrpcTimeout()
    until = now + left
    name, value = timeout.field(until, now)
    assert len(value) <= 9
    read = timeout.read([(name, value)], 0.0)
    assert read is not None
    assert read <= max(0.0, until - now) + 1e-9
    assert read >= (until - now) * 0.9999 - 2e-6


def test_a_deadline_that_has_passed_goes_on_as_nothing() -> None:
    assert GrpcTimeout().field(1.0, 2.0) == (b"grpc-timeout", b"0u")
    assert GrpcTimeout().field(1e12, 0.0) == (b"grpc-timeout", b"99999999S")
