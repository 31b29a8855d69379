"""One configuration after another in a running gateway, and its orderly end."""

from __future__ import annotations

import asyncio
import resource
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.peers import CEILING, Cut, Upstream, answering, eventually, get, ok
from tests.proxy.stage import ADDRESS, gateway, on_loop, resolved, to
from tests.wire.certificates import Authority


@on_loop
async def test_requests_in_flight_finish_on_the_plan_they_began_with() -> None:
    async with Upstream() as old, Upstream(answering(lambda _: ok(b"new"))) as new, gateway(to(old)) as rig:
        client = await rig.client()
        await client.send(get("/", "Content-Length: 2", method="POST"), b"a")
        link = await old.accepted()
        await link.head()
        rig.apply(to(new, max_body=1))
        await client.send(b"b")
        assert await link.read(2) == b"ab"
        await link.send(ok(b"old"))
        assert (await client.answer()).body == b"old"
        # The same client's next request, and everybody else's, are for the new plan; the old pool keeps nothing.
        await client.send(get())
        assert (await client.answer()).body == b"new"
        assert await link.rest() == b""


@on_loop
async def test_a_pool_lives_on_where_its_settings_are_equal() -> None:
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream)) as rig:
        await rig.ask(get())
        rig.apply(to(upstream, timeout={"response": 7}))
        await rig.ask(get())
        assert len(upstream.links) == 1
        rig.apply(to(upstream, service={"pool": {"max_idle": 7}}))
        await rig.ask(get())
        assert len(upstream.links) == 2


@on_loop
async def test_idle_connections_of_a_service_that_is_gone_are_closed() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        await client.send(get())
        link = await upstream.accepted()
        await link.message()
        await link.send(ok())
        await client.answer()
        rig.apply(to("http://127.0.0.1:1", retry={"attempts": 0}))
        assert await link.rest() == b""
        await client.send(get())
        assert (await client.answer()).status == 502


@pytest.mark.parametrize("vanished", ["the authorities of an upstream", "the folder of the access log"])
@on_loop
async def test_a_plan_that_cannot_be_built_changes_nothing(vanished: str, tmp_path: Path) -> None:
    thing = tmp_path / "thing"
    if vanished.startswith("the auth"):
        authority = Authority(tmp_path)
        thing.hardlink_to(authority.path)
        document = to("https://127.0.0.1:1", service={"tls": {"ca": str(thing)}})
    else:
        thing.mkdir()
        document = to("http://127.0.0.1:1", telemetry={"access_log": {"path": str(thing / "access.log")}})
    async with Upstream(answering(lambda _: ok(b"as ever"))) as upstream, gateway(to(upstream)) as rig:
        await rig.ask(get())
        plan = rig.gateway.plan
        # What the checks before a reload have seen may vanish behind them.
        config = resolved(document)
        if thing.is_dir():
            thing.rmdir()
        else:
            thing.unlink()
        with pytest.raises(ValueError, match="thing"):
            rig.gateway.apply(config, rig.sockets)
        assert rig.gateway.plan is plan
        assert (await rig.ask(get())).body == b"as ever"
        assert len(upstream.links) == 1


@on_loop
async def test_listeners_come_and_go_and_keep_their_connections() -> None:
    second = "127.0.0.1:8082"
    async with Upstream(answering(lambda _: ok(b"x"))) as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        await client.send(get())
        await client.answer()
        port = rig.port()
        rig.apply(to(upstream, listen=[ADDRESS, second]))
        assert rig.port() == port
        other = await rig.client(second)
        await other.send(get())
        assert (await other.answer()).body == b"x"
        rig.apply(to(upstream))
        await other.send(get())
        assert (await other.answer()).body == b"x"
        await client.send(get())
        assert (await client.answer()).body == b"x"


@pytest.mark.parametrize("changed", [{"proxy_protocol": ["10.0.0.0/8"]}, {}], ids=["PROXY protocol", "plain"])
@on_loop
async def test_no_socket_is_left_of_a_listener_that_is_gone(changed: dict[str, Any]) -> None:
    def sockets() -> int:
        # The folder lists the descriptor it is listed by, too.
        listed = [fd for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]
        return sum(str(fd.readlink()).startswith("socket:") for fd in listed)

    second = "127.0.0.1:8082"
    async with gateway({}) as rig:
        await asyncio.sleep(0)
        before = sockets()
        for _ in range(3):
            rig.apply({"listen": [ADDRESS, {"address": second, **changed}]})
            port = rig.port(second)
            rig.apply({"listen": [ADDRESS]})
            await eventually(lambda: sockets() <= before)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
        # Other settings on the same address: what was given stays, what was made of it goes.
        for _ in range(3):
            rig.apply({"listen": [{"address": ADDRESS, **changed}]})
            await asyncio.sleep(0)
            rig.apply({"listen": [ADDRESS]})
            await eventually(lambda: sockets() <= before)


@on_loop
async def test_a_listener_that_cannot_be_served_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    async with gateway({}) as rig:
        given = {**rig.sockets, "127.0.0.1:8082": [socket.socket(socket.AF_INET, socket.SOCK_DGRAM)]}
        rig.gateway.apply(resolved({"listen": [ADDRESS, "127.0.0.1:8082"]}), given)
        await eventually(lambda: "headgate: a listener does not work: " in capsys.readouterr().err)
        assert (await rig.ask(get("/health"))).status == 200
        rig.apply({})


@on_loop
async def test_new_limits_are_for_new_connections() -> None:
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream)) as rig:
        old = await rig.client()
        await old.send(get())
        await old.answer()
        rig.apply(to(upstream, http={"max_headers": 3}))
        many = get("/", "A: 1", "B: 2", "C: 3", "D: 4")
        await old.send(many)
        assert (await old.answer()).status == 200
        assert (await rig.ask(many)).status == 431


@on_loop
async def test_new_names_of_the_request_id_hold_for_pools_that_live_on() -> None:
    async with Upstream(answering(lambda _: ok(b"", "X-Trace: theirs"))) as upstream, gateway(to(upstream)) as rig:
        assert (await rig.ask(get())).get("x-trace") == "theirs"
        rig.apply(to(upstream, request_id={"headers": ["X-Trace"]}))
        assert (await rig.ask(get("/", "X-Trace: mine"))).get("x-trace") == "mine"


# -- the end -------------------------------------------------------------------------------------------------------


@on_loop
async def test_draining_answers_what_is_asked_and_closes_behind_it() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        busy, idle = await rig.client(), await rig.client()
        await busy.send(get("/busy"))
        link = await upstream.accepted()
        await link.message()
        await idle.send(get("/ready"))
        assert (await idle.answer()).status == 200
        rig.gateway.begin_drain()
        await idle.send(get("/ready"))
        answer = await idle.answer()
        assert (answer.status, answer.get("connection"), answer.json()["reason"]) == (503, "close", "draining")
        assert await idle.rest() == b""
        late = await rig.client()
        await late.send(get("/health"))
        answer = await late.answer()
        assert (answer.status, answer.get("connection"), answer.json()["status"]) == (200, "close", "draining")
        waiting = asyncio.create_task(rig.gateway.wait_idle(CEILING))
        await rig.gateway.stop_accepting()
        assert not waiting.done()
        await link.send(ok(b"done"))
        answer = await busy.answer()
        assert (answer.body, answer.get("connection")) == (b"done", "close")
        assert await busy.rest() == b""
        assert await waiting


@on_loop
async def test_connections_in_the_queue_are_accepted_and_answered() -> None:
    async with Upstream(answering(lambda _: ok(b"x"))) as upstream, gateway(to(upstream)) as rig:
        clients = []
        for _ in range(20):
            # Connected and asked by the kernel alone: the loop has not had a turn since.
            sock = socket.create_connection(("127.0.0.1", rig.port()))
            sock.sendall(get())
            clients.append(sock)
        rig.gateway.begin_drain()
        await rig.gateway.stop_accepting()
        assert await rig.gateway.wait_idle(CEILING)
        for sock in clients:
            sock.setblocking(False)
            data = b""
            while piece := await asyncio.get_running_loop().sock_recv(sock, 65536):
                data += piece
            assert data.startswith(b"HTTP/1.1 200 ")
            assert data.endswith(b"x")
            sock.close()


@on_loop
async def test_idle_clients_are_let_go_and_a_half_sent_request_is_waited_for() -> None:
    async with Upstream(answering(lambda _: ok(b"x"))) as upstream, gateway(to(upstream)) as rig:
        idle, slow = await rig.client(), await rig.client()
        await idle.send(get())
        await idle.answer()
        await slow.send(get()[:-2])
        await eventually(lambda: any(each._reader.in_head for each in rig.connections))
        rig.gateway.begin_drain()
        await rig.gateway.stop_accepting()
        assert await idle.rest() == b""
        await slow.send(b"\r\n")
        answer = await slow.answer()
        assert (answer.body, answer.get("connection")) == (b"x", "close")


@on_loop
async def test_an_answer_that_a_slow_client_still_reads_is_waited_for() -> None:
    body = b"x" * 8_000_000
    async with Upstream(answering(lambda _: ok(body))) as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        await client.send(get())
        head = await client.head()
        assert head.get("content-length") == str(len(body))
        rig.gateway.begin_drain()
        waiting = asyncio.create_task(rig.gateway.wait_idle(CEILING))
        await rig.gateway.stop_accepting()
        assert await client.read(len(body)) == body
        client.close()
        assert await waiting


@on_loop
async def test_what_is_not_done_in_time_is_cut() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        await client.send(get())
        link = await upstream.accepted()
        await link.message()
        rig.gateway.begin_drain()
        await rig.gateway.stop_accepting()
        assert not await rig.gateway.wait_idle(0.05)
        rig.gateway.abort()
        with pytest.raises(Cut):
            await client.head()
        assert await link.rest() == b""


@pytest.mark.parametrize("error", [PermissionError("not allowed"), ValueError("above the kernel's own")])
@on_loop
async def test_a_file_limit_that_cannot_be_raised_is_a_warning(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    async with Upstream(answering(lambda _: ok(b"x"))) as upstream, gateway(to(upstream)) as rig:
        assert rig.said == ["the limit of open files cannot be raised"]
        assert (await rig.ask(get())).status == 200
