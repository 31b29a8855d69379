"""Runs the suite against a cache, and reads what came of it as its own pages do.

A test is *required*, *optimal* or a *check* of what a cache does where all ways are right. It is not applicable where
another test on which it depends did not pass, or where its own preparation was not what it needs (setup).
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from tests.ports import free_port

FOLDER: Final = Path(__file__).parent
CEILING: Final = 60.0

Outcome = Literal["pass", "fail", "n/a", "yes", "no"]
PASSING: Final = ("pass", "yes")


class Case(NamedTuple):
    """One test of the suite and what came of it; `said` is the suite's own sentence where it did not pass."""

    suite: str
    id: str
    name: str
    kind: str
    outcome: Outcome
    said: str


def program(name: str) -> str | None:
    """Return the path of a program, None if it is not installed; Debian keeps those of servers off some PATHs."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin")


@contextmanager
def origin() -> Iterator[int]:
    """Run the suite's server; yield its port."""
    command = ["node", str(FOLDER / "origin.mjs")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


@contextmanager
def gateway(folder: Path, upstream: int, cache: Mapping[str, Any] | bool = True) -> Iterator[str]:
    """Run a gateway with a cache before a port; yield its URL."""
    port, admin = free_port(), free_port()
    config = {
        "listen": [f"127.0.0.1:{port}"],
        "admin": {"address": f"127.0.0.1:{admin}"},
        "workers": 1,
        # Who is refused because the machine is busy is not the matter here.
        "overload": {"enabled": False},
        "services": [
            {
                "name": "origin",
                "url": f"http://127.0.0.1:{upstream}",
                "cache": cache,
                "routes": [{"name": "all", "match": {"path": "/"}}],
            }
        ],
    }
    path = folder / "gateway.yaml"
    path.write_text(json.dumps(config))
    environ = {"HEADGATE_STATE_DIR": str(folder / "state"), "HEADGATE_ADMIN_TOKEN": "nobody asks for this one"}
    command = [sys.executable, "-m", "headgate", "run", "--no-watch", str(path)]
    with _server(command, folder / "gateway.log", port, environ):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def nginx(folder: Path, upstream: int) -> Iterator[str]:
    """Run nginx with a cache before a port, configured as the suite's own pages do; yield its URL."""
    port = free_port()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    path = folder / "nginx.conf"
    path.write_text(
        f"daemon off; master_process off; pid {folder}/nginx.pid; events {{}}\n"
        f"http {{ access_log off; {temporary}\n"
        f"proxy_cache_path {folder}/cache levels=1:2 keys_zone=cache:8m max_size=1000m inactive=600m;\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{\n"
        f"proxy_pass http://127.0.0.1:{upstream}; proxy_cache cache; proxy_cache_revalidate on; }} }} }}\n"
    )
    command = [str(program("nginx")), "-e", str(folder / "nginx.err"), "-p", str(folder), "-c", str(path)]
    with _server(command, folder / "nginx.log", port):
        yield f"http://127.0.0.1:{port}"


def run(url: str, ids: Sequence[str] = ()) -> dict[str, Case]:
    """Run all tests, or those that are named with those on which they depend, against the cache at a URL."""
    command = ["node", str(FOLDER / "run.mjs"), url, *ids]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10 * CEILING)
    return read(json.loads(ran.stdout))


def read(told: list[dict[str, Any]]) -> dict[str, Case]:
    """Return what the runner told, as the suite's own pages judge it."""
    by_id = {each["id"]: each for each in told}
    judged: dict[str, Outcome] = {}

    def judge(each: dict[str, Any]) -> Outcome:
        found = judged.get(each["id"])
        if found is None:
            needed = [by_id[name] for name in each["depends_on"] if name in by_id]
            found = judged[each["id"]] = _outcome(each, all(judge(other) in PASSING for other in needed))
        return found

    cases = {}
    for each in told:
        outcome = judge(each)
        result = each["result"]
        said = "" if result is True else f"{result[0]}: {result[1]}"
        cases[each["id"]] = Case(each["suite"], each["id"], each["name"], each["kind"], outcome, said)
    return cases


def _outcome(each: dict[str, Any], applicable: bool) -> Outcome:
    result = each["result"]
    if not applicable or (result is not True and result[0] == "Setup"):
        return "n/a"
    if each["kind"] == "check":
        return "yes" if result is True else "no"
    return "pass" if result is True else "fail"


@contextmanager
def _server(command: list[str], log: Path, port: int, environ: Mapping[str, str] | None = None) -> Iterator[None]:
    """Run a server until the block ends."""
    root = FOLDER.parents[1]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output, cwd=root, env={**os.environ, **(environ or {})}) as it,
    ):
        try:
            ends = time.monotonic() + CEILING
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert it.poll() is None, log.read_text()
                assert time.monotonic() < ends, log.read_text()
                time.sleep(0.02)
            yield
        finally:
            it.terminate()
