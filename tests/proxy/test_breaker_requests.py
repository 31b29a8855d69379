"""Requests before a breaker: what opens it, what they are answered, and what does not count."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.control.breakers import Breakers
from headgate.control.log import Log
from tests.proxy.peers import Message, Upstream, answering, eventually, free_port, get, ok
from tests.proxy.stage import Rig, gateway, on_loop, resolved, to


def guarded(*upstreams: Upstream | str, retry: dict[str, Any] | None = None, **breaker: Any) -> dict[str, Any]:
    settings = {"threshold": 2, "timeout": 3600, "jitter": 0, **breaker}
    return to(*upstreams, service={"circuit_breaker": settings, "retry": retry or {"attempts": 0}})


class Behind:
    """An upstream whose answers all have the status it is told."""

    def __init__(self) -> None:
        self.status = 200
        self.seen: list[Message] = []

    def upstream(self) -> Upstream:
        return Upstream(answering(lambda _: ok(b"x", status=self.status), self.seen))


def view(rig: Rig, document: dict[str, Any]) -> dict[str, Any]:
    """Return what an operator sees of the breaker."""
    breakers = Breakers(rig.gateway.board, Log("control"))
    breakers.follow(resolved(document))
    return breakers.describe()["api"]


async def statuses(rig: Rig, count: int) -> list[int]:
    return [(await rig.ask(get())).status for _ in range(count)]


@on_loop
async def test_the_upstreams_own_answers_pass_until_it_is_given_a_rest() -> None:
    behind = Behind()
    behind.status = 500
    async with behind.upstream() as upstream, gateway(guarded(upstream)) as rig:
        assert await statuses(rig, 2) == [500, 500]
        answer = await rig.ask(get())
        assert (answer.status, answer.get("retry-after")) == (503, "3600")
        told = answer.json()
        assert (told["reason"], told["breaker"], told["retry_after"]) == ("breaker_open", "api", 3600)
        assert len(behind.seen) == 2
        assert (await rig.logged(3))[2]["error"].startswith("breaker_open")
        assert rig.counted("breaker_refused_total", service="api") == 1
        assert rig.counted("breaker_transitions_total", service="api", to="open") == 1
        assert rig.counted("errors_total", reason="breaker_open") == 1


@on_loop
async def test_trials_close_it_again() -> None:
    behind = Behind()
    behind.status = 500
    async with behind.upstream() as upstream:
        document = guarded(upstream, success_threshold=2)
        async with gateway(document) as rig:
            await statuses(rig, 2)
            behind.status = 200
            assert view(rig, document)["state"] == "open"
            rig.pass_time(3600)
            for _ in range(2):
                assert view(rig, document)["state"] == "half_open"
                assert await statuses(rig, 1) == [200]
            assert view(rig, document)["state"] == "closed"
            assert await statuses(rig, 5) == [200] * 5


@on_loop
async def test_a_request_counts_once_however_often_it_was_tried() -> None:
    document = guarded(f"http://127.0.0.1:{free_port()}", retry={"attempts": 3})
    async with gateway(document) as rig:
        assert await statuses(rig, 1) == [502]
        assert rig.counted("upstream_requests_total", outcome="connect_refused") == 4
        assert view(rig, document)["failure_count"] == 1
        assert await statuses(rig, 2) == [502, 503]


@on_loop
async def test_a_request_that_a_retry_saved_is_a_success() -> None:
    turns = iter([500, 500, 200, 500, 200])
    async with Upstream(answering(lambda _: ok(status=next(turns)))) as upstream:
        document = guarded(upstream, retry={"attempts": 1, "on": [500], "backoff": {"base": 0}})
        async with gateway(document) as rig:
            assert await statuses(rig, 1) == [500]
            assert view(rig, document)["failure_count"] == 1
            assert await statuses(rig, 1) == [200]
            assert view(rig, document)["failure_count"] == 0


@on_loop
async def test_clients_that_leave_count_nothing_and_give_their_place_back() -> None:
    async with Upstream() as upstream:
        document = guarded(upstream, threshold=1)
        async with gateway(document) as rig:
            client = await rig.client()
            await client.send(get())
            await (await upstream.accepted()).message()
            client.cut()
            await eventually(lambda: rig.gateway.in_flight == 0)
            assert view(rig, document)["state"] == "closed"
            client = await rig.client()
            await client.send(get())
            link = await upstream.accepted()
            await link.message()
            link.cut()
            assert (await client.answer()).status == 502
            # The trial of a client that leaves lets another one in.
            rig.pass_time(3600)
            for _ in range(3):
                assert view(rig, document)["state"] == "half_open"
                client = await rig.client()
                await client.send(get())
                link = await upstream.accepted()
                await link.message()
                assert view(rig, document)["trials_in_flight"] == 1
                client.cut()
                await eventually(lambda: rig.gateway.in_flight == 0)
                assert view(rig, document)["trials_in_flight"] == 0


@on_loop
async def test_an_answer_that_is_cut_is_a_failure_however_well_it_began() -> None:
    async with Upstream() as upstream:
        document = guarded(upstream)
        async with gateway(document) as rig:
            client = await rig.client()
            await client.send(get())
            link = await upstream.accepted()
            await link.message()
            await link.send(b"HTTP/1.1 200 Fine\r\nContent-Length: 10\r\n\r\nhalf")
            await client.head()
            link.cut()
            await client.rest()
            await eventually(lambda: rig.gateway.in_flight == 0)
            assert view(rig, document)["failure_count"] == 1


@pytest.mark.parametrize(("failures", "after"), [(["5xx"], 429), ([429], 503)])
def test_which_statuses_count_is_configuration(failures: list[Any], after: int) -> None:
    @on_loop
    async def played() -> None:
        behind = Behind()
        behind.status = 429
        async with behind.upstream() as upstream, gateway(guarded(upstream, failures=failures)) as rig:
            assert await statuses(rig, 3) == [429, 429, after]

    played()


@on_loop
async def test_a_reload_keeps_it_open_where_settings_are_equal() -> None:
    behind = Behind()
    behind.status = 500
    async with behind.upstream() as upstream, gateway(guarded(upstream)) as rig:
        await statuses(rig, 2)
        rig.apply(guarded(upstream))
        assert await statuses(rig, 1) == [503]
        rig.apply(guarded(upstream, threshold=3))
        assert await statuses(rig, 4) == [500, 500, 500, 503]
        rig.apply(to(upstream, service={"circuit_breaker": {"enabled": False}}))
        assert await statuses(rig, 1) == [500]


@pytest.mark.parametrize(("tries", "total"), [(20, 0), (0, 20)], ids=["try", "all"])
@on_loop
async def test_a_client_that_sends_slowly_opens_no_breaker(tries: float, total: float) -> None:
    async with Upstream() as upstream:
        config = guarded(upstream, retry={"per_try_timeout": tries}, threshold=1) | {"timeout": {"total": total}}
        async with gateway(config) as rig:
            client = await rig.client()
            await client.send(get("/", "Content-Length: 10", method="PUT"), b"only")
            link = await upstream.accepted()
            await link.head()
            assert await link.read(4) == b"only"
            rig.pass_time(20)
            answer = await client.answer()
            assert (answer.status, answer.json()["reason"]) == (408, "request_timeout")
            assert (len(upstream.links), rig.counted("breaker_transitions_total")) == (1, 0)
