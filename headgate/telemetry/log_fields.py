"""The access log in a form of the operator's own: one JSON object a line, made from a template.

The template (telemetry.access_log.fields) is any nesting of mappings whose texts hold {placeholders}. A text that is
one placeholder becomes its value, a number where it is one; what has no value is left out, and so is a mapping of which
nothing is left. PLACEHOLDERS lists them; those that the usual form has, too, are what they are there.

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
from headgate.telemetry.access_log import MAX_PATH, AccessRecord, clipped

MASK: Final = "***"
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_SECRET = re.compile(rb"(?i)token|secret|pass|key|credential|auth|sign|session|code|assertion|jwt")
_MESSAGE: Final = "Request completed"

Value = str | int | float | None
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
        """Read the template; placeholders of `without` have no value."""
        self._part = _mapping(template, without)

    def line(self, record: FullRecord) -> bytes:
        """Return the record as one line, line feed included."""
        return f"{self._part(record) or '{}'}\n".encode("ascii")


def unknown_placeholders(template: object) -> list[str]:
    """List what a template names and no request has."""
    if isinstance(template, Mapping):
        return [name for value in template.values() for name in unknown_placeholders(value)]
    found = _PLACEHOLDER.findall(template) if isinstance(template, str) else []
    return [name for name in found if name not in PLACEHOLDERS]


# -- templates ------------------------------------------------------------------------------------------------------


def _part(template: object, without: tuple[str, ...]) -> _Part:
    if isinstance(template, Mapping):
        return _mapping(template, without)
    if not isinstance(template, str):
        constant = quoted(str(template)) if not isinstance(template, bool | int | float) else _number(template)
        return lambda record: constant
    whole = _PLACEHOLDER.fullmatch(template)
    if whole is not None:
        read = _reader(whole[1], without)
        return lambda record: _json(read(record))
    return _text(template, without)


def _mapping(template: Mapping[str, Any], without: tuple[str, ...]) -> _Part:
    parts = [(f"{quoted(key)}:", _part(value, without)) for key, value in template.items()]

    def fill(record: FullRecord) -> str:
        filled = ",".join([key + text for key, part in parts if (text := part(record))])
        return f"{{{filled}}}" if filled else ""

    return fill


def _text(template: str, without: tuple[str, ...]) -> _Part:
    # Text and names by turns.
    pieces = _PLACEHOLDER.split(template)
    readers = [_reader(name, without) for name in pieces[1::2]]
    texts = pieces[::2]

    def fill(record: FullRecord) -> str:
        values = [read(record) for read in readers]
        if any(value is None or value == "" for value in values):
            return ""
        filled = [text for pair in zip(texts, map(str, values), strict=False) for text in pair]
        return quoted("".join([*filled, texts[-1]]))

    return fill


def _reader(name: str, without: tuple[str, ...]) -> Callable[[FullRecord], Value]:
    return PLACEHOLDERS[name] if name not in without else lambda record: None


def _json(value: Value) -> str:
    if value is None or value == "":
        return ""
    return quoted(value) if isinstance(value, str) else _number(value)


def _number(value: bool | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# -- values ---------------------------------------------------------------------------------------------------------


def _timestamp(record: FullRecord) -> str:
    moment = datetime.fromtimestamp(record.wall, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _level(record: FullRecord) -> str:
    return "INFO" if record.outcome < 400 else "WARNING" if record.outcome < 500 else "ERROR"


def _query(record: FullRecord) -> str:
    query = record.stream.head.query
    return clipped(b"&".join(map(_pair, query.split(b"&"))).decode("latin-1"), MAX_PATH) if query else ""


def _pair(pair: bytes) -> bytes:
    name, equals, _ = pair.partition(b"=")
    return name + equals + MASK.encode() if equals and _SECRET.search(unquote_to_bytes(name)) else pair


def _header(name: bytes) -> Callable[[FullRecord], str]:
    def read(record: FullRecord) -> str:
        found = [value for key, value in record.stream.head.fields if key.lower() == name]
        return clipped(found[0].decode("latin-1")) if found else ""

    return read


def _known(fragment: str) -> str:
    """Return a text of the configuration, which has been escaped for JSON already (access_log.json_fragment)."""
    text: str = json.loads(f'"{fragment}"')
    return text


PLACEHOLDERS: Mapping[str, Callable[[FullRecord], Value]] = {
    "timestamp": _timestamp,
    "timestamp_epoch": lambda record: round(record.wall, 3),
    "level": _level,
    "level_lower": lambda record: _level(record).lower(),
    "message": lambda record: _MESSAGE,
    "correlation_id": lambda record: clipped(record.correlation_id),
    "request_id": lambda record: clipped(record.request_id),
    "trace_id": lambda record: record.trace.trace_id if record.trace is not None else None,
    "method": lambda record: clipped(record.method),
    "path": lambda record: clipped(record.path, MAX_PATH),
    "query": _query,
    "host": lambda record: clipped(record.host),
    "protocol": lambda record: f"HTTP/{record.version}",
    "status_code": lambda record: record.status,
    "grpc_status": lambda record: record.grpc_status if record.grpc_status >= 0 else None,
    "duration_ms": lambda record: round(record.duration * 1000, 2),
    "duration_seconds": lambda record: round(record.duration, 6),
    "route": lambda record: _known(record.route),
    "service": lambda record: _known(record.service),
    "endpoint": lambda record: _known(record.endpoint),
    "upstream_ms": lambda record: round(record.upstream * 1000, 2) if record.attempts else None,
    "attempts": lambda record: record.attempts or None,
    "cache": lambda record: record.cache,
    "bytes_in": lambda record: record.bytes_in,
    "bytes_out": lambda record: record.bytes_out,
    "client": lambda record: clipped(record.client),
    "user_agent": _header(b"user-agent"),
    "referer": _header(b"referer"),
    "identity": lambda record: clipped(record.identity.id),
    "identity_kind": lambda record: record.identity.kind if record.identity.id else None,
    "tenant": lambda record: clipped(record.identity.tenant),
    "error": lambda record: clipped(record.error),
    "detail": lambda record: clipped(record.detail) if record.error else None,
}
"""What a template may name, and where it comes from; None or an empty text is nothing."""
