"""The database of registrations as the loop of control uses it: asked in a thread, opened when first asked.

Laws: whatever goes wrong there is Unavailable, with a sentence without a password, and stands in the log once; what
was asked of a database that is no longer the configured one is not answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from headgate.control.log import Log
from headgate.control.registrations.desk import Busy, Desk
from headgate.control.registrations.instance import Instance, News, Row, TooMany
from headgate.control.state import make_state, state_path
from headgate.core.clock import wall
from headgate.core.trace import kind_of, places_of

if TYPE_CHECKING:
    # It brings the library of databases, which is for those who have something in one.
    from headgate.control.registrations.table import Table

T = TypeVar("T")

_CHANGED: Final = "another database is configured since a moment ago"


class Unavailable(Exception):
    """The database cannot be asked at the moment; the sentence says why, without a password."""


class Place(NamedTuple):
    """Which database; `url` may hold a password."""

    state_dir: str | None
    url: str | None

    def __repr__(self) -> str:
        return "<Place of registrations>"


class Ledger:
    """What is written down."""

    def __init__(self, log: Log, environ: Mapping[str, str], on_failure: Callable[[], None]) -> None:
        """`on_failure` is called when it begins to fail, or fails in another way."""
        self._log = log
        self._environ = environ
        self._on_failure = on_failure
        self._desk = Desk("registrations")
        self._opening = asyncio.Lock()
        self._place = Place(None, None)
        self._table: Table | None = None
        self.failing = ""

    def follow(self, place: Place) -> bool:
        """Write there from now on; tell whether that is another place."""
        if place == self._place:
            return False
        self._place, self._table, self.failing = place, None, ""
        return True

    async def put(self, instance: Instance, most: int) -> tuple[Row, bool]:
        """Write an instance; tell whether it is a new one.

        Raises:
            Unavailable: with a sentence.
            TooMany: it would be one more than `most`.
        """
        now = wall()
        return await self._ask(lambda table: table.put(instance, most, now))

    async def turn(self, seen: int, renewed: Mapping[str, str | None], dropped: Mapping[str, int | None]) -> News:
        """Write what happened, and read what has changed (Table.turn).

        Raises:
            Unavailable: with a sentence.
        """
        return await self._ask(lambda table: table.turn(seen, renewed, dropped))

    def close(self, renewed: Mapping[str, str | None], dropped: Mapping[str, int | None]) -> None:
        """Write what is left, if that is quick, and let go."""
        table = self._table

        def last() -> None:
            if table is not None:
                try:
                    if renewed or dropped:
                        table.turn(0, renewed, dropped)
                finally:
                    table.close()

        self._desk.close(last)

    async def _ask(self, question: Callable[[Table], T]) -> T:
        place = self._place
        async with self._opening:
            if self._table is None:
                environ = self._environ
                table = await self._do(lambda: _open(place, environ))
                if place != self._place:
                    table.close()
                    raise Unavailable(_CHANGED)
                self._table = table
            table = self._table
        answer = await self._do(lambda: question(table))
        if table is not self._table:
            raise Unavailable(_CHANGED)
        return answer

    async def _do(self, work: Callable[[], T]) -> T:
        try:
            done = await self._desk.do(work)
        except TooMany:
            raise
        except Busy:
            raise Unavailable("too much waits for the database already") from None
        except ValueError as error:
            self._fails(str(error))
            raise Unavailable(str(error)) from None
        except Exception as error:
            why = f"in an unforeseen way: {kind_of(error)}"
            self._fails(why, traceback=places_of(error))
            raise Unavailable(why) from None
        if self.failing:
            self.failing = ""
            self._log("info", "the database of registrations answers again")
        return done

    def _fails(self, why: str, **fields: object) -> None:
        if why != self.failing:
            self.failing = why
            self._log("error", f"registrations cannot be read or written, those known go on: {why}", **fields)
            self._on_failure()


def _open(place: Place, environ: Mapping[str, str]) -> Table:
    """Reach the database, and make it where it is to be made.

    Raises:
        ValueError: with a sentence, when that is not possible at the moment.
    """
    from headgate.control.database import find_url
    from headgate.control.registrations.table import open_table

    state = make_state(state_path(place.state_dir, environ))
    return open_table(find_url(place.url, environ, state))
