"""The configuration in force as an operator sees it, and its last changes: who made them, when, and what they were.

Laws: everything shown has its secrets masked (config.effective); changes are kept for MOST_CHANGES, with at most
MOST_DIFFERENCES places each; the tag of a configuration tells two of them apart and nothing of what is in them.
"""

from __future__ import annotations

import hmac
import os
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from headgate.config.resolve import ResolvedConfig
from headgate.control.audit import Cause
from headgate.control.config_file import ConfigFile
from headgate.core.clock import wall

if TYPE_CHECKING:
    # With them comes the library that reads files; whoever hands a LoadResult in has it.
    from headgate.config.effective import Difference, Shown
    from headgate.config.loader import LoadResult

MOST_CHANGES: Final = 100
MOST_DIFFERENCES: Final = 200
_TAG_CHARACTERS: Final = 32


class Change(NamedTuple):
    """A configuration that came into force, or did not. `at`: seconds since 1970; `by`: who, as the audit log says."""

    at: float
    by: str
    cause: str
    ok: bool
    plan: int
    problems: tuple[str, ...]
    differences: tuple[Difference, ...]
    more: bool


class Configuration:
    """What is in force, and what came before."""

    def __init__(self) -> None:
        self.file: ConfigFile | None = None
        self.files: tuple[str, ...] = ()
        self.digest = b""
        self.resolved: ResolvedConfig | None = None
        self.changes: deque[Change] = deque(maxlen=MOST_CHANGES)
        self._shown: Shown | None = None
        # A digest alone would let a reader try out what he guesses of secrets.
        self._secret = os.urandom(32)

    @property
    def tag(self) -> str:
        """Return the ETag of what is in force, with its quotes."""
        return f'"{hmac.digest(self._secret, self.digest, "sha256").hex()[:_TAG_CHARACTERS]}"'

    @property
    def shown(self) -> Shown | None:
        """Return what is in force; None when this control process has not loaded it itself."""
        return self._shown

    def follow(self, config: ResolvedConfig) -> None:
        """Know what is in force as workers know it, whoever loaded it."""
        self.resolved = config

    def applied(self, loaded: LoadResult, cause: Cause, plan: int) -> None:
        """Know what is in force now."""
        self.digest = loaded.digest
        self.files = tuple(dict.fromkeys(str(file) for file in loaded.files))
        differences: tuple[Difference, ...] = ()
        more = False
        if loaded.source is not None:
            from headgate.config.effective import shown

            before, self._shown = self._shown, shown(loaded.source, loaded.origins)
            if before is not None:
                differences, more = different(before, self._shown)
        self._note(cause, True, plan, (), differences, more)

    def refused(self, cause: Cause, plan: int, problems: tuple[str, ...]) -> None:
        """Know that one was refused; `plan` stays."""
        self._note(cause, False, plan, problems, (), False)

    def document(self) -> dict[str, Any] | None:
        """Return what is in force as plain data; None when this control process has not loaded it itself."""
        return self._shown.document() if self._shown is not None else None

    def _note(
        self,
        cause: Cause,
        ok: bool,
        plan: int,
        problems: tuple[str, ...],
        differences: tuple[Difference, ...],
        more: bool,
    ) -> None:
        by = f"{cause.actor.kind} {cause.actor.id}".strip()
        self.changes.appendleft(Change(wall(), by, cause.reason, ok, plan, problems, differences, more))


def different(before: Shown, after: Shown) -> tuple[tuple[Difference, ...], bool]:
    """List where two configurations differ, up to MOST_DIFFERENCES; and whether there are more."""
    from headgate.config.effective import differences

    found = list(islice(differences(before, after), MOST_DIFFERENCES + 1))
    return tuple(found[:MOST_DIFFERENCES]), len(found) > MOST_DIFFERENCES
