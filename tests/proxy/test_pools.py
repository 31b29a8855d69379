"""Upstream connections: kept, shared, given up, tried again; and every wait on an upstream."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.faults.scene import full_listener
from tests.proxy.peers import Message, Upstream, Wire, answering, eventually, free_port, get, ok
from tests.proxy.stage import gateway, on_loop, to

CHUNKED = "Transfer-Encoding: chunked"


@on_loop
async def test_the_connection_used_last_is_used_next() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        clients = [await rig.client() for _ in range(3)]
        links: list[Wire] = []
        for number, client in enumerate(clients):
            await client.send(get(f"/{number}"))
            links.append(await upstream.accepted())
            await links[-1].message()
        for number in (0, 2, 1):
            await links[number].send(ok())
            await clients[number].answer()
        for _ in range(3):
            await clients[0].send(get("/again"))
            assert (await links[1].message()).target == "/again"
            await links[1].send(ok())
            await clients[0].answer()


@on_loop
async def test_requests_wait_in_turn_for_one_of_so_many_connections() -> None:
    async with Upstream() as upstream, gateway(to(upstream, service={"pool": {"max_connections": 2}})) as rig:
        clients = [await rig.client() for _ in range(6)]
        for number, client in enumerate(clients):
            await client.send(get(f"/{number}"))
            await eventually(lambda number=number: rig.gateway.in_flight == number + 1)  # type: ignore[misc]
        links = [await upstream.accepted(), await upstream.accepted()]
        order = []
        for number in range(6):
            link = links[number % 2]
            order.append((await link.message()).target)
            await link.send(ok(b"%d" % number))
        assert sorted(order) == [f"/{number}" for number in range(6)]
        assert order[2:] == ["/2", "/3", "/4", "/5"]
        for client in clients:
            assert (await client.answer()).status == 200
        assert len(upstream.links) == 2


@on_loop
async def test_a_place_that_falls_vacant_goes_to_whoever_waits() -> None:
    async with Upstream() as upstream, gateway(to(upstream, service={"pool": {"max_connections": 1}})) as rig:
        first, second = await rig.client(), await rig.client()
        await first.send(get("/1"))
        link = await upstream.accepted()
        await link.message()
        await second.send(get("/2"))
        await eventually(lambda: rig.gateway.in_flight == 2)
        await link.send(ok(b"", "Connection: close"))
        link = await upstream.accepted()
        assert (await link.message()).target == "/2"
        await link.send(ok())
        assert ((await first.answer()).status, (await second.answer()).status) == (200, 200)


@on_loop
async def test_more_may_not_wait_than_configured() -> None:
    pool = {"max_connections": 1, "max_pending": 1}
    async with Upstream() as upstream, gateway(to(upstream, service={"pool": pool}, retry={"attempts": 0})) as rig:
        first, second = await rig.client(), await rig.client()
        await first.send(get("/1"))
        link = await upstream.accepted()
        await link.message()
        await second.send(get("/2"))
        await eventually(lambda: rig.gateway.in_flight == 2)
        answer = await rig.ask(get("/3"))
        assert (answer.status, answer.json()["reason"], answer.get("retry-after")) == (503, "overloaded", "1")
        await link.send(ok())
        await link.message()
        await link.send(ok())
        assert ((await first.answer()).status, (await second.answer()).status) == (200, 200)


@on_loop
async def test_waiting_for_a_connection_has_an_end() -> None:
    document = to("http://127.0.0.1:1", timeout={"connect": 0.1}, retry={"attempts": 0})
    async with Upstream() as upstream:
        document["services"][0] |= {"endpoints": [upstream.url], "pool": {"max_connections": 1}}
        async with gateway(document) as rig:
            first = await rig.client()
            await first.send(get("/1"))
            link = await upstream.accepted()
            await link.message()
            answer = await rig.ask(get("/2"))
            assert (answer.status, answer.json()["reason"]) == (504, "connect_timeout")
            await link.send(ok())
            assert (await first.answer()).status == 200


@on_loop
async def test_an_idle_connection_is_closed_before_the_upstream_would() -> None:
    pool = {"idle_timeout": 0.1}
    async with Upstream() as upstream, gateway(to(upstream, service={"pool": pool})) as rig:
        client = await rig.client()
        for _ in range(2):
            await client.send(get())
            link = await upstream.accepted()
            await link.message()
            await link.send(ok())
            await client.answer()
            assert await link.rest() == b""


@pytest.mark.parametrize(
    ("lines", "closes"), [(["Keep-Alive: timeout=1, max=9"], True), (["Keep-Alive: max=9"], False)]
)
@on_loop
async def test_the_upstreams_own_word_on_idleness_is_believed(lines: list[str], closes: bool) -> None:
    document = to("http://127.0.0.1:1", service={"pool": {"idle_timeout": 3600}})
    async with Upstream() as upstream:
        document["services"][0]["endpoints"] = [upstream.url]
        async with gateway(document) as rig:
            client = await rig.client()
            await client.send(get())
            link = await upstream.accepted()
            await link.message()
            await link.send(ok(b"", *lines))
            assert (await client.answer()).get("keep-alive") is None
            if closes:
                # Half a second before the upstream's own second is over.
                assert await link.rest() == b""
            else:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(link.reader.read(), 0.7)


@on_loop
async def test_a_connection_is_replaced_after_so_many_requests() -> None:
    pool = {"max_requests": 2}
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, service={"pool": pool})) as rig:
        for _ in range(5):
            await rig.ask(get())
        assert len(upstream.links) == 3


@pytest.mark.parametrize("method", ["GET", "POST"])
@on_loop
async def test_a_connection_that_the_upstream_closed_idle_is_not_used(method: str) -> None:
    seen: list[Message] = []
    async with Upstream(answering(lambda _: ok(), seen)) as upstream, gateway(to(upstream)) as rig:
        await rig.ask(get())
        upstream.links[0].close()
        assert (await rig.ask(get("/", method=method), method)).status == 200
        assert (len(seen), len(upstream.links)) == (2, 2)
        assert rig.log[0]["attempts"] == 1


@pytest.mark.parametrize(("method", "status", "count"), [("GET", 200, 2), ("PUT", 200, 2), ("POST", 502, 1)])
@on_loop
async def test_a_request_that_met_a_closing_connection_is_repeated_only_if_harmless(
    method: str, status: int, count: int
) -> None:
    seen: list[Message] = []

    async def play(link: Wire) -> None:
        if len(upstream.links) == 1:
            await link.message()
            await link.send(ok())
            seen.append(await link.message())
            link.close()
            return
        await answering(lambda request: ok(request.body), seen)(link)

    async with Upstream(play) as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        await client.send(get("/first"))
        await client.answer()
        await client.send(get("/", method=method, body=b"" if method == "GET" else b"body"))
        answer = await client.answer()
        assert (answer.status, len(seen)) == (status, count)
        assert rig.counted("retries_total", reason="upstream_reset") == count - 1
        if method == "PUT":
            assert seen[1].body == b"body"


@on_loop
async def test_a_fresh_connection_that_breaks_is_not_tried_again() -> None:
    seen: list[Message] = []

    async def play(link: Wire) -> None:
        seen.append(await link.message())
        link.close()

    async with Upstream(play) as upstream, gateway(to(upstream)) as rig:
        answer = await rig.ask(get())
        assert (answer.status, answer.json()["reason"], len(seen)) == (502, "upstream_reset", 1)


@pytest.mark.parametrize("body", [b"", b"body"])
@on_loop
async def test_another_endpoint_is_tried_when_one_refuses(body: bytes) -> None:
    dead = [f"http://127.0.0.1:{free_port()}" for _ in range(2)]
    seen: list[Message] = []
    async with Upstream(answering(lambda _: ok(), seen)) as upstream, gateway(to(dead[0], upstream, dead[1])) as rig:
        for _ in range(6):
            assert (await rig.ask(get("/", method="POST", body=body), "POST")).status == 200
        assert [request.body for request in seen] == [body] * 6
        lines = await rig.logged(6)
        assert {line["endpoint"] for line in lines} == {upstream.url.removeprefix("http://")}
        assert rig.counted("retries_total") == sum(line["attempts"] - 1 for line in lines) > 0


@on_loop
async def test_a_body_that_still_arrives_goes_whole_to_the_other_endpoint() -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    async with Upstream() as upstream, gateway(to(dead, upstream)) as rig:
        for _ in range(2):
            client = await rig.client()
            await client.send(get("/", "Content-Length: 6", method="POST"), b"abc")
            link = upstream.links[0] if upstream.links else await upstream.accepted()
            await link.head()
            assert await link.read(3) == b"abc"
            await client.send(b"def")
            assert await link.read(3) == b"def"
            await link.send(ok())
            assert (await client.answer()).status == 200


@pytest.mark.parametrize(
    ("urls", "reason"),
    [
        (["http://127.0.0.1:{free}", "http://127.0.0.1:{free}"], "connect_refused"),
        (["http://no-such-host.invalid:80"], "dns"),
        (["unix:/nowhere/at/all.sock"], "connect_refused"),
    ],
)
@on_loop
async def test_an_upstream_that_cannot_be_reached_is_a_bad_gateway(urls: list[str], reason: str) -> None:
    async with gateway(to(*(url.format(free=free_port()) for url in urls), timeout={"connect": 10})) as rig:
        answer = await rig.ask(get())
        assert (answer.status, answer.json()["reason"]) == (502, reason)
        assert (await rig.logged())[0]["attempts"] == 3
        assert rig.counted("upstream_requests_total", outcome=reason) == 3
        assert rig.counted("errors_total", reason=reason) == 1


@on_loop
async def test_connecting_has_an_end() -> None:
    with full_listener() as port:
        url = f"http://127.0.0.1:{port}"
        async with gateway(to(url, timeout={"connect": 0.1}, retry={"attempts": 1})) as rig:
            answer = await rig.ask(get())
            assert (answer.status, answer.json()["reason"]) == (504, "connect_timeout")
            assert (await rig.logged())[0]["attempts"] == 2


@on_loop
async def test_a_head_that_does_not_come_is_a_timeout() -> None:
    async with Upstream() as upstream, gateway(to(upstream, timeout={"response": 0.1})) as rig:
        client = await rig.client()
        await client.send(get())
        link = await upstream.accepted()
        await link.message()
        answer = await client.answer()
        assert (answer.status, answer.json()["reason"]) == (504, "response_timeout")
        assert await link.rest() == b""
        await client.send(get("/next"))
        link = await upstream.accepted()
        await link.message()
        await link.send(ok(b"well"))
        assert (await client.answer()).body == b"well"


@on_loop
async def test_the_time_for_an_answer_begins_when_the_request_is_sent() -> None:
    async with (
        Upstream() as upstream,
        gateway(to(upstream, timeout={"response": 20}, http={"min_body_rate": 0})) as rig,
    ):
        client = await rig.client()
        await client.send(get("/", "Content-Length: 8", method="POST"))
        link = await upstream.accepted()
        await link.head()
        for _ in range(8):
            # More than the answer may take in all, and less than the client may be silent.
            rig.pass_time(8)
            await client.send(b"x")
            assert await link.read(1) == b"x"
        await link.send(ok())
        assert (await client.answer()).status == 200


@pytest.mark.parametrize("setting", ["idle", "total"])
@on_loop
async def test_a_stream_that_falls_silent_is_cut(setting: str) -> None:
    async with Upstream() as upstream, gateway(to(upstream, timeout={setting: 0.2})) as rig:
        client = await rig.client()
        await client.send(get())
        link = await upstream.accepted()
        await link.message()
        await link.send(f"HTTP/1.1 200 OK\r\n{CHUNKED}\r\n\r\n1\r\na\r\n".encode())
        await client.head()
        assert await client.chunk() == b"a"
        assert await client.rest() == b""
        assert await link.rest() == b""
        line = (await rig.logged())[0]
        assert (line["status_code"], line["error"]) == (200, f"{setting}_timeout")


@on_loop
async def test_the_total_time_holds_for_all_tries_together() -> None:
    async def play(link: Wire) -> None:
        await link.message()
        if len(upstream.links) == 1:
            await link.send(ok())
            await link.message()
            rig.pass_time(2000)
            link.close()
            return
        # Half of the time is over twice: alone, this try would be in time.
        rig.pass_time(2000)
        await link.rest()

    timeout = {"total": 3600, "response": 86400}
    async with Upstream(play) as upstream, gateway(to(upstream, timeout=timeout)) as rig:
        client = await rig.client()
        await client.send(get())
        await client.answer()
        await client.send(get())
        assert (await client.answer()).json()["reason"] == "total_timeout"
        assert rig.log[1]["attempts"] == 2


@on_loop
async def test_unix_sockets_are_upstreams_too(tmp_path: Path) -> None:
    seen: list[Message] = []
    path = str(tmp_path / "up.sock")
    async with Upstream(answering(lambda _: ok(b"x"), seen), unix=path) as upstream, gateway(to(upstream)) as rig:
        assert [(await rig.ask(get())).body for _ in range(2)] == [b"x", b"x"]
        assert seen[0].get("host") == "localhost"
        assert len(upstream.links) == 1


@pytest.mark.parametrize("stray", [b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", b"x"])
@on_loop
async def test_what_an_upstream_says_unasked_reaches_nobody(stray: bytes) -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        await client.send(get("/1"))
        link = await upstream.accepted()
        await link.message()
        # Behind the answer in one piece, and alone on the idle connection.
        await link.send(ok(b"1") + stray)
        assert (await client.answer()).body == b"1"
        assert await link.rest() == b""
        await client.send(get("/2"))
        link = await upstream.accepted()
        await link.message()
        await link.send(ok(b"2"))
        assert (await client.answer()).body == b"2"
        await link.send(stray)
        assert await link.rest() == b""


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000,
    ],
)
@on_loop
async def test_an_answer_that_is_none_is_a_bad_gateway(raw: bytes) -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        await client.send(get())
        link = await upstream.accepted()
        await link.message()
        link.writer.write(raw)
        answer = await client.answer()
        assert (answer.status, answer.json()["reason"]) == (502, "upstream_protocol")
        await link.rest()
