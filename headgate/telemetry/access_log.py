"""One finished request as one line of bytes: JSON for machines, or a readable form for a terminal.

The record of the access log view, as JSON (fields in this order; those marked ? are absent without a value):
    timestamp       str, wall clock at the end of the request, ISO 8601, UTC, milliseconds: 2025-11-27T10:30:00.123Z
    level           str, ERROR from status 500 on, WARNING from 400 on, else INFO; of a call of gRPC, its code decides
    message         str, always "Request completed"
    correlation_id  str
    request_id      str?, only where it differs from the correlation id
    trace_id        str?, where the gateway takes part in traces
    method          str
    path            str, the normal form without the query: a query may carry secrets
    host            str; path, host and client are absent where telemetry.redact omits them
    protocol        str, what the client spoke: HTTP/1.0, HTTP/1.1 or HTTP/2
    status_code     int, what the client got, or 499 when it left before
    grpc_status     int?, the code that a call of gRPC ended with
    duration_ms     float, first byte of the request to last byte of the answer
    route           str?
    service         str?
    endpoint        str?, the one whose answer was used, or that was tried last
    upstream_ms     float?, start of that attempt to the head of its answer; with attempts
    attempts        int?, how many times an upstream was tried; absent when none was
    cache           str?, what the cache made of it (telemetry.metrics.CACHE_RESULTS); absent where it has no part
    bytes_in        int, bytes of the request's body
    bytes_out       int, bytes of the answer's body
    client          str, address
    identity        str?, who asked: the caller's id, as its credential names it; absent for who showed none
    identity_kind   str?, user, api_key or service; with identity
    tenant          str?, whose request it was
    error           str?, reason of the failure (a key of REASONS)
    detail          str?, what is known of that failure, such as the limit that refused; for the operator

Laws:
- A line is one line, whatever a client sends: printable ASCII between the braces, everything else escaped (controls,
  ESC, DEL, and the separators and direction marks of Unicode, which terminals and viewers act on).
- What a client supplies is capped: the path at 2048 characters, every other text at 256, cut ones end in an ellipsis.
- What configuration supplies (route, service, endpoint) was escaped once, by `json_fragment`, when the Plan was built.
"""

from __future__ import annotations

from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as quoted
from typing import Protocol

from headgate.core.identity import ANONYMOUS, Identity
from headgate.telemetry.trace import Trace

MAX_PATH = 2048
MAX_TEXT = 256

_USUAL = "1.1"
_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
_INFO, _WARNING, _ERROR = (
    f'Z","level":"{level}","message":"Request completed","correlation_id":' for level in ("INFO", "WARNING", "ERROR")
)
_MILLISECONDS = tuple(f".{number:03d}" for number in range(1000))
# Milliseconds with two digits behind the point, up to 20: to look a text up costs half of what writing it does.
_SHORT = 2000
_HUNDREDTHS = tuple([f"{number / 100:.2f}" for number in range(_SHORT)])


class AccessRecord(Protocol):
    """What the log asks of a finished request.

    `outcome` is the status that says how the request went: that of HTTP, or for a call of gRPC what its code means;
    `grpc_status` is that code, -1 for other requests. Times are seconds: `wall` on the wall clock, the others
    durations. `route`, `service` and `endpoint` are the texts that `json_fragment` made, `version` and `cache` are of
    fixed lists; the other texts come as they are. Bytes from the wire are to be decoded as Latin-1, so that none is
    lost.
    """

    wall: float
    method: str
    path: str
    host: str
    version: str
    status: int
    outcome: int
    grpc_status: int
    duration: float
    correlation_id: str
    request_id: str
    route: str
    service: str
    endpoint: str
    upstream: float
    attempts: int
    cache: str
    bytes_in: int
    bytes_out: int
    client: str
    identity: Identity
    error: str
    detail: str
    trace: Trace | None


def json_fragment(text: str) -> str:
    """Escape a configured name once for every line it will stand in; a plain name comes back as it is."""
    return quoted(text)[1:-1]


class JsonLines:
    """Write records as JSON lines; one for each process, because it remembers the current second's text."""

    __slots__ = ("_prefix", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._prefix = ""

    def line(self, record: AccessRecord) -> bytes:
        """Return the record as one line, line feed included."""
        second, millisecond = divmod(int(record.wall * 1000), 1000)
        if second != self._second:
            self._prefix = f'{{"timestamp":"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}'
            self._second = second
        status, outcome = record.status, record.outcome
        level = _INFO if outcome < 400 else _WARNING if outcome < 500 else _ERROR
        method, path, host, client = record.method, record.path, record.host, record.client
        correlation_id, request_id, error = record.correlation_id, record.request_id, record.error
        identity, trace, cache = record.identity, record.trace, record.cache
        own_id = _optional("request_id", request_id) if request_id != correlation_id else ""
        # One test for all of them: texts that are short together are short each.
        if len(path) > MAX_PATH or len(method) + len(host) + len(correlation_id) + len(client) > MAX_TEXT:
            path, method, host = clipped(path, MAX_PATH), clipped(method), clipped(host)
            correlation_id, client = clipped(correlation_id), clipped(client)
        called = f',"grpc_status":{record.grpc_status}' if record.grpc_status >= 0 else ""
        traced = f',"trace_id":"{trace.trace_id}"' if trace is not None else ""
        # Looked up here, as a call costs as much again.
        hundredths = int(record.duration * 100_000 + 0.5)
        duration = _HUNDREDTHS[hundredths] if hundredths < _SHORT else _milliseconds(record.duration)
        route, service, endpoint, attempts = record.route, record.service, record.endpoint, record.attempts
        if route and service and endpoint and attempts:
            hundredths = int(record.upstream * 100_000 + 0.5)
            upstream = _HUNDREDTHS[hundredths] if hundredths < _SHORT else _milliseconds(record.upstream)
            place = (
                f',"route":"{route}","service":"{service}","endpoint":"{endpoint}"'
                f',"upstream_ms":{upstream},"attempts":{attempts}'
            )
        else:
            place = _place(record)
        cached = f',"cache":"{cache}"' if cache else ""
        return (
            f"{self._prefix}{_MILLISECONDS[millisecond]}{level}{quoted(correlation_id)}{own_id}{traced}"
            f',"method":{quoted(method)},"path":{quoted(path)},"host":{quoted(host)},"protocol":"HTTP/{record.version}"'
            f',"status_code":{status}{called},"duration_ms":{duration}{place}{cached}'
            f',"bytes_in":{record.bytes_in},"bytes_out":{record.bytes_out},"client":{quoted(client)}'
            f"{'' if identity is ANONYMOUS else _caller(identity)}"
            f"{_failed(error, record.detail) if error else ''}}}\n"
        ).encode("ascii")


def _milliseconds(seconds: float) -> str:
    # Formatted apart: the compiler joins texts well, and only texts.
    return f"{seconds * 1000:.2f}"


def _place(record: AccessRecord) -> str:
    """Write those parts that are known of where a request went."""
    places = (("route", record.route), ("service", record.service), ("endpoint", record.endpoint))
    parts = [f',"{name}":"{text}"' for name, text in places if text]
    if record.attempts:
        parts.append(f',"upstream_ms":{_milliseconds(record.upstream)},"attempts":{record.attempts}')
    return "".join(parts)


def _caller(identity: Identity) -> str:
    """Write who asked. An id comes out of a credential: it is as free as anything a client sends."""
    id_, tenant = identity.id, identity.tenant
    if id_ and tenant and len(id_) + len(tenant) <= MAX_TEXT:
        return f',"identity":{quoted(id_)},"identity_kind":"{identity.kind}","tenant":{quoted(tenant)}'
    kind = f',"identity_kind":"{identity.kind}"' if id_ else ""
    return _optional("identity", id_) + kind + _optional("tenant", tenant)


def _failed(error: str, detail: str) -> str:
    return _optional("error", error) + _optional("detail", detail)


def _optional(name: str, text: str) -> str:
    return f',"{name}":{quoted(clipped(text))}' if text else ""


def clipped(text: str, longest: int = MAX_TEXT) -> str:
    """Cut text to so many characters, the last of which is then an ellipsis."""
    return text if len(text) <= longest else text[: longest - 1] + _ELLIPSIS


class ConsoleLines:
    """Write records for a person at a terminal: `12:01:02.123 GET /x 200 3.1ms 1.2KiB route→service endpoint`.

    `colour` paints the status by its class with ANSI sequences; `utc_offset` is in seconds east of UTC.
    """

    __slots__ = ("_colour", "_utc_offset")

    def __init__(self, colour: bool = False, utc_offset: int = 0) -> None:
        self._colour = colour
        self._utc_offset = utc_offset

    def line(self, record: AccessRecord) -> bytes:
        """Return the record as one line, line feed included, in UTF-8."""
        second, millisecond = divmod(int(record.wall * 1000), 1000)
        moment = datetime.fromtimestamp(second + self._utc_offset, UTC)
        words = [
            f"{moment:%H:%M:%S}{_MILLISECONDS[millisecond]}",
            _printable(clipped(record.method)),
            _printable(clipped(record.path, MAX_PATH)),
            self._painted(record.status),
            _short_duration(record.duration),
            short_size(record.bytes_out),
        ]
        if record.route or record.service:
            words.append(f"{record.route}→{record.service}")
        if record.endpoint:
            words.append(record.endpoint)
        if record.attempts > 1:
            words.append(f"attempts={record.attempts}")
        if record.version != _USUAL:
            words.append(f"HTTP/{record.version}")
        if record.cache:
            words.append(f"cache={record.cache}")
        if record.grpc_status >= 0:
            words.append(f"grpc={record.grpc_status}")
        for name, text in (("identity", record.identity.id), ("tenant", record.identity.tenant)):
            if text:
                words.append(f"{name}={_printable(clipped(text))}")
        if record.error:
            words.append(f"error={_printable(clipped(record.error))}")
            if record.detail:
                words.append(f"({_printable(clipped(record.detail))})")
        return (" ".join(words) + "\n").encode()

    def _painted(self, status: int) -> str:
        if not self._colour:
            return str(status)
        colour = 32 if status < 300 else 36 if status < 400 else 33 if status < 500 else 31
        return f"\x1b[{colour}m{status}\x1b[0m"


def _printable(text: str) -> str:
    """Replace what a terminal would obey instead of show: controls, ESC, direction marks, lone surrogates."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _short_duration(seconds: float) -> str:
    return f"{seconds * 1000:.1f}ms" if seconds < 1 else f"{seconds:.2f}s"


def short_size(count: int) -> str:
    """Write bytes with a unit of 1024: 1.2KiB."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.1f}{unit}" if unit != "B" else f"{count}B"
        size /= 1024
    return f"{size:.1f}TiB"
