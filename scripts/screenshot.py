"""Take the pictures of the dashboard that the README shows: a real gateway, under traffic, seen by a real browser.

    .venv/bin/python scripts/screenshot.py [SECONDS]    traffic for so long before the pictures; five minutes by default

It needs chromium, and writes docs/images/dashboard.png and dashboard-dark.png. What the services do is made up: their
times, a search that fails for a while, a canary, a shelf of documents that the cache keeps, calls of gRPC. Everything
that is seen of it was measured by the gateway.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import secrets
import shutil
import socket
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import grpc
import httpx
from PIL import Image
from playwright.async_api import Browser, async_playwright

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
SIZE = {"width": 1440, "height": 1040}
CLIENTS = 10
SERVERS: list[grpc.aio.Server] = []  # a server that nobody holds ends
DOCUMENTS = tuple(f"/v1/documents/{number}" for number in range(40))


class Kind(NamedTuple):
    """A service: requests a second, the median and spread of its times in seconds, and its share of failures.

    `spoken` is what its clients speak; `cache` is that of its route.
    """

    rate: float
    median: float
    spread: float
    endpoints: int
    paths: tuple[str, ...]
    failing: Callable[[float], float] = lambda _: 0.002
    spoken: Literal["HTTP/1.1", "HTTP/2", "gRPC"] = "HTTP/1.1"
    cache: dict[str, str] | None = None


def troubled(now: float) -> float:
    """Fail for half a minute of every two and a half."""
    return 0.9 if now % 150 > 122 else 0.003


KINDS = {
    "chat": Kind(38, 0.042, 0.5, 3, ("/v1/chat/completions", "/v1/chat/models")),
    "chat-canary": Kind(0, 0.036, 0.4, 1, ()),
    "embeddings": Kind(26, 0.012, 0.35, 2, ("/v1/embeddings",), spoken="HTTP/2"),
    "documents": Kind(18, 0.03, 0.4, 2, DOCUMENTS, spoken="HTTP/2", cache={"ttl": "20s"}),
    "search": Kind(7, 0.021, 0.6, 2, ("/v1/search", "/v1/search/suggest"), troubled),
    "speech": Kind(9, 0.16, 0.3, 2, ("/voice.Speech/Transcribe",), spoken="gRPC"),
    "billing": Kind(4, 0.007, 0.3, 1, ("/v1/billing/usage", "/v1/billing/invoices/2026-01")),
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def serve(kind: Kind) -> str:
    """Start an endpoint of such a service; return its address."""
    return await (serve_calls(kind) if kind.spoken == "gRPC" else serve_requests(kind))


async def serve_calls(kind: Kind) -> str:
    """Start one that speaks gRPC."""

    async def call(message: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        await asyncio.sleep(kind.median * random.lognormvariate(0, kind.spread))
        if random.random() < kind.failing(time.time()):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "")
        return message

    server = grpc.aio.server()
    _, service, method = kind.paths[0].split("/")
    handler = grpc.unary_unary_rpc_method_handler(call)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    SERVERS.append(server)
    return f"http://127.0.0.1:{port}"


async def serve_requests(kind: Kind) -> str:
    """Start one that speaks HTTP/1.1."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(kind.median * random.lognormvariate(0, kind.spread))
                failed = random.random() < kind.failing(time.time())
                body = json.dumps({"text": "x" * random.randrange(200, 4000)}).encode()
                status = b"500 Internal Server Error" if failed else b"200 OK"
                writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0)
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def configuration(endpoints: dict[str, list[str]], port: int, admin: int, token: str) -> dict[str, Any]:
    """The gateway before these services."""
    services = []
    for name, kind in KINDS.items():
        prefix = "/".join(kind.paths[0].split("/")[: 2 if kind.spoken == "gRPC" else 3]) if kind.paths else ""
        route: dict[str, Any] = {"name": name, "match": {"path": prefix}}
        if name == "chat":
            weights = (("chat", 90), ("chat-canary", 10))
            route["destinations"] = [{"service_name": each, "weight": weight} for each, weight in weights]
            route["limits"] = [{"name": "per-client", "key": "address", "requests": 1900, "window": 60}]
        if kind.cache is not None:
            route["cache"] = kind.cache
        services.append(
            {
                "name": name,
                "protocol": "http2" if kind.spoken == "gRPC" else "http1",
                "endpoints": endpoints[name],
                "balancer": {"type": "least_connections"},
                "circuit_breaker": {"threshold": 8, "timeout": 12},
                "routes": [route] if kind.paths else [],
            }
        )
    return {
        "listen": [f"127.0.0.1:{port}"],
        "admin": {"address": f"127.0.0.1:{admin}", "token": token},
        "workers": 2,
        "telemetry": {"access_log": {"enabled": False}, "sampling": {"per_second": 2}},
        "services": services,
    }


async def ask_on(port: int, kind: Kind) -> None:
    """Be one of the clients of a service."""
    async with client(port, kind) as ask:
        while True:
            now = time.time()
            rate = (
                kind.rate / CLIENTS * (1 + 0.25 * math.sin(now / 41 + kind.median * 1000) + 0.12 * math.sin(now / 17))
            )
            await asyncio.sleep(random.expovariate(rate))
            # Some are asked for more often than others; and now and then for what is not there.
            path = kind.paths[int(len(kind.paths) * random.random() ** 2)]
            await ask(path if random.random() > 0.004 else "/v1/unknown")


@asynccontextmanager
async def client(port: int, kind: Kind) -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    """Connect; yield what asks for a path, in the version of this kind."""
    if kind.spoken == "gRPC":
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:

            async def call(path: str) -> None:
                with suppress(grpc.aio.AioRpcError):
                    await channel.unary_unary(path)(b"x" * 300)

            yield call
        return
    over_2, base = kind.spoken == "HTTP/2", f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(http1=not over_2, http2=over_2, base_url=base, verify=False, timeout=30) as connection:

        async def get(path: str) -> None:
            await connection.get(path)

        yield get


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


async def picture(browser: Browser, url: str, token: str, scheme: Any, path: Path) -> None:
    """Sign in and take all of the overview."""
    window = await browser.new_context(viewport=SIZE, color_scheme=scheme, device_scale_factor=1.5)  # type: ignore[arg-type]
    page = await window.new_page()
    await page.goto(f"{url}ui/")
    await page.get_by_label("Token").fill(token)
    await page.keyboard.press("Enter")
    await page.locator(".tile").first.wait_for()
    await page.locator(".loading").first.wait_for(state="detached")
    # As high as all of it.
    height = await page.evaluate("document.documentElement.scrollHeight")
    await page.set_viewport_size({"width": SIZE["width"], "height": height})
    await asyncio.sleep(4)
    await page.screenshot(path=path)
    await window.close()
    # A page has few colours: a palette is a third of the size. Other ways of choosing one change the ground.
    Image.open(path).convert("RGB").quantize(256, Image.Quantize.MEDIANCUT).save(path, optimize=True)


async def main(seconds: float) -> None:
    """Start all of it, wait, take the pictures, end all of it."""
    program = shutil.which("chromium")
    if program is None:
        sys.exit("chromium is not installed")
    endpoints = {name: [await serve(kind) for _ in range(kind.endpoints)] for name, kind in KINDS.items()}
    port, admin, token = free_port(), free_port(), secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "headgate.json"
        file.write_text(json.dumps(configuration(endpoints, port, admin, token)))
        environment = {**os.environ, "XDG_RUNTIME_DIR": folder, "HEADGATE_STATE_DIR": folder}
        gateway = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "headgate", "run", str(file)), env=environment, cwd=ROOT
        )
        try:
            while not await asyncio.to_thread(answers, f"http://127.0.0.1:{admin}/ready"):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
            asking = [
                asyncio.create_task(ask_on(port, kind)) for kind in KINDS.values() if kind.paths for _ in range(CLIENTS)
            ]
            await asyncio.sleep(seconds)
            # The moment in which something needs attention is the one to be seen.
            await asyncio.sleep((136 - time.time()) % 150)
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
                url = f"http://127.0.0.1:{admin}/"
                IMAGES.mkdir(parents=True, exist_ok=True)
                await picture(browser, url, token, "light", IMAGES / "dashboard.png")
                await picture(browser, url, token, "dark", IMAGES / "dashboard-dark.png")
                await browser.close()
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, *(server.stop(None) for server in SERVERS), return_exceptions=True)
        finally:
            gateway.terminate()
            await gateway.wait()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 300.0))
