"""The rounds: brings the peers of a row up, measures them in turn, and keeps the samples round by round."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench import certificate, load, measure, peers
from bench.configs import Certificate, Setting, route_path, upstream_conf
from bench.measure import Round, Sample, Up
from bench.peers import PEERS
from bench.rows import GIGABYTE, HUNDRED_KB, Row, Subject
from bench.stage import CannotRunError, Cores, Stage, free_port, say, wait_until

# 200 bytes, the answer of a small JSON service.
ANSWER = '{"id":4711,"name":"example","tags":["a","b","c"],"text":"' + "x" * 138 + '","ok":1}'


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to measure: rounds, and seconds of load in each."""

    rounds: int
    seconds: float
    warm_up: float
    fresh_rounds: int


FULL = Effort(rounds=5, seconds=8, warm_up=3, fresh_rounds=5)
QUICK = Effort(rounds=3, seconds=3, warm_up=1, fresh_rounds=1)


@dataclass(slots=True)
class RowResult:
    """The samples of a row, label -> one per round; a label that failed has a note instead."""

    row: Row
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)


class Bed:
    """What all peers of a row share: the stage, the cores, the upstreams and the certificate."""

    def __init__(self, stage: Stage, cores: Cores, row: Row) -> None:
        self.stage = stage
        self.cores = cores
        self.row = row
        self.certificate: Certificate | None = certificate.make(stage.folder) if row.tls else None
        self.upstream = self._start_python() if row.uploads else self._start_nginx()
        self._redis = 0

    def _start_nginx(self) -> int:
        port, folder = free_port(), self.stage.folder
        measure.body_file(folder, "100k", HUNDRED_KB)
        measure.body_file(folder, "1g", GIGABYTE)
        conf = folder / "upstream.conf"
        conf.write_text(upstream_conf(port, folder, ANSWER, peers.root_user()))
        running = self.stage.start("upstream", peers.nginx_command(conf), self.cores.load)
        wait_until(running, lambda: measure.answers(port, "/", False))
        return port

    def _start_python(self) -> int:
        port = free_port()
        running = self.stage.start("upstream", [sys.executable, "-m", "bench.upstream", str(port)], self.cores.load)
        wait_until(running, lambda: measure.answers(port, "/", False))
        return port

    def redis(self) -> int:
        """Return the port of the Redis server of this row, started when it is first asked for."""
        if not self._redis:
            program = peers.program("redis-server")
            if program is None:
                raise CannotRunError("redis-server is missing: apt-get install redis-server")
            port = free_port()
            command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
            running = self.stage.start("redis", [*command, "--dir", str(self.stage.folder)], self.cores.load)
            wait_until(running, lambda: measure.accepts(port))
            self._redis = port
        return self._redis

    def up(self, subject: Subject) -> Up:
        """Start a subject and wait for its first good answer."""
        asked = subject.policies
        setting = Setting(
            port=free_port(),
            admin_port=free_port(),
            upstream=self.upstream,
            folder=self.stage.folder,
            certificate=self.certificate,
            routes=subject.routes,
            options=subject.options,
            policies=asked,
            http2=self.row.http2,
            cached=subject.cached,
            redis=self.redis() if asked is not None and asked.limit == "redis" else 0,
        )
        running = peers.start(PEERS[subject.peer], self.stage, setting, self.cores.gateway)
        path = route_path(0) if subject.routes else "/"
        shown = [asked.callers.field(0)] if asked is not None and asked.callers is not None else []

        def answers() -> bool:
            if self.row.http2:
                return load.answers_http2(setting.port, path, *shown)
            return measure.answers(setting.port, path, self.row.tls, *shown)

        first = wait_until(running, answers)
        return Up(subject.label, running, setting, running.worker(setting.port), first)


def run_row(row: Row, subjects: Sequence[Subject], cores: Cores, effort: Effort) -> RowResult:
    """Measure one row. A subject that fails is noted and left out; raises CannotRunError when the upstream fails."""
    result = RowResult(row)
    say(f"{row.name}: {row.title}")
    # The bench itself, as a client of some rows, belongs to the load.
    os.sched_setaffinity(0, {cores.load})
    with Stage() as stage:
        bed = Bed(stage, cores, row)
        if row.fresh:
            _fresh_rounds(bed, subjects, effort, result)
        else:
            _rounds_under_load(bed, subjects, effort, result)
    return result


def _rounds_under_load(bed: Bed, subjects: Sequence[Subject], effort: Effort, result: RowResult) -> None:
    standing: list[Up] = []
    warm = Round(bed.cores, effort.warm_up, bed.upstream)
    for subject in subjects:
        try:
            up = bed.up(subject)
            measure.fill(up, warm)
            bed.row.measure(up, warm)
            standing.append(up)
        except CannotRunError as error:
            _note(result, subject.label, error)
    now = Round(bed.cores, effort.seconds, bed.upstream)
    for number in range(1, effort.rounds + 1):
        for up in [one for one in standing if one.label not in result.failed]:
            _measure(result, up, now, number)


def _fresh_rounds(bed: Bed, subjects: Sequence[Subject], effort: Effort, result: RowResult) -> None:
    now = Round(bed.cores, effort.seconds, bed.upstream)
    for number in range(1, effort.fresh_rounds + 1):
        for subject in [one for one in subjects if one.label not in result.failed]:
            try:
                up = bed.up(subject)
            except CannotRunError as error:
                _note(result, subject.label, error)
                continue
            _measure(result, up, now, number)
            bed.stage.stop(up.running)


def _measure(result: RowResult, up: Up, now: Round, number: int) -> None:
    try:
        sample = result.row.measure(up, now)
    except (CannotRunError, OSError) as error:
        _note(result, up.label, error)
        return
    result.samples.setdefault(up.label, []).append(sample)
    extras = "  ".join(f"{title} {value:,.1f}" for title, value in sample.extras.items())
    say(f"  round {number}  {up.label:<16}{sample.value:>10,.2f} {result.row.unit}   {extras}")


def _note(result: RowResult, label: str, error: Exception) -> None:
    # A subject with half its rounds would shift the pairs of the ratios: it is left out as a whole.
    result.samples.pop(label, None)
    result.failed.add(label)
    result.notes.append(f"{label}: {error}")
    say(f"  {label} could not be measured: {error}")


def describe_machine(cores: Cores) -> dict[str, str]:
    """Return what the figures depend on: cores, kernel, load when the run began, and versions."""
    system = os.uname()
    versions = {peer.title: peer.version() or "missing" for peer in PEERS.values()}
    return {
        "cores": f"{os.cpu_count()} (gateway on {cores.gateway}, load and upstream on {cores.load})",
        "kernel": f"{system.sysname} {system.release.partition('-')[0]} {system.machine}",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "wrk": load.need_wrk(),
        "h2load": load.h2load_version(),
        **versions,
    }
