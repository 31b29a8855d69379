"""Credentials on their way through the gateway: who is let in, who is told what, and what an upstream sees of it."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

import jwt
import pytest

from headgate.auth.basic import hash_password
from tests.proxy.peers import Upstream, answering, eventually, get, ok
from tests.proxy.stage import gateway, on_loop, to

SECRET = "a secret of thirty-two bytes, or so"
KEY = "hg_" + "k" * 43


# Those below are made when this file is read, which may be long before the tests run.
def token(secret: str = SECRET, seconds: float = 86_400, **claims: Any) -> str:
    return jwt.encode({"sub": "ada", "exp": time.time() + seconds, **claims}, secret, "HS256")


def identity(**more: Any) -> dict[str, Any]:
    static = {"id": "k1", "hash": "sha256:" + hashlib.sha256(KEY.encode()).hexdigest(), "tenant": "acme"}
    return {"jwt": {"secret": SECRET}, "api_keys": {"static": [static]}, **more}


def bearer(credential: str) -> str:
    return f"Authorization: Bearer {credential}"


@pytest.mark.parametrize(
    ("fields", "status", "reason"),
    [
        ((), 401, "missing_credentials"),
        ((bearer(token()),), 200, None),
        ((f"X-API-Key: {KEY}",), 200, None),
        ((bearer(KEY),), 200, None),
        ((bearer(token("another secret, as long as the other")),), 401, "invalid_token"),
        ((bearer(token(seconds=-600)),), 401, "expired_token"),
        ((bearer("nonsense"),), 401, "invalid_token"),
        (("Authorization: Basic YWRhOmFkYQ==",), 401, "invalid_credentials"),
        (("X-API-Key: hg_unknown",), 401, "invalid_api_key"),
        # A credential that is shown and wrong is never passed over for a good one behind it.
        ((bearer(token(seconds=-600)), f"X-API-Key: {KEY}"), 401, "expired_token"),
    ],
)
@on_loop
async def test_a_route_that_asks_who_is_there(fields: tuple[str, ...], status: int, reason: str | None) -> None:
    async with (
        Upstream(answering(lambda _: ok(b"fine"))) as upstream,
        gateway(to(upstream, identity=identity())) as rig,
    ):
        answer = await rig.ask(get("/x", *fields))
        assert answer.status == status
        if reason is not None:
            assert json.loads(answer.body)["reason"] == reason
            challenges = answer.all("www-authenticate")
            no_token = reason in ("missing_credentials", "invalid_credentials")
            wrong = "" if no_token else ', error="invalid_token"'
            assert challenges == [f'Bearer realm="headgate"{wrong}', 'ApiKey realm="headgate"']


@pytest.mark.parametrize(
    ("authorization", "strict", "loose"),
    [
        ("Authorization: Basic YWRhOmFkYQ==", "invalid_credentials", None),
        (bearer("nonsense"), "invalid_token", None),
        (bearer(token()), None, None),
        (bearer(KEY), None, None),
        (bearer(token(seconds=-600)), "expired_token", "expired_token"),
        ("Authorization:", None, None),
    ],
)
@on_loop
async def test_an_authorization_that_no_way_takes_is_the_services_or_where_it_is_strict_a_wrong_one(
    authorization: str, strict: str | None, loose: str | None
) -> None:
    async with Upstream(answering(lambda _: ok(b"fine"))) as upstream:
        for settings, reason in ((identity(strict=True), strict), (identity(), loose)):
            async with gateway(to(upstream, identity=settings)) as rig:
                # Twice: what is known of a credential changes nothing.
                for _ in range(2):
                    answer = await rig.ask(get("/x", authorization, f"X-API-Key: {KEY}"))
                    assert answer.status == (200 if reason is None else 401)
                    assert reason is None or json.loads(answer.body)["reason"] == reason
                assert (await rig.ask(get("/x", f"X-API-Key: {KEY}"))).status == 200


@on_loop
async def test_where_it_is_strict_a_known_key_does_not_help_an_authorization_that_nobody_reads() -> None:
    settings = identity(strict=True)
    settings["api_keys"]["bearer"] = False
    del settings["jwt"]
    async with (
        Upstream(answering(lambda _: ok(b"fine"))) as upstream,
        gateway(to(upstream, identity=settings)) as rig,
    ):
        for _ in range(2):
            assert (await rig.ask(get("/x", f"X-API-Key: {KEY}"))).status == 200
            assert (await rig.ask(get("/x", f"X-API-Key: {KEY}", bearer("nonsense")))).status == 401


@on_loop
async def test_an_open_route_looks_at_nothing_and_an_optional_one_refuses_what_is_wrong() -> None:
    async with Upstream(answering(lambda _: ok(b"fine"))) as upstream:
        document = to(upstream, identity=identity(), route={"auth": "none"})
        async with gateway(document) as rig:
            assert (await rig.ask(get("/x", bearer("nonsense")))).status == 200
        document = to(upstream, identity=identity(), route={"auth": "optional"})
        async with gateway(document) as rig:
            assert (await rig.ask(get("/x"))).status == 200
            assert (await rig.ask(get("/x", bearer("nonsense")))).status == 401


@on_loop
async def test_a_route_may_let_some_ways_count_only() -> None:
    async with (
        Upstream(answering(lambda _: ok(b"fine"))) as upstream,
        gateway(to(upstream, identity=identity(), route={"auth": {"methods": ["api_key"]}})) as rig,
    ):
        assert (await rig.ask(get("/x", bearer(token())))).status == 401
        assert (await rig.ask(get("/x", f"X-API-Key: {KEY}"))).status == 200


@on_loop
async def test_the_upstream_sees_a_credential_unless_it_is_to_be_hidden() -> None:
    async with Upstream(answering(lambda request: ok((request.get("x-api-key") or "none").encode()))) as upstream:
        for hidden in (False, True):
            document = to(upstream, identity=identity(hide_credentials=hidden))
            async with gateway(document) as rig:
                answer = await rig.ask(get("/x", f"X-API-Key: {KEY}"))
                assert answer.body == (b"none" if hidden else KEY.encode())


@on_loop
async def test_what_is_known_outlives_a_reload_that_leaves_identity_alone() -> None:
    async with Upstream(answering(lambda _: ok(b"fine"))) as upstream:
        document = to(upstream, identity=identity())
        async with gateway(document) as rig:
            shown = get("/x", bearer(token()))
            before = rig.gateway.authentication.in_force
            assert (await rig.ask(shown)).status == 200
            rig.apply({**document, "max_body": 1000})
            assert rig.gateway.authentication.in_force is before
            rig.apply({**document, "identity": identity(realm="other")})
            assert rig.gateway.authentication.in_force is not before
            assert (await rig.ask(shown)).status == 200


@on_loop
async def test_one_who_leaves_while_a_password_is_checked_harms_nobody() -> None:
    user = {"name": "ada", "hash": hash_password("secret", b"salt" * 4)}
    async with (
        Upstream(answering(lambda _: ok(b"fine"))) as upstream,
        gateway(to(upstream, identity={"basic": {"users": [user]}})) as rig,
    ):
        shown = get("/x", "Authorization: Basic YWRhOnNlY3JldA==")
        client = await rig.client()
        await client.send(shown)
        await eventually(lambda: rig.gateway.in_flight == 1)
        client.close()
        assert (await rig.ask(shown)).status == 200
