"""What a caller of gRPC hears from the gateway itself: every refusal is a status, in the head of an own answer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest

from headgate.plugin import Answer, Deny
from tests.proxy.grpc_peers import CALL, GrpcServer, calling, code, echo, fails, framed, method, over, to_grpc
from tests.proxy.http2_client import http2
from tests.proxy.http2_upstream import Http2Upstream
from tests.proxy.peers import Message, free_port, get
from tests.proxy.scripted import MADE, SCRIPTS, plugged
from tests.proxy.stage import Rig, gateway, on_loop, to

ONCE = {"name": "once", "requests": 1, "window": 3600, "key": ["address"]}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Forget the plugins of the test before."""
    SCRIPTS.clear()
    MADE.clear()
    yield


async def refused(rig: Rig, path: str = "/test.Service/Unary", *fields: tuple[str, str], **more: Any) -> Message:
    """Call by hand; the answer must be Trailers-Only, whatever it says."""
    async with await http2(rig) as client:
        stream = client.request(path, *CALL, *fields, method="POST", body=framed(b"x"), **more)
        answer = await stream.answer()
        assert (answer.status, answer.get("content-type")) == (200, "application/grpc")
        assert (answer.body, answer.trailers) == (b"", [])
        assert answer.get("grpc-status") not in (None, "0")
        return answer


# -- by grpcio -----------------------------------------------------------------------------------------------------


@on_loop
async def test_a_caller_beyond_its_limit_is_told_so_and_when_to_come_again() -> None:
    async with GrpcServer(Unary=echo) as server, gateway(to_grpc(server, limits=[ONCE])) as rig:
        async with calling(rig) as channel:
            unary = channel.unary_unary(method("Unary"))
            await unary(b"")
            error = await fails(unary(b""))
            assert (code(error), error.details()) == (8, "Too many requests; try again later.")
            said = {**dict(error.initial_metadata()), **dict(error.trailing_metadata())}
            assert 0 < int(str(said["retry-after"])) <= 3600
            assert said["x-request-id"]
        passed, line = await rig.logged(2)
        assert (passed["status_code"], passed["grpc_status"]) == (200, 0)
        assert (line["status_code"], line["grpc_status"], line["error"]) == (429, 8, "rate_limited")
        assert rig.counted("errors_total", reason="rate_limited") == 1
        assert rig.counted("grpc_requests_total", grpc_status="8") == 1


@on_loop
async def test_who_shows_no_credential_or_a_wrong_one_is_unauthenticated() -> None:
    static = [{"id": "alice", "hash": "sha256:" + hashlib.sha256(b"hg_right").hexdigest()}]
    config: dict[str, Any] = {"identity": {"api_keys": {"static": static}}, "route": {"auth": "required"}}
    async with GrpcServer(Unary=echo) as server, gateway(to_grpc(server, **config)) as rig, calling(rig) as channel:
        unary = channel.unary_unary(method("Unary"))
        assert code(await fails(unary(b""))) == 16
        assert code(await fails(unary(b"", metadata=(("x-api-key", "hg_wrong"),)))) == 16
        assert await unary(b"hello", metadata=(("x-api-key", "hg_right"),)) == b"hello"
        assert [each["status_code"] for each in await rig.logged(3)] == [401, 401, 200]


@on_loop
async def test_a_message_larger_than_allowed_is_told_so_at_once_and_midway() -> None:
    async with GrpcServer(Unary=echo) as server, gateway(to_grpc(server, max_body=100)) as rig:
        async with calling(rig) as channel:
            error = await fails(channel.unary_unary(method("Unary"))(b"x" * 1000))
            assert code(error) == 8
        (line,) = await rig.logged()
        assert (line["status_code"], line["grpc_status"], line["error"]) == (413, 8, "payload_too_large")


@on_loop
async def test_an_answer_under_way_ends_with_the_status_of_what_ended_it() -> None:
    async with Http2Upstream() as upstream, gateway(over(upstream, max_body=20)) as rig, await http2(rig) as client:
        stream = client.request(method("Bidi"), *CALL, method="POST", body=framed(b"one"), end=False)
        link = await upstream.accepted()
        asked = await link.asked()
        link.head(asked, *CALL)
        link.data(asked, framed(b"two"))
        assert await stream.received(8) == framed(b"two")
        await stream.send(framed(b"much too large for it"))
        answer = await stream.answer()
        assert dict(answer.trailers) == {
            "grpc-status": "8",
            "grpc-message": "The request body is larger than allowed here.",
        }
        (line,) = await rig.logged()
        assert (line["status_code"], line["grpc_status"], line["error"]) == (200, 8, "payload_too_large")


# -- by hand -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "path", "fields", "number", "status"),
    [
        ({"route": {"match": {"path": "/other"}}}, method("Unary"), (), "12", 404),
        ({"route": {"match": {"path": "/", "method": ["GET"]}}}, method("Unary"), (), "12", 405),
        ({"route": {"addresses": {"deny": ["127.0.0.0/8"]}}}, method("Unary"), (), "7", 403),
        ({"route": {"fault": {"abort": {"status": 503, "percent": 100}}}}, method("Unary"), (), "14", 503),
        ({"route": {"fault": {"abort": {"status": 429, "percent": 100}}}}, method("Unary"), (), "8", 429),
        ({"trusted_hosts": ["other.test"]}, method("Unary"), (), "13", 400),
        ({}, "/a/%2F/b", (), "13", 400),
        ({}, method("Unary"), (("grpc-timeout", "0n"),), "4", 504),
        ({}, method("Unary"), (), "14", 502),
    ],
    ids=["no-route", "no-method", "address", "fault", "fault-429", "host", "path", "deadline", "nobody"],
)
def test_every_refusal_is_a_status(
    config: dict[str, Any], path: str, fields: tuple[tuple[str, str], ...], number: str, status: int
) -> None:
    @on_loop
    async def play() -> None:
        document = to(f"http://127.0.0.1:{free_port()}", service={"protocol": "http2"}, **config)
        async with gateway(document) as rig:
            answer = await refused(rig, path, *fields)
            assert answer.get("grpc-status") == number
            assert answer.get("grpc-message")
            (line,) = await rig.logged()
            assert (line["status_code"], line["grpc_status"]) == (status, int(number))

    play()


@on_loop
async def test_an_open_breaker_tells_when_to_come_again() -> None:
    service = {"circuit_breaker": {"threshold": 1, "timeout": 60, "jitter": 0}, "retry": {"attempts": 0}}
    async with GrpcServer() as server:
        pass
    async with gateway(to_grpc(server, service=service)) as rig:
        assert (await refused(rig)).get("grpc-retry-pushback-ms") is None
        answer = await refused(rig)
        assert answer.get("grpc-status") == "14"
        assert answer.get("grpc-message") == "The service is failing and is given a rest."
        assert 59_000 < int(answer.get("grpc-retry-pushback-ms") or 0) <= 60_000
        assert answer.get("retry-after") == "60"


@on_loop
async def test_a_sentence_of_the_configuration_is_the_message() -> None:
    errors = {"reasons": {"route_not_found": {"status": 410, "message": "nichts da: 100 % weg, ö"}}}
    route = {"match": {"path": "/other"}}
    async with GrpcServer() as server, gateway(to_grpc(server, errors=errors, route=route)) as rig:
        answer = await refused(rig)
        assert unquote(answer.get("grpc-message") or "") == "nichts da: 100 % weg, ö"
        # The code says what happened, whatever status the configuration gives it.
        assert answer.get("grpc-status") == "12"
        (line,) = await rig.logged()
        assert (line["status_code"], line["grpc_status"]) == (410, 12)


@on_loop
async def test_what_a_plugin_denies_or_answers_is_a_status_too() -> None:
    verdicts: list[Any] = [Deny(403, "no entry"), Answer(503, b"gone fishing")]
    entries = [plugged(lambda _: verdicts[0])]
    async with GrpcServer() as server, gateway(to_grpc(server, plugins=entries)) as rig:
        denied = await refused(rig)
        assert denied.get("grpc-status") == "7"
        verdicts.pop(0)
        answered = await refused(rig)
        assert (answered.get("grpc-status"), answered.get("grpc-message")) == ("14", "gone fishing")


@on_loop
async def test_a_fixed_answer_is_a_status_and_one_of_grpc_passes_as_it_is() -> None:
    fixed = {"status": 503, "body": "maintenance until noon", "content_type": "text/plain"}
    async with GrpcServer() as server, gateway(to_grpc(server, route={"respond": fixed})) as rig:
        answer = await refused(rig)
        assert (answer.get("grpc-status"), answer.get("grpc-message")) == ("14", "maintenance until noon")
        (line,) = await rig.logged()
        assert (line["status_code"], line["grpc_status"], line["level"]) == (503, 14, "ERROR")
    own = {
        "status": 200,
        "content_type": "application/grpc",
        "headers": {"grpc-status": "9", "grpc-message": "not now"},
    }
    async with GrpcServer() as server, gateway(to_grpc(server, route={"respond": own})) as rig:
        answer = await refused(rig)
        assert (answer.get("grpc-status"), answer.get("grpc-message")) == ("9", "not now")


@on_loop
async def test_what_only_looks_like_a_call_is_answered_as_any_request() -> None:
    async with GrpcServer() as server, gateway(to_grpc(server, route={"match": {"path": "/other"}})) as rig:
        async with await http2(rig) as client:
            web = (("content-type", "application/grpc-web+proto"),)
            answer = await client.ask(method("Unary"), *web, method="POST", body=b"x")
            assert (answer.status, answer.get("grpc-status")) == (404, None)
            answer = await client.ask(method("Unary"), *CALL)
            assert (answer.status, answer.get("grpc-status")) == (404, None)
        answer = await rig.ask(get("/x", "Content-Type: application/grpc", method="POST", body=b"x"))
        assert (answer.status, answer.get("grpc-status")) == (404, None)
        assert all("grpc_status" not in line for line in await rig.logged(3))
