"""Who tells the gateway of the soak where services run: a registry over HTTP, Consul, DNS, and a real etcd.

Each is told the same by `say`, and has a service of its own in the configuration, named after it; of the fifth,
`registered`, instances say themselves that they are there (bench.watchers).
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import signal
import urllib.request
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bench.moody import Moody, NameServer, http_message
from bench.stage import CannotRunError, Cores, Running, Stage, free_port, wait_until

_PREFIX = "/services/keyed/"
_WAIT_SECONDS = 5.0
TOLD = ("listed", "consulted", "named", "keyed")


class Listing(Moody):
    """A registry that lists instances of `listed` as JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.endpoints: list[str] = []

    async def message(self, target: str) -> bytes:
        parts = [each.split(":") for each in self.endpoints]
        found = [{"id": f"{host}-{port}", "name": "listed", "host": host, "port": int(port)} for host, port in parts]
        return http_message(json.dumps(found).encode())

    def empty(self) -> bytes:
        return http_message(b"[]")


class Consul(Moody):
    """The health endpoint of Consul, with blocking queries."""

    def __init__(self) -> None:
        super().__init__()
        self._endpoints: list[str] = []
        self._index = 1
        self._news = asyncio.Event()

    def say(self, endpoints: list[str]) -> None:
        """Have these serve, from now on."""
        self._endpoints, self._index = endpoints, self._index + 1
        self._news.set()
        self._news = asyncio.Event()

    async def message(self, target: str) -> bytes:
        known = parse_qs(urlsplit(target).query).get("index")
        if known == [str(self._index)]:
            with suppress(TimeoutError):
                async with asyncio.timeout(_WAIT_SECONDS):
                    await self._news.wait()
        parts = [each.split(":") for each in self._endpoints]
        found = [{"Service": {"Address": host, "Port": int(port)}, "Node": {}} for host, port in parts]
        return http_message(json.dumps(found).encode(), more=f"X-Consul-Index: {self._index}\r\n")

    def empty(self) -> bytes:
        return http_message(b"[]", more="X-Consul-Index: 1\r\nX-Consul-KnownLeader: false\r\n")


class Etcd:
    """A real etcd. Its bad days: `away` and `cut` are its death, all others that it stands still."""

    def __init__(self, stage: Stage, cores: Cores) -> None:
        program = shutil.which("etcd")
        if program is None:
            raise CannotRunError("etcd is missing: apt-get install etcd-server")
        self._stage, self._cores = stage, cores
        self.url, peers = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
        self._command = [program, "--data-dir", str(stage.folder / "etcd"), "--log-level", "error", "--logger", "zap"]
        self._command += ["--listen-client-urls", self.url, "--advertise-client-urls", self.url, "--unsafe-no-fsync"]
        self._command += ["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers]
        self._command += ["--initial-cluster", f"default={peers}"]
        self._running: Running | None = None
        self._stopped = False

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        self._running = running = self._stage.start("etcd", self._command, self._cores.load)
        await asyncio.to_thread(wait_until, running, self._answers)

    async def turn(self, mode: str) -> None:
        """Behave like this from now on."""
        if self._stopped and self._running is not None:
            self._running.popen.send_signal(signal.SIGCONT)
            self._stopped = False
        if mode in ("away", "cut"):
            self.close()
        elif mode and self._running is not None:
            self._running.popen.send_signal(signal.SIGSTOP)
            self._stopped = True
        elif self._running is None:
            await self.start()

    def close(self) -> None:
        """Kill it; what it has stored stays."""
        if self._running is not None:
            self._running.popen.kill()
            self._stage.stop(self._running)
            self._running = None

    async def say(self, endpoints: list[str]) -> None:
        """Have these serve, and nobody else."""
        await asyncio.to_thread(self._say, endpoints)

    def _say(self, endpoints: list[str]) -> None:
        found = self._ask("kv/range", key=_encoded(_PREFIX), range_end=_encoded(_PREFIX[:-1] + "0"))
        there = {base64.b64decode(each["key"]).decode() for each in found.get("kvs", [])}
        wanted = {f"{_PREFIX}{each}": f"http://{each}" for each in endpoints}
        for key, value in wanted.items():
            self._ask("kv/put", key=_encoded(key), value=_encoded(value))
        for key in there - wanted.keys():
            self._ask("kv/deleterange", key=_encoded(key))

    def _answers(self) -> bool:
        try:
            self._ask("kv/range", key=_encoded("/"))
        except OSError:
            return False
        return True

    def _ask(self, method: str, **question: str) -> Any:
        wanted = urllib.request.Request(f"{self.url}/v3/{method}", json.dumps(question).encode())
        with urllib.request.urlopen(wanted, timeout=10) as answer:
            return json.load(answer)


class Sources:
    """All of them."""

    def __init__(self, stage: Stage, cores: Cores) -> None:
        self.listing, self.consul, self.names = Listing(), Consul(), NameServer()
        self.etcd = Etcd(stage, cores)
        self.mode = ""

    async def start(self, endpoints: list[str]) -> None:
        """Let them begin, with these endpoints."""
        await self.etcd.start()
        for each in (self.listing, self.consul, self.names):
            await each.start()
        await self.say(endpoints)

    async def close(self) -> None:
        """Let them end."""
        self.etcd.close()
        for each in (self.listing, self.consul, self.names):
            await each.close()

    async def say(self, endpoints: list[str]) -> None:
        """Have these serve, and nobody else. All must be well."""
        self.listing.endpoints = self.names.endpoints = endpoints
        self.consul.say(endpoints)
        await self.etcd.say(endpoints)

    async def turn(self, mode: str) -> None:
        """Let all behave like this from now on; "" is well."""
        self.mode = mode
        for each in (self.listing, self.consul, self.names, self.etcd):
            await each.turn(mode)

    def services(self) -> list[dict[str, Any]]:
        """Return the services whose endpoints they tell."""
        found: dict[str, dict[str, Any]] = {
            "listed": {"type": "http", "host": "127.0.0.1", "port": self.listing.port, "interval": 0.5, "timeout": 2},
            "consulted": {"type": "consul", "url": self.consul.url, "wait": _WAIT_SECONDS},
            "named": {
                "type": "dns",
                "name": "_http._tcp.named.soak.",
                "record": "srv",
                "servers": [f"127.0.0.1:{self.names.port}"],
                "min_ttl": 0.5,
                "timeout": 2,
            },
            "keyed": {"type": "etcd", "url": self.etcd.url},
            "registered": {"type": "registry"},
        }
        return [
            {"name": name, "discovery": each, "routes": [{"name": name, "match": {"path": f"/api/{name}"}}]}
            for name, each in found.items()
        ]


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
