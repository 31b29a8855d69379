"""The issuer of tokens is in trouble, and `headgate run` fetches its keys: known keys go on, nobody else gets in.

A real provider that dies and comes back stands in tests/oidc; what is no key set, in tests/control/test_key_fetch.py;
how often control asks, in tests/control/test_key_schedule.py and tests/control/test_issuers.py.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from tests.control.driver import CEILING, until
from tests.control.issuer import DISCOVERY, KEYS, ScriptedIssuer, SigningKey, said, scripted_issuer
from tests.control.whole import Gateway, Service

COOLDOWN = 1
# So many connections reach both workers, but for one time in thirty thousand.
CONNECTIONS = 16
GOOD = {(200, "")}
REFUSED = {(401, "invalid_token")}
Trouble = Callable[[ScriptedIssuer], AbstractContextManager[None]]


class Scene:
    """A gateway of two workers before its issuer, which has published one key."""

    def __init__(self, folder: Path, service: Service, issuer: ScriptedIssuer) -> None:
        self.issuer = issuer
        self.key = SigningKey("first")
        issuer.keys.append(self.key)
        source = {"cooldown": COOLDOWN, "timeout": 0.5, "refresh": 60}
        made = {"name": "made", "issuer": issuer.url, "audience": "us", "algorithms": "ES256", "discovery": source}
        # Who is refused because the machine is busy is not the matter here.
        more = {"identity": {"jwt": made}, "overload": {"enabled": False}}
        self.gateway = Gateway(folder, 2, {"url": f"http://{service.name}"}, **more)
        self._connections = [
            http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=CEILING) for _ in range(CONNECTIONS)
        ]

    def token(self, key: SigningKey, sub: str = "ann") -> str:
        return key.sign(iss=self.issuer.url, aud="us", sub=sub)

    def said(self, token: str) -> set[tuple[int, str]]:
        """Show a token to both workers, on connections that stay; return status and reason of all answers."""
        found = set()
        for connection in self._connections:
            connection.request("GET", "/", headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            body = answer.read()
            found.add((answer.status, json.loads(body)["reason"] if answer.status >= 400 else ""))
        return found

    def until_asked(self, stranger: SigningKey) -> None:
        """Show keys that nobody knows until the issuer has been asked for them, which it is once in the cooldown."""
        before = len(self.issuer.asked)
        until(
            lambda: self.said(self.token(stranger)) == REFUSED and len(self.issuer.asked) > before, "it has been asked"
        )

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        self.gateway.close()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with (
        closing(Service()) as service,
        scripted_issuer() as issuer,
        closing(Scene(tmp_path_factory.mktemp("issuer"), service, issuer)) as scene,
    ):
        until(lambda: scene.said(scene.token(scene.key)) == GOOD, "its keys have come")
        yield scene


@contextmanager
def silent(issuer: ScriptedIssuer) -> Iterator[None]:
    issuer.hold.clear()
    try:
        yield
    finally:
        issuer.hold.set()


def answering(path: str, answer: Callable[[ScriptedIssuer], bytes]) -> Trouble:
    @contextmanager
    def answered(issuer: ScriptedIssuer) -> Iterator[None]:
        issuer.answers[path] = answer(issuer)
        try:
            yield
        finally:
            del issuer.answers[path]

    return answered


STRANGER = SigningKey("strange")
TROUBLES: dict[str, Trouble] = {
    "silent": silent,
    "failing": answering(DISCOVERY, lambda _: said({}, 500)),
    "elsewhere": answering(DISCOVERY, lambda issuer: said({}, 302, f"Location: {issuer.url}{KEYS}")),
    "another issuer's document": answering(DISCOVERY, lambda _: said({"issuer": "https://b.example", "jwks_uri": "x"})),
    "no HTTP": answering(KEYS, lambda _: bytes(range(256))),
    "a page": answering(KEYS, lambda _: said(b"<html>Back soon</html>")),
    "no keys": answering(KEYS, lambda _: said({"keys": []})),
    "no keys that can be used": answering(
        KEYS, lambda _: said({"keys": [{"kty": "oct", "k": "AAAA", "kid": "strange"}]})
    ),
    "a stranger's key in half a set": answering(KEYS, lambda _: said({"keys": [STRANGER.public()]})[:-20]),
    "cut": answering(KEYS, lambda _: b""),
    "too much": answering(KEYS, lambda _: said(b" " * 400_000)),
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
def test_known_keys_go_on_and_strange_ones_never_pass(scene: Scene, trouble: Trouble) -> None:
    forger = SigningKey("first")
    with trouble(scene.issuer):
        scene.until_asked(STRANGER)
        assert scene.said(scene.token(scene.key)) == GOOD
        assert scene.said(scene.token(scene.key, sub="somebody new")) == GOOD
        assert scene.said(scene.token(forger)) == REFUSED
        assert scene.said(scene.token(STRANGER)) == REFUSED
    # And once it is well again, a new key is found for the sake of the first token it signed.
    new = SigningKey(f"new-{len(scene.issuer.keys)}")
    scene.issuer.keys.append(new)
    until(lambda: scene.said(scene.token(new)) == GOOD, "the new key is found")
    assert scene.said(scene.token(scene.key)) == GOOD


def test_without_any_keys_nobody_gets_in(tmp_path: Path) -> None:
    with closing(Service()) as service, scripted_issuer() as issuer:
        issuer.answers[KEYS] = said(b"<html>")
        with closing(Scene(tmp_path, service, issuer)) as scene:
            for key in (scene.key, STRANGER):
                assert scene.said(scene.token(key)) == {(503, "identity_unavailable")}
            del issuer.answers[KEYS]
            until(lambda: scene.said(scene.token(scene.key)) == GOOD, "its keys have come")
            assert scene.said(scene.token(STRANGER)) == REFUSED
