"""Keys over the wire: what is asked of an issuer, and what is taken for an answer."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.auth.settings import JwtIssuer, KeySetSource
from headgate.control.key_fetch import FetchedKeys, NotFetched, fetch_keys
from tests.control.driver import free_port
from tests.control.issuer import DISCOVERY, KEYS, ScriptedIssuer, SigningKey, said, scripted_issuer
from tests.loops import on_plain_loop
from tests.proxy.peers import eventually
from tests.wire.certificates import Authority


@pytest.fixture
def idp() -> Iterator[ScriptedIssuer]:
    with scripted_issuer() as issuer:
        issuer.keys = [SigningKey("one"), SigningKey("two", "RS256")]
        yield issuer


def by_url(idp: ScriptedIssuer, **source: Any) -> JwtIssuer:
    return JwtIssuer(name="idp", key_set=KeySetSource(**{"url": idp.url + KEYS, **source}))


def by_discovery(idp: ScriptedIssuer, issuer: str | None = None, **source: Any) -> JwtIssuer:
    return JwtIssuer(name="idp", issuer=issuer or idp.url, discovery=KeySetSource(**source))


def fetched(issuer: JwtIssuer) -> FetchedKeys:
    found: list[FetchedKeys] = []

    @on_plain_loop
    async def fetch() -> None:
        found.append(await fetch_keys(issuer))

    fetch()
    return found[0]


def why(issuer: JwtIssuer) -> str:
    with pytest.raises(NotFetched) as raised:
        fetched(issuer)
    return str(raised.value)


def names(keys: FetchedKeys) -> set[str]:
    return {key["kid"] for key in json.loads(keys.body)["keys"]}


def test_a_key_set(idp: ScriptedIssuer) -> None:
    found = fetched(by_url(idp))
    assert (names(found), found.usable, found.max_age) == ({"one", "two"}, 2, None)
    assert idp.asked == [KEYS]


def test_discovery(idp: ScriptedIssuer) -> None:
    assert names(fetched(by_discovery(idp))) == {"one", "two"}
    assert idp.asked == [DISCOVERY, KEYS]


def test_discovery_at_another_place(idp: ScriptedIssuer) -> None:
    idp.answers["/realm"] = said({"issuer": "https://idp.example", "jwks_uri": idp.url + KEYS})
    assert fetched(by_discovery(idp, "https://idp.example", url=f"{idp.url}/realm")).usable == 2


def test_discovery_of_an_issuer_with_a_path(idp: ScriptedIssuer) -> None:
    for issuer in (f"{idp.url}/realms/a", f"{idp.url}/realms/a/"):
        idp.answers["/realms/a" + DISCOVERY] = said({"issuer": issuer, "jwks_uri": idp.url + KEYS})
        assert fetched(by_discovery(idp, issuer)).usable == 2


def test_the_order_of_keys_and_members_makes_no_difference(idp: ScriptedIssuer) -> None:
    first = fetched(by_url(idp)).body
    keys = [dict(reversed(key.public().items())) for key in reversed(idp.keys)]
    idp.answers[KEYS] = said({"more": "of it", "keys": keys})
    assert fetched(by_url(idp)).body == first


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("public, max-age=60", 60),
        ('max-age="60"', 60),
        ("Max-Age=60", 60),
        ("no-store", 0),
        ("private,no-cache, max-age=60", 0),
        ("s-maxage=60", None),
        ("max-age=x", None),
        ("", None),
    ],
)
def test_how_long_the_issuer_says_they_are_good_for(idp: ScriptedIssuer, line: str, seconds: float | None) -> None:
    idp.answers[KEYS] = said({"keys": [key.public() for key in idp.keys]}, 200, f"Cache-Control: {line}")
    assert fetched(by_url(idp)).max_age == seconds


def test_only_keys_that_can_be_used_count(idp: ScriptedIssuer) -> None:
    keys = [idp.keys[0].public(), {**idp.keys[1].public(), "use": "enc"}, {"kty": "oct", "k": "c2VjcmV0"}, 7]
    idp.answers[KEYS] = said({"keys": keys})
    assert fetched(by_url(idp)).usable == 1
    idp.answers[KEYS] = said({"keys": keys[1:]})
    assert "no key for ES256, RS256" in why(by_url(idp))


EC = SigningKey("one").public()


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (said({"keys": []}), "no key for"),
        (said({}), "no list of keys"),
        (said(EC), "no list of keys"),
        (said([]), "no JSON object"),
        (said({"keys": {"one": EC}}), "no list of keys"),
        (said({"keys": [EC] * 101}), "more than 100 keys"),
        (said(b""), "no JSON"),
        (said(b"<html>login</html>"), "no JSON"),
        (said(b"\xff\xfe"), "UTF-8"),
        (said(b"[" * 5000), "levels"),
        (said({"keys": [EC]}, 201), "status 201"),
        (said({"keys": [EC]}, 404), "status 404"),
        (said({"keys": [EC]}, 500), "status 500"),
        (said({"keys": [EC]}, 302, "Location: /elsewhere"), "status 302"),
        (said({"keys": [EC], "x": "x" * 70_000}), "more than 65536 bytes"),
        (said(gzip.compress(json.dumps({"keys": [EC]}).encode()), 200, "Content-Encoding: gzip"), "packed"),
        (said(gzip.compress(b"0" * 10_000_000), 200, "Content-Encoding: gzip"), "packed"),
        (b"", "Error"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{", "Error"),
        (b"\x00\x01garbage\r\n\r\n", "Error"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 200_000 + b"\r\n\r\n", "Error"),
    ],
)
def test_what_is_no_key_set(idp: ScriptedIssuer, answer: bytes, sentence: str) -> None:
    idp.answers[KEYS] = answer
    assert sentence in why(by_url(idp, max_bytes=65_536))
    assert idp.asked == [KEYS]


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"issuer": "https://other.example"}, "another issuer"),
        ({"issuer": None}, "another issuer"),
        ({"jwks_uri": None}, "no jwks_uri"),
        ({"jwks_uri": ["https://idp.example/keys"]}, "no jwks_uri"),
        ({"jwks_uri": "http://idp.example/keys"}, "no jwks_uri"),
        ({"jwks_uri": "file:///etc/passwd"}, "no jwks_uri"),
        ({"jwks_uri": "/keys"}, "no jwks_uri"),
        ({"jwks_uri": ""}, "no jwks_uri"),
        ({"jwks_uri": "https://"}, "no jwks_uri"),
        ({"jwks_uri": "http://[bad"}, ""),
        ({"filler": "x" * 5000}, "more than 4096 bytes"),
    ],
)
def test_what_is_no_discovery_document(idp: ScriptedIssuer, document: dict[str, Any], sentence: str) -> None:
    idp.document = document
    assert sentence in why(by_discovery(idp, max_bytes=4096))
    assert idp.asked == [DISCOVERY]


def test_an_issuer_is_the_same_to_the_letter(idp: ScriptedIssuer) -> None:
    assert "another issuer" in why(by_discovery(idp, f"{idp.url}/"))


def test_a_document_that_came_over_tls_names_no_place_without(idp: ScriptedIssuer, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("127.0.0.1"))
    with scripted_issuer(context) as safe:
        safe.keys = idp.keys
        assert fetched(by_discovery(safe, ca=authority.path)).usable == 2
        assert "CERTIFICATE_VERIFY_FAILED" in why(by_discovery(safe))
        safe.document = {"jwks_uri": idp.url + KEYS}
        assert "no jwks_uri" in why(by_discovery(safe, ca=authority.path))
    assert idp.asked == []


def test_the_bound_in_time_holds_for_all_of_it(idp: ScriptedIssuer) -> None:
    idp.hold.clear()
    assert why(by_url(idp, timeout=0.2)) == "no answer within 0.2 s"
    assert why(by_discovery(idp, timeout=0.2)) == "no answer within 0.2 s"


def test_nobody_is_there() -> None:
    source = KeySetSource(url=f"http://127.0.0.1:{free_port()}/keys")
    assert "ConnectError" in why(JwtIssuer(name="idp", key_set=source))
    source = KeySetSource(url="http://no-such-name.invalid/keys")
    assert "ConnectError" in why(JwtIssuer(name="idp", key_set=source))


def test_a_missing_file_of_authorities(idp: ScriptedIssuer) -> None:
    assert "nowhere.pem" in why(by_url(idp, ca="/nowhere.pem"))


def test_proxies_of_the_environment_are_not_asked(idp: ScriptedIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert fetched(by_url(idp)).usable == 2


def test_a_fetch_that_is_given_up_leaves_nothing(idp: ScriptedIssuer) -> None:
    @on_plain_loop
    async def scenario() -> None:
        idp.hold.clear()
        task = asyncio.create_task(fetch_keys(by_url(idp)))
        await eventually(lambda: bool(idp.asked))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    scenario()
