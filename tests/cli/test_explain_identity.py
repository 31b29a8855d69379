"""explain says who asks and what that may, and says of each request what a worker answers to it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from headgate.auth.api_key import digest
from headgate.cli.explain import text
from headgate.cli.explanation import Question, explain
from headgate.cli.main import main
from headgate.config.declarations import Layer
from headgate.config.loader import load
from headgate.config.resolve import ResolvedConfig
from headgate.control.database import find_url
from headgate.control.keys.key_store import NewKey, open_store
from headgate.control.state import find_pepper
from tests.auth import tokens
from tests.auth.passwords import basic, kept
from tests.config.files import make_files
from tests.proxy.peers import Message, Upstream, answering, ok
from tests.proxy.stage import gateway, on_loop

SECRET = "a shared secret of enough bytes for HS256"
FAR = 4_000_000_000
NOWHERE: dict[str, str] = {}


def token(claims: dict[str, Any], secret: str = SECRET) -> str:
    """Sign a token that is good for long."""
    return tokens.token({"exp": FAR, **claims}, key=secret).decode()


def bearer(**claims: Any) -> str:
    return f"Authorization: Bearer {token(claims)}"


def static(key: str, **more: Any) -> dict[str, Any]:
    return {"hash": f"sha256:{hashlib.sha256(key.encode()).hexdigest()}", **more}


IDENTITY: dict[str, Any] = {
    "jwt": {"secret": SECRET, "sources": ["header:Authorization", "query:access_token"]},
    "api_keys": {
        "database": False,
        "static": [
            static("hg_plain", id="plain", roles=["reader"]),
            static("hg_bound", id="bound", scopes=["route:other"]),
            static("hg_near", id="near", addresses=["127.0.0.0/8"]),
            static("hg_far", id="far", addresses=["192.0.2.0/24"]),
            static("hg_old", id="old", expires="2020-01-01"),
        ],
    },
    "basic": {"users": [{"name": "ann", "hash": kept("secret"), "tenant": "acme", "tier": "gold"}]},
    "forward": {"X-User": "id", "X-Tier": "tier"},
    "tiers": [{"tier": "staff", "roles": ["admin"]}],
    "tenant": {"header": "X-Tenant", "choosers": ["admin"]},
    "tenants": [
        {"name": "closed", "enabled": False},
        {"name": "far", "allow": ["192.0.2.0/24"]},
        {"name": "acme", "tier": "silver"},
    ],
    "permissions": {"reader": ["calls:read"]},
}
ROUTES: list[dict[str, Any]] = [
    {"name": "open", "match": {"path": "/open"}, "auth": "none"},
    {"name": "maybe", "match": {"path": "/maybe"}, "auth": "optional"},
    {"name": "roles", "match": {"path": "/roles"}, "auth": {"roles": ["admin", "ops"]}},
    {"name": "scopes", "match": {"path": "/scopes"}, "auth": {"scopes": ["read", "write"]}},
    {"name": "may", "match": {"path": "/may"}, "auth": {"permissions": ["calls:read"]}},
    {"name": "rules", "match": {"path": "/rules"}, "auth": {"rules": [{"method": "DELETE", "roles": "admin"}]}},
    {"name": "keys", "match": {"path": "/keys"}, "auth": {"methods": ["api_key"]}},
    {"name": "of", "match": {"path": {"template": "/of/{tenant}"}}, "auth": {"isolation": "params.tenant"}},
    {"name": "near", "match": {"path": "/near"}, "addresses": ["127.0.0.0/8"], "auth": "none"},
    {"name": "far", "match": {"path": "/far"}, "addresses": ["192.0.2.0/24"]},
    {"name": "fixed", "match": {"path": "/fixed"}, "respond": {"body": "x"}},
    {"name": "all", "match": {"path": "/"}},
]
ONE = [{"name": "api", "endpoints": ["http://10.0.0.1:1"], "routes": [{"name": "all", "match": {}}]}]
REQUESTS: list[tuple[str, str, list[str]]] = [
    ("GET", path, lines)
    for path in ("/open", "/maybe", "/", "/keys", "/fixed", "/far", "/near")
    for lines in (
        [],
        [bearer(sub="ann")],
        [f"Authorization: Bearer {token({'sub': 'ann'}, 'another secret of quite enough bytes')}"],
        [f"Authorization: Bearer {token({'sub': 'ann', 'exp': 1})}"],
        ["Authorization: Bearer nonsense"],
        ["Authorization: Digest x"],
        [basic("ann", "secret")],
        [basic("ann", "wrong")],
        ["X-API-Key: hg_plain"],
        ["X-API-Key: hg_near"],
        ["X-API-Key: hg_far"],
        ["X-API-Key: hg_old"],
        ["X-API-Key: hg_bound"],
        ["X-API-Key: nonsense"],
    )
] + [
    (method, path, lines)
    for method, path in (
        ("GET", "/roles"),
        ("GET", "/scopes"),
        ("GET", "/may"),
        ("GET", "/rules"),
        ("DELETE", "/rules"),
        ("GET", "/of/acme"),
        ("GET", "/of/other"),
    )
    for lines in (
        [],
        [bearer(sub="a", roles=["admin"], scope="read write", tenant="acme")],
        [bearer(sub="a", roles=["ops"], scope="read", tenant="closed")],
        [bearer(sub="a", roles=["reader"], tenant="far")],
        [bearer(sub="a", roles=["admin"]), "X-Tenant: other"],
        [bearer(sub="a", tenant="acme"), "X-Tenant: other"],
        ["X-API-Key: hg_plain", "X-Tenant: acme"],
        [basic("ann", "secret")],
    )
]


def resolved(**more: Any) -> ResolvedConfig:
    document = {
        "listen": ["127.0.0.1:8080"],
        "identity": IDENTITY,
        "limits": [{"name": "each", "key": ["user"], "requests": 10, "tiers": {"gold": 20, "staff": "unlimited"}}],
        "services": [{"name": "api", "endpoints": ["http://10.0.0.1:1"], "routes": ROUTES}],
        **more,
    }
    result = load([], environ=NOWHERE, layers=[Layer("test", json.dumps(document))])
    assert result.config is not None, result.problems
    return result.config


@pytest.fixture(scope="module")
def config() -> ResolvedConfig:
    return resolved()


def ask(config: ResolvedConfig, target: str, *lines: str, method: str = "GET", address: str = "") -> dict[str, Any]:
    fields = [tuple(line.split(": ", 1)) for line in lines]
    return explain(config, Question(method, target, None, fields, address), NOWHERE)  # type: ignore[arg-type]


# -- the caller ----------------------------------------------------------------------------------------------------


def test_a_caller_is_shown_with_all_that_follows(config: ResolvedConfig) -> None:
    explained = ask(config, "/", basic("ann", "secret"))
    said = explained["identity"]
    assert said["credential"] == ["jwt: shows none", "api_key: shows none", "basic: accepted"]
    assert (said["kind"], said["id"], said["method"]) == ("user", "ann", "basic")
    assert (said["tenant"], said["tier"], said["roles"], said["scopes"]) == ("acme", "gold", [], [])
    assert said["upstream_is_told"] == ["X-User: ann", "X-Tier: gold"]
    assert explained["verdict"] == "sent to api by route all"
    assert explained["route"]["limits"] == ["each: 20 in 1 min for each user, sliding_window"]


def test_a_token_says_how_long_it_is_good_and_a_rule_the_tier(config: ResolvedConfig) -> None:
    explained = ask(config, "/", bearer(sub="ann", roles=["admin"], scope="b a"))
    said = explained["identity"]
    assert said["credential"] == ["jwt: accepted until 2096-10-02T07:06:40Z"]
    assert (said["tier"], said["roles"], said["scopes"]) == ("staff", ["admin"], ["a", "b"])
    assert explained["route"]["limits"] == ["each: unlimited for this tier"]


def test_nobody_is_anybody_where_nobody_looks(config: ResolvedConfig) -> None:
    said = ask(config, "/open", bearer(sub="ann"))["identity"]
    assert said["auth"] == "none: nobody looks who asks"
    assert (said["kind"], said["tier"], said["upstream_is_told"]) == ("anonymous", "anonymous", [])
    assert "credential" not in said


def test_without_a_credential(config: ResolvedConfig) -> None:
    explained = ask(config, "/")
    assert explained["verdict"] == "refused with 401 (missing_credentials) by route all"
    assert explained["identity"]["credential"] == ["jwt: shows none", "api_key: shows none", "basic: shows none"]
    assert ask(config, "/maybe")["verdict"] == "sent to api by route maybe"
    assert ask(config, "/keys")["identity"]["auth"] == "required, by api_key"


def test_why_a_credential_is_not_accepted(config: ResolvedConfig) -> None:
    explained = ask(config, "/", "X-API-Key: hg_old")
    assert explained["verdict"] == "refused with 401 (invalid_api_key) by route all: api_key: key old has expired"
    assert explained["identity"]["credential"][-1] == "api_key: not accepted: key old has expired (invalid_api_key)"
    assert "kind" not in explained["identity"]
    explained = ask(config, "/", "Authorization: Digest x")
    assert explained["verdict"].startswith("refused with 401 (invalid_credentials)")


def test_every_rule_has_its_say(config: ResolvedConfig) -> None:
    explained = ask(config, "/roles", bearer(sub="a", roles=["reader"]))
    assert explained["verdict"] == ("refused with 403 (forbidden) by route roles: needs one of the roles admin, ops")
    assert explained["identity"]["rules"] == [
        "tenant by X-Tenant: holds",
        "roles admin, ops: needs one of the roles admin, ops (forbidden)",
    ]
    said = ask(config, "/rules", bearer(sub="a"), method="DELETE")["identity"]
    assert said["rules"][-1] == "rules[0] for DELETE: needs the role admin (forbidden)"
    said = ask(config, "/", "X-API-Key: hg_bound")["identity"]
    assert said["rules"][-1] == "binding: the credential is bound to route:other (forbidden)"
    said = ask(config, "/of/b", basic("ann", "secret"))["identity"]
    assert said["rules"][-1] == "isolation by params.tenant: params.tenant names another tenant than acme" + (
        " (tenant_forbidden)"
    )


def test_what_depends_on_the_address_is_said(config: ResolvedConfig) -> None:
    depends = "depends on the client's address, which --address says"
    far = ask(config, "/far", basic("ann", "secret"))
    assert far["identity"]["rules"][0] == f"addresses: {depends}"
    assert far["verdict"] == "sent to api by route far"
    assert ask(config, "/", "X-API-Key: hg_far")["identity"]["rules"][-1] == f"key: {depends}"
    of_tenant = ask(config, "/", bearer(sub="a", tenant="far"))
    assert of_tenant["identity"]["rules"][-1] == f"tenant far: {depends}"
    for address, status in (("192.0.2.9", "sent"), ("127.0.0.1", "refused with 403 (address_forbidden)")):
        for target, line in (("/far", basic("ann", "secret")), ("/", "X-API-Key: hg_far")):
            assert ask(config, target, line, address=address)["verdict"].startswith(status)
        assert ask(config, "/", bearer(sub="a", tenant="far"), address=address)["verdict"].startswith(status)


# -- what only a running gateway knows -----------------------------------------------------------------------------


def test_what_is_fetched_or_asked_elsewhere_is_not_known_here() -> None:
    identity = {
        "jwt": {"issuer": "https://id.test", "key_set": "https://id.test/keys", "audience": "us", "name": "id"},
        "introspection": {"url": "https://auth.test/introspect", "name": "opaque"},
    }
    config = resolved(identity=identity, services=ONE)
    claims = {"iss": "https://id.test", "aud": "us", "exp": FAR}
    shown = tokens.token(claims, key=tokens.private_key("P-256"), algorithm="ES256").decode()
    explained = ask(config, "/", f"Authorization: Bearer {shown}")
    unsure = "id: the keys of id are fetched by the running gateway; not checked here"
    assert explained["verdict"] == f"sent to api by route all, if its credential is good: {unsure}"
    assert explained["identity"]["credential"] == [unsure]
    explained = ask(config, "/", "Authorization: Bearer opaque-zq7x")
    assert explained["identity"]["credential"] == [
        "id: shows none",
        "opaque: would ask https://auth.test/introspect; not asked here",
    ]
    assert explained["route"]["limits"] == ["each: 10 in 1 min for each user, sliding_window"]


def test_who_else_would_be_asked_is_said() -> None:
    config = resolved(
        auth={"mode": "required", "external": "https://may.test/"},
        services=ONE,
    )
    said = ask(config, "/", basic("ann", "secret"))["identity"]
    assert said["rules"][-1] == "external: https://may.test/ would be asked, and may refuse"


def test_a_certificate_is_never_shown_to_a_command(tmp_path: Path) -> None:
    files = tmp_path / "FILES"
    make_files(files)
    tls = {"cert": str(files / "good.pem"), "key": str(files / "good.key"), "client_ca": str(files / "good.pem")}
    config = resolved(
        listen=[{"address": "127.0.0.1:8443", "tls": tls}],
        identity={"certificates": {}},
        services=ONE,
    )
    said = ask(config, "/")["identity"]
    assert said["credential"] == ["certificate: is shown in the handshake, so never here"]


# -- keys in the database ------------------------------------------------------------------------------------------


def with_database(state: Path) -> ResolvedConfig:
    return resolved(
        identity={"api_keys": {"static": [static("hg_static", id="s")]}},
        state_dir=str(state),
        services=ONE,
    )


def test_a_key_is_looked_up_in_the_database(tmp_path: Path) -> None:
    store = open_store(find_url(None, NOWHERE, tmp_path), find_pepper(None, NOWHERE, tmp_path))
    made = store.create(NewKey(owner="ann", tenant="acme", roles=("reader",), tier="gold"), "hg_")
    config = with_database(tmp_path)
    said = ask(config, "/", f"X-API-Key: {made.key}")["identity"]
    assert (said["kind"], said["id"], said["tenant"], said["tier"]) == ("api_key", made.stored.id, "acme", "gold")
    assert store.record(digest(find_pepper(None, NOWHERE, tmp_path), made.key.encode())) is not None
    store.revoke([made.stored.id])
    explained = ask(config, "/", f"X-API-Key: {made.key}")
    assert explained["verdict"].startswith("refused with 401 (invalid_api_key)")
    store.close()
    # Without the pepper nobody can say.
    (tmp_path / "pepper").unlink()
    explained = ask(config, "/", f"X-API-Key: {made.key}")
    assert "the pepper in" in explained["identity"]["credential"][-1]
    assert explained["verdict"].startswith("sent to api by route all, if its credential is good")
    assert ask(config, "/", "X-API-Key: hg_static")["identity"]["id"] == "s"


def test_looking_makes_nothing(tmp_path: Path) -> None:
    config = with_database(tmp_path / "state")
    assert "401" in ask(config, "/", "X-API-Key: hg_x")["verdict"]
    assert not (tmp_path / "state").exists()


def test_a_database_that_is_away_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "pepper").write_bytes(b"p" * 32)
    (tmp_path / "keys.db").write_bytes(b"this is no database" * 100)
    explained = ask(with_database(tmp_path), "/", "X-API-Key: hg_x")
    assert "keys.db" in explained["identity"]["credential"][-1]
    assert "if its credential is good" in explained["verdict"]


# -- what is printed -----------------------------------------------------------------------------------------------


def test_no_part_of_a_credential_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {})
    file = tmp_path / "gw.yaml"
    document = {
        "listen": ["127.0.0.1:8080"],
        "identity": IDENTITY,
        "services": [{"name": "api", "endpoints": ["http://10.0.0.1:1"], "routes": ROUTES}],
    }
    file.write_text(json.dumps(document))
    good, wrong = token({"sub": "ann"}), token({"sub": "ann"}, "another secret of quite enough bytes")
    for target, line in (
        ("/?a=1&access_token=" + good, "A: b"),
        ("/?a=1&access_token=" + wrong, "A: b"),
        ("/?a=1&acc%65ss_token=garbage" + wrong[:30], "A: b"),
        ("/?a=1", f"Authorization: Bearer {wrong}"),
        ("/?a=1", f"X-API-Key: {wrong}"),
        ("/?a=1", basic("ann", "hunter2-zq7x")),
        ("/?a=1", "X-API-Key: hg_plain-but-zq7x"),
    ):
        for how in ((), ("--json",)):
            assert main(["explain", "GET", target, "-c", str(file), "-H", line, *how]) == 0
            printed = "".join(capsys.readouterr())
            for part in (good[40:60], good[-20:], wrong[-20:], wrong[:30], "hunter2", "zq7x", line.split()[-1][-12:]):
                assert part not in printed or part == "b"
            assert "a=1" in printed
    said = ask(resolved(), "/?a=1&access_token=" + good)
    assert said["request"]["query"] == "a=1&access_token=***"
    assert said["services"][0]["endpoints"] == ["http://10.0.0.1:1/?a=1&access_token=*** (100%)"]


def test_what_a_token_says_does_not_reach_the_terminal_as_it_is(config: ResolvedConfig) -> None:
    explained = ask(config, "/roles", bearer(sub="a", roles=["\x1b[31mred"]))
    assert "\x1b" not in text(explained)


def test_people_read_the_same(config: ResolvedConfig) -> None:
    said = text(ask(config, "/roles", bearer(sub="ann")))
    assert "\nWho asks\n" in said
    assert "roles admin, ops: needs one of the roles admin, ops (forbidden)" in said


def test_an_address_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["explain", "GET", "/", "--address", "nowhere"])
    assert 'expected an address such as 192.0.2.7, got "nowhere"' in capsys.readouterr().err


# -- the same as a worker ------------------------------------------------------------------------------------------


@on_loop
async def test_a_worker_answers_as_is_explained() -> None:
    seen: list[Message] = []
    async with Upstream(answering(lambda _: ok(b"x"), seen)) as upstream:
        services = [{"name": "api", "endpoints": [upstream.url], "routes": ROUTES}]
        document = {"identity": IDENTITY, "services": services}
        config = resolved(services=services)
        async with gateway(document) as rig:
            verdicts = set()
            for method, target, lines in REQUESTS:
                head = [f"{method} {target} HTTP/1.1", "Host: localhost", *lines, "", ""]
                answer = await rig.ask("\r\n".join(head).encode())
                explained = ask(config, target, *lines, method=method, address="127.0.0.1")
                verdict = explained["verdict"]
                verdicts.add(verdict.split(" by route")[0])
                if answer.status < 300:
                    assert verdict.startswith(("sent to", "answered with 200")), (method, target, lines, verdict)
                    told = [f"{name}: {seen[-1].get(name.lower())}" for name in ("X-User", "X-Tier")]
                    if target != "/fixed":
                        assert explained["identity"]["upstream_is_told"] == [
                            line for line in told if not line.endswith(": None")
                        ]
                    continue
                reason = answer.json()["reason"]
                assert verdict.startswith(f"refused with {answer.status} ({reason})"), (method, target, lines, verdict)
                line = rig.log[-1]
                assert (line.get("detail") or "") == verdict.partition(f"by route {line['route']}")[2].removeprefix(
                    ": "
                )
        assert len(verdicts) >= 9, verdicts
