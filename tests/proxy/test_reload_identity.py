"""What a reload takes away is gone for connections and requests that were there before it, too."""

from __future__ import annotations

import pytest

from tests.proxy.callers import keys, static, with_key
from tests.proxy.peers import Upstream, answering, eventually, get, ok
from tests.proxy.stage import Rig, gateway, on_loop, to


async def read_ahead(rig: Rig, count: int) -> None:
    """Wait until so many requests of one connection wait for their turn."""
    await eventually(lambda: [len(each._queue) for each in rig.connections] == [count])


@on_loop
async def test_a_proxy_that_is_trusted_no_more_is_not_on_its_old_connections_either() -> None:
    inside = {"addresses": ["10.0.0.0/8"]}
    pretended = get("/", "X-Forwarded-For: 10.0.0.1")
    async with Upstream(answering(lambda _: ok())) as upstream:
        trusting = to(upstream, route=inside, forwarding={"trust": ["127.0.0.1"]})
        async with gateway(trusting) as rig:
            client = await rig.client()
            await client.send(pretended)
            assert (await client.answer()).status == 200
            rig.apply(to(upstream, route=inside))
            for _ in range(2):
                await client.send(pretended)
                assert (await client.answer()).status == 403
            rig.apply(trusting)
            await client.send(pretended)
            assert (await client.answer()).status == 200


@pytest.mark.parametrize("pretended", ["X-User: root", "x-user: root", "X_User: root"])
@on_loop
async def test_what_only_the_gateway_may_say_is_taken_off_requests_that_waited(pretended: str) -> None:
    names = {"http": {"underscores": "allow"}}
    before = keys(static("ann"))
    after = keys(static("ann"), forward={"X-User": "id"})
    async with Upstream() as upstream, gateway(to(upstream, identity=before, auth="optional", **names)) as rig:
        client = await rig.client()
        await client.send(get("/1"))
        link = await upstream.accepted()
        await link.message()
        # Read already, and waiting for the answer before them.
        await client.send(get("/2", pretended, with_key("ann")) + get("/3", pretended))
        await read_ahead(rig, 2)
        rig.apply(to(upstream, identity=after, auth="optional", **names))
        await link.send(ok())
        told = []
        for _ in range(2):
            await client.answer()
            message = await link.message()
            told.append([value for name, value in message.fields if name.lower().replace("_", "-") == "x-user"])
            await link.send(ok())
        await client.answer()
        assert told == [["ann"], []]


@on_loop
async def test_a_field_that_was_no_credential_before_a_reload_lends_no_other_its_caller() -> None:
    forward = {"forward": {"X-User": "id"}, "order": ["api_key", "jwt"]}
    before = keys(static("ann"), **forward)
    after = keys(static("ann"), **forward)
    after["api_keys"]["headers"] = ["X-Key", "X-API-Key"]
    other, wrong = with_key("ann").replace("X-API-Key", "X-Key"), "Authorization: Bearer a.b.c"
    async with Upstream() as upstream, gateway(to(upstream, identity=before, auth="optional")) as rig:
        client = await rig.client()
        await client.send(get("/1"))
        link = await upstream.accepted()
        await link.message()
        await client.send(get("/2", other, wrong))
        await read_ahead(rig, 1)
        rig.apply(to(upstream, identity=after))
        await link.send(ok())
        await client.answer()
        assert (await link.message()).get("x-user") == "ann"
        await link.send(ok())
        await client.answer()
        await client.send(get("/3", wrong))
        assert (await client.answer()).status == 401
