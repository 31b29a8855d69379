"""TLS on loopback with real handshakes: SNI, reload, client certificates, and what upstreams must prove."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from headgate.wire.tls import (
    BadTls,
    CertificateFiles,
    CertificateStore,
    ListenerTls,
    client_context,
)
from tests.wire.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def files(authority: Authority, *names: str) -> CertificateFiles:
    return CertificateFiles(*authority.issue(*names))


class Server:
    """Echoes lines over TLS on a port of its own; `ask` makes one handshake and tells what the client saw."""

    def __init__(self, store: CertificateStore) -> None:
        self.store = store
        self.port = 0

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._echo, "127.0.0.1", 0, ssl=self.store.context)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                peer = writer.get_extra_info("peercert") or {}
                names = [value for kind, value in peer.get("subjectAltName", ()) if kind == "DNS"]
                writer.write(",".join(names).encode() + b"|" + line)
        except OSError:
            pass
        finally:
            writer.transport.abort()

    async def connect(self, context: ssl.SSLContext, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=name)

    async def ask(self, context: ssl.SSLContext, name: str) -> tuple[list[str], str, Any]:
        """Return the names in the server's certificate, its answer, and the connection's TLS object."""
        reader, writer = await self.connect(context, name)
        try:
            writer.write(b"hi\n")
            answer = (await reader.readline()).decode()
            tls = writer.get_extra_info("ssl_object")
            cert = tls.getpeercert() or {}
            return [value for _, value in cert.get("subjectAltName", ())], answer, tls
        finally:
            writer.transport.abort()

    async def refuses(self, context: ssl.SSLContext, name: str) -> bool:
        """Tell whether a handshake came to nothing: with TLS 1.3 a client learns that only when it reads."""
        try:
            return not (await self.ask(context, name))[1]
        except OSError:
            return True


def play(tls: ListenerTls, scene: Callable[[Server], Awaitable[None]]) -> None:
    async def main() -> None:
        server = Server(CertificateStore(tls))
        listening = await server.start()
        try:
            async with asyncio.timeout(60):
                await scene(server)
        finally:
            listening.close()
            # Aborted transports give their sockets back in the turns that follow.
            for _ in range(5):
                await asyncio.sleep(0)

    uvloop.run(main())


def nameless(authority: Authority) -> ssl.SSLContext:
    """Return a client's context that checks the authority but not the name."""
    context = authority.client_context()
    context.check_hostname = False
    return context


def test_certificate_is_chosen_by_name(authority: Authority) -> None:
    tls = ListenerTls(
        (files(authority, "first.test"), files(authority, "b.test", "c.test"), files(authority, "*.wild.test"))
    )

    async def scene(server: Server) -> None:
        client = nameless(authority)
        for asked, shown in [
            ("first.test", ["first.test"]),
            ("c.test", ["b.test", "c.test"]),
            ("C.TEST", ["b.test", "c.test"]),
            ("x.wild.test", ["*.wild.test"]),
            ("x.y.wild.test", ["first.test"]),
            ("wild.test", ["first.test"]),
            ("unknown.test", ["first.test"]),
            ("127.0.0.1", ["first.test"]),
        ]:
            assert (await server.ask(client, asked))[0] == shown, asked

    play(tls, scene)
    assert CertificateStore(tls).names == ["*.wild.test", "b.test", "c.test", "first.test"]


def test_first_certificate_keeps_a_shared_name(authority: Authority) -> None:
    tls = ListenerTls((files(authority, "a.test", "one.test"), files(authority, "a.test", "two.test")))

    async def scene(server: Server) -> None:
        assert (await server.ask(authority.client_context(), "a.test"))[0] == ["a.test", "one.test"]

    play(tls, scene)


def test_strict_refuses_unknown_names_only(authority: Authority) -> None:
    tls = ListenerTls((files(authority, "a.test"),), strict_sni=True)

    async def scene(server: Server) -> None:
        client = nameless(authority)
        assert await server.refuses(client, "unknown.test")
        # An address is not sent as a name, so there is no name to refuse.
        assert (await server.ask(client, "127.0.0.1"))[0] == ["a.test"]

    play(tls, scene)


def test_alpn_and_lowest_version(authority: Authority) -> None:
    tls = ListenerTls((files(authority, "a.test"),), min_version="1.3")

    async def scene(server: Server) -> None:
        client = authority.client_context()
        client.set_alpn_protocols(["h2", "http/1.1"])
        assert (await server.ask(client, "a.test"))[2].selected_alpn_protocol() == "http/1.1"
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        assert await server.refuses(client, "a.test")

    play(tls, scene)


def test_versions_below_1_2_are_refused(authority: Authority) -> None:
    context = CertificateStore(ListenerTls((files(authority, "a.test"),))).context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_replaced_certificates_serve_new_connections_and_old_ones_go_on(authority: Authority) -> None:
    async def scene(server: Server) -> None:
        client = nameless(authority)
        reader, writer = await server.connect(client, "a.test")
        server.store.replace(ListenerTls((files(authority, "new.test"), files(authority, "a.test", "renewed.test"))))
        assert (await server.ask(client, "a.test"))[0] == ["a.test", "renewed.test"]
        assert (await server.ask(client, "unknown.test"))[0] == ["new.test"]
        writer.write(b"still here\n")
        assert await reader.readline() == b"|still here\n"
        writer.transport.abort()

    play(ListenerTls((files(authority, "a.test"),)), scene)


def test_bad_replacement_changes_nothing(authority: Authority, tmp_path: Path) -> None:
    good = files(authority, "a.test")
    other = files(authority, "b.test")
    broken = tmp_path / "broken.pem"
    broken.write_text("not a certificate")

    async def scene(server: Server) -> None:
        for tls in [
            ListenerTls((other, CertificateFiles(other.cert, good.key))),
            ListenerTls((CertificateFiles(str(broken), other.key),)),
            ListenerTls((other,), client_ca=str(broken)),
            ListenerTls(()),
        ]:
            with pytest.raises(BadTls):
                server.store.replace(tls)
            assert server.store.names == ["a.test"]
            assert (await server.ask(nameless(authority), "b.test"))[0] == ["a.test"]

    play(ListenerTls((good,)), scene)


def test_clients_must_show_a_certificate(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "Stranger")
    own, foreign = authority.issue("client.test"), stranger.issue("client.test")
    tls = ListenerTls((files(authority, "a.test"), files(authority, "b.test")), client_ca=authority.path)

    async def scene(server: Server) -> None:
        for name in ("a.test", "b.test"):
            known = authority.client_context()
            known.load_cert_chain(*own)
            assert (await server.ask(known, name))[1] == "client.test|hi\n"
            unknown = authority.client_context()
            unknown.load_cert_chain(*foreign)
            for refused in (authority.client_context(), unknown):
                assert await server.refuses(refused, name)

    play(tls, scene)


def test_clients_may_show_a_certificate(authority: Authority) -> None:
    own = authority.issue("client.test")
    tls = ListenerTls((files(authority, "a.test"),), client_ca=authority.path, client_auth="request")

    async def scene(server: Server) -> None:
        client = authority.client_context()
        assert (await server.ask(client, "a.test"))[1] == "|hi\n"
        client.load_cert_chain(*own)
        assert (await server.ask(client, "a.test"))[1] == "client.test|hi\n"

    play(tls, scene)


def test_client_authority_is_replaced_too(authority: Authority, tmp_path: Path) -> None:
    second = Authority(tmp_path, "Second")
    cert = files(authority, "a.test")
    client = authority.client_context()
    client.load_cert_chain(*authority.issue("client.test"))

    async def scene(server: Server) -> None:
        assert (await server.ask(client, "a.test"))[1] == "client.test|hi\n"
        server.store.replace(ListenerTls((cert,), client_ca=second.path))
        assert await server.refuses(client, "a.test")

    play(ListenerTls((cert,), client_ca=authority.path), scene)


def test_upstreams_are_verified(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "Stranger")

    async def scene(server: Server) -> None:
        trusting = client_context(ca=authority.path)
        names, _, tls = await server.ask(trusting, "up.test")
        assert names == ["up.test", "127.0.0.1"]
        assert tls.selected_alpn_protocol() == "http/1.1"
        assert (await server.ask(trusting, "127.0.0.1"))[0] == names
        for context, name in [
            (client_context(), "up.test"),
            (client_context(ca=stranger.path), "up.test"),
            (trusting, "other.test"),
            (trusting, "127.0.0.2"),
        ]:
            with pytest.raises(ssl.SSLCertVerificationError):
                await server.ask(context, name)
        assert (await server.ask(client_context(verify=False), "other.test"))[1] == "|hi\n"

    play(ListenerTls((files(authority, "up.test", "127.0.0.1"),)), scene)


def test_upstream_is_shown_our_certificate(authority: Authority) -> None:
    cert, key = authority.issue("gateway.test")
    tls = ListenerTls((files(authority, "up.test"),), client_ca=authority.path)

    async def scene(server: Server) -> None:
        assert await server.refuses(client_context(ca=authority.path), "up.test")
        shown = client_context(ca=authority.path, cert=cert, key=key)
        assert (await server.ask(shown, "up.test"))[1] == "gateway.test|hi\n"

    play(tls, scene)


def test_equal_settings_share_a_context_until_a_file_changes(authority: Authority) -> None:
    cert, key = authority.issue("gateway.test")
    first = client_context(cert=cert, key=key)
    assert client_context(cert=cert, key=key) is first
    assert client_context(cert=cert, key=key, verify=False) is not first
    renewed_cert, renewed_key = authority.issue("gateway.test")
    Path(renewed_cert).replace(cert)
    Path(renewed_key).replace(key)
    assert client_context(cert=cert, key=key) is not first


def test_certificate_and_key_may_share_a_file(authority: Authority, tmp_path: Path) -> None:
    cert, key = authority.issue("up.test")
    both = tmp_path / "both.pem"
    both.write_text("A comment\n" + Path(key).read_text() + Path(cert).read_text())
    assert CertificateStore(ListenerTls((CertificateFiles(str(both), str(both)),))).names == ["up.test"]
    assert client_context(ca=authority.path, cert=str(both)).verify_mode == ssl.CERT_REQUIRED


def test_errors_name_the_file(authority: Authority, tmp_path: Path) -> None:
    cert, key = authority.issue("a.test")
    _, other_key = authority.issue("b.test")
    gone = str(tmp_path / "gone.pem")
    for certificate, words in [
        (CertificateFiles(gone, key), "gone.pem: No such file"),
        (CertificateFiles(cert, gone), "gone.pem: No such file"),
        (CertificateFiles(cert, other_key), "key values mismatch"),
    ]:
        with pytest.raises(BadTls, match=words):
            CertificateStore(ListenerTls((certificate,)))
    with pytest.raises(BadTls, match=r"gone\.pem: No such file"):
        client_context(ca=gone)
    with pytest.raises(BadTls, match="needs a certificate"):
        CertificateStore(ListenerTls(()))


def test_encrypted_key_is_an_error_and_no_question(authority: Authority, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    cert, key = authority.issue("a.test")
    loaded = serialization.load_pem_private_key(Path(key).read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        loaded.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(BadTls, match="must not be encrypted"):
        CertificateStore(ListenerTls((CertificateFiles(cert, str(locked)),)))
