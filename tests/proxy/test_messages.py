"""Messages of every shape, through the gateway and back."""

from __future__ import annotations

from tests.proxy.harness import Upstream, gateway, get, ok, on_loop, to

BIG = bytes(range(256)) * 4096


@on_loop
async def test_a_request_reaches_the_upstream_and_its_answer_the_client() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        await client.send(get("/a/b?q=1&q=%20", "X-Own: yes", "Accept: */*"))
        link = await upstream.accepted()
        request = await link.message()
        assert request.start == "GET /a/b?q=1&q=%20 HTTP/1.1"
        assert request.get("x-own") == "yes"
        assert request.get("host") == upstream.url.removeprefix("http://")
        assert request.get("x-forwarded-host") == "example.test"
        await link.send(ok(b"hello", "X-Theirs: yes", "Content-Type: text/plain"))
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, b"hello")
        assert answer.get("x-theirs") == "yes"
        assert answer.get("content-length") == "5"
        assert answer.get("connection") is None
        client.close()
