"""Trace context: what a request says of the trace it is a part of, and what the gateway says of it to an upstream.

    w3c      traceparent, tracestate   W3C Trace Context (version 00; what a later version adds is left out)
    b3       b3                        B3, single header; a 64-bit trace id is filled up with zeros on the left
    b3multi  x-b3-traceid and its kin  B3, several headers

Laws: pure, ids are drawn from what is handed in; what is not exactly well formed is as good as not there, and nothing
of it is passed on (W3C Trace Context section 3.3: no traceparent, no tracestate); what is taken over goes on with its
trace id.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from headgate.core.message import Fields

if TYPE_CHECKING:
    from headgate.telemetry.settings import Tracing

# Random bytes that are drawn at once.
_DRAWN = 3072

NAMES: Mapping[str, tuple[bytes, ...]] = {
    "w3c": (b"traceparent", b"tracestate"),
    "b3": (b"b3",),
    "b3multi": (b"x-b3-traceid", b"x-b3-spanid", b"x-b3-parentspanid", b"x-b3-sampled", b"x-b3-flags"),
}
# What is read under a name of `tracing.accept`.
_READ = {"w3c": ("w3c",), "b3": ("b3", "b3multi")}

_TRACEPARENT = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_LATER_VERSION = re.compile(rb"(?!00|ff)[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-[ -~]*)?")
_B3 = re.compile(rb"([0-9a-f]{32}|[0-9a-f]{16})-([0-9a-f]{16})(?:-([01d])(?:-([0-9a-f]{16}))?)?")
_TRACE_ID = re.compile(rb"[0-9a-f]{32}|[0-9a-f]{16}")
_SPAN_ID = re.compile(rb"[0-9a-f]{16}")
# W3C Trace Context section 3.3: at most 32 members, each key only once. The form is that of level 2, which takes all
# that level 1 does.
_MOST_MEMBERS = 32
_MEMBER = re.compile(rb"([a-z0-9][a-z0-9_*/@-]{0,255})=[ -+\--<>-~]{0,255}[!-+\--<>-~]")
_NO_TRACE = "0" * 32
_NO_SPAN = "0" * 16
_SAMPLED = 1
# Level 2 of the specification: the right half of the trace id is random. Passed on as it came.
_RANDOM = 2


class Ids:
    """Random ids of traces and spans, cut from the digits of one draw after the other."""

    __slots__ = ("_at", "_digits", "_draw")

    def __init__(self, draw: Callable[[int], bytes]) -> None:
        """`draw` gives so many random bytes."""
        self._draw = draw
        self._digits = ""
        self._at = 2 * _DRAWN

    def trace(self) -> str:
        """Make a trace id; one of zeros is none."""
        found = self._take(32)
        return found if found != _NO_TRACE else self.trace()

    def span(self) -> str:
        """Make a span id; likewise."""
        found = self._take(16)
        return found if found != _NO_SPAN else self.span()

    def both(self) -> tuple[str, str]:
        """Make the ids of a new trace and of its first span."""
        at = self._at
        if at <= 2 * _DRAWN - 48:
            self._at = end = at + 48
            digits = self._digits
            trace_id, span_id = digits[at : at + 32], digits[at + 32 : end]
            if trace_id != _NO_TRACE and span_id != _NO_SPAN:
                return trace_id, span_id
        return self.trace(), self.span()

    def _take(self, count: int) -> str:
        at = self._at
        if at > 2 * _DRAWN - count:
            self._digits, at = self._draw(_DRAWN).hex(), 0
        self._at = end = at + count
        return self._digits[at:end]


class Parent(NamedTuple):
    """What a request says of its trace. Without ids it says only whether to record; `sampled` None: not even that.

    `random`: the trace id is, as far as is known.
    """

    trace_id: str = ""
    span_id: str = ""
    sampled: bool | None = None
    state: str = ""
    debug: bool = False
    random: bool = False


# Ids of our own are random.
NO_PARENT = Parent(random=True)


class Trace:
    """A request as a part of its trace. `span_id` is the gateway's own span; `sampled` is what upstreams are told."""

    __slots__ = ("parent", "sampled", "span_id", "trace_id")

    def __init__(self, trace_id: str, span_id: str, parent: Parent = NO_PARENT) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.parent = parent
        self.sampled = parent is not NO_PARENT and parent.sampled is True


class Tracer:
    """Take traces over, and pass them on, in the forms that are configured."""

    __slots__ = ("_accept", "_ids", "_w3c", "_write")

    def __init__(self, settings: Tracing, ids: Ids) -> None:
        self._accept = [_READERS[name] for name in dict.fromkeys(settings.accept)]
        send = [_WRITERS[name] for name in dict.fromkeys(settings.send)]
        self._write = send[0] if len(send) == 1 else _together(send)
        self._w3c = send == [_write_w3c]
        self._ids = ids

    def begin(self, fields: Fields | None) -> Trace:
        """Make a request with these fields (those of `names_of`) a part of its trace, or of a new one."""
        ids = self._ids
        if fields is not None:
            for read in self._accept:
                parent = read(fields)
                if parent is not None:
                    return Trace(parent.trace_id or ids.trace(), ids.span(), parent)
        trace_id, span_id = ids.both()
        return Trace(trace_id, span_id)

    def lines(self, trace: Trace, span_id: str, parent_id: str = "") -> bytes:
        """Write the fields that tell an upstream of its parent, the span of this id, whose own parent is the other."""
        if self._w3c and trace.parent is NO_PARENT:
            # As nearly all requests have it: nobody's trace but ours.
            return f"traceparent: 00-{trace.trace_id}-{span_id}-{'03' if trace.sampled else '02'}".encode()
        return self._write(trace, span_id, parent_id).encode()


def names_of(settings: Tracing) -> frozenset[bytes]:
    """Return the names, in lower case, of the fields that are read or written: clients' own do not pass."""
    if not settings.enabled:
        return frozenset()
    forms = [form for name in settings.accept for form in _READ[name]]
    return frozenset(name for form in (*forms, *settings.send) for name in NAMES[form])


# -- reading ------------------------------------------------------------------------------------------------------

_FLAGS_OF = {f"{flags:02x}": (bool(flags & _SAMPLED), bool(flags & _RANDOM)) for flags in range(256)}


def read_w3c(fields: Fields) -> Parent | None:
    """Read traceparent and tracestate; None when there is no traceparent, or none that is well formed."""
    said: bytes | None = None
    states: list[bytes] | None = None
    for name, value in fields:
        lower = name.lower()
        if lower == b"traceparent":
            if said is not None:
                return None
            said = value
        elif lower == b"tracestate":
            states = [*(states or ()), value]
    if said is None:
        return None
    if _TRACEPARENT.fullmatch(said) is None and _LATER_VERSION.fullmatch(said) is None:
        return None
    text = said.decode()
    trace_id, span_id = text[3:35], text[36:52]
    if trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    sampled, rand = _FLAGS_OF[text[53:55]]
    return Parent(trace_id, span_id, sampled, _state(states) if states is not None else "", False, rand)


def _state(values: Iterable[bytes]) -> str:
    """Return a tracestate as one value; empty when it is not well formed (W3C Trace Context section 3.3)."""
    members = [member for value in values for each in value.split(b",") if (member := each.strip(b" \t"))]
    keys = {found[1] for member in members if (found := _MEMBER.fullmatch(member))}
    return b",".join(members).decode() if len(keys) == len(members) <= _MOST_MEMBERS else ""


def read_b3(fields: Fields) -> Parent | None:
    """Read B3: the single header counts where there is one; None when there is none that is well formed."""
    single = _values(fields, b"b3")
    if single:
        return _read_single(single[0]) if len(single) == 1 else None
    ids, spans, parents, sampled, flags = (_values(fields, name) for name in NAMES["b3multi"])
    if max(len(ids), len(spans), len(parents), len(sampled), len(flags)) > 1 or len(ids) != len(spans):
        return None
    if (sampled and sampled[0] not in (b"0", b"1")) or (flags and flags[0] not in (b"0", b"1")):
        return None
    if parents and _SPAN_ID.fullmatch(parents[0]) is None:
        return None
    debug = bool(flags) and flags[0] == b"1"
    # Debug implies that it is recorded.
    decision = True if debug else sampled[0] == b"1" if sampled else None
    if not ids:
        return Parent("", "", decision, "", debug, True) if decision is not None else None
    if _TRACE_ID.fullmatch(ids[0]) is None or _SPAN_ID.fullmatch(spans[0]) is None:
        return None
    return _b3(ids[0], spans[0], decision, debug)


def _read_single(value: bytes) -> Parent | None:
    if value in (b"0", b"1", b"d"):
        return Parent("", "", value != b"0", "", value == b"d", True)
    found = _B3.fullmatch(value)
    if found is None:
        return None
    state = found[3]
    return _b3(found[1], found[2], None if state is None else state != b"0", state == b"d")


def _b3(trace_id: bytes, span_id: bytes, sampled: bool | None, debug: bool) -> Parent | None:
    whole, span = trace_id.decode().zfill(32), span_id.decode()
    return Parent(whole, span, sampled, "", debug) if whole != _NO_TRACE and span != _NO_SPAN else None


def _values(fields: Fields, name: bytes) -> Sequence[bytes]:
    return [value for key, value in fields if key.lower() == name]


# -- writing ------------------------------------------------------------------------------------------------------

Write = Callable[[Trace, str, str], str]
_FLAGS = {(sampled, rand): f"{sampled * _SAMPLED + rand * _RANDOM:02x}" for sampled in (0, 1) for rand in (0, 1)}


def _together(writers: Sequence[Write]) -> Write:
    return lambda trace, span_id, parent_id: "\r\n".join([write(trace, span_id, parent_id) for write in writers])


def _write_w3c(trace: Trace, span_id: str, _: str) -> str:
    parent = trace.parent
    flags = _FLAGS[trace.sampled, parent.random]
    line = f"traceparent: 00-{trace.trace_id}-{span_id}-{flags}"
    return f"{line}\r\ntracestate: {parent.state}" if parent.state else line


def _write_b3(trace: Trace, span_id: str, parent_id: str) -> str:
    decision = "0" if not trace.sampled else "d" if trace.parent.debug else "1"
    line = f"b3: {trace.trace_id}-{span_id}-{decision}"
    return f"{line}-{parent_id}" if parent_id else line


def _write_b3_multi(trace: Trace, span_id: str, parent_id: str) -> str:
    lines = [f"X-B3-TraceId: {trace.trace_id}", f"X-B3-SpanId: {span_id}"]
    if parent_id:
        lines.append(f"X-B3-ParentSpanId: {parent_id}")
    # Debug implies Sampled, which is then not said.
    debug = trace.sampled and trace.parent.debug
    lines.append("X-B3-Flags: 1" if debug else f"X-B3-Sampled: {int(trace.sampled)}")
    return "\r\n".join(lines)


_READERS: Mapping[str, Callable[[Fields], Parent | None]] = {"w3c": read_w3c, "b3": read_b3}
_WRITERS: Mapping[str, Write] = {
    "w3c": _write_w3c,
    "b3": _write_b3,
    "b3multi": _write_b3_multi,
}
