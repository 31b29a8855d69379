"""Client certificates over real TLS: who gets in, as whom, and for how long."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from headgate.wire.tls import certificate_shown
from tests.proxy.peers import CEILING, Cut, Message, Upstream, Wire, answering, eventually, get, ok
from tests.proxy.stage import ADDRESS, Rig, gateway, on_loop, to
from tests.proxy.test_tls import HEADER, behind_balancer
from tests.wire.certificates import Authority, holder

SHOWN = "headgate.wire.client_socket.certificate_shown"
FORWARD = {"X-Id": "id", "X-Tenant": "tenant", "X-Roles": "roles", "X-Print": "claims.fingerprint"}


class Clients:
    """Two authorities: one that signs servers, one that signs clients."""

    def __init__(self, folder: Path) -> None:
        self.servers = Authority(folder, "Servers")
        self.people = Authority(folder, "Clients")
        self.ca = str(folder / "clients.pem")
        shutil.copy(self.people.path, self.ca)
        self.certificates = [
            dict(zip(("cert", "key"), self.servers.issue(name), strict=True)) for name in ("a.test", "b.test")
        ]

    def document(self, upstream: Upstream, client_auth: str = "request", **more: Any) -> dict[str, Any]:
        """Write a configuration that takes certificates of `people`."""
        tls = {"certificates": self.certificates, "client_ca": self.ca, "client_auth": client_auth}
        listen = {"address": ADDRESS, "tls": tls, "proxy_protocol": more.pop("proxy_protocol", [])}
        identity = {"certificates": more.pop("certificates", {}), "forward": FORWARD, **more.pop("identity", {})}
        return to(upstream, listen=[listen], identity=identity, **more)

    def context(self, shown: tuple[str, str] | None = None) -> ssl.SSLContext:
        """Return the context of a client, with a certificate to show or without."""
        context = self.servers.client_context()
        if shown is not None:
            context.load_cert_chain(*shown)
        return context


@pytest.fixture
def clients(tmp_path: Path) -> Clients:
    return Clients(tmp_path)


async def connect(rig: Rig, clients: Clients, shown: tuple[str, str] | None = None, name: str = "a.test") -> Wire:
    return await rig.client(tls=clients.context(shown), name=name)


async def ask(client: Wire, *lines: str) -> Message:
    await client.send(get("/", *lines))
    return await client.answer()


def fingerprint(path: str) -> str:
    """Return the SHA-256 of a certificate, in hexadecimal."""
    return x509.load_pem_x509_certificate(Path(path).read_bytes()).fingerprint(hashes.SHA256()).hex()


def reading(read: list[bytes]) -> Callable[[asyncio.BaseTransport], bytes]:
    """Make what reads certificates and notes it."""

    def shows(transport: asyncio.BaseTransport) -> bytes:
        read.append(certificate_shown(transport))
        return read[-1]

    return shows


async def is_refused(rig: Rig, clients: Clients, shown: tuple[str, str] | None) -> bool:
    """Tell whether no request comes through; with TLS 1.3 a client learns that only when it reads."""
    with suppress(OSError, Cut):
        client = await connect(rig, clients, shown)
        await ask(client)
        return False
    return True


@pytest.mark.parametrize("client_auth", ["require", "request"])
@on_loop
async def test_whoever_shows_a_certificate_is_known_by_it(
    client_auth: str, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []
    monkeypatch.setattr(SHOWN, reading(read))
    seen: list[Message] = []
    rules = [{"match": "svc-*", "roles": ["caller"]}]
    async with (
        Upstream(answering(lambda _: ok(b"x"), seen)) as upstream,
        gateway(clients.document(upstream, client_auth, certificates={"rules": rules})) as rig,
    ):
        shown = clients.people.issue_to(holder("svc-a", "Acme"))
        # The context that SNI chooses asks for it, too.
        for name in ("a.test", "b.test"):
            client = await connect(rig, clients, shown, name)
            for _ in range(2):
                assert (await ask(client, "X-Id: root", "X-Roles: admin")).status == 200
        assert {(each.get("x-id"), each.get("x-tenant"), each.get("x-roles")) for each in seen} == {
            ("svc-a", "Acme", "caller")
        }
        assert {each.get("x-print") for each in seen} == {fingerprint(shown[0])}
        # Read once for each connection, and always the same.
        assert len(read) == 2
        assert len(set(read)) == 1


@pytest.mark.parametrize("by", ["dns", "uri", "email", "subject"])
@on_loop
async def test_the_name_that_counts_is_chosen(by: str, clients: Clients) -> None:
    seen: list[Message] = []
    names = x509.DNSName("one.test"), x509.UniformResourceIdentifier("spiffe://x/y"), x509.RFC822Name("a@one.test")
    async with (
        Upstream(answering(lambda _: ok(b"x"), seen)) as upstream,
        gateway(clients.document(upstream, certificates={"id": by, "tenant": "none"})) as rig,
    ):
        client = await connect(rig, clients, clients.people.issue_to(holder("svc-a", "Acme"), *names))
        assert (await ask(client)).status == 200
        expected = {"dns": "one.test", "uri": "spiffe://x/y", "email": "a@one.test", "subject": "CN=svc-a,O=Acme"}
        assert (seen[0].get("x-id"), seen[0].get("x-tenant")) == (expected[by], None)


@on_loop
async def test_who_shows_none_is_nobody(clients: Clients) -> None:
    seen: list[Message] = []
    async with Upstream(answering(lambda _: ok(b"x"), seen)) as upstream:
        async with gateway(clients.document(upstream)) as rig:
            client = await connect(rig, clients)
            # Nor does it help to say so in a header.
            claims = "X-Forwarded-Client-Cert: Subject=CN=svc-a", "X-SSL-Client-S-DN: CN=svc-a", "X-Client-Cert: x"
            answer = await ask(client, *claims)
            assert (answer.status, answer.json()["reason"]) == (401, "missing_credentials")
            assert not seen
            # RFC 9110 section 15.5.2 wants a challenge, and there is no scheme to name for a certificate.
            assert answer.get("www-authenticate") is None
        async with gateway(clients.document(upstream, auth="optional")) as rig:
            client = await connect(rig, clients)
            assert (await ask(client, "X-Id: svc-a")).status == 200
            assert seen[0].get("x-id") is None
        async with gateway(clients.document(upstream, "require", auth="none")) as rig:
            assert await is_refused(rig, clients, None)
            assert not await is_refused(rig, clients, clients.people.issue_to(holder("svc-a")))
            assert seen[1].get("x-id") is None


@pytest.mark.parametrize("client_auth", ["require", "request"])
@on_loop
async def test_a_certificate_that_cannot_be_trusted_ends_the_handshake(client_auth: str, clients: Clients) -> None:
    seen: list[Message] = []
    async with (
        Upstream(answering(lambda _: ok(b"x"), seen)) as upstream,
        gateway(clients.document(upstream, client_auth)) as rig,
    ):
        yesterday = datetime.now(UTC) - timedelta(hours=1)
        assert await is_refused(rig, clients, clients.servers.issue_to(holder("svc-a")))
        assert await is_refused(rig, clients, clients.people.issue_to(holder("svc-a"), ends=yesterday))
        assert not seen
        assert not await is_refused(rig, clients, clients.people.issue_to(holder("svc-a")))


@on_loop
async def test_a_connection_does_not_outlive_its_certificate(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    now = [ends.timestamp() - 1.0]
    monkeypatch.setattr("headgate.proxy.way.wall", lambda: now[0])
    async with (
        Upstream(answering(lambda _: ok(b"x"))) as upstream,
        gateway(clients.document(upstream)) as rig,
    ):
        client = await connect(rig, clients, clients.people.issue_to(holder("svc-a"), ends=ends))
        assert (await ask(client)).status == 200
        now[0] = ends.timestamp()
        answer = await ask(client)
        assert (answer.status, answer.json()["reason"]) == (401, "invalid_credentials")
        assert rig.log[-1]["detail"].endswith("the certificate has expired since it was shown")


@on_loop
async def test_a_certificate_that_says_nothing_clear_is_refused_with_the_reason_in_the_log(clients: Clients) -> None:
    two = x509.Name([*holder("svc-a"), *holder("svc-b")])
    async with (
        Upstream() as upstream,
        gateway(clients.document(upstream)) as rig,
    ):
        client = await connect(rig, clients, clients.people.issue_to(two))
        answer = await ask(client)
        assert (answer.status, answer.json()["reason"]) == (401, "invalid_credentials")
        assert b"common" not in answer.body
        assert rig.log[-1]["detail"] == "certificate: the certificate has 2 common names"


@on_loop
async def test_a_balancer_in_front_changes_nothing(clients: Clients) -> None:
    seen: list[Message] = []
    async with (
        Upstream(answering(lambda _: ok(b"x"), seen)) as upstream,
        gateway(clients.document(upstream, proxy_protocol=["127.0.0.1/32"])) as rig,
    ):
        shown = clients.people.issue_to(holder("svc-a"))
        client = await behind_balancer(rig, HEADER, clients.context(shown), "a.test")
        assert (await ask(client)).status == 200
        assert (seen[0].get("x-id"), seen[0].get("x-forwarded-for")) == ("svc-a", "203.0.113.9")
        nobody = await behind_balancer(rig, HEADER, clients.context(), "a.test")
        assert (await ask(nobody)).status == 401


@on_loop
async def test_authorities_that_changed_count_from_a_reload_on(clients: Clients, tmp_path: Path) -> None:
    seen: list[Message] = []
    successor = Authority(tmp_path, "Successor")
    old, new = clients.people.issue_to(holder("old")), successor.issue_to(holder("new"))
    async with Upstream(answering(lambda _: ok(b"x"), seen)) as upstream:
        document = clients.document(upstream)
        async with gateway(document) as rig:
            open_before = await connect(rig, clients, old)
            assert (await ask(open_before)).status == 200
            assert await is_refused(rig, clients, new)
            shutil.copy(successor.path, clients.ca)
            rig.apply(document)
            assert not await is_refused(rig, clients, new)
            assert await is_refused(rig, clients, old)
            # What was verified is not asked again, but nobody stays by it.
            assert (await ask(open_before)).get("connection") == "close"
            assert await open_before.rest() == b""
            assert [each.get("x-id") for each in seen] == ["old", "new", "old"]


@on_loop
async def test_connections_stay_where_authorities_do(clients: Clients) -> None:
    async with (
        Upstream(answering(lambda _: ok(b"x"))) as upstream,
        gateway(clients.document(upstream)) as rig,
    ):
        client = await connect(rig, clients, clients.people.issue_to(holder("svc-a")))
        for seconds in range(1, 4):
            assert (await ask(client)).status == 200
            rig.apply(clients.document(upstream, timeout={"response": seconds}))


@on_loop
async def test_authorities_that_changed_count_without_a_name_too(clients: Clients, tmp_path: Path) -> None:
    old = clients.people.issue_to(holder("old"))
    context = clients.context(old)
    context.check_hostname = False
    async with Upstream(answering(lambda _: ok(b"x"))) as upstream:
        document = clients.document(upstream)
        async with gateway(document) as rig:
            # An empty name: none is sent (RFC 6066 section 3).
            assert (await ask(await rig.client(tls=context, name=""))).status == 200
            shutil.copy(Authority(tmp_path, "Successor").path, clients.ca)
            rig.apply(document)
            with pytest.raises((OSError, Cut)):
                await ask(await rig.client(tls=context, name=""))


def resumed(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None) -> ssl.SSLSession | None:
    """Ask once, going on with a session of before; return the one to go on with, None when nothing was answered."""
    with (
        suppress(OSError),
        socket.create_connection(("127.0.0.1", port), timeout=CEILING) as plain,
        context.wrap_socket(plain, server_hostname="a.test", session=session) as client,
    ):
        client.sendall(get())
        return client.session if client.recv(65536).startswith(b"HTTP/1.1 200") else None
    return None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@on_loop
async def test_a_session_of_before_brings_nobody_past_new_authorities(
    version: ssl.TLSVersion, clients: Clients, tmp_path: Path
) -> None:
    context = clients.context(clients.people.issue_to(holder("old")))
    context.maximum_version = version
    async with Upstream(answering(lambda _: ok(b"x"))) as upstream:
        document = clients.document(upstream)
        async with gateway(document) as rig:
            session = await asyncio.to_thread(resumed, rig.port(), context, None)
            assert session is not None
            assert await asyncio.to_thread(resumed, rig.port(), context, session) is not None
            shutil.copy(Authority(tmp_path, "Successor").path, clients.ca)
            rig.apply(document)
            assert await asyncio.to_thread(resumed, rig.port(), context, session) is None


@on_loop
async def test_whether_one_must_be_shown_is_a_matter_of_a_reload(clients: Clients) -> None:
    async with (
        Upstream(answering(lambda _: ok(b"x"))) as upstream,
        gateway(clients.document(upstream, "require", auth="optional")) as rig,
    ):
        assert await is_refused(rig, clients, None)
        rig.apply(clients.document(upstream, "request", auth="optional"))
        assert not await is_refused(rig, clients, None)
        rig.apply(clients.document(upstream, "require", auth="optional"))
        assert await is_refused(rig, clients, None)


@on_loop
async def test_rules_that_changed_count_for_open_connections(clients: Clients) -> None:
    async with Upstream(answering(lambda _: ok(b"x"))) as upstream:
        rules = [{"match": "svc-a", "roles": ["caller"]}]
        document = clients.document(upstream, certificates={"rules": rules}, auth={"roles": ["caller"]})
        async with gateway(document) as rig:
            client = await connect(rig, clients, clients.people.issue_to(holder("svc-a")))
            assert (await ask(client)).status == 200
            rig.apply(clients.document(upstream, certificates={"rules": []}, auth={"roles": ["caller"]}))
            assert (await ask(client)).status == 403


@on_loop
async def test_where_nobody_asks_for_it_no_certificate_is_read(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []
    monkeypatch.setattr(SHOWN, reading(read))
    async with (
        Upstream(answering(lambda _: ok(b"x"))) as upstream,
        gateway(clients.document(upstream, route={"auth": "none"})) as rig,
    ):
        client = await connect(rig, clients, clients.people.issue_to(holder("svc-a")))
        assert (await ask(client)).status == 200
        assert not read
        await eventually(lambda: rig.counted("connections_open") == 1)
