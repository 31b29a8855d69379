"""`python -m bench.soak`: long runs of Headgate alone, each with a line PASS or FAIL.

Exit code 0: all held; 1: one did not; 2: it could not run. The checks and their laws stand in `bench.checks`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import uvloop

from bench.checks import CHECKS
from bench.peers import PEERS
from bench.scene import Scene, Verdict
from bench.stage import CannotRunError, Stage, choose_cores, end_on_sigterm, names_of, raise_file_limit, say
from bench.wallet import Wallet


def main() -> int:
    """Run what the command line asks for and return the exit code."""
    arguments = _parse(sys.argv[1:])
    end_on_sigterm()
    try:
        verdicts = [_run(name, arguments.minutes * 60) for name in arguments.only or CHECKS]
    except CannotRunError as error:
        say(f"the soak cannot run: {error}")
        return 2
    except KeyboardInterrupt:
        say("stopped")
        return 2
    return 0 if all(verdict.held for verdict in verdicts) else 1


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description="Long runs of Headgate, checked.")
    parser.add_argument("--only", type=names_of(CHECKS), metavar="NAME,...", help=f"of {','.join(CHECKS)}")
    parser.add_argument(
        "--minutes", type=float, default=15.0, help="a check that lasts longer ends early, judged on what it did"
    )
    return parser.parse_args(argv)


def _run(name: str, seconds: float) -> Verdict:
    if PEERS["headgate"].version() is None:
        raise CannotRunError(f"Headgate is not here; to have it: {PEERS['headgate'].install}")
    cores = choose_cores()
    raise_file_limit()
    doc = CHECKS[name].__doc__ or ""
    say(f"{name}: {doc.splitlines()[0]}")
    allowed = os.sched_getaffinity(0)
    # The clients and their upstream are one process, on the core that the gateway does not have.
    os.sched_setaffinity(0, {cores.load})
    try:
        with Stage() as stage:
            verdict = uvloop.run(_check(name, Scene(stage, cores, Wallet(stage.folder), seconds)))
    finally:
        os.sched_setaffinity(0, allowed)
    print(f"{'PASS' if verdict.held else 'FAIL'} {name}: {verdict.words}", flush=True)
    return verdict


async def _check(name: str, scene: Scene) -> Verdict:
    return await CHECKS[name](scene)


if __name__ == "__main__":
    sys.exit(main())
