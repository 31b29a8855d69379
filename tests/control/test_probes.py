"""Checks at work: what they write onto the board and say, and what a reload makes of their schedules."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from headgate.control import probes
from headgate.control.log import Log
from headgate.control.probes import Probes
from headgate.policy.endpoint_record import (
    CHECK_STATUS,
    CHECKED_AT,
    CHECKS_IN_ROW,
    DISABLED,
    EJECTED_UNTIL,
    UNHEALTHY,
    WELL_SINCE,
    record_name,
)
from headgate.stores.board import Board
from tests.loops import on_plain_loop
from tests.proxy.peers import CEILING, Message, Upstream, Wire, answering, eventually, free_port, ok
from tests.proxy.stage import resolved, to
from tests.wire.certificates import Authority


class Lines(Log):
    """A log that is kept."""

    def __init__(self) -> None:
        super().__init__("control")
        self.lines: list[str] = []

    def __call__(self, level: str, message: str, **fields: object) -> None:
        if level == "debug":
            return
        self.lines.append(f"{level}: {message}")


class Rig:
    """Probes on a board; without chance, so that first checks begin at once."""

    def __init__(self, board: Board | None = None) -> None:
        self.board = board or Board.create(1)
        self.log = Lines()
        self.tasks: list[asyncio.Task[None]] = []
        self.probes = Probes(self.board, self.log, self._spawn, lambda: 0.0)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self.tasks.append(asyncio.get_running_loop().create_task(work))
        return self.tasks[-1]

    def follow(self, *upstreams: Upstream | str, health: dict[str, Any] | None = None, **service: Any) -> None:
        """Take a configuration: one service `api` of these endpoints, checked as fast as can be."""
        fast = {"interval": 0.01, "timeout": CEILING, "unhealthy_threshold": 1, **(health or {})}
        more = service if health is None else {"health": fast, **service}
        self.probes.follow(resolved(to(*upstreams, service=more)))

    def cell(self, upstream: Upstream | str, cell: int) -> int:
        url = upstream if isinstance(upstream, str) else upstream.url
        base = self.board.find(record_name("api", url.removeprefix("http://").removeprefix("https://")))
        assert base is not None
        return self.board.cells[base + cell]

    async def is_out(self, upstream: Upstream | str, out: bool = True) -> None:
        await eventually(lambda: self.cell(upstream, UNHEALTHY) == out)

    def counted(self) -> dict[tuple[str, ...], int]:
        return {each.name.labels: each.values[0] for each in self.probes.samples()}


@asynccontextmanager
async def checking(board: Board | None = None) -> AsyncIterator[Rig]:
    """Make a rig; none of its tasks may have failed."""
    rig = Rig(board)
    try:
        yield rig
    finally:
        for task in rig.tasks:
            task.cancel()
        ended = await asyncio.gather(*rig.tasks, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended


def by_status(statuses: list[int]) -> Callable[[Wire], Awaitable[None]]:
    """Answer with the first of the statuses, whatever they are then."""
    return answering(lambda _: ok(b"fine", status=statuses[0]))


# -- out and back --------------------------------------------------------------------------------------------------


@on_plain_loop
async def test_an_endpoint_that_fails_its_checks_is_out_and_comes_back() -> None:
    statuses = [200]
    async with Upstream(by_status(statuses)) as one, Upstream(by_status([200])) as other, checking() as rig:
        rig.follow(one, other, health={"unhealthy_threshold": 2, "healthy_threshold": 2})
        await eventually(lambda: rig.cell(one, CHECKS_IN_ROW) > 1 and rig.cell(other, CHECKS_IN_ROW) > 1)
        before = rig.board.version
        assert rig.log.lines == []
        statuses[0] = 500
        await rig.is_out(one)
        assert rig.board.version > before
        await eventually(lambda: rig.cell(one, CHECKS_IN_ROW) < -3)
        assert rig.cell(one, CHECK_STATUS) == 500
        assert rig.cell(other, UNHEALTHY) == 0
        statuses[0] = 200
        await rig.is_out(one, False)
        assert 0 < rig.cell(one, WELL_SINCE) <= rig.cell(one, CHECKED_AT)
        name = one.url.removeprefix("http://")
        assert rig.log.lines == [
            f"warning: endpoint {name} of api is unhealthy: status 500",
            f"info: endpoint {name} of api is healthy again",
        ]
        assert rig.counted()["api", "status"] >= 4
        assert rig.counted()["api", "well"] >= 4


@on_plain_loop
async def test_the_board_is_touched_by_changes_only() -> None:
    async with Upstream(by_status([200])) as upstream, checking() as rig:
        rig.follow(upstream, health={})
        await eventually(lambda: rig.cell(upstream, CHECKS_IN_ROW) > 5)
        assert rig.board.version == 0


@on_plain_loop
async def test_what_a_hand_took_out_stays_out_although_it_is_well() -> None:
    statuses = [500]
    async with Upstream(by_status(statuses)) as upstream, checking() as rig:
        rig.follow(upstream, health={})
        await rig.is_out(upstream)
        base = rig.board.find(record_name("api", upstream.url.removeprefix("http://")))
        assert base is not None
        rig.board.cells[base + DISABLED] = 1
        statuses[0] = 200
        await rig.is_out(upstream, False)
        await eventually(lambda: rig.cell(upstream, CHECKS_IN_ROW) > 3)
        assert rig.cell(upstream, DISABLED) == 1


# -- what is no good answer ----------------------------------------------------------------------------------------


async def _garbage(link: Wire) -> None:
    await link.head()
    await link.send(b"\0\1\2 what?\r\n\r\n")


async def _early_end(link: Wire) -> None:
    await link.head()
    await link.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok")
    link.close()


async def _silence(link: Wire) -> None:
    await link.rest()


async def _flood(link: Wire) -> None:
    await link.head()
    await link.send(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        await link.send(b"x" * 65536)


@pytest.mark.parametrize(
    ("play", "health", "outcome", "why"),
    [
        (by_status([503]), {}, "status", "status 503"),
        (by_status([302]), {}, "status", "status 302"),
        (by_status([200]), {"body": "excellent"}, "body", "the body does not match"),
        (_garbage, {}, "upstream_protocol", "no HTTP answer: "),
        (_early_end, {"body": "ok"}, "upstream_reset", "the connection was closed before the end of the answer"),
        (_silence, {"timeout": 0.2}, "response_timeout", "no answer within 0.2 s"),
        (_flood, {"body": "ok"}, "body", "the body does not match"),
    ],
    ids=["5xx", "redirect", "body", "garbage", "early end", "silence", "flood"],
)
@on_plain_loop
async def test_why_it_is_out(
    play: Callable[[Wire], Awaitable[None]], health: dict[str, Any], outcome: str, why: str
) -> None:
    async with Upstream(play) as upstream, checking() as rig:
        rig.follow(upstream, health=health)
        await rig.is_out(upstream)
        await eventually(lambda: rig.counted().get(("api", outcome), 0) > 1)
        assert len(rig.log.lines) == 1
        assert f"is unhealthy: {why}" in rig.log.lines[0]


@on_plain_loop
async def test_an_endpoint_where_nobody_listens_is_out_until_somebody_does() -> None:
    async with Upstream(by_status([200])) as upstream, checking() as rig:
        gone = f"http://127.0.0.1:{free_port()}"
        rig.follow(upstream, gone, health={})
        await rig.is_out(gone)
        assert "Connect" in rig.log.lines[0]
        assert rig.cell(gone, CHECK_STATUS) == 0
        assert rig.cell(upstream, UNHEALTHY) == 0
        assert rig.counted()["api", "connect_refused"] >= 1


@on_plain_loop
async def test_a_tcp_check_is_content_with_a_connection() -> None:
    async with Upstream(_silence) as upstream, checking() as rig:
        gone = f"http://127.0.0.1:{free_port()}"
        rig.follow(upstream, gone, health={"type": "tcp"})
        await rig.is_out(gone)
        await eventually(lambda: rig.cell(upstream, CHECKS_IN_ROW) > 1)
        assert rig.cell(upstream, UNHEALTHY) == 0


# -- what is asked -------------------------------------------------------------------------------------------------


@on_plain_loop
async def test_the_path_is_asked_as_it_stands_without_the_prefix_of_the_endpoint() -> None:
    seen: list[Message] = []
    async with Upstream(answering(lambda _: ok(), seen)) as upstream, checking() as rig:
        rig.follow(f"{upstream.url}/base", health={"path": "/up?deep=1"})
        await eventually(lambda: len(seen) > 0)
        assert (seen[0].method, seen[0].target) == ("GET", "/up?deep=1")
        assert seen[0].get("host") == upstream.url.removeprefix("http://")
        assert seen[0].get("user-agent") == "headgate-health"
        assert seen[0].get("connection") == "close"


@on_plain_loop
async def test_another_host_and_another_port_may_be_asked() -> None:
    seen: list[Message] = []
    async with Upstream(answering(lambda _: ok(), seen)) as upstream, checking() as rig:
        port = int(upstream.url.rpartition(":")[2])
        elsewhere = f"http://127.0.0.1:{free_port()}"
        rig.follow(elsewhere, health={"host": "api.internal", "port": port})
        await eventually(lambda: rig.cell(elsewhere, CHECKS_IN_ROW) > 0)
        assert seen[0].get("host") == "api.internal"


def test_over_a_unix_socket(tmp_path: Path) -> None:
    @on_plain_loop
    async def test() -> None:
        async with Upstream(by_status([200]), unix=str(tmp_path / "a.sock")) as upstream, checking() as rig:
            rig.follow(upstream, health={})
            await eventually(lambda: rig.cell(upstream, CHECKS_IN_ROW) > 1)

    test()


def test_over_tls_with_the_settings_of_the_service(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("api.internal")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    @on_plain_loop
    async def test() -> None:
        async with Upstream(by_status([200]), tls=context) as upstream, checking() as rig:
            rig.follow(upstream, health={}, tls={"ca": authority.path, "server_name": "api.internal"})
            await eventually(lambda: rig.cell(upstream, CHECKS_IN_ROW) > 1)
            # Other settings are another subject.
            rig.follow(upstream, health={}, tls={"ca": authority.path, "server_name": "other.internal"})
            await rig.is_out(upstream)
            assert "CERTIFICATE_VERIFY_FAILED" in rig.log.lines[0]
            rig.follow(upstream, health={}, tls={"ca": authority.path, "server_name": "api.internal"})
            await rig.is_out(upstream, False)
            spoil()
            await rig.is_out(upstream)
            assert "must hold certificates" in rig.log.lines[-1]

    def spoil() -> None:
        Path(authority.path).write_text("no certificate")

    test()


@on_plain_loop
async def test_never_more_than_so_many_are_asked_at_once() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "AT_ONCE", 3)
        async with AsyncExitStack() as stack:
            upstreams = [await stack.enter_async_context(Upstream()) for _ in range(8)]
            rig = await stack.enter_async_context(checking())
            rig.follow(*upstreams, health={"interval": 3600})

            def links() -> list[Wire]:
                return [link for upstream in upstreams for link in upstream.links]

            def so_many(count: int) -> Callable[[], bool]:
                return lambda: len(links()) == count

            answered: list[Wire] = []
            for count in range(3, 9):
                await eventually(so_many(count))
                waiting = [link for link in links() if link not in answered]
                assert len(waiting) == 3
                answered.append(waiting[0])
                await waiting[0].send(ok())


# -- reloads -------------------------------------------------------------------------------------------------------


@on_plain_loop
async def test_a_schedule_goes_on_through_a_reload_that_does_not_concern_it() -> None:
    async with Upstream() as upstream, checking() as rig:
        rig.follow(upstream, health={"unhealthy_threshold": 2})
        await (await upstream.accepted()).send(ok(status=500))
        await eventually(lambda: rig.cell(upstream, CHECKS_IN_ROW) == -1)
        link = await upstream.accepted()
        endpoint = {"url": upstream.url, "weight": 7, "zone": "b"}
        rig.follow(upstream, health={"unhealthy_threshold": 2}, endpoints=[endpoint], retry={"attempts": 0})
        # The question that was open is not asked again, and its answer counts.
        await link.send(ok(status=500))
        await rig.is_out(upstream)
        assert len(rig.tasks) == 1


@on_plain_loop
async def test_other_settings_begin_a_new_row_and_what_was_said_stands() -> None:
    async with Upstream() as upstream, checking() as rig:
        rig.follow(upstream, health={"healthy_threshold": 2})
        await (await upstream.accepted()).send(ok(status=500))
        await rig.is_out(upstream)
        await (await upstream.accepted()).send(ok())
        await eventually(lambda: rig.cell(upstream, CHECKS_IN_ROW) == 1)
        rig.follow(upstream, health={"healthy_threshold": 2, "path": "/other"})
        assert (rig.cell(upstream, CHECKS_IN_ROW), rig.cell(upstream, UNHEALTHY)) == (0, 1)
        while (request := await (link := await upstream.accepted()).head()).target != "/other":
            pass
        assert request.method == "GET"
        await link.send(ok())
        await eventually(lambda: rig.cell(upstream, CHECKS_IN_ROW) == 1)
        assert rig.cell(upstream, UNHEALTHY) == 1


def is_back(rig: Rig, upstream: Upstream, version: int) -> None:
    """See that nothing is known of an endpoint any more, and that workers learn of it."""
    assert [rig.cell(upstream, cell) for cell in (UNHEALTHY, CHECKS_IN_ROW, CHECKED_AT)] == [0, 0, 0]
    assert rig.cell(upstream, WELL_SINCE) > 0
    assert rig.board.version > version


async def is_asked_no_more(rig: Rig) -> None:
    await asyncio.gather(rig.tasks[0], return_exceptions=True)
    assert rig.tasks[0].cancelled()


@on_plain_loop
async def test_who_is_checked_no_longer_is_back() -> None:
    async with Upstream(by_status([500])) as upstream, Upstream(by_status([200])) as other, checking() as rig:
        rig.follow(upstream, other, health={})
        await rig.is_out(upstream)
        version = rig.board.version
        rig.follow(upstream, other)
        is_back(rig, upstream, version)
        assert rig.counted() == {}
        await is_asked_no_more(rig)


@pytest.mark.parametrize("how", ["no endpoint", "another service"])
@on_plain_loop
async def test_who_leaves_is_no_better_for_that_and_begins_anew_when_it_comes_back(how: str) -> None:
    """A worker that has not heard of it yet would ask it."""
    async with Upstream(by_status([500])) as upstream, Upstream(by_status([200])) as other, checking() as rig:
        rig.follow(upstream, other, health={}, outlier={})
        await rig.is_out(upstream)
        base = rig.board.find(record_name("api", upstream.url.removeprefix("http://")))
        assert base is not None
        rig.board.cells[base + EJECTED_UNTIL] = 1 << 60
        if how == "no endpoint":
            rig.follow(other, health={}, outlier={})
        else:
            rig.follow(upstream, other, health={}, outlier={}, name="new")
        assert rig.cell(upstream, UNHEALTHY) == 1
        assert rig.cell(upstream, EJECTED_UNTIL) > 0
        await is_asked_no_more(rig)
        version = rig.board.version
        rig.follow(upstream, other, health={}, outlier={})
        is_back(rig, upstream, version)
        assert rig.cell(upstream, EJECTED_UNTIL) == 0
        await rig.is_out(upstream)


@on_plain_loop
async def test_a_successor_goes_on_from_what_the_board_says() -> None:
    board = Board.create(1)
    async with Upstream() as upstream:
        async with checking(board) as rig:
            rig.follow(upstream, health={"healthy_threshold": 2})
            await (await upstream.accepted()).send(ok(status=500))
            await rig.is_out(upstream)
            await (await upstream.accepted()).send(ok())
            await eventually(lambda: rig.cell(upstream, CHECKS_IN_ROW) == 1)
            await upstream.accepted()
        async with checking(board) as successor:
            successor.follow(upstream, health={"healthy_threshold": 2})
            assert successor.cell(upstream, UNHEALTHY) == 1
            await (await upstream.accepted()).send(ok())
            await successor.is_out(upstream, False)


@on_plain_loop
async def test_a_successor_whose_configuration_checks_nothing_brings_everybody_back() -> None:
    board = Board.create(1)
    async with Upstream(by_status([500])) as upstream:
        async with checking(board) as rig:
            rig.follow(upstream, health={})
            await rig.is_out(upstream)
        async with checking(board) as successor:
            successor.follow(upstream)
            assert successor.cell(upstream, UNHEALTHY) == 0


@on_plain_loop
async def test_an_ejection_ends_with_the_judge_that_decided_it() -> None:
    board = Board.create(1)
    one, other = "http://127.0.0.1:1", "http://127.0.0.1:2"
    base = board.claim(record_name("api", "127.0.0.1:1"))
    board.cells[base + EJECTED_UNTIL] = 1 << 60
    async with checking(board) as rig:
        rig.follow(one, other, outlier={})
        assert (rig.cell(one, EJECTED_UNTIL), board.version) == (1 << 60, 0)
        rig.follow(one, other)
        assert (rig.cell(one, EJECTED_UNTIL), board.version) == (0, 1)


@on_plain_loop
async def test_a_board_that_is_full_leaves_the_rest_unchecked_and_says_so() -> None:
    board = Board.create(1, records=1)
    async with Upstream(by_status([500])) as upstream, checking(board) as rig:
        rig.follow(upstream, "http://127.0.0.1:9", health={})
        await rig.is_out(upstream)
        assert "error: endpoint 127.0.0.1:9 of api is not checked: no room" in rig.log.lines[0]


@on_plain_loop
async def test_first_checks_are_spread() -> None:
    """Chance says when within the first seconds, or the interval, an endpoint is asked for the first time."""
    loop = asyncio.get_running_loop()
    async with checking() as rig:
        rig.probes = Probes(rig.board, rig.log, rig._spawn, lambda: 0.5)
        due: list[float] = []
        timed, now = loop.call_at, loop.time()

        def call_at(when: float, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
            due.append(when - now)
            return timed(when, *args, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "call_at", call_at)
            # However long the machine takes between two of these lines.
            patch.setattr(loop, "time", lambda: now)
            rig.follow("http://127.0.0.1:9", health={"interval": 30})
            await asyncio.sleep(0)
            rig.follow("http://127.0.0.1:9", health={"interval": 1})
            await asyncio.sleep(0)
        assert due == [pytest.approx(1.0), pytest.approx(0.5)]
