"""`headgate demo`: sample services, a gateway before them, and a list of things to try.

The samples are one child process with its own session: Ctrl-C reaches the gateway alone, which finishes what is in
flight while they still answer. They end when the pipe to them closes, which the kernel does however this one ends.

The demo has a state_dir of its own and takes it away at its end: it neither sees nor changes what other gateways of
this machine keep, and each one begins without what was registered with the one before.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from headgate.cli.arguments import Namespace, Parser, port
from headgate.cli.guide import guide
from headgate.control.run import RunOptions
from headgate.control.run import run as run_gateway
from headgate.control.state import FOLDER_VARIABLE

CONFIGURATION = Path(__file__).with_name("demo.yaml")
_PATIENCE = 10.0


def add_arguments(parser: Parser) -> None:
    """Add the options."""
    parser.add_argument(
        "--host", metavar="HOST", default="127.0.0.1", help="address that clients connect to (127.0.0.1)"
    )
    parser.add_argument("--port", metavar="PORT", type=port, default=8080, help="port that clients connect to (8080)")
    parser.add_argument(
        "--admin-port", metavar="PORT", type=port, default=8081, help="port of metrics and health (8081)"
    )
    parser.add_argument("--workers", metavar="N", help="worker processes, or auto")


def run(arguments: Namespace) -> int:
    """Run the demo until it is stopped; return the gateway's exit status."""
    listen, admin = arguments.port or 0, arguments.admin_port
    host = arguments.host or "127.0.0.1"
    for address, number, option in ((host, listen, "--port"), ("127.0.0.1", admin, "--admin-port")):
        if (said := _occupied(address, number, option)) is not None:
            print(said, file=sys.stderr)
            return 1
    with TemporaryDirectory(prefix="headgate-demo-") as state:
        os.environ[FOLDER_VARIABLE] = state
        return _run(arguments, host, listen, admin)


def _run(arguments: Namespace, host: str, listen: int, admin: int) -> int:
    samples = subprocess.Popen(
        [sys.executable, "-m", "headgate.cli.samples"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    assert samples.stdin is not None
    assert samples.stdout is not None
    try:
        ports: dict[str, int] = json.loads(samples.stdout.readline() or "{}")
        if not ports:
            print("The sample services did not start.", file=sys.stderr)
            return 1
        for name, number in ports.items():
            os.environ[f"DEMO_{name.upper().replace('-', '_')}"] = f"http://127.0.0.1:{number}"
        try:
            words = guide(host, listen, admin, CONFIGURATION, ports["json-1"])
        except ValueError as error:
            print(error, file=sys.stderr)
            return 1
        # They print it as soon as the gateway answers; this process is about to become the master.
        print(json.dumps({"host": "127.0.0.1", "port": admin, "text": words}), file=samples.stdin, flush=True)
        options = RunOptions(
            paths=(CONFIGURATION,), host=host, port=listen, admin=f"127.0.0.1:{admin}", workers=arguments.workers
        )
        return run_gateway(options)
    finally:
        samples.stdin.close()
        samples.stdout.close()
        try:
            samples.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            samples.kill()
            samples.wait()


def _occupied(host: str, number: int, option: str) -> str | None:
    """Return a sentence when that address cannot be listened on."""
    try:
        with socket.create_server((host, number), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            return None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return (
                f"Port {number} is taken by another program. Choose another one: headgate demo {option} {number + 10}"
            )
        return f"Cannot listen on {host}, port {number}: {error.strerror or error}. Choose others: --host, {option}"
