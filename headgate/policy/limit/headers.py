"""What clients are told of their limits, as fields of the answer.

Laws:
- One limit speaks for all where there is room for one: the nearest to exhaustion. That is, of those that refuse, the
  one with the longest wait; else the one with the smallest share left; of equals the first.
- Times are whole seconds, rounded up, so that who comes back when told is not refused again.
- A concurrency limit has no window: its fields of per_window end in -Concurrency, and no form tells one.
- The IETF fields are those of draft-ietf-httpapi-ratelimit-headers-10: a list of strings with parameters (RFC 9651).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from math import ceil
from typing import Final, NamedTuple

from headgate.policy.edits import HeaderEditor
from headgate.policy.limit.algorithm import NEVER, Reading
from headgate.policy.limit.settings import LimitHeaders
from headgate.policy.rewrite import FieldEdits

Field = tuple[bytes, bytes]
# Name of the limit, seconds of its window, its type, and how it stands.
Told = tuple[str, float, str, Reading]

_SECOND: Final = 1_000_000
UNITS: Final = {1.0: "Second", 60.0: "Minute", 3600.0: "Hour", 86400.0: "Day"}
_NOT_IN_A_STRING: Final = re.compile(r"[^ -~]")


class _Names(NamedTuple):
    """The fields that tell one limit."""

    limit: bytes
    remaining: bytes
    reset: bytes


class LimitHeaderWriter:
    """Writes the forms that the configuration asks for; what does not change from request to request is kept."""

    __slots__ = (
        "_beginnings",
        "_epoch",
        "_form",
        "_ietf",
        "_items",
        "_others",
        "_per_window",
        "_plain",
        "_policies",
        "_policy",
        "_prefix",
        "_suffixed",
        "_window",
    )

    def __init__(self, settings: LimitHeaders) -> None:
        forms = settings.forms
        self._prefix = settings.prefix
        self._epoch = settings.reset == "epoch"
        self._plain = _names(settings.prefix) if "plain" in forms else None
        self._per_window = "per_window" in forms
        self._window = (settings.prefix + "Window").encode() if "window" in forms else None
        self._policy = (settings.prefix + "Policy").encode() if settings.policy else None
        self._ietf = "ietf" in forms
        # All there is to write, in the form that is the default.
        plain_only = self._plain is not None and len(set(forms)) == 1 and self._policy is None
        self._form = b"\r\n".join(name.replace(b"%", b"%%") + b": %d" for name in self._plain or ()) * plain_only
        self._others = HeaderEditor(FieldEdits(remove=list(names_written(settings))))
        self._beginnings = (settings.prefix.lower().encode(), b"ratelimit")
        # As many as there are windows, names, tiers and types in the configuration.
        self._suffixed: dict[tuple[float, bool], _Names] = {}
        self._items: dict[str, bytes] = {}
        self._policies: dict[tuple[str, float, str, int], bytes] = {}

    def lines(self, told: Sequence[Told], now_epoch: float) -> bytes:
        """Write `fields` as lines; empty if there are none."""
        if not self._form or not told:
            return b"\r\n".join([b": ".join(field) for field in self.fields(told, now_epoch)])
        near = told[0] if len(told) == 1 else nearest(told)
        reading = near[3]
        zero = int(now_epoch * _SECOND) if self._epoch else 0
        return self._form % (reading.limit, reading.remaining, -(-(zero + told_reset(near)) // _SECOND))

    def fields(self, told: Sequence[Told], now_epoch: float) -> list[Field]:
        """Write the fields for the limits a request was held against; none if there were none.

        `now_epoch`: seconds since 1970.
        """
        if not told:
            return []
        zero = int(now_epoch * _SECOND) if self._epoch else 0
        near = told[0] if len(told) == 1 else nearest(told)
        fields: list[Field] = []
        if self._plain is not None:
            _write(fields, self._plain, near, zero)
        if self._per_window:
            self._write_windows(fields, told, zero)
        if self._window is not None and near[2] != "concurrency":
            fields.append((self._window, b"%d" % ceil(near[1])))
        if self._policy is not None:
            fields.append((self._policy, near[2].replace("_", "-").encode()))
        if self._ietf:
            fields.append((b"RateLimit", b", ".join([self._item(*each) for each in told])))
            fields.append((b"RateLimit-Policy", b", ".join([self._described(*each) for each in told])))
        return fields

    def cleared(self, fields: list[Field]) -> list[Field]:
        """Return an upstream's fields without those that tell of limits under our names: there shall be one answer."""
        return self._others.apply(fields, _no_value)

    def edited_by(self, names: Iterable[bytes]) -> bool:
        """Tell whether edits of fields with these names, in lower case, may concern what is written here."""
        return any(name.startswith(self._beginnings) for name in names)

    def _write_windows(self, fields: list[Field], told: Sequence[Told], zero: int) -> None:
        shown: dict[_Names, Told] = {}
        for each in told:
            names = self._of_window(each[1], each[2] == "concurrency")
            other = shown.get(names)
            shown[names] = each if other is None else nearest((other, each))
        for names, each in shown.items():
            _write(fields, names, each, zero)

    def _of_window(self, window: float, concurrency: bool) -> _Names:
        if concurrency:
            window = 0.0
        names = self._suffixed.get((window, concurrency))
        if names is None:
            suffix = "Concurrency" if concurrency else UNITS.get(window) or f"{_number(window)}s"
            names = self._suffixed[window, concurrency] = _names(self._prefix, f"-{suffix}")
        return names

    def _item(self, name: str, window: float, kind: str, reading: Reading) -> bytes:
        quoted = self._items.get(name)
        if quoted is None:
            quoted = self._items[name] = _string(name)
        reset = told_reset((name, window, kind, reading))
        return b"%b;r=%d;t=%d" % (quoted, reading.remaining, -(-reset // _SECOND))

    def _described(self, name: str, window: float, kind: str, reading: Reading) -> bytes:
        key = (name, window, kind, reading.limit)
        text = self._policies.get(key)
        if text is None:
            what = b';qu="concurrent-requests"' if kind == "concurrency" else b";w=%d" % ceil(window)
            text = self._policies[key] = b"%b;q=%d%b" % (_string(name), reading.limit, what)
        return text


def names_written(settings: LimitHeaders) -> Iterator[str]:
    """Yield the names of the fields that are written; of per_window those of the usual windows."""
    suffixes = [""] if "plain" in settings.forms else []
    if "per_window" in settings.forms:
        suffixes += [f"-{unit}" for unit in (*UNITS.values(), "Concurrency")]
    for suffix in suffixes:
        yield from (name.decode() for name in _names(settings.prefix, suffix))
    if "window" in settings.forms:
        yield settings.prefix + "Window"
    if settings.policy:
        yield settings.prefix + "Policy"
    if "ietf" in settings.forms:
        yield from ("RateLimit", "RateLimit-Policy")


def _names(prefix: str, suffix: str = "") -> _Names:
    return _Names(*(f"{prefix}{what}{suffix}".encode() for what in ("Limit", "Remaining", "Reset")))


def told_reset(told: Told) -> int:
    """Return the microseconds that clients are told as reset.

    Of a window never more than its length, after which what they sent counts no more: two counters remember a part of
    it for as long again.
    """
    reset = told[3].reset
    return reset if told[2] != "sliding_window" else min(reset, int(told[1] * _SECOND))


def _write(fields: list[Field], names: _Names, told: Told, zero: int) -> None:
    reading = told[3]
    fields.append((names.limit, b"%d" % reading.limit))
    fields.append((names.remaining, b"%d" % reading.remaining))
    fields.append((names.reset, b"%d" % -(-(zero + told_reset(told)) // _SECOND)))


def nearest(told: Sequence[Told]) -> Told:
    """Return the limit nearest to exhaustion."""
    near = told[0]
    best = near[3]
    for each in told[1:]:
        reading = each[3]
        if reading.wait != best.wait:
            nearer = reading.wait > best.wait
        else:
            nearer = reading.remaining * best.limit < best.remaining * reading.limit
        if nearer:
            near, best = each, reading
    return near


def retry_after(readings: Iterable[Reading]) -> int:
    """Return the whole seconds of Retry-After: the longest wait, and at least 1.

    Of a request that costs more than there ever is the longest reset stands for the wait: no other moment is better.
    """
    longest = max((each.reset if each.wait == NEVER else each.wait for each in readings), default=0)
    return max(1, -(-longest // _SECOND))


def _string(text: str) -> bytes:
    """Write a string of structured fields (RFC 9651, section 3.3.3); what it cannot hold becomes a question mark."""
    plain = _NOT_IN_A_STRING.sub("?", text)
    return b'"%b"' % plain.replace("\\", "\\\\").replace('"', '\\"').encode()


def _number(seconds: float) -> str:
    return str(int(seconds)) if seconds == int(seconds) else f"{seconds:f}".rstrip("0")


def _no_value(name: str) -> None:
    return None
