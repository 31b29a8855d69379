"""The acts of operators in the audit log (telemetry.audit): by control what came over the admin address or changed the
configuration, by a command what it did itself, such as `headgate keys revoke`.

Laws: control never waits for the log, a thread writes it; a command opens it before it acts, so that nothing is done
that could not be written down. The configuration that turns the log off is the last thing in it.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from headgate.control.log import Log
from headgate.core.clock import wall
from headgate.proxy.log_sink import STREAMS, LogSink, opened
from headgate.telemetry.audit import Act, Actor, Outcome, audit_line
from headgate.telemetry.settings import AuditLog


class Cause(NamedTuple):
    """Why a configuration is loaded: in words, and by whom."""

    reason: str
    actor: Actor


START = Cause("start", Actor("gateway"))
RESTART = Cause("restart of control", Actor("gateway"))
HANGUP = Cause("SIGHUP", Actor("signal", "SIGHUP"))


def changed(paths: Iterable[Path]) -> Cause:
    """Name files that have changed as the cause."""
    return Cause(f"{', '.join(str(path) for path in paths)} changed", Actor("file"))


class Audit:
    """What control writes, as the configuration in force says."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._settings = AuditLog()
        self._sink: LogSink | None = None

    def follow(self, settings: AuditLog) -> None:
        """Write as these settings say from now on."""
        if settings == self._settings:
            return
        self._settings = settings
        self.close()
        if settings.enabled:
            try:
                self._sink = LogSink(settings.path)
            except OSError as error:
                self._log("error", f"the audit log cannot be opened: {settings.path}: {error.strerror}")

    def __call__(
        self,
        event: str,
        actor: Actor,
        action: str,
        outcome: Outcome,
        target: Mapping[str, str] | None = None,
        detail: str = "",
        status: int = 0,
    ) -> None:
        """Write one act; the words are those of telemetry.audit."""
        if self._sink is not None:
            act = Act(wall(), event, actor, action, outcome, target or {}, detail=detail, status=status)
            self._sink.add(audit_line(act))
            lost = self._sink.flush()
            if lost:
                self._log("error", "lines of the audit log are lost: what takes them is too slow", lines=lost)

    def applied(self, settings: AuditLog, cause: Cause, version: int) -> None:
        """Write that a configuration is in force, and follow what it says of this log."""
        if settings.enabled:
            self.follow(settings)
        self("config.applied", cause.actor, cause.reason, "done", {"plan": str(version)})
        self.follow(settings)

    def refused(self, cause: Cause, version: int, problems: tuple[str, ...]) -> None:
        """Write that a configuration was refused, and which stays in force."""
        self("config.refused", cause.actor, cause.reason, "failed", {"plan": str(version)}, "; ".join(problems))

    def reopen(self) -> None:
        """Open the file anew under its name."""
        if self._sink is not None:
            self._sink.reopen()

    def close(self) -> None:
        """Write what is left."""
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.close()


class CommandAudit:
    """What a command writes: acts of whoever runs it.

    Where the gateway writes to a stream of its own, this is the command's standard error.
    """

    def __init__(self, settings: AuditLog) -> None:
        """Open what the settings name.

        Raises:
            ValueError: when the file cannot be opened; then nothing must be done.
        """
        self._fd: int | None = None
        if settings.enabled:
            try:
                self._fd = sys.stderr.fileno() if settings.path in STREAMS else opened(settings.path)
            except OSError as error:
                raise ValueError(f"the audit log cannot be opened: {settings.path}: {error.strerror}") from None

    def __call__(self, event: str, action: str, target: Mapping[str, str], outcome: Outcome, detail: str = "") -> None:
        """Write one act; the words are those of telemetry.audit.

        Raises:
            ValueError: when it cannot be written.
        """
        if self._fd is None:
            return
        line = audit_line(Act(wall(), event, _whoever_runs_this(), action, outcome, target, detail=detail))
        try:
            os.write(self._fd, line)
        except OSError as error:
            raise ValueError(f"the audit log cannot be written: {error.strerror}") from None


def _whoever_runs_this() -> Actor:
    number = os.getuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        # A container may run under a number that no name belongs to.
        name = str(number)
    return Actor("operator", name, method="command")
