"""The example of gRPC at work: its file as it stands, with servers of the test in place of its addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.proxy.grpc_peers import Context, GrpcServer, aborting, calling, code, fails
from tests.proxy.peers import Upstream, answering, get, ok
from tests.proxy.stage import ADDRESS, gateway, on_loop

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "grpc.yaml"
INVENTORY = "/shop.Inventory/"


def example(web: str, *servers: str) -> dict[str, Any]:
    # To YAML 1.1 a bare `on` is true; the gateway's own loader knows better.
    document: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text().replace(" on: ", ' "on": '))
    inventory, page = document["services"]
    inventory["endpoints"], page["url"] = list(servers), web
    return document | {"listen": [ADDRESS]}


@on_loop
async def test_the_example_does_what_it_says() -> None:
    left: list[float] = []

    async def tell(request: bytes, context: Context) -> bytes:
        left.append(context.time_remaining())
        return request

    ill = GrpcServer(UnaryGet=aborting(14), UnaryReserve=aborting(14))
    async with (
        ill,
        GrpcServer(UnaryGet=tell) as well,
        Upstream(answering(lambda _: ok(b"page"))) as page,
        gateway(example(page.url, ill.url, well.url)) as rig,
        calling(rig) as channel,
    ):
        # One endpoint is unavailable: the other one answers.
        for _ in range(4):
            assert await channel.unary_unary(f"{INVENTORY}UnaryGet")(b"hammer") == b"hammer"
        assert all(0 < each <= 60 for each in left)
        assert code(await fails(channel.unary_unary(f"{INVENTORY}Reserve")(b""))) == 16
        assert (await rig.ask(get("/"))).body == b"page"
