"""`headgate top`: services of a running gateway as they do, drawn anew each second until q is pressed.

Where standard output is no terminal it is written once, without colours.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from headgate.cli.admin import Missing, add_gateway, asked, client_of, refusal
from headgate.cli.arguments import Namespace, Parser, add_json, duration
from headgate.cli.terminal import plain, wants_colour
from headgate.cli.top_page import PATHS, SORTS, gathered, text

if TYPE_CHECKING:
    from headgate.client import Client

_ALONE = "\x1b[?1049h\x1b[?25l"
_BACK = "\x1b[?25h\x1b[?1049l"
_HOME, _LINE_END, _BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
_CODE = re.compile("(\x1b\\[[0-9;]*m)")
_KEYS = "q quits, s sorts by the next column"


def add_arguments(parser: Parser) -> None:
    """Add the options."""
    parser.add_argument("--once", action="store_true", help="write it once and end, as where nobody looks")
    parser.add_argument("--every", metavar="TIME", type=_every, default=1.0, help="seconds between two looks (1)")
    add_gateway(parser)
    add_json(parser)


def run(arguments: Namespace) -> int:
    """Show it until q is pressed; return 0, or 1 where there is nothing to be shown."""
    try:
        with client_of(arguments) as client:
            if arguments.once or not (sys.stdout.isatty() and sys.stdin.isatty()):
                page = _look(client)
                text_ = json.dumps(page) if arguments.json else "\n".join(text(page, client.address, SORTS[0], False))
                print(text_)
                return 0
            if arguments.json:
                return _stream(client, arguments.every)
            return _Screen(client, arguments.every).run()
    except (Missing, ValueError) as error:
        print(error, file=sys.stderr)
        return 1


def _every(written: str) -> float:
    seconds = duration(written)
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError("expected from 0.1 to 3600 seconds")
    return seconds


def _look(client: Client) -> dict[str, Any]:
    """Ask for all of it.

    Raises:
        Missing: when something of it cannot be had.
    """
    answers = {}
    for name, path in PATHS.items():
        reply = asked(client, "GET", path)
        if reply.status != 200:
            raise Missing(refusal(reply))
        answers[name] = reply.body
    return gathered(answers)


def _stream(client: Client, every: float) -> int:
    """Write one line of JSON for each look, until one comes to nothing."""
    while True:
        print(json.dumps(_look(client)), flush=True)
        time.sleep(every)


class _Screen:
    """The terminal while it is ours."""

    def __init__(self, client: Client, every: float) -> None:
        self._client = client
        self._every = every
        self._sort = 0
        self._lines: list[str] = ["Looking…"]

    def run(self) -> int:
        """Draw until q."""
        with _own_terminal() as woken:
            due = 0.0
            while True:
                now = time.monotonic()
                if now >= due:
                    self._look()
                    due = time.monotonic() + self._every
                self._draw()
                key = _key(woken, max(0.0, due - time.monotonic()))
                if key in ("q", "Q", "\x03", "\x04"):
                    return 0
                if key == "s":
                    self._sort = (self._sort + 1) % len(SORTS)
                    due = 0.0

    def _look(self) -> None:
        try:
            self._lines = text(_look(self._client), self._client.address, SORTS[self._sort], wants_colour())
        except Missing as error:
            # It is said on the screen, and may be there again with the next look.
            self._lines = [plain(line) for line in str(error).splitlines()]

    def _draw(self) -> None:
        width, height = os.get_terminal_size(sys.stdout.fileno())
        shown = self._lines[: max(0, height - 1)]
        if len(self._lines) > len(shown) and shown:
            shown[-1] = f"and {len(self._lines) - len(shown) + 1} lines more"
        shown += [""] * (height - 1 - len(shown)) + [f"{_KEYS}; now by {SORTS[self._sort]}"]
        rows = [_cut(line, width) + _LINE_END for line in shown[:height]]
        sys.stdout.write(_HOME + "\n".join(rows) + _BELOW)
        sys.stdout.flush()


def _cut(line: str, width: int) -> str:
    """Cut to so many columns; what is a colour has none, and always ends."""
    left, cut = width, ""
    for part in _CODE.split(line):
        if part.startswith("\x1b"):
            cut += part
        else:
            cut += part[:left]
            left -= min(left, len(part))
    return cut


def _key(woken: int, patience: float) -> str:
    """Wait for a key, or for the window to change its size; nothing when neither came in time."""
    readable, _, _ = select.select([sys.stdin, woken], [], [], patience)
    if woken in readable:
        os.read(woken, 4096)
    return os.read(sys.stdin.fileno(), 1).decode("latin-1") or "q" if sys.stdin in readable else ""


@contextlib.contextmanager
def _own_terminal() -> Iterator[int]:
    """Have the screen and each key to ourselves; yield what becomes readable when the window changes its size."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    wake_before = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    resized_before = signal.signal(signal.SIGWINCH, lambda *_: None)
    # Being ended has to give the terminal back, too.
    ended_before = signal.signal(signal.SIGTERM, _end)
    try:
        tty.setcbreak(keyboard)
        sys.stdout.write(_ALONE)
        yield woken
    finally:
        sys.stdout.write(_BACK)
        sys.stdout.flush()
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        signal.set_wakeup_fd(wake_before)
        signal.signal(signal.SIGWINCH, resized_before)
        signal.signal(signal.SIGTERM, ended_before)
        os.close(woken)
        os.close(wake)


def _end(*_: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)
