"""Three gateways on machines of their own and one Redis: are limits exact, what does a killed one cost, what a request?

    .venv/bin/python -m bench.scaling                               print it
    .venv/bin/python -m bench.scaling --markdown docs/scaling.md    and write it between the marks of the page

The machines are network namespaces of this one, joined by a bridge in a namespace of its own; nothing is sent anywhere
else, and all of it is gone at the end. Needs root, `ip` (iproute2), redis-server and wrk. CPU figures are CPU seconds
of processes, so they hold although all machines share the processors of one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.proc import cpu_seconds, tree

GATEWAYS = 3
QUOTA = 1000
KILL_QUOTA = 6000
AWAY_QUOTA = 300 * GATEWAYS
SECONDS = 6
# How busy a processor is to be on average, so that peaks and the death of a machine find room.
BUSY = 0.6
RATES = (10_000, 100_000, 1_000_000)
KINDS = {
    "sliding": {"type": "sliding_window", "requests": QUOTA, "window": "1h"},
    "fixed": {"type": "fixed_window", "requests": QUOTA, "window": "1h"},
    # One token comes back in a day, so nothing does while it is counted.
    "token": {"type": "token_bucket", "requests": 1, "window": "1d", "burst": QUOTA},
}
_NET = "10.87.65"
_PATIENCE = 30.0
_MARKS = re.compile(r"(?<=<!-- scaling:begin -->\n).*?(?=<!-- scaling:end -->)", re.DOTALL)
_WRK_SCRIPT = """
local n = 0
request = function()
    n = n + 1
    return wrk.format("GET", "/each", {["X-User"] = "user-" .. n % 10000})
end
"""


class CannotRun(Exception):
    """What is missing here; the sentence says it."""


@dataclass
class Machine:
    """One machine of the network: its namespace, its address and what runs there."""

    name: str
    namespace: str
    address: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, command: Sequence[str | Path], **more: Any) -> subprocess.Popen[bytes]:
        """Start something there, in a process group of its own."""
        words = ["ip", "netns", "exec", self.namespace, *map(str, command)]
        process = subprocess.Popen(words, start_new_session=True, **more)
        self.processes.append(process)
        return process

    def kill(self) -> None:
        """Let the machine die: all of its processes at once."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.processes.clear()


@contextmanager
def network(names: Sequence[str]) -> Iterator[dict[str, Machine]]:
    """Make machines that reach each other and nobody else; they are gone afterwards, with all that runs there."""
    prefix = f"hgs{os.getpid()}"
    machines: dict[str, Machine] = {}

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    made: list[str] = []
    try:
        hub = f"{prefix}-hub"
        ip("netns", "add", hub)
        made.append(hub)
        ip("-n", hub, "link", "add", "bridge", "type", "bridge")
        ip("-n", hub, "link", "set", "bridge", "up")
        for number, name in enumerate(names, 1):
            namespace = f"{prefix}-{name}"
            ip("netns", "add", namespace)
            made.append(namespace)
            there = ("peer", "name", "eth0", "netns", namespace)
            ip("-n", hub, "link", "add", f"to-{name}", "type", "veth", *there)
            ip("-n", hub, "link", "set", f"to-{name}", "master", "bridge", "up")
            address = f"{_NET}.{number}"
            ip("-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
            ip("-n", namespace, "link", "set", "eth0", "up")
            ip("-n", namespace, "link", "set", "lo", "up")
            machines[name] = Machine(name, namespace, address)
        yield machines
    finally:
        for machine in machines.values():
            machine.kill()
        for namespace in made:
            subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)


def configuration(machine: Machine, upstream: str, redis: str) -> dict[str, Any]:
    """Return what each gateway runs."""
    limits = {**KINDS, "killed": {**KINDS["sliding"], "requests": KILL_QUOTA}}
    limits["away"] = {**KINDS["sliding"], "requests": AWAY_QUOTA}
    limits["each"] = {**KINDS["sliding"], "requests": 1_000_000_000, "key": "header:X-User"}
    routes: list[dict[str, Any]] = [
        {"name": name, "match": {"path": f"/{name}"}, "limits": [{"name": name, "key": [], **limit}]}
        for name, limit in limits.items()
    ]
    return {
        "listen": [f"{machine.address}:8080"],
        "admin": {"address": "127.0.0.1:8081"},
        "workers": 1,
        "store": {"type": "redis", "url": f"redis://{redis}:6379/0", "gateways": GATEWAYS},
        "telemetry": {"access_log": {"enabled": False}},
        "services": [
            {"name": "answers", "endpoints": [upstream], "routes": [*routes, {"name": "open", "match": {"path": "/"}}]}
        ],
    }


class Scene:
    """All of it, running."""

    def __init__(self, machines: dict[str, Machine], folder: Path) -> None:
        self.client, self.redis = machines["client"], machines["redis"]
        self.gateways = [machines[f"gate{number}"] for number in range(1, GATEWAYS + 1)]
        self._folder = folder
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        command = [
            "redis-server",
            "--bind",
            self.redis.address,
            "--protected-mode",
            "no",
            "--save",
            "",
            "--dir",
            str(folder),
        ]
        self.server = self.redis.start(command, **quiet)
        upstream = machines["upstream"]
        upstream.start([sys.executable, "-m", "bench.scaling_peer", "serve", f"{upstream.address}:9000"], **quiet)
        for gateway in self.gateways:
            file = folder / f"{gateway.name}.yaml"
            said = configuration(gateway, f"http://{upstream.address}:9000", self.redis.address)
            file.write_text(json.dumps(said))
            environ = os.environ | {"HEADGATE_STATE_DIR": str(folder / gateway.name)}
            log = (folder / f"{gateway.name}.log").open("wb")
            with log:
                gateway.start([sys.executable, "-m", "headgate", "run", file], env=environ, stdout=log, stderr=log)
        for gateway in self.gateways:
            self._wait(gateway)

    def _wait(self, gateway: Machine) -> None:
        ends = time.monotonic() + _PATIENCE
        while self.ask("open", 1, [gateway])["statuses"] != {"200": 1}:
            if time.monotonic() > ends:
                raise CannotRun(f"{gateway.name} does not serve:\n{(self._folder / f'{gateway.name}.log').read_text()}")
            time.sleep(0.1)

    def ask(self, path: str, total: int, gateways: Sequence[Machine], *, killed: Machine | None = None) -> Any:
        """Send that many requests over all of them at once, 8 connections each; say what came back.

        `killed` dies when a sixth of them has begun. A client whose connection is cut goes on with the next gateway.
        """
        targets = ",".join(f"{each.address}:8080" for each in gateways)
        command = [sys.executable, "-m", "bench.scaling_peer", "ask", path, str(total), str(total // 6), targets]
        process = self.client.start(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout as told:
            for line in told:
                if line == b"begun\n" and killed is not None:
                    killed.kill()
                elif line.startswith(b"{"):
                    found = json.loads(line)
        process.wait()
        self.client.processes.remove(process)
        return found

    def cost(self, gateways: Sequence[Machine]) -> dict[str, float]:
        """Put load on some of them; return CPU seconds of one request in a gateway and in Redis, and the rate."""
        script = self._folder / "each.lua"
        script.write_text(_WRK_SCRIPT)

        def used() -> tuple[float, float]:
            of_gateways = sum(cpu_seconds(tree(each.processes[0].pid)) for each in gateways)
            return of_gateways, cpu_seconds(tree(self.server.pid))

        before = used()
        loads = [
            self.client.start(
                ["wrk", "-t1", "-c16", f"-d{SECONDS}s", "-s", script, f"http://{each.address}:8080/each"],
                stdout=subprocess.PIPE,
            )
            for each in gateways
        ]
        said = [load.communicate()[0].decode() for load in loads]
        after = used()
        for load in loads:
            self.client.processes.remove(load)
        counted = [re.search(r"(\d+) requests in", text) for text in said]
        requests = sum(int(each[1]) for each in counted if each is not None)
        if any("Non-2xx" in text for text in said) or not requests:
            raise CannotRun("the load was not answered:\n" + "\n".join(said))
        gateway, redis = ((new - old) / requests for new, old in zip(after, before, strict=True))
        return {"gateway": gateway, "redis": redis, "rate": requests / SECONDS}


def measure(folder: Path) -> dict[str, Any]:
    """Do all of it; return the figures."""
    for program in ("ip", "redis-server", "wrk"):
        if shutil.which(program) is None:
            raise CannotRun(f"{program} is missing")
    if os.geteuid() != 0:
        raise CannotRun("namespaces need root")
    names = ["client", "redis", "upstream", *(f"gate{number}" for number in range(1, GATEWAYS + 1))]
    with ExitStack() as stack:
        scene = Scene(stack.enter_context(network(names)), folder)
        found: dict[str, Any] = {"exact": {kind: scene.ask(kind, 3 * QUOTA, scene.gateways) for kind in KINDS}}
        found["cost"] = {number: scene.cost(scene.gateways[:number]) for number in range(1, GATEWAYS + 1)}
        found["killed"] = scene.ask("killed", 3 * KILL_QUOTA, scene.gateways, killed=scene.gateways[1])
        left = [scene.gateways[0], scene.gateways[2]]
        scene.redis.kill()
        found["away"] = scene.ask("away", 1500, left)
        return found


def broken(found: dict[str, Any]) -> list[str]:
    """Return which of the promises about limits the figures break, in sentences."""
    said = []
    for kind, told in found["exact"].items():
        if told["statuses"] != {"200": QUOTA, "429": 2 * QUOTA}:
            said.append(f"{kind}: not exactly {QUOTA} of {3 * QUOTA} passed: {told}")
    statuses, cut = found["killed"]["statuses"], found["killed"]["cut"]
    passed = statuses.get("200", 0)
    # What was cut may have been counted, and nobody can tell.
    if not passed <= KILL_QUOTA <= passed + cut or set(statuses) != {"200", "429"}:
        said.append(f"with a gateway killed, {passed} passed of {KILL_QUOTA}, {cut} were cut: {statuses}")
    share = AWAY_QUOTA // GATEWAYS
    if found["away"]["statuses"].get("200") != 2 * share:
        said.append(f"without Redis two gateways of {GATEWAYS} let not twice {share} pass: {found['away']}")
    return said


def page(found: dict[str, Any]) -> str:
    """Write the figures as Markdown."""
    lines = ["| limit of 1,000, asked 3,000 times over three gateways at once | passed | refused |", "|---|---:|---:|"]
    for kind, told in found["exact"].items():
        statuses = told["statuses"]
        passed, refused = statuses.get("200", 0), statuses.get("429", 0)
        lines.append(f"| `{KINDS[kind]['type']}` | {passed:,} | {refused:,} |")
    killed = found["killed"]
    statuses = killed["statuses"]
    lines += ["", f"| limit of {KILL_QUOTA:,}, one of three gateways killed under load | |", "|---|---:|"]
    lines += [f"| requests sent | {3 * KILL_QUOTA:,} |", f"| passed | {statuses.get('200', 0):,} |"]
    lines += [f"| refused | {statuses.get('429', 0):,} |", f"| cut with the gateway | {killed['cut']:,} |"]
    others = sum(count for status, count in statuses.items() if status not in ("200", "429"))
    lines += [f"| anything else | {others:,} |"]
    away = found["away"]["statuses"]
    lines += ["", f"| Redis killed, a limit of {AWAY_QUOTA} for three gateways, two of them asked | |", "|---|---:|"]
    lines += [f"| passed | {away.get('200', 0):,} |", f"| refused | {away.get('429', 0):,} |"]
    lines += [
        "",
        "| gateways under load | CPU us/request of the gateways | CPU us/request of Redis |",
        "|---|---:|---:|",
    ]
    for number, cost in found["cost"].items():
        lines.append(f"| {number} | {cost['gateway'] * 1e6:.1f} | {cost['redis'] * 1e6:.1f} |")
    last = found["cost"][GATEWAYS]
    lines += ["", f"| requests/s | processors for gateways, {BUSY:.0%} busy | Redis shards, {BUSY:.0%} busy |"]
    lines += ["|---|---:|---:|"]
    for rate in RATES:
        # A tiny excess is that of the division, not of the load.
        cores, shards = (math.ceil(round(rate * last[part] / BUSY, 6)) for part in ("gateway", "redis"))
        lines.append(f"| {rate:,} | {cores:,} | {shards:,} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, print, and write the page if it is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headgate-scaling-") as folder:
        try:
            found = measure(Path(folder))
        except CannotRun as reason:
            print(f"cannot measure: {reason}", file=sys.stderr)
            return 1
    text = page(found)
    print(text)
    if faults := broken(found):
        print("\n".join(faults), file=sys.stderr)
        return 1
    if arguments.markdown is not None:
        written = arguments.markdown.read_text()
        arguments.markdown.write_text(_MARKS.sub(lambda _: f"\n{text}\n", written))
    return 0


if __name__ == "__main__":
    sys.exit(main())
