"""Trace context: what is read, what is not, and what is said to upstreams, byte by byte."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.message import Fields
from headgate.telemetry.settings import Tracing
from headgate.telemetry.trace import NO_PARENT, Ids, Parent, Trace, Tracer, names_of, read_b3, read_w3c

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
OTHER = "00f067aa0ba902b7"

# -- reading ------------------------------------------------------------------------------------------------------


def w3c(*parents: str, state: tuple[str, ...] = ()) -> Parent | None:
    fields = [(b"TraceParent", each.encode()) for each in parents] + [(b"tracestate", each.encode()) for each in state]
    return read_w3c(fields)


@pytest.mark.parametrize(
    ("said", "sampled", "rand"),
    [
        (f"00-{TRACE}-{SPAN}-01", True, False),
        (f"00-{TRACE}-{SPAN}-00", False, False),
        (f"00-{TRACE}-{SPAN}-03", True, True),
        (f"00-{TRACE}-{SPAN}-fe", False, True),
        # A later version may say more behind a hyphen (W3C Trace Context section 3.2.4).
        (f"01-{TRACE}-{SPAN}-01", True, False),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", True, False),
    ],
)
def test_a_well_formed_traceparent_is_taken_over(said: str, sampled: bool, rand: bool) -> None:
    assert w3c(said) == Parent(TRACE, SPAN, sampled, "", False, rand)


@pytest.mark.parametrize(
    "said",
    [
        "",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-011",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01-more",
        f"01-{TRACE}-{SPAN}-01.more",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN.upper()}-01",
        f"00-{TRACE}-{SPAN}-0G",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}0-{SPAN}-01",
        f"00_{TRACE}_{SPAN}_01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01 ",
        f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01",
    ],
)
def test_a_traceparent_that_is_not_exactly_well_formed_is_none(said: str) -> None:
    assert w3c(said, state=("a=1",)) is None


def test_two_traceparents_are_none() -> None:
    assert w3c(f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01") is None


@pytest.mark.parametrize(
    ("values", "state"),
    [
        (("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",), "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        (("a=1", "b=2"), "a=1,b=2"),
        (("a=1 ,\tb=2,,",), "a=1,b=2"),
        (("fw529a3039@dt=x y",), "fw529a3039@dt=x y"),
        (("0tenant@sys=1",), "0tenant@sys=1"),
        # Level 2 takes these, too.
        (("0a=1,a@=1,t@0sys=1",), "0a=1,a@=1,t@0sys=1"),
        ((",".join(f"k{n}=1" for n in range(32)),), ",".join(f"k{n}=1" for n in range(32))),
        ((f"a={'x' * 256}",), f"a={'x' * 256}"),
        # Not well formed: the whole is left out, and the traceparent counts all the same.
        ((",".join(f"k{n}=1" for n in range(33)),), ""),
        (("a=1,a=2",), ""),
        (("A=1",), ""),
        (("@a=1",), ""),
        (("a",), ""),
        (("a=",), ""),
        (("a=b=c",), ""),
        (("a=é",), ""),
        ((f"a={'x' * 257}",), ""),
        ((f"{'a' * 257}=1",), ""),
        (("a.b=1",), ""),
    ],
)
def test_a_tracestate_is_passed_on_whole_or_not_at_all(values: tuple[str, ...], state: str) -> None:
    assert w3c(f"00-{TRACE}-{SPAN}-01", state=values) == Parent(TRACE, SPAN, True, state)


def test_a_tracestate_alone_is_none() -> None:
    assert w3c(state=("a=1",)) is None


@pytest.mark.parametrize(
    ("said", "parent"),
    [
        (f"{TRACE}-{SPAN}-1", Parent(TRACE, SPAN, True)),
        (f"{TRACE}-{SPAN}-0", Parent(TRACE, SPAN, False)),
        (f"{TRACE}-{SPAN}-d", Parent(TRACE, SPAN, True, debug=True)),
        (f"{TRACE}-{SPAN}", Parent(TRACE, SPAN, None)),
        (f"{TRACE}-{SPAN}-1-{OTHER}", Parent(TRACE, SPAN, True)),
        (f"{TRACE[16:]}-{SPAN}-1", Parent("0" * 16 + TRACE[16:], SPAN, True)),
        ("0", Parent(sampled=False, random=True)),
        ("1", Parent(sampled=True, random=True)),
        ("d", Parent(sampled=True, debug=True, random=True)),
        ("", None),
        ("2", None),
        ("true", None),
        (f"{TRACE}", None),
        (f"{TRACE}-{SPAN}-", None),
        (f"{TRACE}-{SPAN}-2", None),
        (f"{TRACE}-{SPAN}-D", None),
        (f"{TRACE}-{SPAN}-1-{OTHER}-1", None),
        (f"{TRACE}-{SPAN}-1-{OTHER[1:]}", None),
        (f"{TRACE.upper()}-{SPAN}-1", None),
        (f"{TRACE[1:]}-{SPAN}-1", None),
        (f"{'0' * 32}-{SPAN}-1", None),
        (f"{'0' * 16}-{SPAN}-1", None),
        (f"{TRACE}-{'0' * 16}-1", None),
    ],
)
def test_the_single_header_of_b3(said: str, parent: Parent | None) -> None:
    assert read_b3([(b"B3", said.encode())]) == parent


def multi(**fields: str) -> Parent | None:
    names = {"trace": b"X-B3-TraceId", "span": b"X-B3-SpanId", "parent": b"X-B3-ParentSpanId"}
    names |= {"sampled": b"X-B3-Sampled", "flags": b"X-B3-Flags"}
    return read_b3([(names[name], value.encode()) for name, value in fields.items()])


@pytest.mark.parametrize(
    ("fields", "parent"),
    [
        ({"trace": TRACE, "span": SPAN, "sampled": "1"}, Parent(TRACE, SPAN, True)),
        ({"trace": TRACE, "span": SPAN, "sampled": "0", "parent": OTHER}, Parent(TRACE, SPAN, False)),
        ({"trace": TRACE, "span": SPAN}, Parent(TRACE, SPAN, None)),
        ({"trace": TRACE, "span": SPAN, "flags": "1"}, Parent(TRACE, SPAN, True, debug=True)),
        ({"trace": TRACE, "span": SPAN, "flags": "0"}, Parent(TRACE, SPAN, None)),
        ({"trace": TRACE[16:], "span": SPAN}, Parent("0" * 16 + TRACE[16:], SPAN, None)),
        ({"sampled": "0"}, Parent(sampled=False, random=True)),
        ({"flags": "1"}, Parent(sampled=True, debug=True, random=True)),
        ({}, None),
        ({"flags": "0"}, None),
        ({"sampled": "true"}, None),
        ({"trace": TRACE, "span": SPAN, "sampled": "2"}, None),
        ({"trace": TRACE, "span": SPAN, "flags": "x"}, None),
        ({"trace": TRACE, "span": SPAN, "parent": "x"}, None),
        ({"trace": TRACE}, None),
        ({"span": SPAN}, None),
        ({"trace": "x", "span": SPAN}, None),
        ({"trace": TRACE, "span": "x"}, None),
        ({"trace": "0" * 32, "span": SPAN}, None),
    ],
)
def test_the_headers_of_b3(fields: dict[str, str], parent: Parent | None) -> None:
    assert multi(**fields) == parent


def test_a_header_of_b3_that_is_repeated_makes_it_none() -> None:
    pair = (b"b3", f"{TRACE}-{SPAN}-1".encode())
    assert read_b3([pair, pair]) is None
    ids = [(b"x-b3-traceid", TRACE.encode()), (b"x-b3-spanid", SPAN.encode())]
    assert read_b3(ids) is not None
    for name in (b"x-b3-traceid", b"x-b3-spanid", b"x-b3-sampled", b"x-b3-flags", b"x-b3-parentspanid"):
        assert read_b3([*ids, (name, b"1"), (name, b"1")]) is None


def test_the_single_header_of_b3_stands_before_the_others() -> None:
    fields = [(b"x-b3-sampled", b"1"), (b"b3", b"0")]
    assert read_b3(fields) == Parent(sampled=False, random=True)


@given(st.lists(st.tuples(st.sampled_from([b"traceparent", b"tracestate", b"b3", b"x-b3-traceid"]), st.binary())))
def test_whatever_comes_nothing_but_a_well_formed_parent_is_read(fields: Fields) -> None:
    for parent in (read_w3c(fields), read_b3(fields)):
        if parent is not None and parent.trace_id:
            assert re.fullmatch(r"[0-9a-f]{32}", parent.trace_id)
            assert re.fullmatch(r"[0-9a-f]{16}", parent.span_id)
            assert parent.state.isascii()
            assert parent.state.isprintable()


IDS = st.integers(1, 2**128 - 1)
SPANS = st.integers(1, 2**64 - 1)


@given(IDS, SPANS, st.booleans(), st.booleans(), st.sampled_from(["", "a=1", "a=1,b@c=x y"]))
def test_what_is_written_is_read_again(trace_id: int, span: int, sampled: bool, rand: bool, state: str) -> None:
    trace = Trace(f"{trace_id:032x}", "", Parent(f"{trace_id:032x}", SPAN, sampled, state, False, rand))
    for form, read in (("w3c", read_w3c), ("b3", read_b3), ("b3multi", read_b3)):
        lines = tracer(send=[form]).lines(trace, f"{span:016x}", OTHER)
        fields = [(name, value) for line in lines.split(b"\r\n") for name, _, value in [line.partition(b": ")]]
        parent = read(fields)
        expected = Parent(trace.trace_id, f"{span:016x}", sampled)
        assert parent == (expected._replace(state=state, random=rand) if form == "w3c" else expected)


# -- taking over, and passing on ----------------------------------------------------------------------------------


def tracer(**settings: Any) -> Tracer:
    return Tracer(Tracing(enabled=True, **settings), Ids(random.Random(1).randbytes))


def test_a_request_without_context_begins_a_trace() -> None:
    one, other = tracer().begin(None), tracer(accept=["b3"]).begin([(b"traceparent", f"00-{TRACE}-{SPAN}-01".encode())])
    for trace in (one, other):
        assert re.fullmatch(r"[0-9a-f]{32}", trace.trace_id)
        assert trace.trace_id != TRACE
        assert (trace.parent, trace.sampled) == (NO_PARENT, False)


def test_the_forms_are_read_in_their_order() -> None:
    fields = [(b"b3", f"{TRACE}-{OTHER}-1".encode()), (b"traceparent", f"00-{TRACE}-{SPAN}-00".encode())]
    assert tracer().begin(fields).parent.span_id == SPAN
    assert tracer(accept=["b3", "w3c"]).begin(fields).parent.span_id == OTHER
    broken = [fields[0], (b"traceparent", b"00-x")]
    assert tracer().begin(broken).parent.span_id == OTHER


def test_a_decision_without_ids_begins_a_trace_that_follows_it() -> None:
    trace = tracer().begin([(b"b3", b"1")])
    assert (trace.parent, trace.sampled) == (Parent(sampled=True, random=True), True)
    assert trace.trace_id != "0" * 32


def test_ids_are_never_all_zeros() -> None:
    draws = iter([bytes(3072), b"\1" * 3072])
    ids = Ids(lambda count: next(draws)[:count])
    assert (ids.trace(), ids.span()) == ("01" * 16, "01" * 8)


def test_both_ids_of_a_new_trace_are_never_all_zeros() -> None:
    draws = iter([bytes(3072), b"\1" * 3072])
    ids = Ids(lambda count: next(draws)[:count])
    ids._digits, ids._at = "0" * 6144, 0
    assert [ids.both() for _ in range(2)] == [("01" * 16, "01" * 8)] * 2


def test_ids_are_cut_from_as_many_draws_as_it_takes() -> None:
    ids = Ids(random.Random(2).randbytes)
    found = [ids.span() if at % 3 else ids.trace() for at in range(3000)]
    assert len(set(found)) == 3000
    assert all(len(each) == (16 if at % 3 else 32) for at, each in enumerate(found))


@pytest.mark.parametrize(
    ("send", "said", "lines"),
    [
        (["w3c"], f"{TRACE}-{SPAN}-1", f"traceparent: 00-{TRACE}-{OTHER}-01"),
        (["b3"], f"{TRACE}-{SPAN}-1", f"b3: {TRACE}-{OTHER}-1-{SPAN}"),
        (["b3"], f"{TRACE}-{SPAN}-d", f"b3: {TRACE}-{OTHER}-d-{SPAN}"),
        (["b3"], f"{TRACE}-{SPAN}-0", f"b3: {TRACE}-{OTHER}-0-{SPAN}"),
        (
            ["b3multi"],
            f"{TRACE}-{SPAN}-1",
            f"X-B3-TraceId: {TRACE}\r\nX-B3-SpanId: {OTHER}\r\nX-B3-ParentSpanId: {SPAN}\r\nX-B3-Sampled: 1",
        ),
        (
            ["b3multi"],
            f"{TRACE}-{SPAN}-d",
            f"X-B3-TraceId: {TRACE}\r\nX-B3-SpanId: {OTHER}\r\nX-B3-ParentSpanId: {SPAN}\r\nX-B3-Flags: 1",
        ),
        (
            ["w3c", "b3"],
            f"{TRACE}-{SPAN}-0",
            f"traceparent: 00-{TRACE}-{OTHER}-00\r\nb3: {TRACE}-{OTHER}-0-{SPAN}",
        ),
    ],
)
def test_what_upstreams_are_told(send: list[str], said: str, lines: str) -> None:
    mine = tracer(send=send)
    assert mine.lines(mine.begin([(b"b3", said.encode())]), OTHER, SPAN) == lines.encode()


def test_a_tracestate_goes_with_its_traceparent_and_without_a_parent_there_is_none() -> None:
    mine = tracer(send=["w3c", "b3"])
    trace = mine.begin([(b"traceparent", f"00-{TRACE}-{SPAN}-03".encode()), (b"tracestate", b"a=1")])
    assert mine.lines(trace, OTHER) == (
        f"traceparent: 00-{TRACE}-{OTHER}-03\r\ntracestate: a=1\r\nb3: {TRACE}-{OTHER}-1".encode()
    )


def test_the_names_are_those_of_all_forms_that_are_read_or_written() -> None:
    assert names_of(Tracing()) == frozenset()
    assert names_of(Tracing(enabled=True, accept=["w3c"])) == {b"traceparent", b"tracestate"}
    everything = names_of(Tracing(enabled=True))
    assert everything == {
        *(b"traceparent", b"tracestate", b"b3", b"x-b3-traceid", b"x-b3-spanid"),
        *(b"x-b3-parentspanid", b"x-b3-sampled", b"x-b3-flags"),
    }
    assert names_of(Tracing(enabled=True, accept=["w3c"], send=["b3"])) == {b"traceparent", b"tracestate", b"b3"}
