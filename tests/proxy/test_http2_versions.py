"""Which version of HTTP a client speaks: by ALPN, by prior knowledge, behind a balancer, with clients of others."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import ssl
from pathlib import Path
from typing import Any

import h2.connection
import h2.errors
import pytest

from tests.proxy.http2_client import Http2Client, http2
from tests.proxy.peers import CEILING, Message, Upstream, answering, get, ok, within
from tests.proxy.stage import ADDRESS, gateway, on_loop, to
from tests.proxy.test_tls import HEADER
from tests.wire.certificates import Authority, holder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
# HPACK of GET http://example.test/ without a table: RFC 7541 appendix C.2.4 and C.3.1.
REQUEST = b"\0\0\x11\1\5\0\0\0\1" + b"\x82\x86\x84\x01\x0cexample.test"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def secure(upstream: Upstream, authority: Authority, http2: bool = True, **tls: Any) -> dict[str, Any]:
    files = dict(zip(("cert", "key"), authority.issue("a.test"), strict=True))
    return to(upstream, listen=[{"address": ADDRESS, "http2": http2, "tls": {**files, **tls}}])


def offering(authority: Authority, *protocols: str) -> ssl.SSLContext:
    context = authority.client_context()
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


# -- prior knowledge -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 5, 14, 23, 24, 25, 32, 40, 1000])
@on_loop
async def test_the_preface_is_known_however_it_is_cut(size: int) -> None:
    seen: list[Message] = []
    async with Upstream(answering(lambda _: ok(b"x"), seen)) as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        whole = PREFACE + SETTINGS + REQUEST
        for at in range(0, len(whole), size):
            await client.send(whole[at : at + size])
            # What is written next is read apart from this, but for what the kernel has put together.
            await asyncio.sleep(0)
        said = b""
        while b"\1x" not in said[-12:] and b"\0\0\1\0\1\0\0\0\1x" not in said:
            said += await within(client.reader.read(65536))
        [line] = await rig.logged()
        assert (line["status_code"], line["protocol"]) == (200, "HTTP/2")
        assert seen[0].target == "/"
        assert rig.counted("connections_open") == rig.counted("connections_total") == 1


@on_loop
async def test_more_than_a_read_behind_the_preface_is_taken() -> None:
    async with Upstream(answering(lambda each: ok(b"%d" % len(each.body)))) as upstream, gateway(to(upstream)) as rig:
        codec = h2.connection.H2Connection()
        codec.initiate_connection()
        pseudo = [(":method", "POST"), (":scheme", "http"), (":authority", "example.test"), (":path", "/")]
        codec.send_headers(1, pseudo)
        for _ in range(3):
            codec.send_data(1, b"a" * 16_000)
        codec.end_stream(1)
        wire = await rig.client()
        await wire.send(codec.data_to_send())
        said = b""
        while b"48000" not in said:
            said += await within(wire.reader.read(65536))


@pytest.mark.parametrize("case", ["off", "behind a request", "over TLS"])
@on_loop
async def test_a_preface_where_none_may_be_is_refused(case: str, authority: Authority) -> None:
    async with Upstream(answering(lambda _: ok(b"x"))) as upstream:
        if case == "over TLS":
            document = secure(upstream, authority)
        else:
            document = to(upstream, listen=[{"address": ADDRESS, "http2": case != "off"}])
        async with gateway(document) as rig:
            tls = offering(authority) if case == "over TLS" else None
            client = await rig.client(tls=tls, name="a.test" if tls else None)
            if case == "behind a request":
                await client.send(get("/"))
                assert (await client.answer()).status == 200
            await client.send(PREFACE + SETTINGS)
            assert (await client.answer()).status == 505
            assert await client.rest() == b""


# -- TLS -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on", "offered", "chosen"),
    [
        (True, ("h2", "http/1.1"), "h2"),
        (True, ("http/1.1", "h2"), "h2"),
        (True, ("http/1.1",), "http/1.1"),
        (True, (), None),
        (False, ("h2", "http/1.1"), "http/1.1"),
        (False, ("h2",), None),
    ],
)
@on_loop
async def test_alpn_chooses(on: bool, offered: tuple[str, ...], chosen: str | None, authority: Authority) -> None:
    async with (
        Upstream(answering(lambda _: ok(b"x"))) as upstream,
        gateway(secure(upstream, authority, on)) as rig,
    ):
        context = offering(authority, *offered)
        if chosen == "h2":
            client = await http2(rig, tls=context, name="a.test")
            assert client.transport is not None
            tls = client.transport.get_extra_info("ssl_object")
            assert (await client.ask(scheme="https")).body == b"x"
        else:
            wire = await rig.client(tls=context, name="a.test")
            tls = wire.writer.get_extra_info("ssl_object")
            await wire.send(get("/"))
            assert (await wire.answer()).body == b"x"
        assert tls.selected_alpn_protocol() == chosen
        [line] = await rig.logged()
        assert line["protocol"] == ("HTTP/2" if chosen == "h2" else "HTTP/1.1")
        assert rig.counted("connections_open") == rig.counted("connections_total") == 1


@on_loop
async def test_a_reload_changes_what_is_offered(authority: Authority) -> None:
    async with (
        Upstream(answering(lambda _: ok(b"x"))) as upstream,
        gateway(secure(upstream, authority, True)) as rig,
    ):
        old = await http2(rig, tls=offering(authority, "h2"), name="a.test")
        assert (await old.ask(scheme="https")).body == b"x"
        rig.apply(secure(upstream, authority, False))
        await asyncio.sleep(0.01)
        wire = await rig.client(tls=offering(authority, "h2", "http/1.1"), name="a.test")
        assert wire.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        # Who came before goes on.
        assert (await old.ask(scheme="https")).body == b"x"


@on_loop
async def test_a_client_is_known_by_its_certificate(authority: Authority, tmp_path: Path) -> None:
    people = Authority(tmp_path, "Clients")
    ca = str(tmp_path / "clients.pem")
    shutil.copy(people.path, ca)
    seen: list[Message] = []
    async with Upstream(answering(lambda _: ok(b"x"), seen)) as upstream:
        document = secure(upstream, authority, client_ca=ca)
        rules = [{"match": "svc-*", "roles": ["caller"]}]
        document["identity"] = {"certificates": {"rules": rules}, "forward": {"X-Id": "id"}}
        async with gateway(document) as rig:
            context = offering(authority, "h2")
            context.load_cert_chain(*people.issue_to(holder("svc-a")))
            client = await http2(rig, tls=context, name="a.test")
            answers = await asyncio.gather(*(client.ask(f"/{each}", scheme="https") for each in range(3)))
            assert [each.status for each in answers] == [200] * 3
            assert [each.get("x-id") for each in seen] == ["svc-a"] * 3


# -- who the client is, and how many -------------------------------------------------------------------------------


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "TLS"])
@on_loop
async def test_a_balancer_says_who_the_client_is(over_tls: bool, authority: Authority) -> None:
    seen: list[Message] = []
    async with Upstream(answering(lambda _: ok(b"x"), seen)) as upstream:
        document = secure(upstream, authority) if over_tls else to(upstream, listen=[{"address": ADDRESS}])
        document["listen"][0]["proxy_protocol"] = ["127.0.0.1/32"]
        async with gateway(document) as rig:
            loop = asyncio.get_running_loop()
            sock = socket.socket()
            sock.setblocking(False)
            await within(loop.sock_connect(sock, ("127.0.0.1", rig.port())))
            await within(loop.sock_sendall(sock, HEADER))
            tls = offering(authority, "h2") if over_tls else None
            opened = loop.create_connection(Http2Client, sock=sock, ssl=tls, server_hostname="a.test" if tls else None)
            _, client = await within(opened)
            assert (await client.ask(scheme="https" if over_tls else "http")).body == b"x"
            [line] = await rig.logged()
            assert line["client"] == "203.0.113.9"
            assert seen[0].get("x-forwarded-for") == "203.0.113.9"
            assert seen[0].get("x-forwarded-proto") == ("https" if over_tls else "http")
            client.abort()


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "TLS"])
@on_loop
async def test_too_many_connections_are_sent_away_in_their_own_words(over_tls: bool, authority: Authority) -> None:
    async with Upstream(answering(lambda _: ok(b"x"))) as upstream:
        document = secure(upstream, authority) if over_tls else to(upstream)
        async with gateway({**document, "http": {"max_connections": 1}}) as rig:
            tls = offering(authority, "h2") if over_tls else None
            options: dict[str, Any] = {"tls": tls, "name": "a.test"} if tls else {}
            first = await http2(rig, **options)
            assert (await first.ask(scheme="https" if tls else "http")).body == b"x"
            if tls is None:
                # Which version it would have spoken is not known yet.
                wire = await rig.client()
                assert (await wire.answer()).status == 503
            else:
                second = await http2(rig, **options)
                code, last, _ = await second.goaway()
                assert (code, last) == (h2.errors.ErrorCodes.ENHANCE_YOUR_CALM, 0)
                await second.closed()
            assert (await first.ask(scheme="https" if tls else "http")).body == b"x"


# -- clients that others wrote -------------------------------------------------------------------------------------


async def run(*command: str) -> str:
    """Run a program and return what it printed; it must end well."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), CEILING)
    assert process.returncode == 0, err.decode()
    return out.decode()


def needed(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        reason = f"{program} is not installed: apt-get install curl nghttp2-client"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def echoed(request: Message) -> bytes:
    said = {"method": request.method, "target": request.target, "size": len(request.body)}
    return ok(json.dumps(said).encode(), "Content-Type: application/json")


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "TLS"])
@on_loop
async def test_curl(over_tls: bool, authority: Authority, tmp_path: Path) -> None:
    curl = needed("curl")
    body = tmp_path / "body"
    body.write_bytes(b"a" * 300_000)
    async with (
        Upstream(answering(echoed)) as upstream,
        gateway(secure(upstream, authority) if over_tls else to(upstream)) as rig,
    ):
        if over_tls:
            where = ["--http2", "--cacert", authority.path, "--resolve", f"a.test:{rig.port()}:127.0.0.1"]
            base = f"https://a.test:{rig.port()}"
        else:
            where, base = ["--http2-prior-knowledge"], f"http://127.0.0.1:{rig.port()}"
        said = await run(curl, "-s", "-w", "\n%{http_version} %{http_code}", *where, f"{base}/a?b=c")
        assert said.splitlines() == ['{"method": "GET", "target": "/a?b=c", "size": 0}', "2 200"]
        said = await run(curl, "-s", *where, "--data-binary", f"@{body}", f"{base}/up")
        assert json.loads(said) == {"method": "POST", "target": "/up", "size": 300_000}
        said = await run(curl, "-s", "-I", *where, f"{base}/head")
        assert said.splitlines()[0].strip() == "HTTP/2 200"


@on_loop
async def test_nghttp(tmp_path: Path) -> None:
    nghttp = needed("nghttp")
    large = b"b" * 1_000_000
    async with Upstream(answering(lambda _: ok(large))) as upstream, gateway(to(upstream)) as rig:
        base = f"http://127.0.0.1:{rig.port()}"
        # It sends priorities, a window of its own, and GOAWAY at the end.
        said = await run(nghttp, "-s", "-n", "-w", "20", "-m", "5", f"{base}/large")
        assert said.count("/large") == 5
        assert said.count(" 200 ") == 5
        assert len(await rig.logged(5)) == 5


@on_loop
async def test_h2load() -> None:
    h2load = needed("h2load")
    async with Upstream(answering(lambda _: ok(b"x" * 100))) as upstream, gateway(to(upstream)) as rig:
        said = await run(h2load, "-n", "600", "-c", "4", "-m", "16", f"http://127.0.0.1:{rig.port()}/")
        assert "600 succeeded, 0 failed, 0 errored, 0 timeout" in said
        assert len(rig.log) == 600
        assert all(line["protocol"] == "HTTP/2" for line in rig.log)
