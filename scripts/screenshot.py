"""Take the pictures of the dashboard that the README shows: a real gateway, under traffic, seen by a real browser.

    .venv/bin/python scripts/screenshot.py [SECONDS]    traffic for so long before the pictures; five minutes by default

It needs chromium, and writes docs/images/dashboard.png and dashboard-dark.png. What the services do is made up: their
times, a search that fails for a while, a canary. Everything that is seen of it was measured by the gateway.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from playwright.async_api import Browser, async_playwright

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
SIZE = {"width": 1440, "height": 1040}


class Kind(NamedTuple):
    """A service: requests a second, the median and spread of its times in seconds, and its share of failures."""

    rate: float
    median: float
    spread: float
    endpoints: int
    paths: tuple[str, ...]
    failing: Callable[[float], float] = lambda _: 0.002


def troubled(now: float) -> float:
    """Fail for half a minute of every two and a half."""
    return 0.9 if now % 150 > 122 else 0.003


KINDS = {
    "chat": Kind(38, 0.042, 0.5, 3, ("/v1/chat/completions", "/v1/chat/models")),
    "chat-canary": Kind(0, 0.036, 0.4, 1, ()),
    "embeddings": Kind(26, 0.012, 0.35, 2, ("/v1/embeddings",)),
    "search": Kind(7, 0.021, 0.6, 2, ("/v1/search", "/v1/search/suggest"), troubled),
    "speech": Kind(6, 0.16, 0.3, 2, ("/v1/speech/transcriptions",)),
    "billing": Kind(4, 0.007, 0.3, 1, ("/v1/billing/usage", "/v1/billing/invoices/2026-01")),
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def serve(kind: Kind) -> str:
    """Start an endpoint of such a service; return its address."""

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
        prefix = "/".join(kind.paths[0].split("/")[:3]) if kind.paths else ""
        route: dict[str, Any] = {"name": name, "match": {"path": prefix}}
        if name == "chat":
            weights = (("chat", 90), ("chat-canary", 10))
            route["destinations"] = [{"service_name": each, "weight": weight} for each, weight in weights]
            route["limits"] = [{"name": "per-client", "key": "address", "requests": 1900, "window": 60}]
        services.append(
            {
                "name": name,
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
    """Be one of ten clients of a service."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while True:
            now = time.time()
            rate = kind.rate / 10 * (1 + 0.25 * math.sin(now / 41 + kind.median * 1000) + 0.12 * math.sin(now / 17))
            await asyncio.sleep(random.expovariate(rate))
            path = random.choice(kind.paths) if random.random() > 0.004 else "/v1/unknown"
            writer.write(f"GET {path} HTTP/1.1\r\nHost: api.example.com\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            if "content-length: " in head:
                await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
    finally:
        writer.close()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


async def picture(browser: Browser, url: str, token: str, scheme: Any, path: Path) -> None:
    """Sign in and take the overview."""
    window = await browser.new_context(viewport=SIZE, color_scheme=scheme, device_scale_factor=1.5)  # type: ignore[arg-type]
    page = await window.new_page()
    await page.goto(f"{url}ui/")
    await page.get_by_label("Token").fill(token)
    await page.keyboard.press("Enter")
    await page.locator(".tile").first.wait_for()
    await page.locator(".loading").first.wait_for(state="detached")
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
                asyncio.create_task(ask_on(port, kind)) for kind in KINDS.values() if kind.paths for _ in range(10)
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
            await asyncio.gather(*asking, return_exceptions=True)
        finally:
            gateway.terminate()
            await gateway.wait()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 300.0))
