"""Active health checks: what is asked of an endpoint and when, what its answer means, and how many answers decide.

Laws: pure; time, chance and the answer are handed in, and what is decided is written into the cells of the endpoint's
record (endpoint_record), which the caller has locked. One answer decides nothing where a threshold is above 1; an
endpoint nobody has asked yet is well.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableSequence
from typing import Annotated, Any, Literal

from headgate.core.objection import Objection
from headgate.core.settings import Between, OneOrMany, Seconds, setting, settings
from headgate.core.uri import BadTarget, parse_authority
from headgate.policy.endpoint_record import (
    CHECK_STATUS,
    CHECK_TOOK,
    CHECKED_AT,
    CHECKS_FAILED,
    CHECKS_IN_ROW,
    CHECKS_WELL,
    UNHEALTHY,
    WELL_SINCE,
)
from headgate.policy.pattern import compile_regex

# Bytes of an answer's body that `body` is looked for in.
MAX_BODY = 64 * 1024


@settings
class HealthSettings:
    """Active check of a service's endpoints. A bare string is the path."""

    type: Literal["http", "grpc", "tcp"] = setting(
        default="http",
        help="http: ask `path`; grpc: call grpc.health.v1.Health/Check, over HTTP/2; tcp: connect, no more.",
    )
    path: str = setting(
        default="/health",
        help="Path that answers well when the endpoint is well; the path in an endpoint's URL is not put before it.",
    )
    host: str | None = setting(default=None, help="Host sent; absent: the endpoint's own.")
    port: int | None = setting(default=None, help="Port asked; absent: the endpoint's own.", ge=1, le=65535)
    status: Annotated[list[Annotated[int, Between(100, 599)] | Literal["2xx", "3xx"]], OneOrMany()] = setting(
        default=lambda: ["2xx"], help="Statuses that mean well."
    )
    body: str | None = setting(
        default=None, help="RE2 expression that must be found in the first 64 KiB of the answer's body."
    )
    service: str = setting(
        default="", help="Name that type grpc asks for; empty: the server as a whole.", max_length=500
    )
    interval: Seconds = setting(default=30.0, help="Seconds from one check to the next.", gt=0, le=86400)
    timeout: Seconds = setting(default=5.0, help="Seconds for one check.", gt=0, le=3600)
    unhealthy_threshold: int = setting(
        default=3, help="Failed checks in a row that take an endpoint out.", ge=1, le=100
    )
    healthy_threshold: int = setting(default=1, help="Good checks in a row that bring it back.", ge=1, le=100)
    jitter: float = setting(default=10.0, help="Percent by which the interval varies.", ge=0, le=100)


class HealthCheck:
    """The check of one service's endpoints, compiled."""

    __slots__ = ("_body", "_statuses", "settings")

    def __init__(self, settings: HealthSettings) -> None:
        """Compile.

        Raises:
            ValueError: if `body` is no RE2 expression.
        """
        self.settings = settings
        classes = {f"{hundred}xx": range(hundred * 100, hundred * 100 + 100) for hundred in (2, 3)}
        self._statuses: set[int] = set()
        for each in settings.status:
            self._statuses.update((each,) if isinstance(each, int) else classes[each])
        self._body: Any = compile_regex(settings.body) if settings.body is not None else None

    @property
    def most_body(self) -> int:
        """Return how many bytes of an answer's body decide; 0: its status alone does."""
        return MAX_BODY if self._body is not None else 0

    def judge(self, status: int, body: bytes) -> Literal["well", "status", "body"]:
        """Tell whether an answer means well, or what about it does not."""
        if status not in self._statuses:
            return "status"
        if self._body is not None and self._body.search(body[:MAX_BODY]) is None:
            return "body"
        return "well"

    def delay(self, chance: float) -> float:
        """Return the seconds from the start of a check to the start of the next; `chance` is from 0 up to 1."""
        return self.settings.interval * (1 + self.settings.jitter / 100 * (2 * chance - 1))

    def note(
        self, cells: MutableSequence[int] | memoryview, base: int, well: bool, status: int, now: int, took: int = 0
    ) -> bool:
        """Write one check into the record that begins at `base`; tell whether the endpoint changed by it.

        `status` is the answer's, 0 when there was none; `now` is in monotonic microseconds, `took` in microseconds.
        """
        row = cells[base + CHECKS_IN_ROW]
        row = max(row, 0) + 1 if well else min(row, 0) - 1
        cells[base + CHECKS_IN_ROW] = row
        cells[base + CHECKED_AT] = now
        cells[base + CHECK_STATUS] = status
        cells[base + CHECK_TOOK] = took
        cells[base + (CHECKS_WELL if well else CHECKS_FAILED)] += 1
        if well and cells[base + UNHEALTHY] and row >= self.settings.healthy_threshold:
            cells[base + UNHEALTHY] = 0
            cells[base + WELL_SINCE] = now
            return True
        if not well and not cells[base + UNHEALTHY] and -row >= self.settings.unhealthy_threshold:
            cells[base + UNHEALTHY] = 1
            return True
        return False


def begin_anew(cells: MutableSequence[int] | memoryview, base: int) -> None:
    """Let the row of checks begin anew, for they ask something else from now on; what they have said stands."""
    cells[base + CHECKS_IN_ROW] = 0


def forget(cells: MutableSequence[int] | memoryview, base: int, now: int) -> bool:
    """Take back all that checks have said, for there are none any more; tell whether the endpoint is back by it.

    `now` is in monotonic microseconds.
    """
    was_out = cells[base + UNHEALTHY] != 0
    cells[base + UNHEALTHY] = cells[base + CHECKS_IN_ROW] = 0
    cells[base + CHECKED_AT] = cells[base + CHECK_STATUS] = cells[base + CHECK_TOOK] = 0
    cells[base + CHECKS_WELL] = cells[base + CHECKS_FAILED] = 0
    if was_out:
        cells[base + WELL_SINCE] = now
    return was_out


def check_health(settings: HealthSettings) -> Iterator[Objection]:
    """Yield what is wrong with a health check beyond types and bounds."""
    path = settings.path
    if not path.startswith("/"):
        yield Objection(("path",), f'the path must begin with "/": write /{path}')
    elif not path.isascii() or not path.isprintable() or " " in path or "#" in path:
        yield Objection(("path",), "expected visible ASCII characters without # (escape others as %20)")
    if not settings.status:
        yield Objection(("status",), "no status would ever mean well: write at least one, such as 2xx")
    if settings.body is not None:
        try:
            compile_regex(settings.body)
        except ValueError as error:
            yield Objection(("body",), str(error))
    if settings.host is not None:
        try:
            parse_authority(settings.host.encode(), 80)
        except BadTarget as error:
            yield Objection(("host",), f"write a host name or host:port: {error}")
