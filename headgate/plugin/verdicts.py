"""What hooks return. None is `Pass()`.

Laws: a verdict that cannot be obeyed is an error of the plugin, never half obeyed; nothing that a plugin writes frames
a message or brings a control character into a head (core.field_names).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from math import isfinite
from typing import NamedTuple

from headgate.core.field_names import CONTROLS, TOKEN, Direction, field_name_objection, read_as
from headgate.core.message import Field, Fields

LONGEST_DELAY = 60.0
LONGEST_TEXT = 1000
_MOST_NAMES = 1024

# Names to one value, or to several, each in a field of its own.
HeaderValues = Mapping[str, str | Sequence[str]]


class Pass(NamedTuple):
    """Let it pass: of a request upstream, of an answer to the client, with these header fields taken off and set."""

    set_headers: HeaderValues = {}
    remove_headers: Collection[str] = ()


class Deny(NamedTuple):
    """Refuse, in the configured shape of errors.

    `status` is from 400 to 599; `message` is for the caller, in place of the usual sentence; `reason` is for the log
    alone; `retry_after` are seconds, told with 429 and 503.
    """

    status: int = 403
    message: str = ""
    reason: str = ""
    retry_after: float = 0.0


class Answer(NamedTuple):
    """Answer in place of the service; `status` is from 200 to 599."""

    status: int = 200
    body: bytes | str = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: HeaderValues = {}


class Delay(NamedTuple):
    """Let it pass after some seconds, 60 at most."""

    seconds: float


Verdict = Pass | Deny | Answer | Delay


class BadVerdict(Exception):
    """What a hook returned cannot be obeyed; the sentence holds no value that the plugin wrote."""


class Edits(NamedTuple):
    """A Pass for the wire: the names that go, as core.field_names.read_as has them, and the fields that come."""

    gone: Set[bytes]
    come: Fields

    def apply(self, fields: Fields) -> Fields:
        """Return edited fields."""
        gone = self.gone
        kept = [field for field in fields if read_as(field[0]) not in gone]
        kept += self.come
        return kept


class Rules:
    """What a plugin may write in one direction; `owned` tells, in lower case, what the gateway writes itself."""

    __slots__ = ("_direction", "_known", "_owned")

    def __init__(self, direction: Direction, owned: Callable[[bytes], bool] | None = None) -> None:
        self._direction: Direction = direction
        self._owned = owned
        # Names that were looked at: a plugin writes the same few again and again.
        self._known: dict[str, Field] = {}

    def edits(self, verdict: Pass) -> Edits:
        """Turn a Pass into edits.

        Raises:
            BadVerdict: for a name or a value that cannot stand in a head.
        """
        set_headers, remove_headers = verdict
        if isinstance(remove_headers, str):
            raise BadVerdict("remove_headers is one text, and must be a list of names")
        gone = {self._name(name)[1] for name in remove_headers} if remove_headers else set()
        come: Fields = []
        if set_headers:
            come = self.fields(set_headers)
            gone.update([self._name(name)[1] for name in set_headers])
        return Edits(gone, come)

    def fields(self, headers: HeaderValues) -> Fields:
        """Turn headers into fields.

        Raises:
            BadVerdict: as `edits`.
        """
        if type(headers) is not dict and not isinstance(headers, Mapping):
            raise BadVerdict("headers must be a mapping of names to text")
        fields: Fields = []
        for name, value in headers.items():
            written = self._name(name)[0]
            if isinstance(value, str):
                fields.append((written, self._value(name, value)))
            elif isinstance(value, Sequence):
                fields += [(written, self._value(name, each)) for each in value]
            else:
                raise BadVerdict(f"the value of {name} must be text, or a list of such, not {type(value).__name__}")
        return fields

    def _name(self, name: str) -> Field:
        """Return a name, and what stands for all that may be taken for it."""
        known = self._known.get(name)
        if known is not None:
            return known
        if not isinstance(name, str):
            raise BadVerdict(f"the name of a header must be text, not {type(name).__name__}")
        if not TOKEN.fullmatch(name):
            raise BadVerdict("one of the names is not the name of a header field")
        objection = field_name_objection(name, self._direction)
        if objection is None and self._owned is not None and self._owned(name.lower().encode()):
            objection = f"{name} is written by the gateway itself"
        if objection is not None:
            raise BadVerdict(objection)
        if len(self._known) >= _MOST_NAMES:
            self._known.clear()
        known = self._known[name] = (name.encode(), read_as(name.encode()))
        return known

    def _value(self, name: str, value: object) -> bytes:
        if not isinstance(value, str):
            raise BadVerdict(f"the value of {name} must be text, not {type(value).__name__}")
        return _encoded(value, f"the value of {name}")


def check_delay(verdict: Delay) -> float:
    """Return the seconds of a delay.

    Raises:
        BadVerdict: for what is no number from 0 to LONGEST_DELAY.
    """
    seconds = verdict.seconds
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= LONGEST_DELAY:
        raise BadVerdict(f"a delay must be a number of seconds from 0 to {LONGEST_DELAY:g}")
    return float(seconds)


def check_deny(verdict: Deny) -> None:
    """See that a refusal can be obeyed.

    Raises:
        BadVerdict: if not.
    """
    _check_status(verdict.status, 400)
    for name, text in (("message", verdict.message), ("reason", verdict.reason)):
        if not isinstance(text, str) or len(text) > LONGEST_TEXT:
            raise BadVerdict(f"{name} must be text of at most {LONGEST_TEXT} characters")
        if not text.isprintable():
            raise BadVerdict(f"{name} holds characters that cannot be printed")
    wait = verdict.retry_after
    if isinstance(wait, bool) or not isinstance(wait, int | float) or not isfinite(wait) or wait < 0:
        raise BadVerdict("retry_after must be a number of seconds, 0 for none")


def check_answer(verdict: Answer, rules: Rules) -> tuple[Fields, bytes, bytes]:
    """Return the fields, the content type and the body of an answer.

    Raises:
        BadVerdict: if it cannot be sent.
    """
    _check_status(verdict.status, 200)
    body = verdict.body
    if isinstance(body, str):
        body = body.encode("utf-8", "replace")
    if not isinstance(body, bytes):
        raise BadVerdict(f"the body must be bytes or text, not {type(body).__name__}")
    # RFC 9110 sections 15.3.5 and 15.4.5.
    if body and verdict.status in (204, 304):
        raise BadVerdict(f"an answer with status {verdict.status} has no body")
    if not isinstance(verdict.content_type, str):
        raise BadVerdict(f"content_type must be text, not {type(verdict.content_type).__name__}")
    fields = rules.fields(verdict.headers)
    if any(name.lower() == b"content-type" for name, _ in fields):
        raise BadVerdict("the Content-Type of an answer stands in content_type")
    return fields, _encoded(verdict.content_type, "content_type"), body


def _encoded(text: str, what: str) -> bytes:
    try:
        encoded = text.encode("utf-8", "surrogateescape").strip(b" \t")
    except UnicodeEncodeError:
        raise BadVerdict(f"{what} cannot be written as UTF-8") from None
    if CONTROLS.search(encoded) is not None:
        raise BadVerdict(f"{what} holds a line break or another control character")
    return encoded


def _check_status(status: object, lowest: int) -> None:
    if isinstance(status, bool) or not isinstance(status, int) or not lowest <= status <= 599:
        raise BadVerdict(f"status must be a whole number from {lowest} to 599")
