"""What the gateway asks others in the middle of a request: on real sockets, each way it can end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headgate.core.failure import Failure
from headgate.core.steps import Steps
from headgate.proxy.callout import MOST_BODY, Answer, Callout, Callouts
from headgate.wire.outbox import Outbox
from headgate.wire.resolver import Resolver
from headgate.wire.timers import TimerWheel, WheelDriver
from tests.proxy.peers import Message, Upstream, Wire, answering, eventually, free_port, ok, within
from tests.proxy.stage import on_loop
from tests.wire.certificates import Authority

FIELDS = [(b"Accept", b"application/json"), (b"Content-Type", b"application/x-www-form-urlencoded")]


@asynccontextmanager
async def asking() -> AsyncIterator[Callouts]:
    """Make callouts; at the end no deadline is left filed."""
    loop = asyncio.get_running_loop()
    wheel = TimerWheel()
    driver = WheelDriver(wheel, loop)
    callouts = Callouts(wheel, Outbox(loop), Resolver())
    yield callouts
    callouts.close()
    await eventually(lambda: not len(wheel))
    driver.close()


def to(callouts: Callouts, url: str, timeout: float = 10.0, ca: str | None = None) -> Callout:
    draft = callouts.draft()
    callout = draft.to(url, timeout, ca)
    draft.swap()
    return callout


class Course:
    """The course of a request that asks."""

    def __init__(self, callout: Callout, body: bytes = b"token=t", method: str = "POST") -> None:
        self.over: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.steps = Steps(self._run(callout, method, body))
        self.steps.go_on()

    async def _run(self, callout: Callout, method: str, body: bytes) -> None:
        try:
            answer = await callout.ask(method, FIELDS, body)
        except Failure as failure:
            self.over.set_exception(failure)
        else:
            self.over.set_result(answer)

    async def answer(self) -> Answer:
        answer: Answer = await within(self.over)
        return answer

    async def failure(self) -> Failure:
        with pytest.raises(Failure) as raised:
            await within(self.over)
        return raised.value


@on_loop
async def test_a_question_and_its_answer() -> None:
    seen: list[Message] = []
    play = answering(lambda _: ok(b'{"active": true}', "Content-Type: application/json"), seen)
    async with Upstream(play) as upstream, asking() as callouts:
        answer = await Course(to(callouts, f"{upstream.url}/o/introspect/?a=b")).answer()
        assert (answer.status, answer.body) == (200, b'{"active": true}')
        assert (b"Content-Type", b"application/json") in answer.fields
        (request,) = seen
        assert request.start == "POST /o/introspect/?a=b HTTP/1.1"
        assert request.get("host") == f"127.0.0.1:{upstream.port}"
        assert request.get("content-length") == "7"
        assert request.body == b"token=t"


@on_loop
async def test_a_question_without_body() -> None:
    seen: list[Message] = []
    async with Upstream(answering(lambda _: ok(status=204), seen)) as upstream, asking() as callouts:
        answer = await Course(to(callouts, upstream.url), b"", "GET").answer()
        assert answer.status == 204
        assert seen[0].start == "GET / HTTP/1.1"
        assert seen[0].get("content-length") is None


@on_loop
async def test_one_connection_serves_one_question_after_the_other_through_reloads() -> None:
    async with Upstream(answering(lambda request: ok(request.body))) as upstream, asking() as callouts:
        for number in range(5):
            assert (await Course(to(callouts, upstream.url), b"%d" % number).answer()).body == b"%d" % number
        assert len(upstream.links) == 1


@on_loop
async def test_what_is_no_longer_asked_is_closed() -> None:
    async with Upstream(answering(lambda _: ok())) as upstream, asking() as callouts:
        await Course(to(callouts, upstream.url)).answer()
        abandoned = callouts.draft()
        abandoned.to(f"http://127.0.0.1:{free_port()}", 1)
        await Course(to(callouts, upstream.url)).answer()
        assert len(upstream.links) == 1
        callouts.draft().swap()
        assert await upstream.links[0].rest() == b""


@on_loop
async def test_an_answer_in_chunks_and_pieces() -> None:
    async with Upstream() as upstream, asking() as callouts:
        course = Course(to(callouts, upstream.url))
        link = await upstream.accepted()
        await link.message()
        await link.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await asyncio.sleep(0)
        await link.send(b"2\r\nde\r\n0\r\n\r\n")
        assert (await course.answer()).body == b"abcde"


@on_loop
async def test_an_answer_that_ends_with_its_connection() -> None:
    async with Upstream() as upstream, asking() as callouts:
        course = Course(to(callouts, upstream.url))
        link = await upstream.accepted()
        await link.message()
        await link.send(b"HTTP/1.1 200 OK\r\n\r\nto the end")
        link.close()
        assert (await course.answer()).body == b"to the end"


@on_loop
async def test_redirects_and_errors_are_answers() -> None:
    for status in (302, 401, 500):
        seen: list[Message] = []
        play = answering(lambda _, status=status: ok(b"x", "Location: /y", status=status), seen)  # type: ignore[misc]
        async with Upstream(play) as upstream, asking() as callouts:
            assert (await Course(to(callouts, upstream.url)).answer()).status == status
            assert len(seen) == 1


@on_loop
async def test_the_bound_in_time_holds_for_all_of_it() -> None:
    async def trickle(link: Wire) -> None:
        await link.message()
        await link.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await link.send(b"1\r\nx\r\n")
            await asyncio.sleep(0.01)

    async with Upstream(trickle) as upstream, asking() as callouts:
        failure = await Course(to(callouts, upstream.url, 0.15)).failure()
        assert failure.reason == "response_timeout"
        await eventually(lambda: upstream.links[0].reader.at_eof() or upstream.links[0].writer.is_closing())


@on_loop
async def test_a_server_that_says_nothing() -> None:
    async with Upstream() as upstream, asking() as callouts:
        course = Course(to(callouts, upstream.url, 0.1), b"token=secret-1234")
        link = await upstream.accepted()
        await link.message()
        failure = await course.failure()
        assert failure.reason == "response_timeout"
        assert "secret" not in failure.detail
        assert await link.rest() == b""


@on_loop
async def test_a_server_that_is_not_there() -> None:
    async with asking() as callouts:
        failure = await Course(to(callouts, f"http://127.0.0.1:{free_port()}/x")).failure()
        assert failure.reason == "connect_refused"


Ending = Callable[[Wire], Awaitable[None]]


async def _nothing(link: Wire) -> None:
    link.close()


async def _reset(link: Wire) -> None:
    link.cut()


async def _half(link: Wire) -> None:
    await link.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
    link.close()


async def _garbage(link: Wire) -> None:
    await link.send(b"\x00\x01\x02 what?\r\n\r\n")


async def _long(link: Wire) -> None:
    await link.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (MOST_BODY + 1))


async def _endless(link: Wire) -> None:
    await link.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await link.send(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")


async def _switch(link: Wire) -> None:
    await link.send(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        (_nothing, "upstream_reset"),
        (_reset, "upstream_reset"),
        (_half, "upstream_reset"),
        (_garbage, "upstream_protocol"),
        (_long, "upstream_protocol"),
        (_endless, "upstream_protocol"),
        (_switch, "upstream_protocol"),
    ],
)
def test_what_is_no_answer_is_a_failure_and_its_connection_is_closed(ending: Ending, reason: str) -> None:
    @on_loop
    async def scenario() -> None:
        async def play(link: Wire) -> None:
            await link.message()
            await ending(link)

        async with Upstream(play) as upstream, asking() as callouts:
            failure = await Course(to(callouts, upstream.url)).failure()
            assert failure.reason == reason
            assert len(upstream.links) == 1
            await upstream.links[0].rest()

    scenario()


@on_loop
async def test_an_answer_just_small_enough() -> None:
    async with Upstream(answering(lambda _: ok(b"x" * MOST_BODY))) as upstream, asking() as callouts:
        assert len((await Course(to(callouts, upstream.url)).answer()).body) == MOST_BODY


@on_loop
async def test_a_connection_that_was_closed_under_our_hands_is_replaced_once() -> None:
    async with Upstream() as upstream, asking() as callouts:
        callout = to(callouts, upstream.url)
        course = Course(callout)
        first = await upstream.accepted()
        await first.message()
        await first.send(ok(b"1"))
        await course.answer()
        # Taken while it still looks open, and closed with the question in hand.
        course = Course(callout)
        await first.message()
        first.close()
        second = await upstream.accepted()
        assert (await second.message()).body == b"token=t"
        await second.send(ok(b"2"))
        assert (await course.answer()).body == b"2"
        course = Course(callout)
        await second.message()
        second.close()
        third = await upstream.accepted()
        await third.message()
        third.close()
        assert (await course.failure()).reason == "upstream_reset"
        assert len(upstream.links) == 3


@on_loop
async def test_a_client_that_leaves_ends_its_question_and_nobody_elses() -> None:
    async with Upstream() as upstream, asking() as callouts:
        callout = to(callouts, upstream.url)
        leaving, staying = Course(callout, b"1"), Course(callout, b"2")
        links = {}
        for _ in range(2):
            link = await upstream.accepted()
            links[(await link.message()).body] = link
        leaving.steps.interrupt(Failure("client_closed"))
        assert (await leaving.failure()).reason == "client_closed"
        assert await links[b"1"].rest() == b""
        await links[b"2"].send(ok(b"yes"))
        assert (await staying.answer()).body == b"yes"


@on_loop
async def test_a_client_that_leaves_while_connecting_leaves_a_connection_for_the_next() -> None:
    async with Upstream(answering(lambda _: ok(b"yes"))) as upstream, asking() as callouts:
        callout = to(callouts, upstream.url)
        course = Course(callout)
        course.steps.interrupt(Failure("client_closed"))
        assert (await course.failure()).reason == "client_closed"
        await eventually(lambda: callout._pool.idle == 1)
        assert (await Course(callout).answer()).body == b"yes"
        assert len(upstream.links) == 1


@on_loop
async def test_many_questions_at_once_share_few_connections() -> None:
    async with Upstream(answering(lambda request: ok(request.body))) as upstream, asking() as callouts:
        callout = to(callouts, upstream.url)
        courses = [Course(callout, b"%d" % number) for number in range(300)]
        for number, course in enumerate(courses):
            assert (await course.answer()).body == b"%d" % number
        assert len(upstream.links) <= 64


def test_over_tls(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "Stranger")
    context = authority.server_context("127.0.0.1")

    @on_loop
    async def scenario() -> None:
        async with Upstream(answering(lambda _: ok(b"safe")), tls=context) as upstream, asking() as callouts:
            assert (await Course(to(callouts, upstream.url, ca=authority.path)).answer()).body == b"safe"
            for ca in (stranger.path, None):
                failure = await Course(to(callouts, upstream.url, ca=ca)).failure()
                assert failure.reason == "tls"

    scenario()


def test_over_a_unix_socket(tmp_path: Path) -> None:
    @on_loop
    async def scenario() -> None:
        path = str(tmp_path / "s")
        seen: list[Message] = []
        async with Upstream(answering(lambda _: ok(b"here"), seen), unix=path), asking() as callouts:
            assert (await Course(to(callouts, f"unix:{path}:/check")).answer()).body == b"here"
            assert seen[0].target == "/check"

    scenario()


def test_what_cannot_be_asked_is_said_before(tmp_path: Path) -> None:
    @on_loop
    async def scenario() -> None:
        async with asking() as callouts:
            draft = callouts.draft()
            with pytest.raises(ValueError, match="expected https://"):
                draft.to("idp.example", 1)
            with pytest.raises(ValueError, match="missing"):
                draft.to("https://idp.example", 1, str(tmp_path / "missing.pem"))

    scenario()
