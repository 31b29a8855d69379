"""Clients that leave while the gateway does not read them: their work ends then, not with the next write."""

from __future__ import annotations

import pytest

from tests.proxy.peers import Upstream, eventually, get
from tests.proxy.stage import gateway, on_loop, to


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@on_loop
async def test_behind_as_many_requests_as_may_wait(reset: bool) -> None:
    async with Upstream() as upstream, gateway(to(upstream, http={"max_pipelined": 2})) as rig:
        client = await rig.client()
        # The first is served, two wait, and what comes then is not read.
        await client.send(get("/0") + get("/1") + get("/2"))
        link = await upstream.accepted()
        await link.message()
        await client.send(get("/3"))
        client.cut() if reset else client.close()
        assert await link.rest() == b""
        line = (await rig.logged())[0]
        assert (line["status_code"], line["error"]) == (499, "client_closed")


@on_loop
async def test_with_more_of_a_body_than_may_wait() -> None:
    pool = {"max_connections": 1}
    document = to("", http={"buffer": 4096}, timeout={"connect": 15})
    async with Upstream() as upstream:
        document["services"][0] |= {"endpoints": [upstream.url], "pool": pool}
        async with gateway(document) as rig:
            first = await rig.client()
            await first.send(get("/first"))
            link = await upstream.accepted()
            await link.message()
            # Waits for the one connection, and of its body no more than the buffer is read.
            client = await rig.client()
            await client.send(get("/second", "Content-Length: 1000000", method="PUT"), b"x" * 100_000)
            await eventually(lambda: rig.gateway.in_flight == 2)
            client.close()
            line = (await rig.logged())[0]
            assert (line["status_code"], line["error"], line["path"]) == (499, "client_closed", "/second")
