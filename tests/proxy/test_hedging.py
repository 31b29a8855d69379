"""A second endpoint is asked when the first is slow: one answer, the faster one, and nothing of the other is left."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headgate.policy.endpoint_record import DISABLED
from headgate.proxy.cluster import Cluster
from headgate.stores.board import OWN_CELLS
from tests.proxy.peers import eventually, free_port, get
from tests.proxy.script import Act, Script, answer, held_hedges, part, reset, scripted, silence
from tests.proxy.stage import Rig, gateway, on_loop, to

SOON = 0.02
NEVER_SOON = 60


def document(script: Script, delay: float = SOON, **retry: Any) -> dict[str, Any]:
    return to(*script.upstreams, retry={"hedge": delay, "backoff": {"base": 0}, **retry})


def cluster(rig: Rig) -> Cluster:
    assert rig.gateway.plan is not None
    return rig.gateway.plan.clusters["api"]


def when(event: asyncio.Event, act: Act) -> Act:
    """Play the act when the event has come."""

    async def play(link: Any) -> bool:
        await event.wait()
        return await act(link)

    return play


@on_loop
async def test_the_second_answers_when_the_first_does_not() -> None:
    async with scripted(silence) as script, gateway(document(script)) as rig:
        assert (await rig.ask(get())).status == 200
        assert sorted(script.endpoints) == [0, 1]
        # Closed, and never used for anybody again.
        assert await script.seen[0].link.rest() == b""
        assert rig.counted("retries_total", reason="hedge") == 1
        line = (await rig.logged())[0]
        assert (line["attempts"], line["status_code"]) == (2, 200)
        assert line["endpoint"] == script.seen[1].upstream.url.removeprefix("http://")
        assert cluster(rig).budget.in_flight == 0


@on_loop
async def test_the_first_may_still_win() -> None:
    hedged = asyncio.Event()
    async with scripted(when(hedged, answer(b"first")), silence) as script, gateway(document(script)) as rig:
        asking = asyncio.ensure_future(rig.ask(get()))
        await eventually(lambda: len(script.seen) == 2)
        hedged.set()
        assert (await asking).body == b"first"
        assert await script.seen[1].link.rest() == b""
        assert (await rig.logged())[0]["endpoint"] == script.seen[0].upstream.url.removeprefix("http://")


@on_loop
async def test_who_answers_in_time_is_asked_alone() -> None:
    async with scripted() as script, gateway(document(script, NEVER_SOON)) as rig:
        for _ in range(10):
            assert (await rig.ask(get(method="PUT", body=b"body"))).body == b"body"
        assert len(script.seen) == 10
        assert rig.counted("retries_total") == 0
        assert [len(each.links) for each in script.upstreams] == [1, 1]


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (get(method="POST", body=b"body"), "not idempotent"),
        (get("/", "Content-Length: 4", method="PUT") + b"bo", "the body still arrives"),
        (get("/", "Connection: Upgrade", "Upgrade: websocket"), "a tunnel belongs to one"),
    ],
    ids=["post", "arriving", "upgrade"],
)
@on_loop
async def test_only_what_may_be_asked_twice_is(request_: bytes, why: str) -> None:
    async with scripted(*[silence] * 2) as script, gateway(document(script, per_try_timeout=0.15, attempts=0)) as rig:
        client = await rig.client()
        if why == "the body still arrives":
            await client.send(request_)
            await eventually(lambda: any(each.links for each in script.upstreams))
            # Another request is hedged behind it, so this one would have been.
            assert (await rig.ask(get())).status == 504
            links = [link for each in script.upstreams for link in each.links]
            assert len(links) == 3
        else:
            await client.send(request_)
            assert (await client.answer()).status == 504
            assert len(script.seen) == 1


@on_loop
async def test_one_endpoint_alone_is_not_asked_twice() -> None:
    async with (
        scripted(silence, endpoints=1) as script,
        gateway(document(script, per_try_timeout=0.15, attempts=0)) as rig,
    ):
        assert (await rig.ask(get())).status == 504
        assert len(script.seen) == 1
        assert cluster(rig).budget.in_flight == 0


@on_loop
async def test_no_budget_no_hedge() -> None:
    none = {"percent": 0, "minimum": 0}
    async with (
        scripted(silence) as script,
        gateway(document(script, per_try_timeout=0.15, attempts=0, budget=none)) as rig,
    ):
        assert (await rig.ask(get())).status == 504
        assert len(script.seen) == 1


@on_loop
async def test_when_the_first_fails_the_second_goes_on() -> None:
    hedged = asyncio.Event()
    failed = asyncio.Event()
    acts = [when(hedged, reset), when(failed, answer(b"second"))]
    async with scripted(*acts) as script, gateway(document(script, attempts=0)) as rig:
        asking = asyncio.ensure_future(rig.ask(get()))
        await eventually(lambda: len(script.seen) == 2)
        hedged.set()
        await eventually(lambda: rig.counted("upstream_requests_total", outcome="upstream_reset") == 1)
        failed.set()
        assert (await asking).body == b"second"


@on_loop
async def test_when_both_fail_another_try_may_follow() -> None:
    both = asyncio.Event()
    async with (
        scripted(when(both, reset), when(both, reset), endpoints=3) as script,
        gateway(document(script, attempts=3)) as rig,
    ):
        asking = asyncio.ensure_future(rig.ask(get()))
        await eventually(lambda: len(script.seen) == 2)
        both.set()
        assert (await asking).status == 200
        assert sorted(script.endpoints) == [0, 1, 2]
        assert rig.counted("upstream_requests_total", outcome="upstream_reset") == 2
        assert (await rig.logged())[0]["attempts"] == 3


@on_loop
async def test_an_endpoint_that_refuses_is_left_before_there_is_need_to_hedge() -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    async with (
        scripted(endpoints=1) as script,
        gateway(to(dead, *script.upstreams, retry={"hedge": NEVER_SOON})) as rig,
    ):
        for _ in range(4):
            assert (await rig.ask(get())).status == 200
        assert rig.counted("retries_total", reason="hedge") == 0
        assert rig.counted("retries_total", reason="connect_refused") > 0


@on_loop
async def test_a_body_that_was_begun_is_followed_to_its_end() -> None:
    begun = part(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    async with scripted(silence, begun) as script, gateway(document(script)) as rig:
        client = await rig.client()
        await client.send(get())
        await client.head()
        assert await client.read(3) == b"abc"
        await script.seen[1].link.send(b"defghij")
        assert await client.read(7) == b"defghij"
        assert len(script.seen) == 2


@pytest.mark.parametrize("cut", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("asked", [1, 2])
@on_loop
async def test_a_client_that_leaves_ends_both(asked: int, cut: bool) -> None:
    async with (
        scripted(silence, silence) as script,
        gateway(document(script, SOON if asked == 2 else NEVER_SOON)) as rig,
    ):
        client = await rig.client()
        await client.send(get())
        await eventually(lambda: len(script.seen) == asked)
        client.cut() if cut else client.close()
        line = (await rig.logged())[0]
        assert (line["status_code"], line["error"]) == (499, "client_closed")
        for each in script.seen:
            assert await each.link.rest() == b""
        assert cluster(rig).budget.in_flight == 0


@pytest.mark.parametrize("balancer", ["round_robin", "least_connections"])
@on_loop
async def test_every_attempt_is_counted_out(balancer: str) -> None:
    acts = [silence, answer(), silence, reset, answer(), reset, reset, reset]
    async with scripted(*acts, endpoints=3) as script:
        settings = {"balancer": balancer}
        config = to(*script.upstreams, service=settings, retry={"hedge": SOON, "per_try_timeout": 0.1})
        async with gateway(config) as rig:
            for _ in range(6):
                await rig.ask(get())
            assert [each.in_flight for each in cluster(rig).targets] == [0, 0, 0]


@on_loop
async def test_nobody_is_asked_twice_when_the_other_goes_out_just_before() -> None:
    async with scripted(silence, silence) as script:
        config = document(script, NEVER_SOON)
        config["services"][0]["balancer"] = {"type": "least_connections"}
        async with gateway(config) as rig:
            hedges = held_hedges(rig)
            board, api = rig.gateway.board, cluster(rig)
            client = await rig.client()
            await client.send(get())
            await eventually(lambda: len(script.seen) == 1)
            board.cells[api.targets[1 - script.endpoints[0]].record + DISABLED] = 1
            board.touch()
            hedges.begin()
            # The second pick is what looks at the board again.
            assert api._version == board.version
            client.cut()
            line = (await rig.logged())[0]
            assert (line["attempts"], len(script.seen)) == (1, 1)
            assert [board.cells[each.record + OWN_CELLS] for each in api.targets] == [0, 0]


@on_loop
async def test_the_log_names_the_endpoint_of_the_try_that_failed_last() -> None:
    hedged = asyncio.Event()
    async with scripted(when(hedged, reset), silence) as script:
        config = document(script) | {"timeout": {"total": 3600}}
        async with gateway(config) as rig:
            asking = asyncio.ensure_future(rig.ask(get()))
            await eventually(lambda: len(script.seen) == 2)
            hedged.set()
            await eventually(lambda: rig.counted("upstream_requests_total", outcome="upstream_reset") == 1)
            rig.pass_time(3600)
            assert (await asking).status == 504
            assert (await rig.logged())[0]["endpoint"] == script.seen[1].upstream.url.removeprefix("http://")
