"""Keys of issuers in a worker: control brings them, requests wait for them, and a flood of unknown ones asks once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.control.issuer import SigningKey
from tests.proxy.peers import Upstream, answering, eventually, get, ok
from tests.proxy.stage import Rig, gateway, on_loop, to

ISSUER = "https://idp.example"
QUESTION = {"type": "unknown_key", "issuer": "idp"}


class Scene:
    """A gateway whose control is the test."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig

    @property
    def asked(self) -> list[dict[str, Any]]:
        """What control was asked for; it is told of slow requests, too."""
        return [each for each in self.rig.told if each["type"] != "records"]

    def bring(self, *keys: SigningKey, answers: tuple[str, ...] = ()) -> None:
        document = json.dumps({"keys": [key.public() for key in keys]}).encode() if keys else b""
        self.rig.gateway.take_key_sets({"idp": document}, answers)

    async def status(self, token: str) -> int:
        return (await self.rig.ask(bearing(token))).status


class Timers:
    """The loop of a gateway, and what it was told to call later."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._made: list[tuple[str, asyncio.TimerHandle]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def call_later(self, delay: float, callback: Any, *args: Any) -> asyncio.TimerHandle:
        handle = self._loop.call_later(delay, callback, *args)
        self._made.append((callback.__name__, handle))
        return handle

    def of(self, callback: str) -> list[asyncio.TimerHandle]:
        return [handle for name, handle in self._made if name == callback]


def bearing(token: str) -> bytes:
    return get("/", f"Authorization: Bearer {token}")


@asynccontextmanager
async def scene(**source: Any) -> AsyncIterator[Scene]:
    key_set = {"url": "https://idp.example/keys", "timeout": 10, **source}
    identity = {"jwt": {"name": "idp", "issuer": ISSUER, "key_set": key_set}}
    async with Upstream(answering(lambda _: ok(b"fine"))) as upstream, gateway(to(upstream, identity=identity)) as rig:
        yield Scene(rig)


@on_loop
async def test_requests_wait_for_the_first_keys() -> None:
    key = SigningKey("one")
    async with scene() as here:
        clients = [await here.rig.client() for _ in range(20)]
        for number, client in enumerate(clients):
            await client.send(bearing(key.sign(iss=ISSUER, sub=str(number))))
        await eventually(lambda: here.rig.gateway.in_flight == 20)
        assert here.asked == [QUESTION]
        here.bring(key)
        for client in clients:
            assert (await client.answer()).status == 200


@on_loop
async def test_without_any_keys_it_is_an_outage_and_not_the_callers_fault() -> None:
    async with scene() as here:
        client = await here.rig.client()
        await client.send(bearing(SigningKey("one").sign(iss=ISSUER)))
        await eventually(lambda: here.asked == [QUESTION])
        here.rig.gateway.take_key_sets({}, ("idp",))
        answer = await client.answer()
        assert (answer.status, json.loads(answer.body)["reason"]) == (503, "identity_unavailable")


@on_loop
async def test_a_control_that_does_not_answer_is_not_waited_for_for_ever() -> None:
    async with scene(timeout=0.1) as here:
        assert await here.status(SigningKey("one").sign(iss=ISSUER)) == 503


@on_loop
async def test_each_question_has_its_own_time() -> None:
    old, new = SigningKey("old"), SigningKey("new")
    async with scene(cooldown=30) as here:
        timers = Timers(here.rig.gateway.loop)
        here.rig.gateway.loop = timers  # type: ignore[assignment]
        here.bring(old)
        client = await here.rig.client()
        await client.send(bearing(new.sign(iss=ISSUER)))
        await eventually(lambda: here.asked == [QUESTION])
        here.bring(old, answers=("idp",))
        assert (await client.answer()).status == 401
        here.rig.pass_time(30)
        second = await here.rig.client()
        await second.send(bearing(new.sign(iss=ISSUER)))
        await eventually(lambda: here.asked == [QUESTION] * 2)
        first, last = timers.of("_answer")
        assert (first.cancelled(), last.cancelled()) == (True, False)
        here.bring(old, new)
        assert (await second.answer()).status == 200


@on_loop
async def test_a_flood_of_unknown_keys_is_one_question() -> None:
    key = SigningKey("one")
    tokens = [SigningKey(f"made up {number}").sign(iss=ISSUER) for number in range(100)]
    async with scene() as here:
        here.bring(key)
        client = await here.rig.client()
        await client.send(bearing(tokens[0]))
        await eventually(lambda: here.asked == [QUESTION])
        here.bring(key, answers=("idp",))
        assert (await client.answer()).status == 401
        for token in tokens[1:]:
            assert await here.status(token) == 401
        assert here.asked == [QUESTION]
        assert await here.status(key.sign(iss=ISSUER)) == 200


@on_loop
async def test_new_keys_end_what_was_found_out_with_the_old_ones() -> None:
    old, new = SigningKey("old"), SigningKey("new")
    first, second = old.sign(iss=ISSUER), new.sign(iss=ISSUER)
    async with scene() as here:
        here.bring(old)
        assert await here.status(first) == 200
        here.bring(new)
        assert await here.status(second) == 200
        here.rig.told.clear()
        client = await here.rig.client()
        await client.send(bearing(first))
        await eventually(lambda: here.asked == [QUESTION])
        here.bring(new, answers=("idp",))
        assert (await client.answer()).status == 401


@on_loop
async def test_keys_that_are_withdrawn_let_nobody_in() -> None:
    key = SigningKey("one")
    token = key.sign(iss=ISSUER)
    async with scene() as here:
        here.bring(key)
        assert await here.status(token) == 200
        here.bring()
        client = await here.rig.client()
        await client.send(bearing(token))
        await eventually(lambda: here.asked == [QUESTION])
        here.bring(answers=("idp",))
        assert (await client.answer()).status == 503
        here.bring(key)
        assert await here.status(token) == 200


@on_loop
async def test_keys_outlive_a_reload_of_other_settings() -> None:
    key = SigningKey("one")
    async with scene() as here, Upstream(answering(lambda _: ok(b"fine"))) as upstream:
        here.bring(key)
        identity = {"jwt": {"name": "idp", "issuer": ISSUER, "key_set": "https://idp.example/keys", "skew": 10}}
        here.rig.apply(to(upstream, identity=identity))
        assert await here.status(key.sign(iss=ISSUER)) == 200
        assert here.asked == []
