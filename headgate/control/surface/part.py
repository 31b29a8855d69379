"""How the own endpoints hang in control: what a configuration has is answered, and workers are told once a second, and
when they ask.

Laws: with control away workers answer health, ready and live of what they were told last; all other own endpoints wait
for its successor, on a socket that the master keeps open.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from headgate.config.admin_settings import LOCAL_VIEWS
from headgate.config.resolve import ResolvedConfig
from headgate.control.listeners import Listener
from headgate.control.log import Log
from headgate.control.messages import OwnAnswers
from headgate.control.own_health import OwnHealth
from headgate.control.snapshot import is_whole
from headgate.control.spawn import Spawn
from headgate.control.surface.subject import Subject
from headgate.core.clock import monotonic

if TYPE_CHECKING:
    from headgate.config.admin_settings import Surface
    from headgate.control.surface.answers import Answers

EVERY = 1.0
# While workers are on their way.
_HURRIED = 0.1
# Telling takes at most a twentieth of the time, however large the configuration is; no longer than this apart.
LONGEST_PAUSE = 3.0
_SHARE = 20
# Who asks is told at once, as long as telling takes no more than an eighth of the time.
_ASKED_SHARE = 8
# Seconds that the first word may be late, so that it is of no gateway that begins, on a busy machine neither; a worker
# waits longer (proxy.own).
_FIRST_LOOKS = 5.0


class OwnEndpoints:
    """All of it."""

    def __init__(self, log: Log, spawn: Spawn, publish: Callable[[OwnAnswers], None], own_health: OwnHealth) -> None:
        """`publish` tells all workers."""
        self._log = log
        self._spawn = spawn
        self._publish = publish
        self._own_health = own_health
        self._subject: Subject | None = None
        self._config: ResolvedConfig | None = None
        self._answers: Answers | None = None
        self._listener: Listener | None = None
        self._serving: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._asked = asyncio.Event()
        self.socket: str | None = None

    def begin(self, subject: Subject, listener: Listener | None) -> None:
        """Speak of this control process, on this Unix socket, once there is something to answer."""
        self._subject = subject
        self._listener = listener
        self.socket = listener.address.removeprefix("unix:") if listener is not None else None

    def follow(self, config: ResolvedConfig) -> None:
        """Answer what this configuration has, from now on."""
        self._config = config
        if self._subject is None:
            return
        if self._answers is not None:
            self._answers.follow(config)
        self._open(config)
        if self._telling is None:
            self._telling = self._spawn(self._tell())

    def on_said(self, _: int, message: dict[str, Any]) -> None:
        """Take a worker's wish for something newer than it was told last."""
        if message["type"] == "own_answers":
            self._asked.set()

    def _open(self, config: ResolvedConfig) -> None:
        if self._serving is None and self._listener is not None and any(_is_asked(item) for item in config.surface):
            self._serving = self._spawn(self._serve(self._listener))

    async def _serve(self, listener: Listener) -> None:
        serving = await asyncio.to_thread(_import_serving)
        await serving.serve_app(_app(await self._ready_answers()), listener.of_slot(0))

    async def _ready_answers(self) -> Answers:
        """Return who answers, made the first time: it brings the library of templates."""
        if self._answers is None:
            answers = await asyncio.to_thread(_import_answers)
            assert self._subject is not None
            made: Answers = answers.Answers(self._subject, self._log)
            if self._config is not None:
                made.follow(self._config)
            self._answers = self._answers or made
        return self._answers

    async def _tell(self) -> None:
        answers = await self._ready_answers()
        own_answers = await asyncio.to_thread(_import_own_answers)
        await self._begun()
        while True:
            config, subject = self._config, self._subject
            assert config is not None and subject is not None
            self._asked.clear()
            began = monotonic()
            await own_answers.note_calls(subject, answers.items)
            exposed, statuses = config.admin.expose, config.health.statuses
            told = own_answers.told(subject, answers.items, exposed, statuses, self._log)
            took = monotonic() - began
            pause = min(LONGEST_PAUSE, took * _ASKED_SHARE)
            self._publish(OwnAnswers(told, self._own_health.not_ready(), began, began + took + pause))
            await asyncio.sleep(pause)
            every = EVERY if is_whole(subject.snapshot()) else _HURRIED
            await self._pass(min(LONGEST_PAUSE, max(every, took * _SHARE)) - pause)

    async def _pass(self, seconds: float) -> None:
        """Let so much time pass, or less: who asks is told."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._asked.wait()

    async def _begun(self) -> None:
        """Wait until all workers are there and everything has been looked at once, but not for long."""
        assert self._subject is not None
        latest = monotonic() + _FIRST_LOOKS
        # Workers say in shared memory that they are there, and nobody is told of it.
        while monotonic() < latest:
            if is_whole(self._subject.snapshot()) and self._own_health.has_looked:
                return
            await asyncio.sleep(_HURRIED / 2)


def _is_asked(item: Surface) -> bool:
    """Tell whether workers ask control for it."""
    return item.view not in (*LOCAL_VIEWS, "proxy")


def _import_answers() -> Any:
    from headgate.control.surface import answers

    return answers


def _import_own_answers() -> Any:
    from headgate.control.surface import own_answers

    return own_answers


def _import_serving() -> Any:
    from headgate.control import serving

    return serving


def _app(answers: Answers) -> Any:
    from headgate.control.surface.app import App

    return App(answers)
