"""An upstream ends its connection: before the head of its answer, or after any byte of it."""

from __future__ import annotations

import pytest

from bench import client
from bench.client import Outcome
from tests.faults.proxy import Fault, FaultProxy, Lane
from tests.faults.scene import Tally, ask, ask_all, upstream
from tests.proxy.peers import Message, Upstream, answering, eventually, get
from tests.proxy.stage import gateway, on_loop, to
from tests.proxy.strict import Incomplete, read_response

UNANSWERED = Fault(down=Lane(after=0, then="reset"))
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 26\r\n\r\nabcdefghijklmnopqrstuvwxyz"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nabcdefgh\r\n1\r\ni\r\na\r\njklmnopqrs\r\n0\r\n\r\n"
)
EVENTS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"e\r\ndata: first\n\n\n\r\nd\r\ndata: second\n\r\n1\r\n\n\r\n0\r\n\r\n"
)


@on_loop
async def test_an_idempotent_request_goes_once_more_to_another_endpoint() -> None:
    async with (
        upstream() as server,
        FaultProxy(server.port, UNANSWERED) as bad,
        FaultProxy(server.port) as good,
        gateway(to(bad.url, good.url)) as rig,
    ):
        for method in ("GET", "PUT", "DELETE") * 4:
            request = client.small(method=method)
            assert await ask(rig, request) == (Outcome.GOOD, "")
            assert server.seen[request.id] == rig.log[-1]["attempts"] <= 2
        assert sum(line["attempts"] == 2 for line in rig.log) == len(bad.passages) > 0
        assert {line["endpoint"] for line in rig.log} == {f"127.0.0.1:{good.port}"}


@on_loop
async def test_one_that_is_not_is_never_sent_twice() -> None:
    async with (
        upstream() as server,
        FaultProxy(server.port, UNANSWERED) as bad,
        FaultProxy(server.port) as good,
        gateway(to(bad.url, good.url)) as rig,
    ):
        tally = await ask_all(rig, (client.small(method="POST") for _ in range(20)))
        assert (tally[Outcome.GOOD], tally[Outcome.ERROR]) == (10, 10)
        assert tally.words == {"502 upstream_reset": 10}
        assert set(server.seen.values()) == {1}


@on_loop
async def test_without_another_endpoint_it_is_a_bad_gateway_and_the_breaker_counts_it() -> None:
    breaker = {"threshold": 4, "timeout": 3600}
    async with (
        upstream() as server,
        FaultProxy(server.port, UNANSWERED) as bad,
        gateway(to(bad.url, service={"circuit_breaker": breaker})) as rig,
    ):
        tally = Tally()
        for _ in range(4):
            await ask(rig, client.small(), tally)
        assert tally.words == {"502 upstream_reset": 4}
        answer = await rig.ask(get())
        assert (answer.status, answer.json()["reason"]) == (503, "breaker_open")
        assert answer.get("retry-after") is not None
        assert len(server.seen) == 4


@pytest.mark.parametrize("then", ["reset", "close"])
@pytest.mark.parametrize("raw", [LENGTH, CHUNKED, EVENTS], ids=["length", "chunked", "events"])
@on_loop
async def test_the_end_after_any_byte_is_seen_as_one_logged_and_not_tried_again(raw: bytes, then: str) -> None:
    head = raw.index(b"\r\n\r\n") + 4
    seen: list[Message] = []
    after = 0

    def script(_: int) -> Fault:
        # The upstream says a byte more than the answer: that one brings the end about.
        return Fault(down=Lane(after=after, then=then))  # type: ignore[arg-type]

    async with (
        Upstream(answering(lambda _: raw, seen)) as server,
        FaultProxy(server.port, script) as one,
        FaultProxy(server.port, script) as two,
        gateway(to(one.url, two.url)) as rig,
    ):
        for after in range(len(raw)):
            seen.clear()
            wire = await rig.client()
            await wire.send(get())
            if after < head:
                answer = await wire.answer()
                assert (answer.status, answer.json()["reason"]) == (502, "upstream_reset"), after
                wire.close()
                continue
            came = await wire.rest()
            with pytest.raises(Incomplete):
                read_response(came, closed=True)
            line = (await rig.logged(after + 1))[-1]
            assert (line["status_code"], line["error"], line["attempts"]) == (200, "upstream_reset", 1), after
            assert line["bytes_out"] == len(content(came)) == len(content(raw[:after])), after
            assert len(seen) == 1, after
        await eventually(lambda: one.alive == two.alive == 0)


def content(raw: bytes) -> bytes:
    """Return the content of an answer that was cut anywhere behind its head."""
    head, _, rest = raw.partition(b"\r\n\r\n")
    if b"chunked" not in head.lower():
        return rest
    found = b""
    while True:
        line, whole, rest = rest.partition(b"\r\n")
        size = int(line, 16) if whole else 0
        if not size:
            return found
        found += rest[:size]
        rest = rest[size + 2 :]
