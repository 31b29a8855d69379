"""A request in a JSON object, as the view `proxy` takes it: {service_name, path, method, headers, query_params, body}.

Laws: what is wrong with it is told as a list, one entry for each thing, and repeats nothing of what was sent. Its path
is brought into the normal form of the wire; it may hold a query, and blanks and letters beyond ASCII, which people
write in JSON as they are and no request line may hold, are escaped. Its header fields are judged by the table that
judges a client's own: what frames a message, belongs to one connection or says who asks does not pass. Nor does what
may hold a credential: nobody has looked at that one, and services take it that the gateway has. Its `body` goes on to
the letter as it was written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from headgate.core.failure import Failure
from headgate.core.message import Fields
from headgate.core.strict_json import read_json
from headgate.core.uri import BadTarget, normalize_path
from headgate.wire import http1
from headgate.wire.settings import HttpLimits

# HEAD is missing: its answer says a length that no body follows, and who asked by POST waits for one.
METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_NAMES: Final = ("service_name", "path", "method")
_VISIBLE: Final = bytes(range(0x21, 0x7F)).decode()
_WHITE: Final = re.compile(r"[ \t\n\r]*")
# RFC 9110 section 5.5, with no blank at either end.
_VALUE: Final = re.compile(rb"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")
_LATER: Final = json.JSONDecoder()


class Envelope(NamedTuple):
    """The request inside. `path` is in its normal form; `query` as it goes out, or None."""

    service: str
    method: str
    path: str
    query: bytes | None
    fields: Fields
    body: bytes


class Invalid(Exception):
    """An envelope that is none: `detail` lists why, each with `loc`, `msg` and `type`."""

    def __init__(self, detail: list[dict[str, Any]]) -> None:
        super().__init__()
        self.detail = detail


def open_envelope(raw: bytes, kinds: http1.FieldKinds, limits: HttpLimits) -> Envelope:
    """Read an envelope; `kinds` judge names of fields.

    Raises:
        Invalid: with a list of what is wrong.
        Failure: bad_path, bad_request, header_refused or headers_too_large, as for a request of a client.
    """
    try:
        said = read_json(raw)
    except ValueError as error:
        raise Invalid([_wrong((), f"JSON: {error}", "json_invalid")]) from None
    if not isinstance(said, dict):
        raise Invalid([_wrong((), "Input should be an object", "dict_type")])
    detail = [*_missing(said), *_mistyped(said)]
    if detail:
        raise Invalid(detail)
    method = said["method"].upper()
    if method not in METHODS:
        raise Invalid([_wrong(("method",), f"Input should be one of {', '.join(METHODS)}", "enum")])
    normal, asked = _target(said["path"], limits)
    query = b"&".join(filter(None, (asked, _query(said.get("query_params") or {})))) or None
    fields = _fields(said.get("headers") or {}, kinds, limits)
    body = _body(raw, said, fields)
    return Envelope(said["service_name"], method, normal, query, fields, body)


def _wrong(at: tuple[str, ...], message: str, kind: str) -> dict[str, Any]:
    return {"loc": ["body", *at], "msg": message, "type": kind}


def _missing(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [_wrong((name,), "Field required", "missing") for name in _NAMES if name not in said]


def _mistyped(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = [
        _wrong((name,), "Input should be a valid string", "string_type")
        for name in _NAMES
        if name in said and not isinstance(said[name], str)
    ]
    for name in ("headers", "query_params"):
        table = said.get(name)
        if table is not None and not isinstance(table, dict):
            found.append(_wrong((name,), "Input should be an object", "dict_type"))
        elif table is not None and not all(isinstance(value, str) for value in table.values()):
            found.append(_wrong((name,), "Its values should be valid strings", "string_type"))
    return found


def _fields(headers: Mapping[str, str], kinds: http1.FieldKinds, limits: HttpLimits) -> Fields:
    """Return the fields that pass, as a client's own would."""
    if len(headers) > limits.max_headers:
        raise Failure("headers_too_large", "too many fields in an envelope")
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    if not all(http1.safe_name(name) and _VALUE.fullmatch(value) for name, value in pairs):
        message = "Its names should be tokens, its values without control characters or blanks at the ends"
        raise Invalid([_wrong(("headers",), message, "value_error")])
    sizes = [len(name) + len(value) for name, value in pairs]
    if max(sizes, default=0) > limits.max_header_line or sum(sizes) > limits.max_header_bytes:
        raise Failure("headers_too_large", "fields of an envelope")
    kept: Fields = []
    named: list[bytes] = []
    for name, value in pairs:
        kind = kinds[name]
        if kind in http1.PASSING and kind != http1.CREDENTIAL:
            kept.append((name, value))
        elif kind == http1.REFUSE:
            raise Failure("bad_request", "underscore in a field name")
        elif kind == http1.DENIED:
            raise Failure("header_refused", "in an envelope")
        elif kind == http1.CONNECTION:
            named.append(value)
    if sum(kinds[name] == http1.CONTENT_TYPE for name, _ in kept) > 1:
        raise Failure("bad_request", "repeated Content-Type")
    return http1.without_named(kept, b",".join(named)) if named else kept


def _target(said: str, limits: HttpLimits) -> tuple[str, bytes]:
    """Return the path in its normal form, and the query that was written behind it."""
    path, _, query = quote(said, safe=_VISIBLE).partition("?")
    try:
        normal = normalize_path(
            (path if path.startswith("/") else f"/{path}").encode(),
            limits.merge_slashes,
            limits.encoded_slashes == "keep",
        )
        if "#" in query:
            raise BadTarget("fragment")
    except BadTarget as error:
        raise Failure("bad_path", f"of the envelope: {error.reason}") from None
    return normal, query.encode()


def _query(params: Mapping[str, str]) -> bytes:
    return urlencode(params, safe="", quote_via=quote).encode()


def _body(raw: bytes, said: Mapping[str, Any], fields: Fields) -> bytes:
    """Return the body: JSON as it was written, or the text of a string that is said to be something else."""
    body = said.get("body")
    if body is None:
        return b""
    typed = next((value for name, value in fields if name.lower() == b"content-type"), None)
    if typed is None:
        fields.append((b"Content-Type", b"application/json"))
    elif isinstance(body, str) and b"json" not in typed.lower():
        return body.encode()
    return _written(raw.decode(), "body").encode()


def _written(text: str, name: str) -> str:
    """Return the value of a member of the object that `text`, which is good JSON, holds, as it stands there."""
    at = text.index("{") + 1
    while True:
        at = _skip(text, at)
        key, at = _LATER.raw_decode(text, at)
        start = _skip(text, _skip(text, at) + 1)
        _, at = _LATER.raw_decode(text, start)
        if key == name:
            return text[start:at]
        at = _skip(text, at) + 1


def _skip(text: str, at: int) -> int:
    found = _WHITE.match(text, at)
    assert found is not None
    return found.end()
