"""Records of requests: what a real gateway tells control of each way that a request may take."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from headgate.core.clock import monotonic
from headgate.plugin import Answer, Deny
from headgate.proxy.plan import Plan
from headgate.telemetry.record import MOST_CANDIDATES, Record
from tests.proxy.caches import caching
from tests.proxy.callers import keys, static, with_key
from tests.proxy.peers import Message, Upstream, answering, eventually, free_port, get, ok
from tests.proxy.script import answer, held_hedges, reset, scripted, silence
from tests.proxy.scripted import MADE, SCRIPTS, plugged
from tests.proxy.stage import Rig, gateway, on_loop, to
from tests.proxy.test_upgrades import CLOSE, joined

ALL = {"ratio": 1.0}
# Nothing is chosen before its end.
LATE = {"ratio": 0.0, "per_second": 0.0, "refused": 100}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Forget the plugins of the test before."""
    SCRIPTS.clear()
    MADE.clear()
    yield


def telemetry(sampling: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"telemetry": {"access_log": {"enabled": False}, "sampling": sampling, **more}}


def verdicts(record: Record) -> list[tuple[str, str]]:
    return [(each["gate"], each["verdict"]) for each in record["gates"]]


def of(record: Record, gate: str) -> Any:
    (found,) = [each for each in record["gates"] if each["gate"] == gate]
    return found


BOTH = pytest.mark.parametrize("sampling", [ALL, LATE], ids=["chosen", "late"])

# -- ways that end well --------------------------------------------------------------------------------------------


@on_loop
async def test_a_request_that_goes_well_is_told_whole() -> None:
    limit = {"name": "mine", "requests": 5, "window": 60, "key": "address"}
    breaker = {"threshold": 5}
    document = to(limits=[limit], route={"limits": [{**limit, "name": "own"}]}, **telemetry(ALL))
    async with Upstream(answering(lambda _: ok(b"hello"))) as upstream:
        document["services"][0] |= {"endpoints": [upstream.url], "circuit_breaker": breaker}
        async with gateway(document) as rig:
            sent = get(
                "/x/y?secret=1", "X-Request-ID: mine", "Authorization: Bearer hidden", body=b"abc", method="POST"
            )
            assert (await rig.ask(sent)).status == 200
            (record,) = await rig.records()
            line = (await rig.logged())[0]
            endpoint = upstream.url.removeprefix("http://")
    assert record["request_id"] == "mine"
    assert "correlation_id" not in record
    assert re.fullmatch(r"[0-9a-f]{32}", record["trace_id"])
    assert re.fullmatch(r"[0-9a-f]{16}", record["span_id"])
    assert (record["traced"], record["worker"], record["plan"]) == (False, 0, 0)
    assert record["sampled"] in ("ratio", "reserve")
    assert (record["scheme"], record["method"], record["host"], record["path"]) == (
        *("http", "POST", "example.test", "/x/y"),
    )
    assert (record["client"], record["version"], record["status"]) == ("127.0.0.1", "1.1", 200)
    assert (record["bytes_in"], record["bytes_out"]) == (3, 5)
    assert (record["route"], record["pattern"], record["service"]) == ("all", "/", "api")
    assert (record["breaker"], record["balancer"]) == ("closed", "round_robin")
    assert verdicts(record) == [("limits", "pass"), ("limits", "pass"), ("breaker", "pass")]
    assert [(each["name"], each["limit"], each["remaining"], each["allowed"]) for each in record["limits"]] == [
        ("mine", 5, 4, True),
        ("own", 5, 4, True),
    ]
    assert record["candidates"] == [{"endpoint": endpoint, "weight": 1.0}]
    (attempt,) = record["attempts"]
    assert (attempt["endpoint"], attempt["status"], attempt["reused"]) == (endpoint, 200, False)
    assert 0 <= attempt["at"] <= attempt["head"] <= attempt["end"] <= record["duration"]
    # The times are those of the access log.
    assert abs(record["duration"] * 1000 - line["duration_ms"]) < 0.01
    assert abs((attempt["head"] - attempt["at"]) * 1000 - line["upstream_ms"]) < 0.01
    assert "error" not in record
    text = json.dumps(record)
    assert "secret" not in text
    assert "hidden" not in text


@on_loop
async def test_a_connection_that_is_used_again_is_told() -> None:
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **telemetry(ALL))) as rig:
        for _ in range(2):
            await rig.ask(get())
        assert [record["attempts"][0]["reused"] for record in await rig.records(2)] == [False, True]


@on_loop
async def test_routes_that_answer_by_themselves() -> None:
    fixed = to(route={"respond": {"status": 204}}, **telemetry(ALL))
    elsewhere = to(route={"redirect": {"url": "https://example.com{path}"}}, **telemetry(ALL))
    for document, status in ((fixed, 204), (elsewhere, 308)):
        async with gateway(document) as rig:
            assert (await rig.ask(get())).status == status
            (record,) = await rig.records()
            assert (record["status"], record["route"]) == (status, "all")
            assert "service" not in record
            assert (record["attempts"], record["candidates"], record["gates"]) == ([], [], [])


@on_loop
async def test_a_tunnel_is_told_when_it_is_over() -> None:
    async with Upstream() as upstream, gateway(to(upstream, **telemetry({**ALL, "slow": 0.001}))) as rig:
        client, link = await joined(rig, upstream)
        assert not rig.told
        await client.send(CLOSE)
        await link.read(len(CLOSE))
        link.close()
        await client.rest()
        (record,) = await rig.records()
        assert (record["status"], record["bytes_in"], record["bytes_out"]) == (101, len(CLOSE), 0)
        (attempt,) = record["attempts"]
        assert attempt["status"] == 101
        assert attempt["end"] == record["duration"]


@on_loop
async def test_a_tunnel_is_not_slow() -> None:
    async with Upstream() as upstream, gateway(to(upstream, **telemetry({**LATE, "slow": 0.001}))) as rig:
        client, link = await joined(rig, upstream)
        link.close()
        await client.rest()
        await rig.records(0)


@on_loop
async def test_a_copy_is_no_try_of_the_request() -> None:
    seen: list[Message] = []
    async with Upstream(answering(lambda _: ok(b"a"))) as upstream, Upstream(answering(lambda _: ok(), seen)) as shadow:
        document = to(
            upstream, route={"mirror": {"service_name": "shadow"}}, **telemetry(ALL, tracing={"enabled": True})
        )
        document["services"].append({"name": "shadow", "endpoints": [shadow.url]})
        async with gateway(document) as rig:
            await rig.ask(get())
            await eventually(lambda: bool(seen))
            (record,) = await rig.records()
            assert [each["endpoint"] for each in record["attempts"]] == [upstream.url.removeprefix("http://")]
            # It is a part of the trace, below the gateway's own span.
            assert seen[0].get("traceparent") == f"00-{record['trace_id']}-{record['span_id']}-03"


@on_loop
async def test_own_endpoints_and_requests_nobody_chose_are_not_told() -> None:
    document = to("http://127.0.0.1:1", admin={"expose": ["/ready"]}, **telemetry({**ALL, "ratio": 0, "per_second": 0}))
    document["services"][0]["routes"][0]["respond"] = {"status": 200}
    async with gateway(document) as rig:
        assert (await rig.ask(get("/ready"))).status == 200
        assert (await rig.ask(get("/x"))).status == 200
        await rig.records(0)


# -- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "status", "error", "gates"),
    [
        (get("/none"), 404, "route_not_found", [("entry", "pass"), ("limits", "pass")]),
        (get("/a", method="PUT"), 405, "method_not_allowed", [("entry", "pass"), ("limits", "pass")]),
        (b"GET / HTTP/1.1\r\nHost: else.test\r\n\r\n", 400, "untrusted_host", [("entry", "deny")]),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "bad_host", []),
    ],
)
@on_loop
async def test_refusals_before_the_route(
    request_: bytes, status: int, error: str, gates: list[tuple[str, str]]
) -> None:
    limits = [{"name": "all", "requests": 50, "window": 60, "key": "address"}]
    document = to("http://127.0.0.1:1", limits=limits, trusted_hosts=["example.test"], **telemetry(LATE))
    document["services"][0]["routes"][0]["match"] = {"path": "/a", "method": "GET"}
    async with gateway(document) as rig:
        assert (await rig.ask(request_)).status == status
        (record,) = await rig.records()
        assert (record["status"], record["error"], record["sampled"]) == (status, error, "refused")
        assert verdicts(record) == gates
        assert "route" not in record
        assert record["attempts"] == []


@on_loop
async def test_a_limit_before_the_route_refuses() -> None:
    limits = [{"name": "all", "requests": 1, "window": 60, "key": "address"}]
    async with gateway(to(limits=limits, route={"respond": {"status": 200}}, **telemetry(LATE))) as rig:
        assert [(await rig.ask(get())).status for _ in range(2)] == [200, 429]
        (record,) = await rig.records()
        assert of(record, "limits") == {"gate": "limits", "verdict": "deny", "detail": "all"}
        (limit,) = record["limits"]
        assert (limit["name"], limit["remaining"], limit["allowed"], limit["window"]) == ("all", 0, False, 60.0)
        assert 0 < limit["reset"] <= 60


@BOTH
@on_loop
async def test_gates_that_refuse_are_the_last_ones(sampling: dict[str, Any]) -> None:
    route: dict[str, Any] = {
        "auth": {"roles": ["admin"]},
        "limits": [{"name": "own", "requests": 1, "window": 60, "key": "address"}],
    }
    document = to("http://127.0.0.1:1", route=route, identity=keys(static("one", roles=["reader"])))
    async with gateway(document | telemetry(sampling)) as rig:
        assert (await rig.ask(get())).status == 401
        assert (await rig.ask(get("/", "X-API-Key: wrong"))).status == 401
        assert (await rig.ask(get("/", with_key("one")))).status == 403
        nobody, wrong, reader = await rig.records(3)
    assert verdicts(nobody) == verdicts(wrong) == [("identity", "deny")]
    assert nobody["error"] == "missing_credentials"
    assert "identity" not in nobody
    assert verdicts(reader) == [("identity", "pass"), ("access", "deny")]
    assert "admin" in of(reader, "access")["detail"]
    assert (reader["identity"]["kind"], reader["identity"]["id"], reader["identity"]["roles"]) == (
        *("api_key", "one", ["reader"]),
    )
    assert with_key("one").split()[1] not in json.dumps([nobody, wrong, reader])


@BOTH
@on_loop
async def test_an_address_that_is_not_let_in(sampling: dict[str, Any]) -> None:
    route = {"addresses": {"deny": ["127.0.0.0/8"]}}
    async with gateway(to("http://127.0.0.1:1", route=route, **telemetry(sampling))) as rig:
        assert (await rig.ask(get())).status == 403
        (record,) = await rig.records()
        assert verdicts(record) == [("addresses", "deny")]


@BOTH
@on_loop
async def test_an_open_breaker(sampling: dict[str, Any]) -> None:
    breaker = {"threshold": 1, "timeout": 3600}
    document = to(f"http://127.0.0.1:{free_port()}", service={"circuit_breaker": breaker}, **telemetry(sampling))
    async with gateway(document) as rig:
        assert [(await rig.ask(get())).status for _ in range(2)] == [502, 503]
        first, second = await rig.records(2)
        assert (first["error"], first["breaker"], first["attempts"][0]["error"]) == (
            *("connect_refused", "closed", "connect_refused"),
        )
        assert verdicts(first) == [("breaker", "pass")]
        assert of(second, "breaker")["verdict"] == "deny"
        assert (second["breaker"], second["attempts"], second["error"]) == ("open", [], "breaker_open")


@BOTH
@on_loop
async def test_no_endpoint_at_all(sampling: dict[str, Any]) -> None:
    async with gateway(to(**telemetry(sampling))) as rig:
        assert (await rig.ask(get())).status == 503
        (record,) = await rig.records()
        assert (record["error"], record["candidates"], record["attempts"]) == ("no_endpoint", [], [])


@BOTH
@on_loop
async def test_plugins_refuse_and_answer(sampling: dict[str, Any]) -> None:
    def judge(request: Any) -> Any:
        return Deny(403, reason="not on a Sunday") if request.path == "/deny" else Answer(200, b"here", "text/plain")

    document = to("http://127.0.0.1:1", plugins=[plugged(judge, name="mine")], **telemetry(sampling))
    async with gateway(document) as rig:
        assert (await rig.ask(get("/deny"))).status == 403
        assert (await rig.ask(get("/answer"))).body == b"here"
        found = await rig.records(2 if sampling is ALL else 1)
        assert of(found[0], "plugins") == {
            "gate": "plugins",
            "verdict": "deny",
            "detail": of(found[0], "plugins")["detail"],
        }
        assert "mine: not on a Sunday" in of(found[0], "plugins")["detail"]
        if sampling is ALL:
            assert of(found[1], "plugins") == {"gate": "plugins", "verdict": "answer", "detail": "200"}
            assert (found[1]["status"], found[1]["attempts"]) == (200, [])


@on_loop
async def test_what_a_gate_waited_for_has_its_time() -> None:
    fault = {"delay": {"seconds": 0.02, "percent": 100}}
    async with (
        Upstream(answering(lambda _: ok())) as upstream,
        gateway(to(upstream, route={"fault": fault}, **telemetry(ALL))) as rig,
    ):
        await rig.ask(get())
        (record,) = await rig.records()
        gate = of(record, "fault")
        assert gate["verdict"] == "delay"
        # A timer may come a little early.
        assert 0.01 < gate["seconds"] <= record["duration"]
        assert gate["at"] + gate["seconds"] <= record["attempts"][0]["at"] + 0.001


@on_loop
async def test_a_limit_that_only_looks_on_is_a_shadow() -> None:
    limit = {"name": "own", "requests": 1, "window": 60, "key": "address", "shadow": True}
    document = to(route={"respond": {"status": 200}, "limits": [limit]}, **telemetry(ALL))
    async with gateway(document) as rig:
        assert [(await rig.ask(get())).status for _ in range(2)] == [200, 200]
        records = await rig.records(2)
        assert [of(record, "limits")["verdict"] for record in records] == ["pass", "shadow"]
        assert [record["limits"][0]["allowed"] for record in records] == [True, False]


# -- tries ---------------------------------------------------------------------------------------------------------


@BOTH
@on_loop
async def test_every_try_is_told_and_why_there_was_another(sampling: dict[str, Any]) -> None:
    retry = {"attempts": 3, "on": ["connect", "reset", 503], "backoff": {"base": 0}}
    acts = (reset, answer(b"no", status=503), answer(b"bad", status=500))
    async with (
        scripted(*acts) as script,
        gateway(to(*script.upstreams, retry=retry, **telemetry(sampling))) as rig,
    ):
        assert (await rig.ask(get())).status == 500
        (record,) = await rig.records()
        names = [each.upstream.url.removeprefix("http://") for each in script.seen]
    assert [each["endpoint"] for each in record["attempts"]] == names
    assert [each.get("error") for each in record["attempts"]] == ["upstream_reset", None, None]
    assert [each.get("retried") for each in record["attempts"]] == ["upstream_reset", "status", None]
    assert [each.get("status") for each in record["attempts"]] == [None, 503, 500]
    for attempt, following in zip(record["attempts"], record["attempts"][1:], strict=False):
        assert attempt["at"] <= attempt["end"] <= following["at"]
    assert record["attempts"][-1]["end"] <= record["duration"]
    assert len({each["span_id"] for each in record["attempts"]} | {record["span_id"]}) == 4
    assert {each["endpoint"] for each in record["candidates"]} == set(names)
    assert (record["status"], record.get("error")) == (500, None)


@on_loop
async def test_what_went_well_in_the_end_is_not_told_as_an_error() -> None:
    async with (
        scripted(reset) as script,
        gateway(to(*script.upstreams, retry={"attempts": 1}, **telemetry(LATE))) as rig,
    ):
        assert (await rig.ask(get())).status == 200
        await rig.records(0)


@BOTH
@on_loop
async def test_both_sides_of_a_race_are_told(sampling: dict[str, Any]) -> None:
    retry = {"hedge": 60, "backoff": {"base": 0}}
    async with (
        scripted(silence, answer(b"second", status=500)) as script,
        gateway(to(*script.upstreams, retry=retry, **telemetry(sampling))) as rig,
    ):
        hedges = held_hedges(rig)
        asking = asyncio.ensure_future(rig.ask(get()))
        await eventually(lambda: len(script.seen) == 1)
        hedges.begin()
        assert (await asking).body == b"second"
        (record,) = await rig.records()
    slow, fast = record["attempts"]
    assert slow["retried"] == "hedge"
    assert "status" not in slow
    assert "error" not in slow
    assert fast["status"] == 500
    assert slow["at"] < fast["at"] <= fast["head"] <= record["duration"]
    assert slow["end"] >= fast["at"]


@on_loop
async def test_an_answer_that_is_cut() -> None:
    async def cutting(link: Any) -> bool:
        await link.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        link.close()
        return False

    async with scripted(cutting) as script, gateway(to(*script.upstreams, **telemetry(LATE))) as rig:
        client = await rig.client()
        await client.send(get())
        await client.rest()
        (record,) = await rig.records()
        assert (record["status"], record["error"], record["sampled"]) == (200, "upstream_reset", "error")
        (attempt,) = record["attempts"]
        assert (attempt["status"], attempt["error"]) == (200, "upstream_reset")


@BOTH
@on_loop
async def test_a_client_that_leaves(sampling: dict[str, Any]) -> None:
    async with Upstream() as upstream, gateway(to(upstream, **telemetry(sampling))) as rig:
        client = await rig.client()
        await client.send(get())
        await (await upstream.accepted()).message()
        client.close()
        await eventually(lambda: rig.gateway.in_flight == 0)
        (record,) = await rig.records()
        assert (record["status"], record["error"]) == (499, "client_closed")
        (attempt,) = record["attempts"]
        assert attempt["error"] == "client_closed"
        assert "status" not in attempt


@on_loop
async def test_what_takes_long_is_told() -> None:
    document = telemetry({**LATE, "slow": 0.000_001})
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **document)) as rig:
        assert (await rig.ask(get("/slow"))).status == 200
        (record,) = await rig.records()
        assert (record["sampled"], record["path"]) == ("slow", "/slow")
        (attempt,) = record["attempts"]
        assert attempt["at"] < attempt["head"] <= attempt["end"]


@on_loop
async def test_a_fault_of_our_own_is_told_with_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **telemetry(LATE))) as rig:

        def broken(*_: Any) -> Any:
            raise KeyError("what the client sent")

        monkeypatch.setattr(Plan, "route", broken)
        assert (await rig.ask(get("/", "X-Request-ID: mine"))).status == 500
        (record,) = await rig.records()
        assert (record["request_id"], record["error"], record["detail"]) == ("mine", "internal", "KeyError")


# -- bounds --------------------------------------------------------------------------------------------------------


@on_loop
async def test_lists_and_texts_are_cut() -> None:
    ports = {free_port() for _ in range(MOST_CANDIDATES + 8)}
    retry = {"attempts": 10, "backoff": {"base": 0}, "budget": {"percent": 100, "minimum": 100}}
    document = to(*(f"http://127.0.0.1:{port}" for port in ports), retry=retry, **telemetry(ALL))
    async with gateway(document) as rig:
        await rig.ask(get("/" + "x" * 5000))
        (record,) = await rig.records()
    assert len(record["candidates"]) == MOST_CANDIDATES
    assert len(record["attempts"]) == 11
    assert len(record["path"]) == 2048
    assert all(each["end"] >= each["at"] for each in record["attempts"])


@on_loop
async def test_records_are_bounded_in_a_second_and_what_is_beyond_is_counted() -> None:
    document = to(route={"respond": {"status": 200}}, **telemetry({**ALL, "most": 3}))
    async with gateway(document) as rig:
        began = monotonic()
        for _ in range(10):
            await rig.ask(get())
        took = monotonic() - began
        rig.gateway.recorder.flush()
        found = sum(len(each["records"]) for each in rig.told)
        # A slow machine takes more than the second for which these are the share.
        assert 3 <= found <= 4 + 3 * took
        assert sum(each["dropped"] for each in rig.told) == 10 - found


@on_loop
async def test_records_that_control_is_not_there_to_take_are_counted_for_when_it_is() -> None:
    document = to(route={"respond": {"status": 200}}, **telemetry({**ALL, "most": 7}))
    async with gateway(document) as rig:
        rig.control_listens = False
        for _ in range(2):
            for _ in range(5):
                await rig.ask(get())
            rig.gateway.recorder.flush()
        assert rig.told == []
        rig.control_listens = True
        rig.gateway.recorder.flush()
        assert rig.told == [{"type": "records", "records": [], "dropped": 10}]
        rig.gateway.recorder.flush()
        assert len(rig.told) == 1


@on_loop
async def test_records_go_in_batches_by_themselves() -> None:
    async with gateway(to(route={"respond": {"status": 200}}, **telemetry({**ALL, "most": 1000}))) as rig:
        for _ in range(70):
            await rig.ask(get())
        await eventually(lambda: sum(len(each["records"]) for each in rig.told) == 70)
        assert all(len(each["records"]) <= 64 for each in rig.told)
        assert len(rig.told) < 70


# -- rules ---------------------------------------------------------------------------------------------------------


@on_loop
async def test_rules_choose_by_route_and_path() -> None:
    rules = [{"path": "/loud", "ratio": 1}, {"route": "all", "ratio": 0}]
    document = to(route={"respond": {"status": 200}}, **telemetry({**ALL, "rules": rules}))
    async with gateway(document) as rig:
        for path in ("/loud/x", "/louder", "/quiet"):
            await rig.ask(get(path))
        (record,) = await rig.records()
        assert (record["path"], record["sampled"]) == ("/loud/x", "rule")


@on_loop
async def test_the_reserve_is_kept_whatever_the_ratio() -> None:
    document = to(route={"respond": {"status": 200}}, **telemetry({"ratio": 0, "per_second": 2}))
    async with gateway(document) as rig:
        for _ in range(5):
            await rig.ask(get())
        assert {record["sampled"] for record in await rig.records(2)} == {"reserve"}


# -- redaction -----------------------------------------------------------------------------------------------------


@on_loop
async def test_a_record_is_redacted_as_the_log_is() -> None:
    route = {"addresses": {"deny": ["127.0.0.0/8"]}}
    redact = {"client": "hash", "host": "omit", "path": "mask"}
    more = {"redact": redact, "redact_key": "a key of sixteen"}
    async with gateway(to("http://127.0.0.1:1", route=route, **telemetry(ALL, **more))) as rig:
        assert (await rig.ask(get("/person"))).status == 403
        (record,) = await rig.records()
        line = (await rig.logged())[0]
    assert (record["host"], record["path"]) == ("", "***")
    assert re.fullmatch(r"[0-9a-f]{16}", record["client"])
    assert line["client"] == record["client"]
    detail = f"{record['client']} is not let in here"
    assert (record["detail"], line["detail"]) == (detail, detail)
    assert of(record, "addresses")["detail"] == f"address_forbidden: {detail}"


@on_loop
async def test_who_asked_is_redacted_in_a_record() -> None:
    document = to(route={"respond": {"status": 200}, "auth": {}}, identity=keys(static("ada", tenant="acme")))
    document |= telemetry(ALL, redact={"identity": "mask", "tenant": "omit"})
    async with gateway(document) as rig:
        assert (await rig.ask(get("/", with_key("ada")))).status == 200
        (record,) = await rig.records()
    assert record["identity"]["id"] == "***"
    assert "tenant" not in record["identity"]
    assert record["identity"]["kind"] == "api_key"


async def _asked(rig: Rig, count: int) -> None:
    for _ in range(count):
        await rig.ask(get())


@on_loop
async def test_a_reload_changes_what_is_recorded_from_the_next_request_on() -> None:
    off = to(route={"respond": {"status": 200}}, **telemetry(LATE))
    async with gateway(off) as rig:
        await _asked(rig, 2)
        rig.apply(to(route={"respond": {"status": 200}}, **telemetry(ALL)))
        await _asked(rig, 2)
        await rig.records(2)
        rig.apply(off)
        await _asked(rig, 2)
        await rig.records(2)


# -- the cache -----------------------------------------------------------------------------------------------------


@on_loop
async def test_what_the_cache_did_is_told_with_its_reason() -> None:
    def answered(asked: Message) -> bytes:
        return ok(b"x", "Cache-Control: " + ("no-store" if asked.target.startswith("/secret") else "max-age=60"))

    document: dict[str, Any] = telemetry(ALL)
    bypass = {"bypass": {"headers": "X-Past"}}
    async with Upstream(answering(answered)) as upstream, caching(upstream, bypass, **document) as rig:
        asked = [get("/a"), get("/a"), get("/a", "X-Past: 1"), get("/a", method="POST", body=b"x"), get("/secret")]
        for each in asked:
            assert (await rig.ask(each)).status == 200
        records = await rig.records(len(asked))
    told = [of(record, "cache") for record in records]
    assert [(each["verdict"], each["detail"].partition("; ttl")[0]) for each in told] == [
        ("pass", "miss: fwd=uri-miss"),
        ("answer", "hit: hit"),
        ("pass", "bypass: fwd=bypass"),
        ("pass", "bypass: fwd=method"),
        ("pass", "miss: fwd=uri-miss, not kept: no-store"),
    ]
    assert [record["cache"] for record in records] == ["miss", "hit", "bypass", "bypass", "miss"]
    assert records[1]["attempts"] == []
