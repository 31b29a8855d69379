"""A real gateway in front of a real OpenID provider: logins, keys that change, a provider that dies or talks nonsense.

Processes on both sides, two workers, and real time where the gateway has its own: waits here end with events.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from tests.auth.tokens import private_key
from tests.control.driver import CEILING, until
from tests.control.http_server import HttpServer, QuietHandler
from tests.control.whole import Gateway, Service
from tests.oidc.provider import CLIENT, CLIENT_SECRET, ROLE, USER, Provider, Tokens

SECRET = "shared with the issuer of our own, of enough bytes"
OWN_ISSUER = "https://own.example"


@pytest.fixture(scope="module")
def one_provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """Yield one for all tests: it takes seconds to make its database, and to start."""
    made = Provider(tmp_path_factory.mktemp("provider"))
    yield made
    made.kill()


@pytest.fixture
def provider(one_provider: Provider) -> Provider:
    """Return it, at work whatever the test before did to it."""
    one_provider.start()
    return one_provider


class Front:
    """A gateway that takes tokens of its own issuer, of the provider, and opaque ones."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self._client = httpx.Client(trust_env=False, timeout=CEILING)

    def ask(self, token: str | None, path: str = "/both") -> tuple[int, str]:
        """Ask on a connection of its own; return the status and the challenge."""
        shown = {"Authorization": f"Bearer {token}"} if token is not None else {}
        said = self._client.get(f"http://127.0.0.1:{self.gateway.port}{path}", headers={**shown, "Connection": "close"})
        return said.status_code, said.headers.get("www-authenticate", "")

    def statuses(self, token: str, path: str = "/both", times: int = 8) -> set[int]:
        """Ask so often that the kernel gives some of it to each worker; return what was said."""
        return {self.ask(token, path)[0] for _ in range(times)}

    def until_all_say(self, status: int, token: str) -> None:
        until(lambda: self.statuses(token) == {status}, f"all workers say {status}")

    def close(self) -> None:
        self._client.close()
        self.gateway.close()


def identity(provider: Provider, **introspection: Any) -> dict[str, Any]:
    source = {"refresh": 5, "cooldown": 1, "timeout": 60}
    opaque = {
        "name": "opaque",
        "url": f"{provider.issuer}/introspect/",
        "client_id": CLIENT,
        "client_secret": CLIENT_SECRET,
        "claims": {"id": "username"},
        "cache": 0,
        "timeout": 60,
        **introspection,
    }
    return {
        "jwt": [
            {"name": "own", "issuer": OWN_ISSUER, "secret": SECRET},
            {"name": "oidc", "issuer": provider.issuer, "discovery": source, "audience": CLIENT, "algorithms": "RS256"},
        ],
        "introspection": opaque,
    }


@contextmanager
def front(folder: Path, service: Service, provider: Provider, **introspection: Any) -> Iterator[Front]:
    routes = [
        {"name": mode, "match": {"path": f"/{mode}"}, "auth": {"methods": methods}}
        for mode, methods in (("jwt", ["own"]), ("oidc", ["oidc"]), ("both", ["own", "oidc"]), ("opaque", ["opaque"]))
    ]
    routes += [
        {"name": "staff", "match": {"path": "/staff"}, "auth": {"roles": [ROLE], "tenants": ["acme"]}},
        {"name": "admin", "match": {"path": "/admin"}, "auth": {"roles": ["admin"]}},
    ]
    settings = {"url": f"http://{service.name}", "routes": routes}
    made = Front(Gateway(folder / "gateway", 2, settings, identity=identity(provider, **introspection)))
    try:
        yield made
    finally:
        made.close()


def own_token(**claims: Any) -> str:
    return jwt.encode({"iss": OWN_ISSUER, "sub": "bob", "exp": time.time() + 600, **claims}, SECRET, "HS256")


def tampered(token: str) -> str:
    """Return a token with another signature."""
    head, payload, signature = token.split(".")
    return ".".join((head, payload, signature[::-1]))


def test_a_login_is_accepted_where_its_issuer_counts_and_says_who_is_there(
    tmp_path: Path, provider: Provider, service: Service
) -> None:
    tokens = provider.log_in()
    with front(tmp_path, service, provider) as gateway:
        for path, own, foreign in (("/jwt", 200, 401), ("/oidc", 401, 200), ("/both", 200, 200)):
            assert gateway.statuses(own_token(), path) == {own}
            assert gateway.statuses(tokens.id_token, path) == {foreign}
        assert gateway.statuses(tokens.id_token, "/staff") == {200}
        assert gateway.statuses(tokens.id_token, "/admin") == {403}
        assert gateway.ask(None)[0] == 401
        for bad in (tampered(tokens.id_token), tokens.id_token[:-9], "a.b.c", own_token(iss=provider.issuer)):
            status, challenge = gateway.ask(bad)
            assert status == 401
            assert challenge.startswith("Bearer ")
            assert "invalid_token" in challenge
        assert 'headgate_issuer_keys{issuer="oidc"} 1' in gateway.gateway.metrics()


def test_new_keys_are_found_without_a_restart_and_old_tokens_end(
    tmp_path: Path, provider: Provider, service: Service
) -> None:
    old = provider.log_in().id_token
    with front(tmp_path, service, provider) as gateway:
        # A question for the very first keys would be the one that may be asked within `cooldown`.
        until(lambda: 'headgate_issuer_keys{issuer="oidc"} 1' in gateway.gateway.metrics(), "the first keys are there")
        assert gateway.statuses(old) == {200}
        provider.rotate()
        new = provider.log_in().id_token
        assert jwt.get_unverified_header(new)["kid"] != jwt.get_unverified_header(old)["kid"]
        # The first one that comes with it has the keys fetched, and waits for that.
        assert gateway.ask(new)[0] == 200
        gateway.until_all_say(200, new)
        gateway.until_all_say(401, old)


def test_a_provider_that_dies_changes_nothing_for_those_who_are_logged_in(
    tmp_path: Path, provider: Provider, service: Service
) -> None:
    first, second = provider.log_in().id_token, provider.log_in().id_token
    with front(tmp_path, service, provider) as gateway:
        assert gateway.statuses(first) == {200}
        provider.kill()
        until(lambda: fetching(gateway, provider) and said_of_keys(gateway), "it is said that there are no keys")
        assert "cannot be fetched" in said_of_keys(gateway)[0]
        assert gateway.statuses(first) == {200}
        # One that nobody has seen before needs the keys themselves.
        assert gateway.statuses(second) == {200}
        assert gateway.statuses(tampered(second)) == {401}
        gateway.gateway.kill_control()
        assert gateway.statuses(first) == {200}
        workers = gateway.gateway.workers()
        kill(workers)
        until(lambda: gateway.gateway.workers().isdisjoint(workers), "all workers are replaced")
        gateway.until_all_say(200, second)


def fetching(gateway: Front, provider: Provider) -> bool:
    """Show a token with the name of an unknown key, for which the keys are fetched as often as that is allowed."""
    forged = jwt.encode({"iss": provider.issuer}, private_key("RSA"), "RS256", {"kid": "unknown"})
    return gateway.ask(forged)[0] == 401


def said_of_keys(gateway: Front) -> list[str]:
    """Return what was said of the keys of the provider since they came."""
    return [line for line in gateway.gateway.log() if "issuer oidc" in line and "have come" not in line]


def kill(workers: set[int]) -> None:
    """Kill worker processes, as a lack of memory does."""
    for pid in workers:
        os.kill(pid, signal.SIGKILL)


def test_a_gateway_that_starts_without_its_provider_serves_what_needs_none(
    tmp_path: Path, provider: Provider, service: Service
) -> None:
    token = provider.log_in().id_token
    provider.kill()
    with front(tmp_path, service, provider) as gateway:
        assert gateway.statuses(own_token()) == {200}
        assert gateway.statuses(token) == {503}
        provider.start()
        gateway.until_all_say(200, token)


def test_nonsense_in_place_of_keys_is_no_key_and_takes_none_away(
    tmp_path: Path, provider: Provider, service: Service
) -> None:
    token = provider.log_in().id_token
    with front(tmp_path, service, provider) as gateway:
        assert gateway.statuses(token) == {200}
        provider.kill()
        for nonsense in (b"<html>We will be back soon.</html>", b'{"keys": []}', b'{"issuer": "https://evil.example"}'):
            with talking_nonsense(provider.port, nonsense) as asked:
                # What is answered to the first question is judged before there is a second one.
                until(lambda asked=asked: fetching(gateway, provider) and len(asked) > 1, "it is asked twice")  # type: ignore[misc]
            assert gateway.statuses(token) == {200}
        assert len(said_of_keys(gateway)) == 1, gateway.gateway.log()
        provider.rotate()
        new = provider.log_in().id_token
        gateway.until_all_say(200, new)


@contextmanager
def talking_nonsense(port: int, body: bytes) -> Iterator[list[str]]:
    """Answer everything on the provider's port with this; yields the paths that were asked for."""
    asked: list[str] = []

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = HttpServer(Handler, port=port)
    try:
        yield asked
    finally:
        server.close()


def test_opaque_tokens_are_asked_about_where_they_came_from(
    tmp_path: Path, provider: Provider, service: Service
) -> None:
    tokens = provider.log_in()
    with front(tmp_path, service, provider) as gateway:
        assert gateway.statuses(tokens.access_token, "/opaque") == {200}
        assert gateway.ask("no-such-token", "/opaque")[0] == 401
        # Which of the ways counts is the route's to say, and a signed token is none of the opaque ones.
        assert gateway.ask(tokens.access_token, "/both")[0] == 401
        assert gateway.ask(tokens.id_token, "/opaque")[0] == 401
        provider.revoke(tokens.access_token)
        assert gateway.statuses(tokens.access_token, "/opaque") == {401}
        assert_not_logged(gateway, tokens)


def test_nobody_is_let_in_while_opaque_tokens_cannot_be_asked_about(
    tmp_path: Path, provider: Provider, service: Service
) -> None:
    token = provider.log_in().access_token
    with front(tmp_path, service, provider) as gateway:
        assert gateway.statuses(token, "/opaque") == {200}
        provider.kill()
        assert gateway.statuses(token, "/opaque") == {503}
        with talking_nonsense(provider.port, b'{"active": "true"}'):
            assert gateway.statuses(token, "/opaque") == {503}
        provider.start()
        assert gateway.statuses(token, "/opaque") == {200}


def test_who_is_known_is_used_on_while_nobody_can_be_asked_where_that_is_configured(
    tmp_path: Path, provider: Provider, service: Service
) -> None:
    first, second = provider.log_in().access_token, provider.log_in().access_token
    with front(tmp_path, service, provider, max_stale="1h") as gateway:
        # Often enough for both workers to have asked.
        assert gateway.statuses(first, "/opaque", 40) == {200}
        provider.kill()
        assert gateway.statuses(first, "/opaque") == {200}
        assert gateway.statuses(second, "/opaque") == {503}


def assert_not_logged(gateway: Front, tokens: Tokens) -> None:
    """Assert that the log has neither a token nor our own password."""
    said = (gateway.gateway._errors).read_text()
    assert USER not in said
    assert not any(secret in said for secret in (tokens.access_token, tokens.id_token, CLIENT_SECRET, SECRET))
