"""Tries beyond the first: after which ends, with which body, when, how many, and never twice what may not be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from headgate.proxy import tries
from tests.proxy.peers import Cut, Message, Upstream, Wire, answering, eventually, free_port, get, ok
from tests.proxy.script import Script, answer, part, reset, scripted, silence
from tests.proxy.stage import gateway, on_loop, to

AT_ONCE = {"base": 0}
STATUSES: dict[str, Any] = {"on": ["connect", "reset", 503], "backoff": AT_ONCE}


def document(script: Script, **retry: Any) -> dict[str, Any]:
    return to(*script.upstreams, retry={"backoff": AT_ONCE, **retry})


# -- statuses ------------------------------------------------------------------------------------------------------


@on_loop
async def test_a_status_that_was_chosen_is_tried_again_elsewhere_and_its_connection_kept() -> None:
    async with scripted(answer(b"no", status=503)) as script, gateway(document(script, on=[503])) as rig:
        assert (await rig.ask(get())).status == 200
        assert sorted(script.endpoints) == [0, 1]
        assert rig.counted("retries_total", reason="status") == 1
        assert rig.counted("upstream_requests_total", outcome="5xx") == 1
        assert rig.counted("upstream_requests_total", outcome="2xx") == 1
        assert (await rig.logged())[0]["attempts"] == 2
        for _ in range(2):
            await rig.ask(get())
        # Its answer had ended, so its connection serves on.
        assert [len(each.links) for each in script.upstreams] == [1, 1]


@on_loop
async def test_the_connection_of_a_dropped_answer_that_has_not_ended_is_closed() -> None:
    begun = part(b"HTTP/1.1 503 No\r\nContent-Length: 10\r\n\r\nabc")
    async with scripted(begun) as script, gateway(document(script, on=["5xx"])) as rig:
        assert (await rig.ask(get())).status == 200
        assert await script.seen[0].link.rest() == b""


@pytest.mark.parametrize("attempts", [0, 1, 3])
@on_loop
async def test_the_last_answer_is_passed_on(attempts: int) -> None:
    acts = [answer(b"%d" % number, status=503) for number in range(10)]
    async with scripted(*acts) as script, gateway(document(script, on=["5xx"], attempts=attempts)) as rig:
        last = await rig.ask(get())
        assert (last.status, last.body) == (503, b"%d" % attempts)
        assert len(script.seen) == attempts + 1


@pytest.mark.parametrize(
    ("method", "methods", "count"), [("POST", None, 1), ("POST", ["POST"], 2), ("PUT", None, 2), ("GET", ["POST"], 1)]
)
@on_loop
async def test_only_methods_that_may_be_sent_twice_are_answered_twice(
    method: str, methods: list[str] | None, count: int
) -> None:
    retry = {"on": [503], **({"methods": methods} if methods is not None else {})}
    async with scripted(answer(status=503)) as script, gateway(document(script, **retry)) as rig:
        body = b"" if method == "GET" else b"body"
        status = (await rig.ask(get(method=method, body=body))).status
        assert (status, len(script.seen)) == ({1: 503, 2: 200}[count], count)
        assert {each.request.body for each in script.seen} == {body}


@pytest.mark.parametrize(
    ("value", "count"),
    [
        ("0", 2),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 2),
        ("nonsense", 2),
        # Longer than is waited for: the caller had better know.
        ("2", 1),
        ("Wed, 06 Nov 2999 08:49:37 GMT", 1),
    ],
)
@on_loop
async def test_a_time_that_the_upstream_asks_for_is_kept_or_told(value: str, count: int) -> None:
    act = answer(b"", f"Retry-After: {value}", status=503)
    async with scripted(act) as script, gateway(document(script, on=[503])) as rig:
        answered = await rig.ask(get())
        assert len(script.seen) == count
        assert answered.get("retry-after") == (value if count == 1 else None)


@on_loop
async def test_an_answer_that_came_before_the_body_was_sent_is_tried_again_with_all_of_it() -> None:
    async with scripted(answer(status=503)) as script, gateway(document(script, on=[503])) as rig:
        client = await rig.client()
        # An upstream that does not wait for the body.
        script.upstreams[0]._play = script.upstreams[1]._play = impatient(script)
        await client.send(get("/", "Content-Length: 6", method="PUT"), b"abc")
        await eventually(lambda: len(script.seen) == 2)
        await client.send(b"def")
        assert (await client.answer()).body == b"abcdef"


def impatient(script: Script) -> Any:
    async def play(link: Wire) -> None:
        head = await link.head()
        script.seen.append(head)  # type: ignore[arg-type]
        if len(script.seen) == 1:
            await link.send(ok(status=503))
            await link.rest()
            return
        await link.send(ok(await link.read(int(head.get("content-length") or 0))))

    return play


# -- failures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "status", "count"), [("GET", 200, 2), ("PUT", 200, 2), ("POST", 502, 1)])
@on_loop
async def test_who_breaks_a_fresh_connection_leaves_it_to_another(method: str, status: int, count: int) -> None:
    async with scripted(reset) as script, gateway(document(script)) as rig:
        body = b"" if method == "GET" else b"body"
        answered = await rig.ask(get(method=method, body=body))
        assert (answered.status, len(script.seen), len(set(script.endpoints))) == (status, count, count)
        assert {each.request.body for each in script.seen} == {body}


@on_loop
async def test_when_all_break_the_tries_end_with_the_endpoints() -> None:
    async with scripted(*[reset] * 9) as script, gateway(document(script, attempts=9)) as rig:
        answered = await rig.ask(get())
        assert (answered.status, answered.json()["reason"]) == (502, "upstream_reset")
        assert sorted(script.endpoints) == [0, 1]


@on_loop
async def test_nothing_is_tried_again_once_a_head_went_out() -> None:
    begun = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"

    async def act(link: Wire) -> bool:
        await link.send(begun)
        await eventually(lambda: bool(rig.log) or begun_seen.is_set())
        return await reset(link)

    begun_seen = asyncio.Event()
    async with scripted(act) as script, gateway(document(script, on=["reset", "timeout", "5xx"])) as rig:
        client = await rig.client()
        await client.send(get())
        await client.head()
        assert await client.read(3) == b"abc"
        begun_seen.set()
        with pytest.raises(Cut):
            await client.read(7)
        assert len(script.seen) == 1


@on_loop
async def test_who_does_not_answer_in_the_time_of_one_try_leaves_it_to_another() -> None:
    retry = {"on": ["timeout"], "per_try_timeout": 10}
    async with scripted(silence) as script, gateway(document(script, **retry)) as rig:
        asking = asyncio.ensure_future(rig.ask(get()))
        await eventually(lambda: len(script.seen) == 1)
        rig.pass_time(10)
        assert (await asking).status == 200
        assert sorted(script.endpoints) == [0, 1]
        assert rig.counted("retries_total", reason="response_timeout") == 1
        assert await script.seen[0].link.rest() == b""


def slow_behind_its_head(begun: asyncio.Event) -> Callable[[Wire], Awaitable[bool]]:
    """Make an upstream that sends half a body, and the rest when that has begun which it waits for."""

    async def slow(link: Wire) -> bool:
        await link.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        await begun.wait()
        await link.send(b"def")
        return True

    return slow


@on_loop
async def test_the_time_of_one_try_is_that_of_the_head_alone() -> None:
    begun = asyncio.Event()
    slow = slow_behind_its_head(begun)
    retry = {"attempts": 0, "per_try_timeout": 10}
    async with scripted(slow) as script, gateway(document(script, **retry)) as rig:
        client = await rig.client()
        await client.send(get())
        await client.head()
        rig.pass_time(11)
        begun.set()
        assert await client.read(6) == b"abcdef"


@on_loop
async def test_all_tries_together_have_the_time_of_the_head() -> None:
    """The second try has what the first one left; without the bound it would wait for a day."""
    retry = {"on": ["timeout"], "attempts": 10, "per_try_timeout": 2000, "backoff": AT_ONCE}
    timeout = {"head": 3600, "response": 86400}
    async with scripted(*[silence] * 10) as script, gateway(to(*script.upstreams, timeout=timeout, retry=retry)) as rig:
        asking = asyncio.ensure_future(rig.ask(get()))
        for tries_made in (1, 2):
            await eventually(lambda made=tries_made: len(script.seen) == made)  # type: ignore[misc]
            # Of the second one's own time this is not all.
            rig.pass_time(2000 if tries_made == 1 else 1700)
        assert (await asking).json()["reason"] == "response_timeout"
        assert len(script.seen) == 2
        rig.apply(to(*script.upstreams, timeout=timeout, retry={"attempts": 0}))
        asking = asyncio.ensure_future(rig.ask(get()))
        await eventually(lambda: len(script.seen) == 3)
        rig.pass_time(3600)
        assert (await asking).json()["reason"] == "response_timeout"


@on_loop
async def test_what_streams_behind_the_head_may_take_longer_than_that() -> None:
    begun = asyncio.Event()
    slow = slow_behind_its_head(begun)
    timeout = {"head": 200, "response": 86400, "idle": 86400}
    async with scripted(silence, slow) as script:
        retry = {"on": ["timeout"], "attempts": 1, "per_try_timeout": 50, "backoff": AT_ONCE}
        document = to(*script.upstreams, timeout=timeout, retry=retry, http={"write_timeout": 3600})
        async with gateway(document) as rig:
            client = await rig.client()
            await client.send(get())
            await eventually(lambda: len(script.seen) == 1)
            rig.pass_time(50)
            await client.head()
            rig.pass_time(300)
            begun.set()
            assert await client.read(6) == b"abcdef"


@pytest.mark.parametrize("retry", [{"attempts": 0}, {"attempts": 3, "on": ["timeout"]}], ids=["once", "again"])
@on_loop
async def test_the_time_of_the_head_begins_when_the_request_has_come_whole(retry: dict[str, Any]) -> None:
    http = {"body_timeout": 86400, "min_body_rate": 0, "write_timeout": 86400}
    async with Upstream() as upstream:
        document = to(upstream, timeout={"head": 100, "response": 86400, "idle": 86400}, retry=retry, http=http)
        async with gateway(document) as rig:
            client = await rig.client()
            await client.send(get("/", "Content-Length: 4", method="POST"), b"ab")
            link = await upstream.accepted()
            await link.head()
            rig.pass_time(1000)
            await client.send(b"cd")
            assert await link.read(4) == b"abcd"
            rig.pass_time(90)
            await link.send(ok(b"in time"))
            assert (await client.answer()).body == b"in time"
            await client.send(get("/", "Content-Length: 4", method="POST"), b"ab")
            await link.head()
            await client.send(b"cd")
            assert await link.read(4) == b"abcd"
            asking = asyncio.ensure_future(client.answer())

            def late() -> bool:
                rig.pass_time(110)
                return asking.done()

            # That the request is over may come a moment after its last byte.
            await eventually(late)
            assert (await asking).status == 504


# -- bodies --------------------------------------------------------------------------------------------------------


def reading(size: int) -> Any:
    """Read so much of a body that still arrives, then break the connection; other requests are answered."""

    async def play(link: Wire) -> None:
        head = await link.head()
        if len(upstreams_asked) == 0:
            upstreams_asked.append(head)
            assert len(await link.read(size)) == size
            link.cut()
            return
        upstreams_asked.append(head)
        await link.send(ok(await link.read(int(head.get("content-length") or 0))))

    upstreams_asked: list[Message] = []
    play.asked = upstreams_asked  # type: ignore[attr-defined]
    return play


@pytest.mark.parametrize(
    ("method", "buffer", "status"),
    [("PUT", 64, 200), ("PUT", 4, 200), ("PUT", 3, 502), ("PUT", 0, 502), ("POST", 64, 502)],
)
@on_loop
async def test_a_body_that_still_arrives_is_sent_again_if_it_was_kept(method: str, buffer: int, status: int) -> None:
    play = reading(4)
    async with (
        Upstream(play) as one,
        Upstream(play) as two,
        gateway(to(one, two, retry={"buffer": buffer, "backoff": AT_ONCE})) as rig,
    ):
        client = await rig.client()
        await client.send(get("/", "Content-Length: 8", method=method), b"ab")
        await eventually(lambda: len(play.asked) == 1)
        await client.send(b"cd")
        if status == 200:
            await eventually(lambda: len(play.asked) == 2)
            await client.send(b"efgh")
        answered = await client.answer()
        assert answered.status == status
        assert len(play.asked) == (2 if status == 200 else 1)
        if status == 200:
            assert answered.body == b"abcdefgh"


@on_loop
async def test_a_client_held_back_by_an_upstream_that_breaks_is_read_on() -> None:
    size = 8 << 20
    asked: list[Message] = []

    async def play(link: Wire) -> None:
        asked.append(await link.head())
        if len(asked) == 1:
            # Reads nothing more, so that the client is held back in the end.
            link.reader._transport.pause_reading()  # type: ignore[attr-defined]
            await eventually(lambda: any(each._paused for each in rig.connections))
            link.cut()
            return
        await link.send(ok(b"%d" % len(await link.read(size))))

    async with (
        Upstream(play) as one,
        Upstream(play) as two,
        gateway(to(one, two, retry={"buffer": size, "backoff": AT_ONCE}, max_body=size)) as rig,
    ):
        client = await rig.client()
        await client.send(get("/", f"Content-Length: {size}", method="PUT"))
        sending = asyncio.ensure_future(client.send(b"x" * size))
        answered = await client.answer()
        await sending
        assert (answered.status, answered.body) == (200, b"%d" % size)


# -- waiting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("acts", "retry"),
    [
        ([answer(status=503)], {"on": [503], "backoff": {"base": 60, "max": 60}}),
        ([answer(b"", "Retry-After: 60", status=503)], {"on": [503], "backoff": {"base": 0, "retry_after": 300}}),
        ([reset], {"backoff": {"base": 60, "max": 60}}),
    ],
    ids=["status", "retry-after", "reset"],
)
@pytest.mark.parametrize("cut", [False, True], ids=["closed", "reset"])
@on_loop
async def test_a_client_may_leave_while_the_next_try_is_waited_for(
    acts: list[Any], retry: dict[str, Any], cut: bool
) -> None:
    chance = pytest.MonkeyPatch()
    chance.setattr(tries, "random", lambda: 1.0)
    try:
        async with scripted(*acts) as script, gateway(document(script, **retry)) as rig:
            client = await rig.client()
            await client.send(get())
            await eventually(lambda: rig.counted("retries_total") == 1)
            assert rig.gateway.in_flight == 1
            client.cut() if cut else client.close()
            line = (await rig.logged())[0]
            assert (line["status_code"], line["error"], line["attempts"]) == (499, "client_closed", 1)
            cluster = rig.gateway.plan.clusters["api"]  # type: ignore[union-attr]
            assert cluster.budget.in_flight == 0
            assert len(script.seen) == 1
    finally:
        chance.undo()


@on_loop
async def test_a_client_may_leave_during_the_second_try() -> None:
    async with scripted(answer(status=503), silence) as script, gateway(document(script, on=[503])) as rig:
        client = await rig.client()
        await client.send(get())
        await eventually(lambda: len(script.seen) == 2)
        client.cut()
        line = (await rig.logged())[0]
        assert (line["error"], line["attempts"]) == ("client_closed", 2)
        assert await script.seen[1].link.rest() == b""
        assert rig.gateway.plan.clusters["api"].budget.in_flight == 0  # type: ignore[union-attr]


@on_loop
async def test_there_is_no_waiting_beyond_the_time_for_all_of_it() -> None:
    chance = pytest.MonkeyPatch()
    chance.setattr(tries, "random", lambda: 1.0)
    try:
        retry = {"on": ["reset", 503], "backoff": {"base": 60, "max": 60}}
        config: dict[str, Any] = {"timeout": {"total": 30}, "retry": retry}
        async with scripted(answer(status=503), reset) as script, gateway(to(*script.upstreams, **config)) as rig:
            assert (await rig.ask(get())).status == 503
            answered = await rig.ask(get())
            assert (answered.status, answered.json()["reason"]) == (502, "upstream_reset")
            assert len(script.seen) == 2
    finally:
        chance.undo()


@on_loop
async def test_the_time_for_all_of_it_counts_every_try() -> None:
    retry = {"on": ["timeout"], "per_try_timeout": 100, "attempts": 10, "backoff": AT_ONCE}
    async with (
        scripted(*[silence] * 20) as script,
        gateway(to(*script.upstreams, retry=retry, timeout={"total": 250, "response": 86400})) as rig,
    ):
        asking = asyncio.ensure_future(rig.ask(get()))
        for made, seconds in ((1, 100), (2, 100), (3, 51)):
            await eventually(lambda made=made: len(script.seen) == made)  # type: ignore[misc]
            rig.pass_time(seconds)
        answered = await asking
        assert (answered.status, answered.json()["reason"]) == (504, "total_timeout")
        assert len(script.seen) == 3


# -- the budget ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on", [503, "reset"])
@on_loop
async def test_retries_do_not_double_an_outage(on: Any) -> None:
    """Every wave of requests fails at once, first the requests, then their retries; nobody is ever answered well."""
    count = 40
    turn = asyncio.Event()

    async def fail(link: Wire) -> bool:
        await turn.wait()
        return await (reset(link) if on == "reset" else answer(status=503)(link))

    async with scripted(*[fail] * 1000, endpoints=4) as script, gateway(document(script, on=[on], attempts=3)) as rig:
        budget = rig.gateway.plan.clusters["api"].budget  # type: ignore[union-attr]
        asking = [asyncio.ensure_future(rig.ask(get())) for _ in range(count)]
        seen = 0
        while not all(each.done() for each in asking):
            await eventually(lambda seen=seen: len(script.seen) > seen or all(each.done() for each in asking))  # type: ignore[misc]
            if not seen:
                await eventually(lambda: len(script.seen) == count)
            await eventually(lambda: len(script.seen) == count + rig.counted("retries_total"))
            assert budget.in_flight <= max(3, count // 5)
            seen = len(script.seen)
            turn.set()
            await eventually(lambda: sum(each.done() for each in asking) + budget.in_flight == count)
            turn.clear()
        assert {each.result().status for each in asking} == {502 if on == "reset" else 503}
        assert count < len(script.seen) <= 1.25 * count + 2 * 3
        assert budget.in_flight == 0


@on_loop
async def test_without_a_budget_there_are_no_retries_but_free_ones() -> None:
    none = {"budget": {"percent": 0, "minimum": 0}, "on": ["connect", "reset", 503], "backoff": AT_ONCE}
    dead = f"http://127.0.0.1:{free_port()}"
    seen: list[Message] = []
    async with (
        Upstream(answering(lambda _: ok(status=503), seen)) as upstream,
        gateway(to(dead, upstream, retry=none)) as rig,
    ):
        for _ in range(4):
            assert (await rig.ask(get())).status == 503
        # Of those who met the dead one first nothing had been sent.
        assert len(seen) == 4
        assert rig.counted("retries_total") == rig.counted("retries_total", reason="connect_refused") > 0
