"""TLS on both sides of the gateway: upstreams that are verified, and a listener whose certificates change."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import shutil
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.peers import Cut, Message, Upstream, Wire, answering, eventually, get, ok, within
from tests.proxy.stage import ADDRESS, Rig, gateway, on_loop, resolved, to
from tests.wire.certificates import Authority

NAME = "upstream.test"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def serving(authority: Authority, *names: str) -> ssl.SSLContext:
    """Return the context of a server with a certificate for these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue(*names))
    return context


# -- upstreams -----------------------------------------------------------------------------------------------------


def over_tls(upstream: Upstream, *, attempts: int = 0, **tls: Any) -> dict[str, Any]:
    return to(upstream, service={"tls": tls}, retry={"attempts": attempts})


@on_loop
async def test_a_verified_upstream_is_asked_and_its_connection_used_again(authority: Authority) -> None:
    seen: list[Message] = []
    play = answering(lambda request: ok(request.body[::-1]), seen)
    async with (
        Upstream(play, tls=serving(authority, "127.0.0.1")) as upstream,
        gateway(over_tls(upstream, ca=authority.path)) as rig,
    ):
        for number in range(3):
            body = b"%d" % number * 100_000
            assert (await rig.ask(get(f"/{number}", method="PUT", body=body))).body == body[::-1]
        assert len(upstream.links) == 1
        assert [request.target for request in seen] == ["/0", "/1", "/2"]
        # To the upstream's host the client's word is nothing, as without TLS.
        assert seen[0].get("host") == upstream.url.removeprefix("https://")
        assert seen[0].get("x-forwarded-proto") == "http"
        assert upstream.links[0].writer.get_extra_info("ssl_object").selected_alpn_protocol() is None


@pytest.mark.parametrize("case", ["another name", "another authority", "plain"])
@on_loop
async def test_an_upstream_that_is_not_who_it_should_be(case: str, authority: Authority, tmp_path: Path) -> None:
    trusted = Authority(tmp_path, "Another Authority") if case == "another authority" else authority
    names = ["other.test"] if case == "another name" else ["127.0.0.1"]
    seen: list[Message] = []
    tls = None if case == "plain" else serving(authority, *names)

    async def refusing(link: Wire) -> None:
        await link.send(ok(b"not TLS", status=400))

    play = refusing if case == "plain" else answering(lambda _: ok(b"x"), seen)
    async with Upstream(play, tls=tls) as upstream:
        document = over_tls(upstream, ca=trusted.path)
        document["services"][0]["endpoints"] = [upstream.url.replace("http:", "https:")]
        async with gateway(document) as rig:
            answer = await rig.ask(get("/secret", "Authorization: Basic abc"))
            assert (answer.status, answer.json()["reason"]) == (502, "tls")
            line = (await rig.logged())[0]
            assert (line["status_code"], line["error"]) == (502, "tls")
            assert rig.counted("upstream_requests_total", outcome="tls") == 1
        # Not a byte of a request went there.
        assert not seen


@pytest.mark.parametrize("names", [["other.test"], ["127.0.0.1"]])
@on_loop
async def test_an_upstream_is_not_verified_when_the_operator_says_so(names: list[str], authority: Authority) -> None:
    async with (
        Upstream(answering(lambda _: ok(b"x")), tls=serving(authority, *names)) as upstream,
        gateway(over_tls(upstream, verify=False)) as rig,
    ):
        assert (await rig.ask(get())).body == b"x"


@on_loop
async def test_the_name_to_ask_for_and_to_check(authority: Authority) -> None:
    asked: list[str | None] = []
    tls = serving(authority, NAME)
    tls.sni_callback = lambda _, name, __: asked.append(name)
    async with Upstream(answering(lambda _: ok(b"x")), tls=tls) as upstream:
        async with gateway(over_tls(upstream, ca=authority.path, server_name=NAME)) as rig:
            assert (await rig.ask(get())).body == b"x"
        async with gateway(over_tls(upstream, ca=authority.path)) as rig:
            assert (await rig.ask(get())).json()["reason"] == "tls"
    # An address is no name for SNI (RFC 6066 section 3).
    assert asked == [NAME, None]


@on_loop
async def test_a_client_certificate_is_shown_to_who_asks_for_one(authority: Authority) -> None:
    tls = serving(authority, "127.0.0.1")
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(authority.path)
    # With TLS 1.3 the client is done before the server has seen its certificate: the refusal would come later.
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    cert, key = authority.issue("gateway.test")
    async with Upstream(answering(lambda _: ok(b"x")), tls=tls) as upstream:
        async with gateway(over_tls(upstream, ca=authority.path, cert=cert, key=key)) as rig:
            assert (await rig.ask(get())).body == b"x"
            shown = upstream.links[0].writer.get_extra_info("peercert")
            assert shown["subjectAltName"] == (("DNS", "gateway.test"),)
        async with gateway(over_tls(upstream, ca=authority.path)) as rig:
            assert (await rig.ask(get())).json()["reason"] == "tls"


@pytest.mark.parametrize("changed", ["authorities", "certificate"])
@on_loop
async def test_files_of_an_upstream_that_changed_are_used_from_a_reload_on(
    changed: str, authority: Authority, tmp_path: Path
) -> None:
    tls = serving(authority, "127.0.0.1")
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(authority.path)
    ca, cert, key = (str(tmp_path / name) for name in ("ca.pem", "client.pem", "client.key"))
    shutil.copy(authority.path, ca)
    for source, target in zip(authority.issue("first.test"), (cert, key), strict=True):
        shutil.copy(source, target)
    async with Upstream(answering(lambda _: ok(b"x")), tls=tls) as upstream:
        document = over_tls(upstream, ca=ca, cert=cert, key=key)
        async with gateway(document) as rig:
            assert (await rig.ask(get())).body == b"x"
            # Equal files: the connection lives on.
            rig.apply(document)
            assert (await rig.ask(get())).body == b"x"
            assert len(upstream.links) == 1
            if changed == "authorities":
                shutil.copy(Authority(tmp_path, "Another Authority").path, ca)
                rig.apply(document)
                # Nor does the connection serve on that the old ones vouched for.
                assert (await rig.ask(get())).json()["reason"] == "tls"
                assert await upstream.links[0].rest() == b""
                return
            for source, target in zip(authority.issue("second.test"), (cert, key), strict=True):
                shutil.copy(source, target)
            rig.apply(document)
            assert (await rig.ask(get())).body == b"x"
            names = [link.writer.get_extra_info("peercert")["subjectAltName"][0][1] for link in upstream.links]
            assert names == ["first.test", "second.test"]


@on_loop
async def test_files_of_an_upstream_that_broke_change_nothing(authority: Authority, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    shutil.copy(authority.path, ca)
    tls = serving(authority, "127.0.0.1")
    async with Upstream(answering(lambda _: ok(b"x")), tls=tls) as upstream:
        document = over_tls(upstream, ca=str(ca))
        async with gateway(document) as rig:
            await rig.ask(get())
            plan, config = rig.gateway.plan, resolved(document)
            ca.write_text("not an authority")
            with pytest.raises(ValueError, match=r"ca\.pem"):
                rig.gateway.apply(config, rig.sockets)
            assert rig.gateway.plan is plan
            assert (await rig.ask(get())).body == b"x"
            assert len(upstream.links) == 1


# -- the listener --------------------------------------------------------------------------------------------------


def listening(upstream: Upstream, *certificates: tuple[str, str], **more: Any) -> dict[str, Any]:
    """Write a configuration whose listener has these certificates; `proxy_protocol` goes beside `tls`, else into it."""
    listen: dict[str, Any] = {"address": ADDRESS}
    if "proxy_protocol" in more:
        listen["proxy_protocol"] = more.pop("proxy_protocol")
    listen["tls"] = {"certificates": [{"cert": cert, "key": key} for cert, key in certificates], **more}
    return to(upstream, listen=[listen])


def names(client: Wire) -> list[str]:
    """Return the names of the certificate that a client was shown."""
    return [name for _, name in client.writer.get_extra_info("peercert")["subjectAltName"]]


@on_loop
async def test_certificates_are_chosen_by_name_and_connections_kept(authority: Authority) -> None:
    seen: list[Message] = []
    issued = authority.issue("a.test"), authority.issue("b.test", "*.b.test")
    async with (
        Upstream(answering(lambda request: ok(request.target.encode()), seen)) as upstream,
        gateway(listening(upstream, *issued)) as rig,
    ):
        for name, shown in (("a.test", "a.test"), ("b.test", "b.test"), ("x.b.test", "b.test")):
            client = await rig.client(tls=authority.client_context(), name=name)
            assert names(client)[0] == shown
            for number in range(3):
                await client.send(get(f"/{number}"))
                assert (await client.answer()).body == b"/%d" % number
            assert client.writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        with pytest.raises(ssl.SSLCertVerificationError):
            await rig.client(tls=authority.client_context(), name="c.test")
        assert {request.get("x-forwarded-proto") for request in seen} == {"https"}
        assert len(seen) == 9


@on_loop
async def test_large_bodies_go_both_ways_over_tls(authority: Authority) -> None:
    body = bytes(range(256)) * 16_384
    async with (
        Upstream(answering(lambda request: ok(request.body[::-1]))) as upstream,
        gateway(listening(upstream, authority.issue("a.test"))) as rig,
    ):
        client = await rig.client(tls=authority.client_context(), name="a.test")
        for _ in range(2):
            await client.send(get("/", method="POST", body=body))
            assert (await client.answer()).body == body[::-1]


def upload(port: int, tls: ssl.SSLContext | None, size: int) -> int:
    """Send a body, and read the answer when all of it is sent, as programs do that wait in their calls."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    if tls is not None:
        client = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=tls)
    with contextlib.closing(client):
        client.request("POST", "/", body=bytes(size))
        return client.getresponse().status


@pytest.mark.parametrize("tls", [True, False])
@on_loop
async def test_who_reads_only_when_all_is_sent_is_told_that_it_was_too_much(authority: Authority, tls: bool) -> None:
    async with Upstream() as upstream:
        document = listening(upstream, authority.issue("127.0.0.1")) if tls else to(upstream)
        async with gateway({**document, "max_body": 1000}) as rig:
            context = authority.client_context() if tls else None
            assert await asyncio.to_thread(upload, rig.port(ADDRESS), context, 50 << 20) == 413
        assert not upstream.links


@on_loop
async def test_a_client_that_leaves_without_reading_cancels_over_tls_too(authority: Authority) -> None:
    async with Upstream() as upstream:
        document = listening(upstream, authority.issue("a.test")) | {"http": {"max_pipelined": 1}}
        async with gateway(document) as rig:
            client = await rig.client(tls=authority.client_context(), name="a.test")
            await client.send(get("/0") + get("/1"))
            link = await upstream.accepted()
            await link.message()
            await client.send(get("/2"))
            client.writer.transport.abort()
            assert await link.rest() == b""
            assert (await rig.logged())[0]["status_code"] == 499


@on_loop
async def test_a_handshake_has_its_time(authority: Authority) -> None:
    async with (
        Upstream(answering(lambda _: ok(b"x"))) as upstream,
        gateway(listening(upstream, authority.issue("a.test"), handshake_timeout=1)) as rig,
    ):
        client = await rig.client(tls=authority.client_context(), name="a.test")
        silent = await rig.client()
        assert await silent.rest() == b""
        # The time is the handshake's alone: who was done with it before is still there.
        await client.send(get())
        assert (await client.answer()).body == b"x"


@on_loop
async def test_plain_requests_to_a_tls_listener_reach_nobody(authority: Authority) -> None:
    seen: list[Message] = []
    async with (
        Upstream(answering(lambda _: ok(b"x"), seen)) as upstream,
        gateway(listening(upstream, authority.issue("a.test"))) as rig,
    ):
        client = await rig.client()
        await client.send(get())
        assert not (await client.rest()).startswith(b"HTTP/")
        assert not seen


HEADER = b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n"


async def behind_balancer(rig: Rig, header: bytes, tls: ssl.SSLContext | None, name: str | None) -> Wire:
    """Connect as a load balancer does: its header first, then what the client says."""
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.setblocking(False)
    await within(loop.sock_connect(sock, ("127.0.0.1", rig.port())))
    await within(loop.sock_sendall(sock, header))
    client = Wire(*await within(asyncio.open_connection(sock=sock, ssl=tls, server_hostname=name)))
    rig.clients.append(client)
    return client


@pytest.mark.parametrize("secure", [True, False], ids=["TLS", "plain"])
@on_loop
async def test_a_balancer_says_who_the_client_is(secure: bool, authority: Authority) -> None:
    seen: list[Message] = []
    async with Upstream(answering(lambda _: ok(b"x"), seen)) as upstream:
        document = listening(upstream, authority.issue("a.test"), proxy_protocol=["127.0.0.1/32"])
        if not secure:
            del document["listen"][0]["tls"]
        async with gateway(document) as rig:
            tls, name = (authority.client_context(), "a.test") if secure else (None, None)
            client = await behind_balancer(rig, HEADER, tls, name)
            for _ in range(2):
                await client.send(get("/", "X-Forwarded-For: 198.51.100.1"))
                assert (await client.answer()).body == b"x"
            for line, request in zip(await rig.logged(2), seen, strict=True):
                assert line["client"] == "203.0.113.9"
                assert request.get("x-forwarded-for") == "203.0.113.9"
                assert request.get("x-forwarded-proto") == ("https" if secure else "http")
            assert rig.counted("connections_open") == 1


@on_loop
async def test_who_is_no_balancer_may_not_speak(authority: Authority) -> None:
    async with Upstream() as upstream:
        document = listening(upstream, authority.issue("a.test"), proxy_protocol=["192.0.2.0/24"])
        async with gateway(document) as rig:
            client = await rig.client()
            assert await client.rest() == b""
            with pytest.raises((Cut, OSError)):
                await behind_balancer(rig, HEADER, authority.client_context(), "a.test")


@pytest.mark.parametrize("balancer", [[], ["127.0.0.1/32"]], ids=["direct", "PROXY protocol"])
@on_loop
async def test_changed_certificates_serve_new_connections_and_open_ones_go_on(
    balancer: list[str], authority: Authority, tmp_path: Path
) -> None:
    cert, key = str(tmp_path / "tls.crt"), str(tmp_path / "tls.key")

    def install(*names: str) -> None:
        for source, target in zip(authority.issue(*names), (cert, key), strict=True):
            shutil.copy(source, target)

    async def connect() -> Wire:
        return await behind_balancer(rig, HEADER if balancer else b"", authority.client_context(), "a.test")

    install("a.test", "first.test")
    async with Upstream() as upstream:
        document = listening(upstream, (cert, key), proxy_protocol=balancer)
        async with gateway(document) as rig:
            port = rig.port()
            idle, busy = await connect(), await connect()
            await idle.send(get())
            link = await upstream.accepted()
            await link.message()
            await link.send(ok(b"before"))
            assert (await idle.answer()).body == b"before"
            await busy.send(get())
            assert (await link.message()).method == "GET"
            install("a.test", "second.test")
            rig.apply(document)
            assert rig.port() == port
            assert names(await connect()) == ["a.test", "second.test"]
            await link.send(ok(b"busy"))
            assert (await busy.answer()).body == b"busy"
            await idle.send(get())
            await link.message()
            await link.send(ok(b"idle"))
            assert (await idle.answer()).body == b"idle"
            assert names(idle) == names(busy) == ["a.test", "first.test"]


@on_loop
async def test_certificates_that_broke_change_nothing(authority: Authority, tmp_path: Path) -> None:
    cert, key = str(tmp_path / "tls.crt"), str(tmp_path / "tls.key")
    for source, target in zip(authority.issue("a.test"), (cert, key), strict=True):
        shutil.copy(source, target)
    async with Upstream(answering(lambda _: ok(b"x"))) as upstream:
        document = listening(upstream, (cert, key))
        async with gateway(document) as rig:
            config = resolved(document)
            # The key of another certificate: as when only one of two files has been replaced.
            shutil.copy(authority.issue("a.test")[1], key)
            with pytest.raises(ValueError, match=r"tls\.key"):
                rig.gateway.apply(config, rig.sockets)
            client = await rig.client(tls=authority.client_context(), name="a.test")
            await client.send(get())
            assert (await client.answer()).body == b"x"
            await eventually(lambda: rig.counted("connections_open") == 1)
