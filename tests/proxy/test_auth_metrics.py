"""What is counted of credentials: what became of them, what the memory of verdicts saved, how long a judgement took."""

from __future__ import annotations

from headgate.auth.basic import hash_password
from headgate.telemetry.cells import read
from tests.proxy.peers import Upstream, answering, get, ok
from tests.proxy.stage import gateway, on_loop, to
from tests.proxy.test_who_asks import KEY, SECRET, bearer, identity, token

TOKEN = token()


@on_loop
async def test_credentials_are_counted_and_those_remembered_are_not_judged_again() -> None:
    async with (
        Upstream(answering(lambda _: ok())) as upstream,
        gateway(to(upstream, identity=identity())) as rig,
    ):
        good, wrong = bearer(token()), bearer(token("another secret, as long as the other"))
        for fields in ([good], [good], [good], [wrong], [f"X-API-Key: {KEY}"], []):
            await rig.ask(get("/x", *fields))
        assert rig.counted("auth_total", method="jwt", outcome="known") == 3
        assert rig.counted("auth_total", method="jwt", outcome="refused") == 1
        assert rig.counted("auth_judged_total", method="jwt") == 2
        assert rig.counted("auth_total", method="api_key", outcome="known") == 1
        assert rig.counted("auth_failures_total", reason="invalid_token", auth_type="jwt") == 1
        assert rig.counted("auth_failures_total", reason="missing_credentials", auth_type="none") == 1
        assert rig.counted("auth_failures_total") == 2


@on_loop
async def test_as_many_verdicts_are_remembered_as_is_configured() -> None:
    for most, judged in ((0, 3), (1, 1)):
        settings = identity(cache=most)
        async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, identity=settings)) as rig:
            for _ in range(3):
                assert (await rig.ask(get("/x", bearer(TOKEN)))).status == 200
            assert rig.counted("auth_judged_total", method="jwt") == judged


@on_loop
async def test_who_is_known_and_may_not_is_counted_by_the_kind_of_what_was_shown() -> None:
    issuers = [{"name": name, "issuer": name, "secret": SECRET} for name in ("one", "other")]
    more = {"identity": {**identity(), "jwt": issuers}, "auth": {"roles": "admin"}}
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **more)) as rig:
        for field in (bearer(token(iss="other")), f"X-API-Key: {KEY}"):
            assert (await rig.ask(get("/x", field))).status == 403
        assert rig.counted("auth_failures_total", reason="forbidden", auth_type="jwt") == 1
        assert rig.counted("auth_failures_total", reason="forbidden", auth_type="api_key") == 1
        assert rig.counted("auth_failures_total") == 2


@on_loop
async def test_the_log_names_a_known_caller_and_never_a_credential() -> None:
    async with (
        Upstream(answering(lambda _: ok())) as upstream,
        gateway(to(upstream, identity=identity())) as rig,
    ):
        for fields in ([bearer(token(tenant="acme"))], [f"X-API-Key: {KEY}"], [bearer(token(seconds=-600))], []):
            await rig.ask(get("/x", *fields))
        log = await rig.logged(4)
        told = [{name: line.get(name) for name in ("identity", "identity_kind", "tenant")} for line in log]
        nobody = dict.fromkeys(told[0])
        assert told == [
            {"identity": "ada", "identity_kind": "user", "tenant": "acme"},
            {"identity": "k1", "identity_kind": "api_key", "tenant": "acme"},
            nobody,
            nobody,
        ]


@on_loop
async def test_a_wait_for_a_judgement_is_observed() -> None:
    static = {"users": [{"name": "ada", "hash": hash_password("secret", b"salt" * 4)}]}
    async with (
        Upstream(answering(lambda _: ok())) as upstream,
        gateway(to(upstream, identity={"basic": static})) as rig,
    ):
        assert (await rig.ask(get("/x", "Authorization: Basic YWRhOnNlY3JldA=="))).status == 200
        (waited,) = [each for each in read([rig.region]) if each.name.family == "headgate_auth_wait_seconds"]
        assert (waited.name.labels, sum(waited.values[1:])) == (("basic",), 1)
