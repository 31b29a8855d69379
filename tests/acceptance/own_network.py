"""A gateway at the ports that its preset names, in a network of its own, where they are free.

with_defaults(folder, "service-mesh", 8600, "/api/v1/health") runs `headgate run --preset service-mesh`, asks once, and
ends it. As a program, it is what goes on inside: the interface is brought up, the command is run and asked.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.acceptance.gateway import Answer, Document, environment, written
from tests.control.driver import CEILING

_ROOT = Path(__file__).parents[2]
_UP = 0x1
_GET_FLAGS, _SET_FLAGS = 0x8913, 0x8914


def with_defaults(
    folder: Path, preset: str, port: int, path: str, *files: Document, env: Mapping[str, str] = {}
) -> Answer:
    """Return what a gateway with nothing but these files and variables answers there; skip where none can be made."""
    folder.mkdir(parents=True, exist_ok=True)
    apart = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if not shutil.which("unshare") or subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no network of its own can be made here (unshare --net)")
    paths = [str(written(folder, index, each)) for index, each in enumerate(files)]
    command = [sys.executable, "-m", "headgate", "run", *paths, "--preset", preset]
    ran = subprocess.run(
        [*apart, sys.executable, "-m", "tests.acceptance.own_network", str(folder), str(port), path, *command],
        cwd=_ROOT,
        env=environment(folder) | dict(env),
        capture_output=True,
        text=True,
        timeout=2 * CEILING,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    status, headers, body = json.loads(ran.stdout)
    return Answer(status, headers, body.encode())


def _bring_up() -> None:
    """Bring up the interface lo, which a new network has, down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        name = b"lo"
        (flags,) = struct.unpack("16xh", fcntl.ioctl(probe, _GET_FLAGS, struct.pack("16sh", name, 0)))
        fcntl.ioctl(probe, _SET_FLAGS, struct.pack("16sh", name, flags | _UP))


def _ask(port: int, path: str) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CEILING)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()
    finally:
        connection.close()


def main(folder: str, port: str, path: str, *command: str) -> int:
    """Run, ask, print what was answered; what the gateway says goes to standard error."""
    _bring_up()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    ends = time.monotonic() + CEILING
    try:
        while time.monotonic() < ends and process.poll() is None:
            try:
                status, headers, body = _ask(int(port), path)
            except OSError:
                time.sleep(0.01)
                continue
            # The first moments belong to the start.
            if status not in (404, 503):
                print(json.dumps([status, headers, body]))
                return 0
        return 1
    finally:
        process.terminate()
        process.wait(CEILING)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
