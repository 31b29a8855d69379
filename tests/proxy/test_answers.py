"""What the gateway itself says: limits, ids, errors, its own endpoints, and the line each request leaves in the log."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.peers import Message, Upstream, Wire, answering, eventually, get, ok
from tests.proxy.stage import gateway, on_loop, to

NOWHERE = "http://127.0.0.1:1"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


# -- limits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_address"])
@on_loop
async def test_more_connections_than_allowed_are_told_so(limit: str) -> None:
    async with Upstream(answering(lambda _: ok(b"x"))) as upstream, gateway(to(upstream, http={limit: 2})) as rig:
        first, second = await rig.client(), await rig.client()
        for client in (first, second):
            await client.send(get())
            assert (await client.answer()).status == 200
        third = await rig.client()
        answer = await third.answer()
        assert (answer.status, answer.get("connection"), answer.get("retry-after")) == (503, "close", "1")
        assert await third.rest() == b""
        # There was no request, and so no line in the log.
        assert rig.counted("errors_total", reason="overloaded") == 1
        assert len(rig.log) == 2
        third.close()
        first.close()
        await eventually(lambda: rig.counted("connections_open") == 1)
        assert (await rig.ask(get())).body == b"x"


@on_loop
async def test_a_connection_serves_so_many_requests() -> None:
    document = to(NOWHERE, http={"keepalive_requests": 3})
    async with gateway(document) as rig:
        client = await rig.client()
        await client.send(get("/health") * 5)
        assert [(await client.answer()).get("connection") for _ in range(3)] == [None, None, "close"]
        assert await client.rest() == b""


@on_loop
async def test_an_idle_client_is_let_go() -> None:
    async with gateway(to(NOWHERE, http={"keepalive_timeout": 0.1})) as rig:
        client = await rig.client()
        assert await client.rest() == b""
        client = await rig.client()
        await client.send(get("/health"))
        await client.answer()
        assert await client.rest() == b""


@on_loop
async def test_a_body_known_to_be_too_large_never_reaches_the_upstream() -> None:
    async with Upstream() as upstream, gateway(to(upstream, max_body=3)) as rig:
        answer = await rig.ask(get("/", method="POST", body=b"1234"))
        assert (answer.status, answer.json()["reason"]) == (413, "payload_too_large")
        assert not upstream.links


@on_loop
async def test_a_chunked_body_is_counted_as_it_comes() -> None:
    async with Upstream() as upstream, gateway(to(upstream, max_body=3)) as rig:
        client = await rig.client()
        await client.send(get("/", "Transfer-Encoding: chunked", method="POST"), b"3\r\nabc\r\n")
        link = await upstream.accepted()
        await link.head()
        assert await link.chunk() == b"abc"
        await client.send(b"1\r\nd\r\n0\r\n\r\n")
        assert (await client.answer()).status == 413
        assert await link.rest() == b""
        assert (await rig.logged())[0]["error"] == "payload_too_large"


@pytest.mark.parametrize(("sent", "status"), [(get()[:-2], 408), (get("/", "Content-Length: 9", method="POST"), 408)])
@on_loop
async def test_a_request_that_does_not_come_in_time(sent: bytes, status: int) -> None:
    limits = {"header_timeout": 0.1, "body_timeout": 0.1}
    async with Upstream() as upstream, gateway(to(upstream, http=limits)) as rig:
        client = await rig.client()
        await client.send(sent)
        answer = await client.answer()
        assert (answer.status, answer.get("connection")) == (status, "close")
        assert (await rig.logged())[0]["error"] == "request_timeout"


@on_loop
async def test_a_client_that_never_reads_is_cut() -> None:
    async def play(link: Wire) -> None:
        await link.message()
        await link.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await link.send(b"x" * 65536)

    async with Upstream(play) as upstream, gateway(to(upstream, http={"write_timeout": 0.2})) as rig:
        client = await rig.client()
        await client.send(get())
        assert (await rig.logged())[0]["status_code"] == 499


# -- ids -----------------------------------------------------------------------------------------------------------

FORMS: list[tuple[str, bool]] = [
    ("abc", True),
    ("A-z0.9_~+/=:", True),
    ("x" * 128, True),
    ("x" * 129, False),
    ("a b", False),
    ("a,b", False),
    ('a"b', False),
    ("a{b}", False),
]


@pytest.mark.parametrize(("value", "accepted"), FORMS)
@on_loop
async def test_an_id_is_taken_if_well_formed_and_said_everywhere(value: str, accepted: bool) -> None:
    seen: list[Message] = []
    theirs = ("X-Request-ID: theirs", "X-Correlation-ID: theirs")
    async with Upstream(answering(lambda _: ok(b"", *theirs), seen)) as upstream, gateway(to(upstream)) as rig:
        answer = await rig.ask(get("/", f"X-Request-ID: {value}"))
        found = answer.get("x-request-id")
        assert found == answer.get("x-correlation-id") == seen[0].get("x-request-id") == seen[0].get("x-correlation-id")
        assert (found == value) is accepted
        assert accepted or (found and UUID.fullmatch(found))
        assert (await rig.logged())[0]["correlation_id"] == found


@on_loop
async def test_ids_are_configurable_and_stand_on_every_answer() -> None:
    setting = {"headers": ["X-Trace"], "format": "hex", "prefix": "req_", "accept": False}
    document = to(NOWHERE, request_id=setting, retry={"attempts": 0}, route={"match": {"path": "/up"}})
    async with gateway(document) as rig:
        ids = set()
        for request in (
            get("/up", "X-Trace: mine"),
            get("/nowhere"),
            get("/health"),
            get("/ready"),
            b"nonsense\r\n\r\n",
        ):
            answer = await rig.ask(request)
            found = answer.get("x-trace")
            assert found and re.fullmatch("req_[0-9a-f]{32}", found)
            assert answer.get("x-request-id") is None
            ids.add(found)
        assert len(ids) == 5
        assert [line["correlation_id"] for line in rig.log] and {line["correlation_id"] for line in rig.log} == ids


# -- errors --------------------------------------------------------------------------------------------------------


@on_loop
async def test_errors_are_problem_details_by_default() -> None:
    async with gateway(to(NOWHERE, route={"match": {"path": "/up"}})) as rig:
        answer = await rig.ask(get("/nowhere", "X-Request-ID: me"))
        assert answer.get("content-type") == "application/problem+json"
        assert answer.json() == {
            "type": "about:blank",
            "title": "Not Found",
            "status": 404,
            "detail": "No route matches this request.",
            "reason": "route_not_found",
            "request_id": "me",
        }
        head = await rig.ask(get("/nowhere", method="HEAD"), "HEAD")
        assert (head.status, head.body) == (404, b"")
        assert int(head.get("content-length") or 0) > 100


@on_loop
async def test_errors_take_the_shape_that_is_configured() -> None:
    body = {
        "error": {"code": "{status}", "text": "{title}: {message}", "after": "{retry_after}"},
        "where": ["{path}", "{service}", "{route}"],
        "at": "{timestamp_epoch}",
    }
    errors = {
        "content_type": "application/json",
        "body": body,
        "reasons": {"no_endpoint": {"status": 529, "title": "Empty"}, "route_not_found": {"body": "gone: {path}"}},
        "origins": {"gateway": {"status": 500, "message": "Ours"}, "upstream": {"message": "Theirs"}},
    }
    document = to(NOWHERE, errors=errors, retry={"attempts": 0}, route={"match": {"path": "/up"}})
    async with gateway(document) as rig:
        answer = await rig.ask(get("/up"))
        found = answer.json()
        assert isinstance(found.pop("at"), float)
        assert found == {"error": {"code": 502, "text": "Bad Gateway: Theirs"}, "where": ["/up", "api", "all"]}
        assert (await rig.ask(get("/nowhere"))).body == b"gone: /nowhere"
        rig.apply(document | {"services": [document["services"][0] | {"endpoints": []}]})
        answer = await rig.ask(get("/up"))
        assert answer.start.startswith("HTTP/1.1 529 ")
        assert answer.json()["error"]["text"] == "Empty: Ours"


@on_loop
async def test_an_answer_without_content_has_no_length() -> None:
    route = {"respond": {"status": 204, "headers": {"X-A": "1"}}}
    async with gateway(to(NOWHERE, route=route)) as rig:
        client = await rig.client()
        for _ in range(2):
            await client.send(get())
            answer = await client.answer()
            assert (answer.status, answer.get("x-a")) == (204, "1")
            assert answer.get("content-length") is answer.get("transfer-encoding") is None


LATER = {"reasons": {"no_endpoint": {"retry_after": 7}}}


@on_loop
async def test_405_says_what_is_allowed_and_503_when_to_come_again() -> None:
    document = to(NOWHERE, route={"match": {"path": "/", "method": ["GET", "PUT"]}})
    async with gateway(document) as rig:
        answer = await rig.ask(get("/", method="DELETE"))
        assert (answer.status, answer.get("allow")) == (405, "GET, PUT")
        answer = await rig.ask(get("/health", method="POST"))
        assert (answer.status, answer.get("allow")) == (405, "GET, HEAD")
        rig.apply(document | {"services": [document["services"][0] | {"endpoints": []}]})
        answer = await rig.ask(get())
        assert (answer.status, answer.get("retry-after"), answer.json()["retry_after"]) == (503, "1", 1)
        rig.apply({**document, "services": [{**document["services"][0], "endpoints": []}], "errors": LATER})
        answer = await rig.ask(get())
        assert (answer.status, answer.get("retry-after"), answer.json()["retry_after"]) == (503, "7", 7)


@on_loop
async def test_a_method_that_no_route_takes_may_count_as_no_route() -> None:
    document = to(NOWHERE, route={"match": {"path": "/", "method": "GET"}}, method_mismatch="route_not_found")
    async with gateway(document) as rig:
        answer = await rig.ask(get("/", method="DELETE"))
        assert (answer.status, answer.get("allow"), answer.json()["reason"]) == (404, None, "route_not_found")
        # An own endpoint is there, whatever routes are.
        answer = await rig.ask(get("/health", method="POST"))
        assert (answer.status, answer.get("allow")) == (405, "GET, HEAD")


@on_loop
async def test_a_fault_of_our_own_is_answered_told_and_survived(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "what an exception says may be a secret"

    def broken(*_: object) -> Any:
        raise RuntimeError(words)

    async with Upstream(answering(lambda _: ok(b"x"))) as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        with monkeypatch.context() as patch:
            patch.setitem(rig.gateway.own, "/", broken)
            await client.send(get("/", "X-Request-ID: unlucky"))
            answer = await client.answer()
        assert (answer.status, answer.json()["request_id"], answer.get("x-request-id")) == (500, "unlucky", "unlucky")
        told = capsys.readouterr().err
        assert "unlucky" in told
        assert "in broken" in told
        assert "RuntimeError" in told
        assert words not in f"{told}{answer.body!r}{rig.log}"
        await client.send(get())
        assert (await client.answer()).body == b"x"
        assert [line.get("error") for line in rig.log] == ["internal", None]


# -- the log -------------------------------------------------------------------------------------------------------


@on_loop
async def test_one_line_tells_of_a_request_what_there_is_to_tell() -> None:
    async with Upstream(answering(lambda _: ok(b"12345"))) as upstream, gateway(to(upstream)) as rig:
        await rig.ask(get("/a?secret=1", "X-Request-ID: me", method="POST", body=b"abc"))
        line = (await rig.logged())[0]
        for name in ("timestamp", "duration_ms", "upstream_ms"):
            assert line.pop(name)
        assert line == {
            "level": "INFO",
            "message": "Request completed",
            "correlation_id": "me",
            "method": "POST",
            "path": "/a",
            "host": "example.test",
            "protocol": "HTTP/1.1",
            "status_code": 200,
            "route": "all",
            "service": "api",
            "endpoint": upstream.url.removeprefix("http://"),
            "attempts": 1,
            "bytes_in": 3,
            "bytes_out": 5,
            "client": "127.0.0.1",
        }


@pytest.mark.parametrize("form", ["json", "console"])
@on_loop
async def test_the_log_goes_to_its_file_and_to_a_new_one_after_a_rename(form: str, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    document = to(NOWHERE, telemetry={"access_log": {"path": str(path), "format": form}})
    async with gateway(document) as rig:
        await rig.ask(get("/health"))
        await eventually(lambda: path.stat().st_size > 0)
        path.rename(tmp_path / "old.log")
        rig.gateway.reopen_logs()
        await eventually(path.exists)
        await rig.ask(get("/ready"))
        await eventually(lambda: path.stat().st_size > 0)
    lines = [(tmp_path / name).read_text().splitlines() for name in ("old.log", "access.log")]
    assert [len(each) for each in lines] == [1, 1]
    if form == "json":
        assert [json.loads(each[0])["path"] for each in lines] == ["/health", "/ready"]
    else:
        assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} GET /health 200 \S+ \d+B", lines[0][0])


@on_loop
async def test_a_log_that_nobody_reads_stops_no_request(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    end = os.open(path, os.O_RDWR)
    try:
        async with gateway(to(NOWHERE, telemetry={"access_log": {"path": str(path)}})) as rig:
            client = await rig.client()
            for _ in range(400):
                await client.send(get("/health") * 8)
                for _ in range(8):
                    assert (await client.answer()).status == 200
            client.close()
            await asyncio.sleep(0)
            # Let the writing thread go: as much as was held comes now.
            os.set_blocking(end, False)
            await eventually(lambda: _drained(end))
    finally:
        os.close(end)


def _drained(end: int) -> bool:
    try:
        return not os.read(end, 1 << 20)
    except BlockingIOError:
        return True
