"""User names and passwords at a real gateway: who gets through, what it costs, and what a flood does."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.auth.passwords import basic, kept
from tests.proxy.peers import Message, Upstream, answering, eventually, get, ok
from tests.proxy.stage import gateway, on_loop, to

CHALLENGE = 'Basic realm="headgate", charset="UTF-8"'
SCRYPT = "headgate.auth.basic.hashlib.scrypt"
# As many as proxy.authentication lets wait in one worker.
MOST = 12


def document(upstream: Upstream, password: str = "open sesame", **more: Any) -> dict[str, Any]:
    user = {"name": "ann", "hash": kept(password), "tenant": "acme", "roles": ["reader"]}
    identity = {"basic": {"users": [user]}, "forward": {"X-Id": "id", "X-Tenant": "tenant", "X-Roles": "roles"}}
    return to(upstream, identity={**identity, **more.pop("identity", {})}, **more)


class Counted:
    """scrypt as it is, counted; while `gate` is shut it waits."""

    def __init__(self) -> None:
        self.calls = 0
        self.threads: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()
        self._scrypt: Callable[..., bytes] = hashlib.scrypt
        self._lock = threading.Lock()

    def __call__(self, password: bytes, **rest: Any) -> bytes:
        with self._lock:
            self.calls += 1
            self.threads.add(threading.current_thread().name)
        assert self.gate.wait(20)
        return self._scrypt(password, **rest)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted()
    monkeypatch.setattr(SCRYPT, counted)
    return counted


@on_loop
async def test_a_user_is_known_and_upstreams_are_told_who_it_is() -> None:
    seen: list[Message] = []
    async with Upstream(answering(lambda _: ok(b"x"), seen)) as upstream:
        async with gateway(document(upstream)) as rig:
            assert (await rig.ask(get("/", basic("ann", "open sesame"), "X-Roles: admin"))).status == 200
            assert [seen[0].get(name) for name in ("x-id", "x-tenant", "x-roles")] == ["ann", "acme", "reader"]
            assert seen[0].get("authorization") == basic("ann", "open sesame").removeprefix("Authorization: ")
        async with gateway(document(upstream, identity={"hide_credentials": True})) as rig:
            assert (await rig.ask(get("/", basic("ann", "open sesame")))).status == 200
            assert seen[1].get("authorization") is None
            assert seen[1].get("x-id") == "ann"


@on_loop
async def test_whoever_is_not_known_is_asked_for_a_password() -> None:
    async with Upstream() as upstream, gateway(document(upstream)) as rig:
        for lines, reason in (
            ((), "missing_credentials"),
            ((basic("ann", "wrong-zq7x"),), "invalid_credentials"),
            ((basic("nobody-zq7x", "open sesame"),), "invalid_credentials"),
            (("Authorization: Basic zq7x",), "invalid_credentials"),
            (("Authorization: Basic",), "invalid_credentials"),
            (("Authorization: Bearer zq7x",), "invalid_token"),
            (("Authorization: Digest zq7x",), "invalid_credentials"),
            ((basic("ann", "open sesame"), basic("ann", "other-zq7x")), "invalid_credentials"),
        ):
            answer = await rig.ask(get("/", *lines))
            assert (answer.status, answer.json()["reason"]) == (401, reason)
            assert answer.get("www-authenticate") == CHALLENGE
            assert b"zq7x" not in answer.body + repr(answer.fields).encode()
        assert "zq7x" not in repr(rig.log)
        assert not upstream.links


@on_loop
async def test_a_wrong_password_is_refused_where_none_is_needed() -> None:
    seen: list[Message] = []
    async with (
        Upstream(answering(lambda _: ok(b"x"), seen)) as upstream,
        gateway(document(upstream, auth="optional")) as rig,
    ):
        assert (await rig.ask(get())).status == 200
        assert seen[0].get("x-id") is None
        assert (await rig.ask(get("/", basic("ann", "wrong")))).status == 401


def test_a_password_is_checked_once_and_in_a_thread(work: Counted) -> None:
    @on_loop
    async def play() -> None:
        async with Upstream(answering(lambda _: ok(b"x"))) as upstream, gateway(document(upstream)) as rig:
            for _ in range(3):
                assert (await rig.ask(get("/", basic("ann", "open sesame")))).status == 200
            assert work.calls == 1
            for _ in range(3):
                assert (await rig.ask(get("/", basic("ann", "wrong")))).status == 401
            assert work.calls == 2
            assert all(name.startswith("passwords") for name in work.threads)

    play()


def test_who_sends_the_same_at_the_same_time_waits_for_one_check(work: Counted) -> None:
    @on_loop
    async def play() -> None:
        async with Upstream(answering(lambda _: ok(b"x"))) as upstream, gateway(document(upstream)) as rig:
            work.gate.clear()
            asked = [asyncio.ensure_future(rig.ask(get("/", basic("ann", "open sesame")))) for _ in range(10)]
            await eventually(lambda: rig.gateway.in_flight == 10 and work.calls == 1)
            # The loop is free meanwhile.
            assert (await rig.ask(get())).status == 401
            work.gate.set()
            assert {(await each).status for each in asked} == {200}
            assert work.calls == 1

    play()


def test_a_flood_of_passwords_is_bounded_and_passes(work: Counted) -> None:
    @on_loop
    async def play() -> None:
        async with Upstream(answering(lambda _: ok(b"x"))) as upstream, gateway(document(upstream)) as rig:
            assert (await rig.ask(get("/", basic("ann", "open sesame")))).status == 200
            work.gate.clear()
            asked = [asyncio.ensure_future(rig.ask(get("/", basic("ann", f"wrong {each}")))) for each in range(MOST)]
            await eventually(lambda: rig.gateway.in_flight == MOST)
            answer = await rig.ask(get("/", basic("ann", "one more")))
            assert (answer.status, answer.json()["reason"]) == (503, "identity_unavailable")
            assert answer.get("retry-after") == "1"
            # Who was known before is not touched by it.
            assert (await rig.ask(get("/", basic("ann", "open sesame")))).status == 200
            work.gate.set()
            assert {(await each).status for each in asked} == {401}
            assert (await rig.ask(get("/", basic("ann", "one more")))).status == 401
            assert len(work.threads) <= 2

    play()


def test_a_client_that_leaves_takes_nobody_with_it(work: Counted) -> None:
    @on_loop
    async def play() -> None:
        async with Upstream(answering(lambda _: ok(b"x"))) as upstream, gateway(document(upstream)) as rig:
            work.gate.clear()
            leaving = await rig.client()
            await leaving.send(get("/", basic("ann", "open sesame")))
            await eventually(lambda: work.calls == 1)
            staying = asyncio.ensure_future(rig.ask(get("/", basic("ann", "open sesame"))))
            await eventually(lambda: rig.gateway.in_flight == 2)
            leaving.cut()
            await eventually(lambda: rig.gateway.in_flight == 1)
            work.gate.set()
            assert (await staying).status == 200
            assert {line["status_code"] for line in await rig.logged(2)} == {499, 200}
            assert work.calls == 1

    play()


def test_a_password_that_changed_counts_from_a_reload_on(work: Counted) -> None:
    @on_loop
    async def play() -> None:
        async with Upstream(answering(lambda _: ok(b"x"))) as upstream, gateway(document(upstream)) as rig:
            assert (await rig.ask(get("/", basic("ann", "open sesame")))).status == 200
            # The same settings: what is known stays known.
            rig.apply(document(upstream))
            assert (await rig.ask(get("/", basic("ann", "open sesame")))).status == 200
            assert work.calls == 1
            work.gate.clear()
            before = asyncio.ensure_future(rig.ask(get("/", basic("ann", "changed"))))
            await eventually(lambda: work.calls == 2)
            rig.apply(document(upstream, "changed"))
            work.gate.set()
            # A request keeps the plan that it began with.
            assert (await before).status == 401
            assert (await rig.ask(get("/", basic("ann", "open sesame")))).status == 401
            assert (await rig.ask(get("/", basic("ann", "changed")))).status == 200

    play()


def test_what_is_no_password_takes_no_work(work: Counted) -> None:
    @on_loop
    async def play() -> None:
        async with Upstream() as upstream, gateway(document(upstream)) as rig:
            for credential in ("", "=", "YTpi YTpi", "YTpi,", "\u00e4", basic("a\nb", "c")[21:], "A" * 4000):
                answer = await rig.ask(get("/", f"Authorization: Basic {credential}"))
                assert (answer.status, answer.json()["reason"]) == (401, "invalid_credentials")
            assert work.calls == 0

    play()
