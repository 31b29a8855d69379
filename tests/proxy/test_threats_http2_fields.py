"""What HTTP/2 can write and HTTP/1 cannot: none of it reaches a service, and none of it is anybody else's request.

The tables are those of tests.wire.http2.test_head; here they go through a whole gateway to an upstream that writes down
every byte and reads it strictly (RFC 9113 section 10.3, CVE-2025-57804, "HTTP/2: the sequel is always worse").
"""

from __future__ import annotations

import pytest

from headgate.core.message import Fields
from tests.proxy.raw import attack
from tests.proxy.recorder import OK, Recorder, Seen
from tests.proxy.stage import Rig
from tests.proxy.strict import Message
from tests.proxy.test_threats_http2 import breaking
from tests.wire.http2.breaker import END_STREAM, GET, RST_STREAM, block, data, headers, literal
from tests.wire.http2.test_head import HOSTS, MALFORMED, PATHS, instead

HEAD = block(GET)
# A name above ASCII would not be latin-1 text of the same bytes: blocks are written byte by byte.
REFUSED: dict[str, Fields] = {
    **{name: fields for name, fields in MALFORMED.items() if fields},
    **{f"path {path!r}": instead(b":path", path) for path in PATHS},
    **{f"authority {host!r}": instead(b":authority", host) for host in HOSTS},
}


def raw(fields: Fields) -> bytes:
    """Write fields as they are."""
    return b"".join(literal(name, value) for name, value in fields)


def test_no_field_becomes_two_and_no_request_becomes_another() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with breaking(rig) as breaker:
            for number, (case, fields) in enumerate(REFUSED.items()):
                breaker.send(headers(2 * number + 1, raw(fields)))
                assert await breaker.status(2 * number + 1) == 400, case
        # One connection had them all, and served on.
        assert [(seen.method, seen.target) for seen in upstream.requests] == [("GET", "/behind")]
        lines = await rig.logged(len(REFUSED) + 1)
        assert {line["status_code"] for line in lines[:-1]} == {400}
        assert all("\n" not in str(line) and line["protocol"] == "HTTP/2" for line in lines)

    attack(scenario)


def test_what_passes_is_written_as_one_well_formed_request() -> None:
    odd = [
        *GET,
        ("x-odd", 'a: b; c="d" \x7f'[:-1].strip()),
        ("x-empty", ""),
        ("x_underscore", "dropped"),
        ("x-forwarded-for", "6.6.6.6"),
        ("http2-settings", "AAMAAABkAAQAAP__"),
        ("te", "trailers"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
    ]

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with breaking(rig) as breaker:
            breaker.send(headers(1, block(odd)))
            assert await breaker.status(1) == 200
        request = upstream.requests[0]
        assert (request.method, request.target) == ("GET", "/")
        assert len(request.all("host")) == 1
        assert request.all("cookie") == ["a=1; b=2"]
        assert request.all("x-forwarded-for") == ["127.0.0.1"]
        names = {name for name, _ in request.fields}
        assert {"x-odd", "x-empty"} <= names
        assert not names & {"x_underscore", "http2-settings", "te", "connection", "transfer-encoding", "content-length"}
        assert upstream.raw.count(b"\r\n\r\n") == 2

    attack(scenario)


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("length", [None, len(SMUGGLED)], ids=["chunked", "of known length"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
def test_a_body_stays_a_body(method: str, length: int | None) -> None:
    fields = [(":method", method), *GET[1:], *([("content-length", str(length))] if length else [])]

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with breaking(rig) as breaker:
            breaker.send(headers(1, block(fields), end=False), data(1, SMUGGLED[:9]), data(1, SMUGGLED[9:], end=True))
            assert await breaker.status(1) == 200
        assert [(each.target, each.body) for each in upstream.requests] == [("/", SMUGGLED), ("/behind", b"")]

    attack(scenario)


@pytest.mark.parametrize(
    ("length", "body"), [(5, SMUGGLED), (500, SMUGGLED), (0, SMUGGLED)], ids=["longer", "shorter", "none was told"]
)
def test_a_length_that_lies_frames_nothing(length: int, body: bytes) -> None:
    fields = [(":method", "POST"), *GET[1:], ("content-length", str(length))]

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with breaking(rig) as breaker:
            breaker.send(headers(1, block(fields), end=False), data(1, body, end=True))
            assert await breaker.status(1) == 400
            breaker.send(headers(3, HEAD))
            assert await breaker.status(3) == 200
        # It came in one read: nothing of it was begun.
        assert [each.target for each in upstream.requests] == ["/", "/behind"]
        assert b"smuggled" not in upstream.raw

    attack(scenario)


TRAILERS = {
    "a pseudo-field": [(b":path", b"/admin")],
    "capitals": [(b"X-Sum", b"1")],
    "a line's end": [(b"x-sum", b"1\r\n\r\nGET /smuggled HTTP/1.1")],
    "of a connection": [(b"transfer-encoding", b"chunked")],
    "framing": [(b"content-length", b"5")],
    "who asks": [(b"authorization", b"Bearer x")],
    "another host": [(b"host", b"evil.test")],
}


@pytest.mark.parametrize("case", TRAILERS)
def test_trailers_are_judged_as_heads(case: str) -> None:
    upload = block([(":method", "POST"), *GET[1:]])

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with breaking(rig) as breaker:
            breaker.send(headers(1, upload, end=False), data(1, b"body"))
            await upstream.until(lambda: b"body" in upstream.raw)
            breaker.send(headers(1, raw(TRAILERS[case])))
            assert await breaker.status(1) == 400
            await upstream.connections[0].closed
        # The service never saw the end of that body.
        assert [each.target for each in upstream.requests] == ["/behind"]
        assert b"smuggled" not in upstream.raw

    attack(scenario)


def test_an_answer_reaches_the_stream_it_belongs_to() -> None:
    # Sixteen at once, answered in any order: each hears its own.
    waiting: list[tuple[Seen, Message]] = []

    def script(seen: Seen, request: Message) -> bytes | None:
        if request.target == "/behind":
            return OK
        waiting.append((seen, request))
        if len(waiting) == 16:
            for link, each in waiting[::-3] + waiting[-2::-3] + waiting[-3::-3]:
                link.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(each.target) + each.target.encode())
        return None

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with breaking(rig) as breaker:
            for n in range(1, 33, 2):
                breaker.send(headers(n, block([*GET[:3], (":path", f"/{n}")])))
            bodies: dict[int, bytes] = {}
            while len(bodies) < 16:
                came = await breaker.next()
                assert came is not None
                assert came.kind != RST_STREAM
                if came.kind == 0 and came.flags & END_STREAM:
                    bodies[came.stream] = came.content
            assert bodies == {n: b"/%d" % n for n in range(1, 33, 2)}

    attack(scenario, Recorder(script))
