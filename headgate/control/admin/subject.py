"""The gateway as the routers of the admin API see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Protocol, cast

from fastapi import Depends, Request

from headgate.config.loader import LoadResult
from headgate.control.audit import Audit, Cause
from headgate.control.fleet import Outcome
from headgate.control.log import Log
from headgate.control.parts import Parts
from headgate.control.snapshot import Snapshot


class Subject(Protocol):
    """What the admin application shows and steers."""

    @property
    def draining(self) -> bool:
        """Whether the gateway is stopping."""

    @property
    def parts(self) -> Parts:
        """What control knows of the gateway."""

    @property
    def audit(self) -> Audit:
        """Where acts are written down."""

    @property
    def log(self) -> Log:
        """Where control says what happens."""

    def snapshot(self) -> Snapshot:
        """Plan, workers and drain now."""

    async def reload(
        self, cause: Cause, load: Callable[[], LoadResult] | None = None, undo: Callable[[], None] | None = None
    ) -> Outcome:
        """Load the configuration anew, by `load` if it is given, and bring it into force; else `undo` what it wrote.

        Raises:
            Changed: `load` was to write a file that is not the one in force.
            OSError: or one that cannot be written.
        """


def subject_of(request: Request) -> Subject:
    """Return the gateway that a request to the admin listener is about."""
    return cast("Subject", request.app.state.subject)


# As a parameter of a route: `async def spans(gateway: TheGateway) -> ...`.
TheGateway = Annotated[Subject, Depends(subject_of)]
