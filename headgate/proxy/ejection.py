"""Outlier ejection at run time: what a worker's attempts say of a service's endpoints, told to all workers.

    outliers = ServiceOutliers(service, board, metrics, say)     once for each Plan, where `service.outlier` is set
    judged = outliers.endpoints[i]                               in the order of `service.endpoints`, or of `take`
    judged.answered(status, now)                                 when the answer of an attempt has come to its end
    judged.failed(now)                                           or when none came, or one that was cut; never both
    outliers.tick(now)                                           about once a second

Laws: a good attempt costs an addition and a look at one cell, no call and no lock, as long as nobody's attempt failed
before it; what is counted for the comparison of success rates goes onto the board with the tick. A failure whose side
is the client or the gateway says nothing of an endpoint: it is not told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from headgate.config.resolve import ResolvedService
from headgate.policy.endpoint_record import FAILURES_IN_ROW
from headgate.policy.endpoint_record import record_name as endpoint_record_name
from headgate.policy.outlier import Ejection, Outliers, record_name
from headgate.proxy.breaking import Say
from headgate.stores.board import Board
from headgate.telemetry.metrics import Metrics

_MICROSECONDS = 1_000_000


class JudgedEndpoint:
    """One endpoint, and this worker's attempts since the last tick."""

    __slots__ = ("_cells", "_failures_in_row", "_owner", "base", "failures", "name", "successes")

    def __init__(self, owner: ServiceOutliers, name: str, base: int, cells: memoryview) -> None:
        self._owner = owner
        self._cells = cells
        self._failures_in_row = base + FAILURES_IN_ROW
        self.name = name
        self.base = base
        self.successes = self.failures = 0

    def answered(self, status: int, now: float) -> None:
        """Note an attempt whose answer came whole (or switched protocols), `now` in monotonic seconds.

        Noted with the head, an answer that is cut behind it would end the very row of failures it belongs to.
        """
        if status >= 500:
            self.failed(now)
            return
        self.successes += 1
        if self._cells[self._failures_in_row]:
            self._owner.succeeded(self)

    def failed(self, now: float) -> None:
        """Note an attempt that failed on the upstream's side, `now` in monotonic seconds."""
        self.failures += 1
        self._owner.failed(self, now)


class ServiceOutliers:
    """The endpoints of one service, judged by the attempts of all workers."""

    __slots__ = (
        "_board",
        "_by_base",
        "_ejections",
        "_metrics",
        "_name",
        "_outliers",
        "_own",
        "_say",
        "_settings",
        "endpoints",
    )

    def __init__(self, service: ResolvedService, board: Board, metrics: Metrics, say: Say) -> None:
        """Judge the endpoints of a service whose `outlier` is set.

        Raises:
            ValueError: with a sentence, when the board is full.
        """
        assert service.outlier is not None
        self._board = board
        self._metrics = metrics
        self._say = say
        self._name = service.name
        self._own = board.claim(record_name(service.name))
        self._settings = service.outlier
        self._ejections: dict[str, int] = {}
        self._by_base: dict[int, JudgedEndpoint] = {}
        names = [each.name for each in service.endpoints]
        self.take([(name, board.claim(endpoint_record_name(service.name, name))) for name in names])

    def take(self, endpoints: Sequence[tuple[str, int]]) -> None:
        """Judge these from now on, each a name and where its record begins; what was counted of them stays."""
        known, cells = self._by_base, self._board.cells
        self.endpoints = [
            known[base] if base in known else JudgedEndpoint(self, name, base, cells) for name, base in endpoints
        ]
        self._by_base = {each.base: each for each in self.endpoints}
        self._outliers = Outliers(self._settings, cells, self._own, list(self._by_base))

    def succeeded(self, endpoint: JudgedEndpoint) -> None:
        """End a row of failures."""
        with self._board.lock(self._own):
            self._outliers.succeeded(endpoint.base)

    def failed(self, endpoint: JudgedEndpoint, now: float) -> None:
        """Note a failure, and eject if it was one too many."""
        with self._board.lock(self._own):
            ejection = self._outliers.failed(endpoint.base, int(now * _MICROSECONDS))
        if ejection is not None:
            self._board.touch()
            self._tell((ejection,))

    def tick(self, now: float) -> None:
        """Hand over what was counted, bring back whose time is over, compare when it is due."""
        micros = int(now * _MICROSECONDS)
        counted = [each for each in self.endpoints if each.successes or each.failures]
        if not counted and not self._outliers.is_due(micros):
            return
        with self._board.lock(self._own):
            for each in counted:
                self._outliers.count(each.base, each.successes, each.failures, micros)
                each.successes = each.failures = 0
            back, ejected = self._outliers.review(micros)
        if back or ejected:
            self._board.touch()
            for base in back:
                self._say("info", f"endpoint {self._by_base[base].name} of {self._name} is back from ejection")
            self._tell(ejected)

    def _tell(self, ejections: Iterable[Ejection]) -> None:
        for base, cause, seconds in ejections:
            index = self._ejections.get(cause)
            if index is None:
                index = self._metrics.counter("headgate_outlier_ejections_total", self._name, cause)
                self._ejections[cause] = index
            self._metrics.cells[index] += 1
            name = self._by_base[base].name
            self._say("warning", f"endpoint {name} of {self._name} is ejected for {seconds:g} s", cause=cause)

    def __repr__(self) -> str:
        return f"<ServiceOutliers {self._name} endpoints={len(self.endpoints)}>"
