"""The answers the gateway itself gives when something went wrong, in the configured shape.

Law: one table gives reason -> status, title, message; one template gives the body; a key of it whose placeholder has
no value vanishes. Nothing a client sent is echoed but its path, and that only where the template asks for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, NamedTuple

from headgate.config.schema import ErrorAnswer, Errors
from headgate.core.failure import REASONS

# RFC 9457. about:blank: the status is all there is to say of the kind; `reason` says it more finely.
DEFAULT_BODY: Mapping[str, Any] = {
    "type": "about:blank",
    "title": "{title}",
    "status": "{status}",
    "detail": "{message}",
    "reason": "{reason}",
    "breaker": "{breaker}",
    "request_id": "{request_id}",
    "retry_after": "{retry_after}",
}
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_ABSENT = object()
_PHRASES = {status.value: status.phrase for status in HTTPStatus}

Values = Mapping[str, Any]


class Shape(NamedTuple):
    """How one reason is answered."""

    status: int
    title: str | None
    constants: dict[str, Any]
    body: Any
    retry_after: int


class ErrorShapes:
    """All reasons, with the overrides by origin and by reason worked in."""

    __slots__ = ("_shapes", "content_type")

    def __init__(self, settings: Errors, nearer: Mapping[str, ErrorAnswer] = {}) -> None:
        """Make all of them; `nearer` are those of one route by reason, which win."""
        self.content_type = settings.content_type.encode()
        self._shapes = {name: _shape(name, settings, nearer.get(name)) for name in REASONS}

    def status(self, reason: str) -> int:
        """Return the status that answers `reason`."""
        return self._shapes[reason].status

    def message(self, reason: str) -> str:
        """Return the sentence that tells a caller of `reason`."""
        text: str = self._shapes[reason].constants["message"]
        return text if "{" not in text else REASONS[reason].message

    def retry_after(self, reason: str) -> int:
        """Return the seconds after which asking again makes sense where nothing is known of it."""
        return self._shapes[reason].retry_after

    def body(self, reason: str, values: Callable[[], Values]) -> bytes:
        """Fill the template; `values` gives what this request knows, the status too, None for what it does not."""
        shape = self._shapes[reason]
        now = datetime.now(UTC)
        told = values()
        known = {
            **shape.constants,
            "title": shape.title or _title(reason, told.get("status", shape.status)),
            **told,
            "timestamp": now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03d}Z",
            "timestamp_epoch": round(now.timestamp(), 3),
        }
        if "{" in known["message"]:
            said = fill(known["message"], known)
            known["message"] = REASONS[reason].message if said is _ABSENT else said
        filled = fill(shape.body, known)
        if isinstance(filled, str):
            return filled.encode()
        # A terminal shows its prompt on a line of its own.
        return json.dumps({} if filled is _ABSENT else filled).encode() + b"\n"


def _shape(name: str, settings: Errors, nearest: ErrorAnswer | None) -> Shape:
    reason = REASONS[name]
    said = (nearest, settings.reasons.get(name), settings.origins.get(reason.side))
    layers = [layer for layer in said if layer is not None]
    status = _first(layers, "status") or reason.status
    constants = {
        "status": status,
        "message": _first(layers, "message") or reason.message,
        "type": _first(layers, "type") or name,
        "reason": name,
    }
    body = _first(layers, "body")
    if body is None:
        body = settings.body if settings.body is not None else DEFAULT_BODY
    return Shape(status, _first(layers, "title"), constants, body, _first(layers, "retry_after") or 1)


def _title(reason: str, status: int) -> str:
    """Name the status as its reason does, or as HTTP does where another one is configured."""
    known = REASONS[reason]
    return known.title if status == known.status else _PHRASES.get(status, known.title)


def _first(layers: list[ErrorAnswer], key: str) -> Any:
    return next((value for layer in layers if (value := getattr(layer, key)) is not None), None)


def fill(template: Any, values: Values) -> Any:
    """Fill a template of mappings, lists and texts; a text that is one placeholder keeps the value's type."""
    if isinstance(template, dict):
        pairs = ((key, fill(value, values)) for key, value in template.items())
        return {key: value for key, value in pairs if value is not _ABSENT} or _ABSENT
    if isinstance(template, list):
        return [value for item in template if (value := fill(item, values)) is not _ABSENT]
    if not isinstance(template, str):
        return template
    whole = _PLACEHOLDER.fullmatch(template)
    if whole:
        value = values.get(whole[1])
        return _ABSENT if value is None else value
    names = _PLACEHOLDER.findall(template)
    if any(values.get(name) is None for name in names):
        return _ABSENT
    return _PLACEHOLDER.sub(lambda match: str(values[match[1]]), template)
