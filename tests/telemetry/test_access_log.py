"""Access log: the fields people asked for, and one harmless line whatever a client sends."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headgate.core.identity import ANONYMOUS, Identity
from headgate.telemetry.access_log import (
    MAX_PATH,
    MAX_TEXT,
    ConsoleLines,
    JsonLines,
    json_fragment,
)
from headgate.telemetry.metrics import CACHE_RESULTS
from headgate.telemetry.trace import Trace

WALL = 1764239400.123  # 2025-11-27T10:30:00.123Z


@dataclasses.dataclass(slots=True)
class AccessRecord:
    """A finished request, as the log reads one."""

    wall: float = 0.0
    method: str = ""
    path: str = ""
    host: str = ""
    version: str = "1.1"
    grpc_status: int = -1
    status: int = 0
    duration: float = 0.0
    correlation_id: str = ""
    request_id: str = ""
    route: str = ""
    service: str = ""
    endpoint: str = ""
    upstream: float = 0.0
    attempts: int = 0
    cache: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    client: str = ""
    identity: Identity = ANONYMOUS
    error: str = ""
    detail: str = ""
    trace: Trace | None = None
    outcome: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.outcome = self.status


FULL = AccessRecord(
    wall=WALL,
    method="POST",
    path="/api/v1/recommendations",
    host="api.example.com",
    status=200,
    duration=0.14523,
    correlation_id="abc-123-def",
    request_id="abc-123-def",
    route="recommend-route",
    service="recommend",
    endpoint="http://10.0.0.1:8001",
    upstream=0.14,
    attempts=1,
    bytes_in=120,
    bytes_out=2048,
    client="192.0.2.10",
)


def changed(**fields: Any) -> AccessRecord:
    return dataclasses.replace(FULL, **fields)


def logged(record: AccessRecord) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(JsonLines().line(record))
    return fields


# -- JSON ------------------------------------------------------------------------------------------------------


def test_the_line_to_the_letter() -> None:
    assert JsonLines().line(FULL) == (
        b'{"timestamp":"2025-11-27T10:30:00.123Z","level":"INFO","message":"Request completed",'
        b'"correlation_id":"abc-123-def","method":"POST","path":"/api/v1/recommendations",'
        b'"host":"api.example.com","protocol":"HTTP/1.1","status_code":200,"duration_ms":145.23,'
        b'"route":"recommend-route","service":"recommend","endpoint":"http://10.0.0.1:8001","upstream_ms":140.00,"attempts":1,'
        b'"bytes_in":120,"bytes_out":2048,"client":"192.0.2.10"}\n'
    )


def test_fields_without_a_value_are_absent() -> None:
    bare = logged(AccessRecord(wall=WALL, status=404))
    assert list(bare) == [
        *("timestamp", "level", "message", "correlation_id", "method", "path", "host", "protocol", "status_code"),
        *("duration_ms", "bytes_in", "bytes_out", "client"),
    ]


def test_fields_with_a_value_of_their_own() -> None:
    fields = logged(changed(request_id="req-9", error="rate_limited", detail="per-client", status=429))
    assert (fields["request_id"], fields["error"], fields["detail"]) == ("req-9", "rate_limited", "per-client")


def test_what_was_spoken_and_what_the_cache_did_are_fields() -> None:
    fields = logged(changed(version="2", cache="stale"))
    assert (fields["protocol"], fields["cache"]) == ("HTTP/2", "stale")
    # An answer from the cache asked no endpoint.
    fields = logged(changed(cache="hit", attempts=0, endpoint=""))
    assert fields["cache"] == "hit"
    assert "attempts" not in fields
    assert shown(changed(version="2", cache="hit")).endswith(" HTTP/2 cache=hit\n")


def test_a_call_is_logged_with_its_code_which_decides_its_level() -> None:
    failed = changed(version="2", status=200, grpc_status=14)
    failed.outcome = 503
    fields = logged(failed)
    assert (fields["status_code"], fields["grpc_status"], fields["level"]) == (200, 14, "ERROR")
    assert logged(changed(version="2", grpc_status=0))["grpc_status"] == 0
    assert "grpc_status" not in logged(changed(version="2"))
    assert " grpc=14" in shown(failed)


@pytest.mark.parametrize(
    ("identity", "told"),
    [
        (ANONYMOUS, {}),
        (Identity(), {}),
        (Identity(tier="free"), {}),
        (Identity(tenant="acme"), {"tenant": "acme"}),
        (Identity(kind="api_key", id="k-1"), {"identity": "k-1", "identity_kind": "api_key"}),
        (
            Identity(kind="user", id="alice", tenant="acme", roles=frozenset({"admin"}), claims={"secret": "x"}),
            {"identity": "alice", "identity_kind": "user", "tenant": "acme"},
        ),
    ],
)
def test_who_asked_is_told_as_far_as_it_is_known(identity: Identity, told: dict[str, str]) -> None:
    fields = logged(changed(identity=identity))
    names = {"identity", "identity_kind", "tenant"}
    assert {name: fields[name] for name in names & set(fields)} == told
    assert {name: value for name, value in fields.items() if name not in names} == logged(FULL)


@pytest.mark.parametrize(
    ("fields", "present"),
    [
        ({"endpoint": "", "attempts": 0}, {"route", "service"}),
        ({"service": "", "endpoint": "", "attempts": 0}, {"route"}),
        ({"route": ""}, {"service", "endpoint", "upstream_ms", "attempts"}),
        ({"endpoint": ""}, {"route", "service", "upstream_ms", "attempts"}),
    ],
)
def test_parts_of_the_way_to_an_upstream(fields: dict[str, Any], present: set[str]) -> None:
    way = {"route", "service", "endpoint", "upstream_ms", "attempts"}
    assert way & set(logged(changed(**fields))) == present


@pytest.mark.parametrize(
    ("status", "level"),
    [
        *((101, "INFO"), (200, "INFO"), (304, "INFO"), (399, "INFO")),
        *((400, "WARNING"), (429, "WARNING"), (499, "WARNING"), (500, "ERROR"), (504, "ERROR")),
    ],
)
def test_the_level_follows_the_status(status: int, level: str) -> None:
    fields = logged(changed(status=status))
    assert (fields["status_code"], fields["level"]) == (status, level)


def test_the_second_is_remembered_but_never_stale() -> None:
    lines = JsonLines()
    stamps = [
        json.loads(lines.line(changed(wall=wall)))["timestamp"]
        for wall in (WALL, 1764239400.9999, 1764239401.0, WALL - 1, 0.0, WALL)
    ]
    assert stamps == [
        "2025-11-27T10:30:00.123Z",
        "2025-11-27T10:30:00.999Z",
        "2025-11-27T10:30:01.000Z",
        "2025-11-27T10:29:59.123Z",
        "1970-01-01T00:00:00.000Z",
        "2025-11-27T10:30:00.123Z",
    ]


@pytest.mark.parametrize("field", ["method", "path", "host", "correlation_id", "request_id", "client", "error"])
def test_what_a_client_supplies_is_cut(field: str) -> None:
    longest = MAX_PATH if field == "path" else MAX_TEXT
    assert logged(changed(**{field: "x" * longest}))[field] == "x" * longest
    cut = logged(changed(**{field: "x" * 1_000_000}))
    assert cut[field] == "x" * (longest - 1) + "…"
    others = {name: value for name, value in logged(FULL).items() if name != field}
    assert {name: cut[name] for name in others} == others


def test_a_long_id_that_is_both_ids_is_written_once() -> None:
    assert "request_id" not in logged(changed(correlation_id="x" * 300, request_id="x" * 300))


@pytest.mark.parametrize(
    ("name", "fragment"),
    [("chat", "chat"), ('a"b\\', r"a\"b\\"), ("\x1b[31m\n", r"\u001b[31m\n"), ("ü\u202e", r"\u00fc\u202e")],
)
def test_a_configured_name_is_escaped_once(name: str, fragment: str) -> None:
    assert json_fragment(name) == fragment
    assert logged(changed(route=fragment))["route"] == name


ANY_TEXT = st.one_of(
    st.text(st.characters(codec=None, categories=None), max_size=60),
    st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")),
    st.binary(max_size=60).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
    st.sampled_from(["\r\n", "\x1b]0;owned\x07", '","admin":true,"x":"', "\u2028\u2029\x85", "\\", "\x7f", "\ud800"]),
)
RECORDS = st.builds(
    AccessRecord,
    wall=st.floats(0, 4e9),
    method=ANY_TEXT,
    path=ANY_TEXT | ANY_TEXT.map(lambda text: text * 200),
    host=ANY_TEXT,
    version=st.sampled_from(["1.0", "1.1", "2"]),
    status=st.integers(100, 599),
    duration=st.floats(0, 1e6),
    correlation_id=ANY_TEXT,
    request_id=ANY_TEXT,
    route=ANY_TEXT.map(json_fragment),
    service=ANY_TEXT.map(json_fragment),
    endpoint=ANY_TEXT.map(json_fragment),
    upstream=st.floats(0, 1e6),
    attempts=st.integers(0, 5),
    cache=st.sampled_from(["", *sorted(CACHE_RESULTS)]),
    bytes_in=st.integers(0, 2**60),
    bytes_out=st.integers(0, 2**60),
    client=ANY_TEXT,
    identity=st.builds(
        lambda kind, id_, tenant: Identity(kind, id_, tenant),
        st.sampled_from(["user", "api_key", "service"]),
        ANY_TEXT | ANY_TEXT.map(lambda text: text * 20),
        ANY_TEXT | ANY_TEXT.map(lambda text: text * 20),
    )
    | st.just(ANONYMOUS),
    error=ANY_TEXT,
    detail=ANY_TEXT,
)


def text_of(field: str, longest: int) -> str:
    return field if len(field) <= longest else field[: longest - 1] + "…"


@given(record=RECORDS)
@example(changed(path='/"\x1b[2J\r\n{"level":"ERROR"}'))
def test_any_bytes_in_any_field_are_one_line_of_printable_ascii_that_says_the_same(record: AccessRecord) -> None:
    line = JsonLines().line(record)
    assert re.fullmatch(rb"\{[ -~]*\}\n", line)
    pairs = json.loads(line, object_pairs_hook=list)
    fields = dict(pairs)
    assert len(fields) == len(pairs), "no field twice"
    # JSON joins two escaped surrogate halves to one character; compare with the same joining.
    for name in ("method", "host", "correlation_id", "client"):
        assert fields[name] == joined(text_of(getattr(record, name), MAX_TEXT))
    for name, text in (("identity", record.identity.id), ("tenant", record.identity.tenant)):
        assert fields.get(name, "") == joined(text_of(text, MAX_TEXT))
    assert ("identity_kind" in fields) is ("identity" in fields)
    assert fields["path"] == joined(text_of(record.path, MAX_PATH))
    assert fields["bytes_out"] == record.bytes_out
    assert fields["duration_ms"] == pytest.approx(record.duration * 1000, abs=0.006)


def joined(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass") if text else text


# -- the console -----------------------------------------------------------------------------------------------


def shown(record: AccessRecord, **settings: Any) -> str:
    return ConsoleLines(**settings).line(record).decode()


def test_the_console_line_to_the_letter() -> None:
    record = changed(method="GET", path="/x", duration=0.0031, bytes_out=1229, route="r", service="s", endpoint="e")
    assert shown(record) == "10:30:00.123 GET /x 200 3.1ms 1.2KiB r→s e\n"
    assert shown(record, utc_offset=5400).startswith("12:00:00.123 ")


def test_the_console_line_tells_of_trouble_only_when_there_is_some() -> None:
    known = changed(route="r", service="s", endpoint="e", identity=Identity("user", "ali\x1bce", "acme"))
    assert shown(known).endswith(" r→s e identity=ali\N{REPLACEMENT CHARACTER}ce tenant=acme\n")
    record = changed(status=504, route="r", service="s", endpoint="e", attempts=3, error="response_timeout")
    assert shown(record).endswith(" r→s e attempts=3 error=response_timeout\n")
    assert shown(dataclasses.replace(record, detail="10.0.0.1")).endswith(" error=response_timeout (10.0.0.1)\n")
    assert shown(AccessRecord(wall=WALL, method="GET", path="/", status=404)) == "10:30:00.123 GET / 404 0.0ms 0B\n"


@pytest.mark.parametrize(
    ("status", "painted"),
    [
        (101, "\x1b[32m101\x1b[0m"),
        (200, "\x1b[32m200\x1b[0m"),
        (302, "\x1b[36m302\x1b[0m"),
        (404, "\x1b[33m404\x1b[0m"),
        (503, "\x1b[31m503\x1b[0m"),
    ],
)
def test_colour_only_if_asked(status: int, painted: str) -> None:
    assert f" {painted} " in shown(changed(status=status), colour=True)
    assert "\x1b" not in shown(changed(status=status))


@pytest.mark.parametrize(
    ("count", "text"),
    [
        *((0, "0B"), (1023, "1023B"), (1024, "1.0KiB"), (1536, "1.5KiB"), (1024**2, "1.0MiB")),
        *((3 * 1024**3, "3.0GiB"), (5 * 1024**4, "5.0TiB"), (5000 * 1024**4, "5000.0TiB")),
    ],
)
def test_sizes_for_people(count: int, text: str) -> None:
    assert f" {text} " in shown(changed(bytes_out=count))


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "0.0ms"), (0.9994, "999.4ms"), (1.0, "1.00s"), (75.5, "75.50s")])
def test_durations_for_people(seconds: float, text: str) -> None:
    assert f" {text} " in shown(changed(duration=seconds))


@given(record=RECORDS)
@example(changed(path="/\x1b[2J\x9b31m\r\n\u202e"))
def test_a_terminal_is_never_given_anything_to_obey(record: AccessRecord) -> None:
    line = shown(record)
    assert line.endswith("\n")
    assert line[:-1].isprintable()
