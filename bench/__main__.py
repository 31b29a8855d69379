"""`python -m bench`: run the rows, print the tables, write them down.

Exit code 0: all bounds held; 1: one was missed; 2: it could not run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import chart, peers, report, setup
from bench.peers import PEERS
from bench.rows import ROWS
from bench.runner import FULL, QUICK, RowResult, describe_machine, run_row
from bench.stage import CannotRunError, choose_cores, end_on_sigterm, names_of, raise_file_limit, say


def main() -> int:
    """Run what the command line asks for and return the exit code."""
    arguments = _parse(sys.argv[1:])
    end_on_sigterm()
    results: list[RowResult] = []
    try:
        results = _run(arguments)
    except CannotRunError as error:
        say(f"the bench cannot run: {error}")
        return 2
    except KeyboardInterrupt:
        say("stopped")
        return 2
    return report.exit_code(results)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="CPU per request, Headgate beside its peers.")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: for a look, not for a record")
    parser.add_argument("--only", type=names_of(PEERS), metavar="NAME,...", help=f"peers to run, of {','.join(PEERS)}")
    parser.add_argument("--rows", type=names_of(ROWS), metavar="ROW,...", help=f"rows to run, of {','.join(ROWS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables as Markdown")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw the row `bare`, as .svg or .png")
    return parser.parse_args(argv)


def _run(arguments: argparse.Namespace) -> list[RowResult]:
    cores = choose_cores()
    raise_file_limit()
    if peers.nginx_version() is None:
        raise CannotRunError("nginx, the upstream of every row, is missing: apt-get install nginx-light")
    setup.ensure()
    machine = describe_machine(cores)
    present = _present(arguments.only)
    effort = QUICK if arguments.quick else FULL
    results = []
    for row in (ROWS[name] for name in arguments.rows or ROWS):
        subjects = [subject for subject in row.subjects if subject.peer in present]
        if subjects:
            results.append(run_row(row, subjects, cores, effort))
            # Written after every row: a long run that is stopped leaves what it had.
            _write(arguments, results, machine)
    print(report.console(results))
    print("\n" + "; ".join(f"{name} {value}" for name, value in machine.items()))
    return results


def _present(only: list[str] | None) -> set[str]:
    present = set()
    for name in only or PEERS:
        if PEERS[name].version() is None:
            say(f"{PEERS[name].title} is missing; to have it: {PEERS[name].install}")
        else:
            present.add(name)
    if not present:
        raise CannotRunError("none of the peers asked for is here")
    return present


def _write(arguments: argparse.Namespace, results: list[RowResult], machine: dict[str, str]) -> None:
    if arguments.json:
        arguments.json.write_text(json.dumps(report.plain(results, machine), indent=1) + "\n")
    if arguments.markdown:
        arguments.markdown.write_text(report.markdown(results, machine, "python -m bench"))
    bare = next((result for result in results if result.row.name == "bare" and result.samples), None)
    if arguments.chart and bare:
        chart.draw(bare, arguments.chart, f"{bare.row.title}. One core; {machine['kernel']}")


if __name__ == "__main__":
    sys.exit(main())
