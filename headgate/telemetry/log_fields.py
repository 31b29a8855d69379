"""The access log in a form of the operator's own: one JSON object a line, made from a template.

The template (telemetry.access_log.fields) is any nesting of mappings whose texts hold {placeholders}. A text that is
one placeholder becomes its value, a number where it is one; what has no value is left out, and so is a mapping of which
nothing is left. `{query:-none}` is "none" where there is no query, and `{query:-}` an empty text. PLACEHOLDERS lists
them; those that the usual form has, too, are what they are there.

Laws: those of telemetry.access_log hold here, too: one line, printable ASCII, capped. Of a query the values are masked
whose names speak of a secret. A template is read once, when it is configured.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Final, Protocol
from urllib.parse import unquote_to_bytes

from headgate.core.message import RequestHead
from headgate.telemetry.access_log import MAX_PATH, MAX_TEXT, AccessRecord, clipped

MASK: Final = "***"
# A name, and what stands there where it has no value, if anything does.
_PLACEHOLDER = re.compile(r"\{([a-z_]+)(?::-([^{}]*))?\}")
_SECRET = re.compile(rb"(?i)token|secret|pass|key|credential|auth|sign|session|code|assertion|jwt")

# A part of the line: JSON text, empty where there is nothing to tell.
_Part = Callable[["FullRecord"], str]


class _Stream(Protocol):
    @property
    def head(self) -> RequestHead: ...


class FullRecord(AccessRecord, Protocol):
    """A finished request with the head that it came with."""

    @property
    def stream(self) -> _Stream: ...


class OwnLines:
    """Write records as the template has them."""

    __slots__ = ("_part",)

    def __init__(self, template: Mapping[str, Any], without: tuple[str, ...] = ()) -> None:
        """Read the template; placeholders of `without` are left out, whatever else would stand there."""
        self._part = _mapping(template, without)

    def line(self, record: FullRecord) -> bytes:
        """Return the record as one line, line feed included."""
        return f"{self._part(record) or '{}'}\n".encode("ascii")


def unknown_placeholders(template: object) -> list[str]:
    """List what a template names and no request has."""
    if isinstance(template, Mapping):
        return [name for value in template.values() for name in unknown_placeholders(value)]
    found = _PLACEHOLDER.finditer(template) if isinstance(template, str) else ()
    return [match[1] for match in found if match[1] not in PLACEHOLDERS]


# -- templates ------------------------------------------------------------------------------------------------------


def _part(template: object, without: tuple[str, ...]) -> _Part:
    if isinstance(template, Mapping):
        return _mapping(template, without)
    if not isinstance(template, str):
        constant = json.dumps(template if isinstance(template, bool | int | float) else str(template))
        return lambda record: constant
    whole = _PLACEHOLDER.fullmatch(template)
    return _reader(whole[1], whole[2], without) if whole is not None else _text(template, without)


def _mapping(template: Mapping[str, Any], without: tuple[str, ...]) -> _Part:
    parts = [(f"{quoted(key)}:", _part(value, without)) for key, value in template.items()]

    def fill(record: FullRecord) -> str:
        filled = ",".join([key + text for key, part in parts if (text := part(record))])
        return f"{{{filled}}}" if filled else ""

    return fill


def _text(template: str, without: tuple[str, ...]) -> _Part:
    # Text, name, and what stands for it, by turns.
    pieces = _PLACEHOLDER.split(template)
    readers = [_reader(name, other, without) for name, other in zip(pieces[1::3], pieces[2::3], strict=True)]
    texts = pieces[::3]

    def fill(record: FullRecord) -> str:
        values = [read(record) for read in readers]
        if not all(values):
            return ""
        filled = [text + str(json.loads(value)) for text, value in zip(texts, values, strict=False)]
        return quoted("".join([*filled, texts[-1]]))

    return fill


def _reader(name: str, other: str | None, without: tuple[str, ...]) -> _Part:
    if name in without:
        return lambda record: ""
    value = PLACEHOLDERS[name]
    if other is None:
        return value
    constant = quoted(other)
    return lambda record: value(record) or constant


# -- values ---------------------------------------------------------------------------------------------------------


class _Timestamp:
    """The moment of a record; the text of the second of the last one is kept."""

    def __init__(self) -> None:
        self._second = -1
        self._prefix = ""

    def __call__(self, record: FullRecord) -> str:
        second, millisecond = divmod(int(record.wall * 1000), 1000)
        if second != self._second:
            self._prefix = f'"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}'
            self._second = second
        return f'{self._prefix}.{millisecond:03d}Z"'


def _quoted(text: str, longest: int = MAX_TEXT) -> str:
    if not text:
        return ""
    return quoted(text) if len(text) <= longest else quoted(clipped(text, longest))


def _level(record: FullRecord) -> str:
    return '"INFO"' if record.outcome < 400 else '"WARNING"' if record.outcome < 500 else '"ERROR"'


def _level_lower(record: FullRecord) -> str:
    return '"info"' if record.outcome < 400 else '"warning"' if record.outcome < 500 else '"error"'


def _query(record: FullRecord) -> str:
    query = record.stream.head.query
    return _quoted(b"&".join(map(_pair, query.split(b"&"))).decode("latin-1"), MAX_PATH) if query else ""


def _pair(pair: bytes) -> bytes:
    name, equals, _ = pair.partition(b"=")
    return name + equals + MASK.encode() if equals and _SECRET.search(unquote_to_bytes(name)) else pair


def _header(name: bytes) -> _Part:
    size = len(name)

    def read(record: FullRecord) -> str:
        for key, value in record.stream.head.fields:
            if len(key) == size and key.lower() == name:
                return _quoted(value.decode("latin-1"))
        return ""

    return read


def _known(fragment: str) -> str:
    """Write a text of the configuration, which has been escaped for JSON already (access_log.json_fragment)."""
    return f'"{fragment}"' if fragment else ""


PLACEHOLDERS: Mapping[str, _Part] = {
    "timestamp": _Timestamp(),
    "timestamp_epoch": lambda record: f"{record.wall:.3f}",
    "level": _level,
    "level_lower": _level_lower,
    "message": lambda record: '"Request completed"',
    "correlation_id": lambda record: _quoted(record.correlation_id),
    "request_id": lambda record: _quoted(record.request_id),
    "trace_id": lambda record: f'"{record.trace.trace_id}"' if record.trace is not None else "",
    "method": lambda record: _quoted(record.method),
    "path": lambda record: _quoted(record.path, MAX_PATH),
    "query": _query,
    "host": lambda record: _quoted(record.host),
    "protocol": lambda record: f'"HTTP/{record.version}"',
    "status_code": lambda record: str(record.status),
    "grpc_status": lambda record: str(record.grpc_status) if record.grpc_status >= 0 else "",
    "duration_ms": lambda record: f"{record.duration * 1000:.2f}",
    "duration_seconds": lambda record: f"{record.duration:.6f}",
    "route": lambda record: _known(record.route),
    "service": lambda record: _known(record.service),
    "endpoint": lambda record: _known(record.endpoint),
    "upstream_ms": lambda record: f"{record.upstream * 1000:.2f}" if record.attempts else "",
    "attempts": lambda record: str(record.attempts) if record.attempts else "",
    "cache": lambda record: _known(record.cache),
    "bytes_in": lambda record: str(record.bytes_in),
    "bytes_out": lambda record: str(record.bytes_out),
    "client": lambda record: _quoted(record.client),
    "user_agent": _header(b"user-agent"),
    "referer": _header(b"referer"),
    "identity": lambda record: _quoted(record.identity.id),
    "identity_kind": lambda record: _known(record.identity.kind) if record.identity.id else "",
    "tenant": lambda record: _quoted(record.identity.tenant),
    "error": lambda record: _quoted(record.error),
    "detail": lambda record: _quoted(record.detail) if record.error else "",
}
"""What a template may name: what writes it as JSON, empty where there is nothing."""
