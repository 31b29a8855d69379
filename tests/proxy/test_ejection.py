"""Workers that judge endpoints together: one count, one comparison, one line for each change."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any

from headgate.config.resolve import ResolvedService
from headgate.policy.endpoint_record import EJECTED_UNTIL, EJECTIONS, FAILURES_IN_ROW, SUCCESSES
from headgate.policy.outlier import OutlierSettings
from headgate.proxy.ejection import JudgedEndpoint, ServiceOutliers
from headgate.stores.board import Board
from headgate.telemetry.cells import SlotRegion, SlotWriter, read
from headgate.telemetry.metrics import Metrics
from tests.proxy.stage import resolved, to

NAMES = ("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80", "10.0.0.5:80", "10.0.0.6:80")


def service(endpoints: int, **settings: Any) -> ResolvedService:
    (made,) = resolved(to(*(f"http://{name}" for name in NAMES[:endpoints]))).services
    return replace(made, outlier=OutlierSettings(**settings))


class Worker:
    """The outliers of one worker, over a board that others have too."""

    def __init__(self, board: Board, endpoints: int = 3, **settings: Any) -> None:
        self.board = board
        self.region = SlotRegion.create(1 << 18, 1 << 14)
        self.lines: list[str] = []
        metrics = Metrics(SlotWriter(self.region))
        self.outliers = ServiceOutliers(service(endpoints, **settings), board, metrics, self._say)

    def _say(self, level: str, message: str, **fields: object) -> None:
        self.lines.append(f"{level}: {message} {fields}" if fields else f"{level}: {message}")

    def __getitem__(self, place: int) -> JudgedEndpoint:
        return self.outliers.endpoints[place]

    def cell(self, place: int, cell: int) -> int:
        return self.board.cells[self[place].base + cell]

    def counted(self) -> dict[tuple[str, ...], int]:
        family = "headgate_outlier_ejections_total"
        return {each.name.labels: each.values[0] for each in read([self.region]) if each.name.family == family}


def test_failures_of_all_workers_are_one_row() -> None:
    board = Board.create(2)
    one, other = (Worker(board, consecutive_failures=5) for _ in range(2))
    for _ in range(2):
        one[1].failed(7.0)
        other[1].answered(503, 7.0)
    assert board.version == 0
    one[1].answered(500, 7.0)
    assert board.version == 1
    assert other.cell(1, EJECTED_UNTIL) == 17_000_000
    assert one.lines == ["warning: endpoint 10.0.0.2:80 of api is ejected for 10 s {'cause': 'consecutive_failures'}"]
    assert other.lines == []
    assert one.counted() == {("api", "consecutive_failures"): 1}
    assert other.counted() == {}


def test_a_success_of_any_worker_ends_the_row() -> None:
    board = Board.create(2)
    one, other = (Worker(board, consecutive_failures=3) for _ in range(2))
    for _ in range(5):
        one[0].failed(1.0)
        one[0].failed(1.0)
        assert other.cell(0, FAILURES_IN_ROW) == 2
        other[0].answered(404, 1.0)
        assert other.cell(0, FAILURES_IN_ROW) == 0
    assert board.version == 0


def test_what_all_workers_counted_is_compared_once() -> None:
    board = Board.create(2)
    workers = [Worker(board, consecutive_failures=0) for _ in range(2)]
    for worker in workers:
        worker.outliers.tick(100.0)
    for worker in workers:
        for _ in range(15):
            worker[0].answered(200, 101.0)
            worker[1].answered(200, 101.0)
            worker[2].answered(500, 101.0)
    assert workers[0].cell(0, SUCCESSES) == 0
    workers[0].outliers.tick(101.0)
    assert workers[0].cell(0, SUCCESSES) == 15
    workers[1].outliers.tick(104.0)
    assert workers[0].cell(2, EJECTED_UNTIL) == 114_000_000
    for worker in workers:
        worker.outliers.tick(104.5)
    assert [len(worker.lines) for worker in workers] == [0, 1]
    assert workers[1].counted() == {("api", "success_rate"): 1}


def test_a_tick_hands_over_what_was_counted_once() -> None:
    worker = Worker(Board.create(1))
    worker[0].answered(200, 1.0)
    worker.outliers.tick(1.0)
    worker.outliers.tick(1.5)
    assert worker.cell(0, SUCCESSES) == 1
    assert worker[0].successes == 0


def test_the_return_is_told_by_one_worker_and_seen_by_all() -> None:
    board = Board.create(2)
    one, other = (Worker(board, consecutive_failures=1, ejection_time=10) for _ in range(2))
    one[2].failed(1.0)
    for now in (5.0, 11.0, 11.1):
        for worker in (other, one):
            worker.outliers.tick(now)
    assert other.lines == ["info: endpoint 10.0.0.3:80 of api is back from ejection"]
    assert len(one.lines) == 1
    assert one.cell(2, EJECTED_UNTIL) == 0
    assert board.version == 2


def test_a_new_plan_goes_on_with_what_the_board_says() -> None:
    board = Board.create(1)
    before = Worker(board, consecutive_failures=3)
    before[0].failed(1.0)
    before[0].failed(1.0)
    after = Worker(board, endpoints=4, consecutive_failures=3)
    after[0].failed(1.0)
    assert after.cell(0, EJECTIONS) == 1


def test_four_processes_never_eject_more_than_may_be_and_tell_each_ejection_once() -> None:
    board = Board.create(4)
    ends = [os.pipe() for _ in range(4)]
    children = []
    for reading, writing in ends:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.close(reading)
                worker = Worker(board, endpoints=6, consecutive_failures=2, max_ejected=50)
                for turn in range(100):
                    for place in range(6):
                        worker[(place + turn + writing) % 6].failed(1.0)
                os.write(writing, json.dumps(worker.lines).encode())
                code = 0
            finally:
                os._exit(code)
        os.close(writing)
        children.append(child)
    lines: list[str] = []
    for child, (reading, _) in zip(children, ends, strict=True):
        with os.fdopen(reading) as pipe:
            lines += json.loads(pipe.read())
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    worker = Worker(board, endpoints=6)
    assert sum(worker.cell(place, EJECTED_UNTIL) > 0 for place in range(6)) == 3
    assert len(lines) == 3
    assert [worker.cell(place, EJECTIONS) for place in range(6)].count(1) == 3
