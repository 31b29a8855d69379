"""Traces through a real gateway: what upstreams read of them, byte by byte, and which of them are recorded."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.proxy.peers import Message, Upstream, answering, eventually, get, ok
from tests.proxy.script import answer, reset, scripted, silence
from tests.proxy.stage import gateway, on_loop, to

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
PARENT = f"traceparent: 00-{TRACE}-{SPAN}-01"
UNSAMPLED = f"traceparent: 00-{TRACE}-{SPAN}-00"
NAMES = ("traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled")


def tracing(ratio: float = 0.0, **settings: Any) -> dict[str, Any]:
    sampling = {"ratio": ratio, "per_second": 0}
    return {
        "telemetry": {
            "access_log": {"enabled": False},
            "sampling": sampling,
            "tracing": {"enabled": True, **settings},
        }
    }


def traced(request: Message) -> dict[str, str]:
    """Return the fields of trace context that an upstream read."""
    return {name: value for name in (*NAMES, "x-b3-flags") if (value := request.get(name)) is not None}


async def passed(document: dict[str, Any], *lines: str) -> tuple[dict[str, str], list[Any]]:
    """Send one request with these fields; return what of traces the upstream read, and the records."""
    seen: list[Message] = []
    async with Upstream(answering(lambda _: ok(), seen)) as upstream:
        document["services"][0]["endpoints"] = [upstream.url]
        async with gateway(document) as rig:
            assert (await rig.ask(get("/", *lines))).status == 200
            await eventually(lambda: rig.gateway.in_flight == 0)
            rig.gateway.recorder.flush()
            return traced(seen[0]), [record for each in rig.told for record in each["records"]]


# -- passed on -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        (PARENT, "TraceState: a=1, b=2", f"b3: {TRACE}-{SPAN}-1"),
        ("traceparent: no such thing", "tracestate: ,,=", "X-B3-TraceId: x", "X-B3-Sampled: maybe"),
    ],
)
@on_loop
async def test_without_a_part_in_it_everything_passes_untouched(lines: tuple[str, ...]) -> None:
    document = to(telemetry={"access_log": {"enabled": False}, "sampling": {"ratio": 1}})
    read, records = await passed(document, *lines)
    assert read == {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    # What a record calls its trace is its own.
    assert records[0]["trace_id"] != TRACE
    assert not records[0]["traced"]
    assert "parent_id" not in records[0]


@on_loop
async def test_a_trace_goes_on_with_its_id_below_a_span_of_ours() -> None:
    read, records = await passed(to(**tracing()), PARENT, "tracestate: congo=t61rcWkgMzE", "tracestate: rojo=1")
    assert read.keys() == {"traceparent", "tracestate"}
    assert read["tracestate"] == "congo=t61rcWkgMzE,rojo=1"
    found = re.fullmatch(rf"00-{TRACE}-([0-9a-f]{{16}})-01", read["traceparent"])
    assert found is not None
    (record,) = records
    assert (record["trace_id"], record["parent_id"], record["trace_state"]) == (
        *(TRACE, SPAN, "congo=t61rcWkgMzE,rojo=1"),
    )
    assert (record["sampled"], record["traced"]) == ("parent", True)
    assert found[1] == record["attempts"][0]["span_id"]
    assert len({SPAN, record["span_id"], found[1]}) == 3


@on_loop
async def test_what_is_not_recorded_is_passed_on_as_such() -> None:
    read, records = await passed(to(**tracing()), UNSAMPLED)
    assert re.fullmatch(rf"00-{TRACE}-(?!{SPAN})[0-9a-f]{{16}}-00", read["traceparent"])
    assert records == []


@on_loop
async def test_a_request_without_a_trace_begins_one() -> None:
    for ratio, flags in ((0.0, "02"), (1.0, "03")):
        read, records = await passed(to(**tracing(ratio)))
        found = re.fullmatch(rf"00-([0-9a-f]{{32}})-([0-9a-f]{{16}})-{flags}", read["traceparent"])
        assert found is not None
        assert [record["trace_id"] for record in records] == ([found[1]] if ratio else [])
        assert all(record["traced"] and "parent_id" not in record for record in records)


@pytest.mark.parametrize(
    "lines",
    [
        ("traceparent: nonsense", "tracestate: a=1"),
        (PARENT, PARENT),
        (f"traceparent: 00-{TRACE.upper()}-{SPAN}-01",),
        ("tracestate: a=1",),
        (f"b3: {TRACE}-{SPAN}-7",),
        (f"X-B3-TraceId: {TRACE}", "X-B3-Sampled: 1"),
        (f"x_b3_traceid: {TRACE}", f"TRACEPARENT: 00-{'0' * 32}-{SPAN}-01"),
    ],
)
@on_loop
async def test_nothing_of_a_context_that_is_not_well_formed_is_passed_on(lines: tuple[str, ...]) -> None:
    read, _ = await passed(to(**tracing()), *lines)
    assert read.keys() == {"traceparent"}
    assert TRACE not in read["traceparent"].lower()


@on_loop
async def test_b3_is_taken_over_and_written_as_configured() -> None:
    lines = (f"X-B3-TraceId: {TRACE}", f"X-B3-SpanId: {SPAN}", "X-B3-Sampled: 1", "X-B3-ParentSpanId: 00f067aa0ba902b7")
    read, (record,) = await passed(to(**tracing(send=["w3c", "b3", "b3multi"])), *lines)
    span, own = record["attempts"][0]["span_id"], record["span_id"]
    assert read == {
        "traceparent": f"00-{TRACE}-{span}-01",
        "b3": f"{TRACE}-{span}-1-{own}",
        "x-b3-traceid": TRACE,
        "x-b3-spanid": span,
        "x-b3-parentspanid": own,
        "x-b3-sampled": "1",
    }
    assert record["parent_id"] == SPAN


@on_loop
async def test_b3_that_says_only_no_is_followed() -> None:
    read, records = await passed(to(**tracing(send="b3")), "b3: 0")
    assert re.fullmatch(r"[0-9a-f]{32}-[0-9a-f]{16}-0", read["b3"])
    assert records == []


@on_loop
async def test_forms_that_are_neither_read_nor_written_pass_untouched() -> None:
    read, _ = await passed(to(**tracing(accept="w3c")), "b3: whatever it is", "X-B3-Sampled: maybe")
    assert (read["b3"], read["x-b3-sampled"]) == ("whatever it is", "maybe")
    assert "traceparent" in read


@on_loop
async def test_naming_them_in_connection_does_not_take_ours_off() -> None:
    read, (record,) = await passed(to(**tracing()), PARENT, "Connection: traceparent, tracestate")
    assert read["traceparent"] == f"00-{TRACE}-{record['attempts'][0]['span_id']}-01"


@on_loop
async def test_edits_of_a_route_do_not_reach_what_is_written() -> None:
    headers = {"request": {"remove": ["traceparent"], "set": {"x-kept": "1"}}}
    read, _ = await passed(to(**tracing(), route={"headers": headers}), PARENT)
    assert "traceparent" in read


# -- which are recorded --------------------------------------------------------------------------------------------


@on_loop
async def test_what_its_caller_records_is_not_ours_to_decide_unless_configured() -> None:
    for follow, ratio, line, flags, sampled, exported in (
        (True, 0.0, PARENT, "01", "parent", True),
        (True, 1.0, UNSAMPLED, "00", "ratio", False),
        (False, 0.0, PARENT, "00", "", False),
        (False, 1.0, UNSAMPLED, "01", "ratio", True),
    ):
        read, records = await passed(to(**tracing(ratio, follow=follow)), line)
        assert read["traceparent"].endswith(flags)
        assert [(each["sampled"], each["traced"]) for each in records] == ([(sampled, exported)] if sampled else [])


@on_loop
async def test_a_caller_that_has_everything_recorded_gets_half_of_what_there_is() -> None:
    document = tracing()
    document["telemetry"]["sampling"]["most"] = 4
    async with gateway(to(route={"respond": {"status": 200}}, **document)) as rig:
        for _ in range(10):
            await rig.ask(get("/", PARENT))
        assert 2 <= len(await rig.records(2)) <= 3
        assert sum(each["dropped"] for each in rig.told) == 8


@on_loop
async def test_a_request_that_fails_is_recorded_and_a_part_of_its_trace() -> None:
    async with gateway(to(**tracing())) as rig:
        assert (await rig.ask(get("/", f"traceparent: 00-{TRACE}-{SPAN}-00"))).status == 503
        assert (await rig.ask(get())).status == 503
        quiet, own = await rig.records(2)
    # Who did not want the trace recorded has no spans of it either.
    assert (quiet["trace_id"], quiet["parent_id"], quiet["sampled"], quiet["traced"]) == (TRACE, SPAN, "error", False)
    assert own["traced"]


# -- tries ---------------------------------------------------------------------------------------------------------


@on_loop
async def test_each_try_is_a_span_of_its_own() -> None:
    async with (
        scripted(reset, answer(b"second")) as script,
        gateway(to(*script.upstreams, retry={"attempts": 1, "backoff": {"base": 0}}, **tracing())) as rig,
    ):
        assert (await rig.ask(get("/", PARENT))).body == b"second"
        (record,) = await rig.records()
        spans = [f"00-{TRACE}-{each['span_id']}-01" for each in record["attempts"]]
        assert [each.request.get("traceparent") for each in script.seen] == spans
        assert len(set(spans)) == 2


@on_loop
async def test_both_sides_of_a_race_are_spans_of_their_own() -> None:
    async with (
        scripted(silence, answer(b"second")) as script,
        gateway(to(*script.upstreams, retry={"hedge": 0.02}, **tracing())) as rig,
    ):
        assert (await rig.ask(get("/", PARENT))).body == b"second"
        (record,) = await rig.records()
        told = {each.upstream.url.removeprefix("http://"): each.request.get("traceparent") for each in script.seen}
        assert told == {each["endpoint"]: f"00-{TRACE}-{each['span_id']}-01" for each in record["attempts"]}


@pytest.mark.parametrize("cache", [0, 60])
@on_loop
async def test_who_is_asked_whether_it_may_pass_is_told_too(cache: int) -> None:
    asked: list[Message] = []
    async with Upstream(answering(lambda _: ok(), asked)) as service:
        external = {"url": f"{service.url}/check", "cache": cache}
        route = {"respond": {"status": 200}, "auth": {"mode": "none", "external": external}}
        async with gateway(to(route=route, **tracing())) as rig:
            for line in (PARENT, UNSAMPLED):
                assert (await rig.ask(get("/", line))).status == 200
            (record,) = await rig.records()
            # What is kept of an answer does not depend on the trace.
            assert len(asked) == (1 if cache else 2)
            assert asked[0].get("traceparent") == f"00-{TRACE}-{record['span_id']}-01"


# -- elsewhere -----------------------------------------------------------------------------------------------------


@on_loop
async def test_the_access_log_names_the_trace() -> None:
    async with gateway(to(route={"respond": {"status": 200}}, **tracing())) as rig:
        await rig.ask(get("/", PARENT))
        await rig.ask(get())
        first, second = await rig.logged(2)
        assert first["trace_id"] == TRACE
        assert re.fullmatch(r"[0-9a-f]{32}", second["trace_id"])
        rig.apply(to(route={"respond": {"status": 200}}))
        await rig.ask(get("/", PARENT))
        assert "trace_id" not in (await rig.logged(3))[2]


@on_loop
async def test_a_reload_begins_and_ends_it_on_connections_that_are_open() -> None:
    seen: list[Message] = []
    async with Upstream(answering(lambda _: ok(), seen)) as upstream:
        plain = to(upstream)
        async with gateway(plain) as rig:
            client = await rig.client()
            for document in (plain, to(upstream, **tracing()), plain):
                rig.apply(document)
                await client.send(get("/", PARENT, "tracestate: a=1"))
                await client.answer()
    assert [traced(each)["traceparent"] == PARENT.split(": ")[1] for each in seen] == [True, False, True]
    assert [traced(each)["tracestate"] for each in seen] == ["a=1"] * 3


@pytest.mark.parametrize("traces", [True, False])
@on_loop
async def test_its_id_can_be_written_where_callers_and_services_read(traces: bool) -> None:
    """A field of that name is not let through from a client where there is no trace to name."""
    seen: list[Message] = []
    edits = {"set": {"X-Trace": "{trace_id}"}}
    errors = {"errors": {"body": {"reason": "{reason}", "trace": "{trace_id}"}}}
    async with Upstream(answering(lambda _: ok(), seen)) as upstream:
        document = to(upstream, route={"headers": {"request": edits, "response": edits}, "match": {"path": "/here"}})
        async with gateway({**document, **errors, **(tracing() if traces else {})}) as rig:
            answer = await rig.ask(get("/here", PARENT, "X-Trace: theirs"))
            refused = await rig.ask(get("/elsewhere", PARENT))
    named = TRACE if traces else None
    assert (seen[0].get("x-trace"), answer.get("x-trace")) == (named, named)
    assert json.loads(refused.body).get("trace") == named
    assert json.loads(refused.body)["reason"] == "route_not_found"


@on_loop
async def test_both_readers_of_the_wire_read_it() -> None:
    """One request arrives whole, and is looked up by lines; the other in pieces, and is parsed."""
    seen: list[Message] = []
    async with Upstream(answering(lambda _: ok(), seen)) as upstream, gateway(to(upstream, **tracing())) as rig:
        client = await rig.client()
        request = get("/", PARENT, "tracestate: a=1")
        await client.send(request)
        await client.answer()
        for at in range(0, len(request), 7):
            await client.send(request[at : at + 7])
        await client.answer()
        assert [each.get("tracestate") for each in seen] == ["a=1", "a=1"]
        assert [json.dumps(each.get("traceparent"))[1:37] for each in seen] == [f"00-{TRACE}-"] * 2
