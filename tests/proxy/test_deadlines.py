"""The deadline that a caller sends: it bounds the exchange, shrinks on the way, and is nobody else's business."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headgate.proxy import tries
from tests.proxy.peers import Cut, eventually, free_port, get
from tests.proxy.script import Script, answer, part, reset, scripted, silence
from tests.proxy.stage import gateway, on_loop, to

NAME = "X-Request-Timeout-Ms"


def document(script: Script, **more: Any) -> dict[str, Any]:
    timeout = {"deadline_header": NAME, **more.pop("timeout", {})}
    return to(*script.upstreams, timeout=timeout, **more)


@on_loop
async def test_what_is_left_goes_on_to_the_upstream() -> None:
    async with scripted() as script, gateway(document(script)) as rig:
        assert (await rig.ask(get("/", f"{NAME.lower()}: 100000", f"{NAME}: 200000"))).status == 200
        left = script.seen[0].request.all(NAME.lower())
        assert len(left) == 1
        assert 0 < int(left[0]) <= 100_000


@on_loop
async def test_every_try_is_told_what_is_left_then() -> None:
    retry = {"on": ["timeout"], "per_try_timeout": 100, "backoff": {"base": 0}}
    timeout = {"response": 3600}
    async with scripted(silence) as script, gateway(document(script, retry=retry, timeout=timeout)) as rig:
        asking = asyncio.ensure_future(rig.ask(get("/", f"{NAME}: 3600000")))
        await eventually(lambda: len(script.seen) == 1)
        rig.pass_time(100)
        assert (await asking).status == 200
        first, second = (int(each.request.get(NAME.lower()) or 0) for each in script.seen)
        assert second <= first - 100_000
        assert second > 3_000_000


@pytest.mark.parametrize("value", ["soon", "-1", "1.5", "", "1s"])
@on_loop
async def test_what_is_no_number_is_passed_as_it_is_and_bounds_nothing(value: str) -> None:
    async with scripted() as script, gateway(document(script)) as rig:
        assert (await rig.ask(get("/", f"{NAME}: {value}"))).status == 200
        assert script.seen[0].request.get(NAME.lower()) == value


@on_loop
async def test_without_one_the_time_for_all_of_it_is_told_if_there_is_any() -> None:
    async with scripted() as script, gateway(document(script)) as rig:
        assert (await rig.ask(get())).status == 200
        assert script.seen[0].request.get(NAME.lower()) is None
        rig.apply(document(script, timeout={"total": 30}))
        assert (await rig.ask(get())).status == 200
        assert 0 < int(script.seen[1].request.get(NAME.lower()) or 0) <= 30_000


@on_loop
async def test_where_none_is_configured_the_field_means_nothing() -> None:
    async with scripted() as script, gateway(to(*script.upstreams)) as rig:
        assert (await rig.ask(get("/", f"{NAME}: 0"))).status == 200
        assert script.seen[0].request.get(NAME.lower()) == "0"


@on_loop
async def test_one_that_has_passed_is_answered_without_asking_anybody() -> None:
    async with scripted() as script, gateway(document(script)) as rig:
        answered = await rig.ask(get("/", f"{NAME}: 0"))
        assert (answered.status, answered.json()["reason"]) == (504, "deadline_exceeded")
        assert script.seen == []
        assert not any(each.links for each in script.upstreams)


@on_loop
async def test_one_that_passes_while_the_head_is_waited_for_ends_it() -> None:
    async with scripted(silence) as script, gateway(document(script)) as rig:
        asking = asyncio.ensure_future(rig.ask(get("/", f"{NAME}: 30000")))
        await eventually(lambda: len(script.seen) == 1)
        rig.pass_time(30)
        answered = await asking
        assert (answered.status, answered.json()["reason"]) == (504, "deadline_exceeded")
        assert await script.seen[0].link.rest() == b""
        # Nobody else is asked: there is no time left for it.
        assert len(script.seen) == 1


@on_loop
async def test_one_that_passes_while_the_body_arrives_cuts_it() -> None:
    begun = part(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    async with scripted(begun) as script, gateway(document(script)) as rig:
        client = await rig.client()
        await client.send(get("/", f"{NAME}: 30000"))
        await client.head()
        rig.pass_time(30)
        with pytest.raises(Cut):
            await client.read(10)
        assert (await rig.logged())[0]["error"] == "deadline_exceeded"


@pytest.mark.parametrize("retry", [{"on": [503]}, {"on": ["reset"]}], ids=["status", "reset"])
@on_loop
async def test_nobody_waits_for_a_try_beyond_it(retry: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "random", lambda: 1.0)
    act = answer(status=503) if retry["on"] == [503] else reset
    settings = {**retry, "backoff": {"base": 60, "max": 60}}
    async with scripted(act) as script, gateway(document(script, retry=settings)) as rig:
        assert (await rig.ask(get("/", f"{NAME}: 30000"))).status in (502, 503)
        assert len(script.seen) == 1


@on_loop
async def test_the_earlier_of_the_two_bounds_counts() -> None:
    async with scripted(silence, silence) as script, gateway(document(script, timeout={"total": 20})) as rig:
        for number, (sent, reason) in enumerate(((30_000, "total_timeout"), (10_000, "deadline_exceeded")), 1):
            asking = asyncio.ensure_future(rig.ask(get("/", f"{NAME}: {sent}")))
            await eventually(lambda number=number: len(script.seen) == number)  # type: ignore[misc]
            rig.pass_time(40)
            assert (await asking).json()["reason"] == reason


@on_loop
async def test_connecting_is_part_of_it() -> None:
    pool = {"max_connections": 1}
    async with (
        scripted(silence, endpoints=1) as script,
        gateway(document(script, service={"pool": pool}, timeout={"connect": 15})) as rig,
    ):
        first = await rig.client()
        await first.send(get())
        await eventually(lambda: len(script.seen) == 1)
        # Waits for the one connection there may be.
        answered = await rig.ask(get("/", f"{NAME}: 150"))
        assert (answered.status, answered.json()["reason"]) == (504, "deadline_exceeded")


@on_loop
async def test_it_comes_with_every_other_end_untouched() -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    config = to(dead, timeout={"deadline_header": NAME}, retry={"attempts": 0})
    async with gateway(config) as rig:
        assert (await rig.ask(get("/", f"{NAME}: 30000"))).json()["reason"] == "connect_refused"
