"""`headgate top`: what it makes of the API's answers, and a terminal that it takes and gives back."""

from __future__ import annotations

import codecs
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from typing import Any

import pytest

from headgate.cli.terminal import plain, span
from headgate.cli.top import _cut
from headgate.cli.top_page import gathered, rate, share, text, took
from tests.control.driver import CEILING
from tests.control.ui import sample
from tests.control.ui.fake import FakeAdmin

TOKEN = "token-of-a-reader"
NOW = 1.8e9


def answers(**changes: Any) -> dict[str, Any]:
    return {
        "status": sample.status(NOW),
        "history": sample.history(NOW, 10, 1),
        "endpoints": {"endpoints": sample.endpoints()},
        "breakers": sample.breakers(NOW),
        "limits": {"limits": [sample.LIMIT]},
        **changes,
    }


def lines(page: dict[str, Any], sort: str = "requests", colour: bool = False) -> list[str]:
    return text(page, "127.0.0.1:8081", sort, colour)


def row(shown: list[str], name: str) -> list[str]:
    """The cells of a row."""
    (found,) = [each for each in shown if each.startswith(name)]
    return re.split(r"  +", found.rstrip())


def test_rates_are_means_and_percentiles_the_newest_known() -> None:
    line: dict[str, Any] = {"requests": [10.0, 20.0, 0.0], "errors": [0.0, 3.0, 0.0]}
    line |= {"p50": [0.1, 0.2, None], "p95": [None] * 3, "p99": [0.4, None, None]}
    page = gathered(answers(history={**line, "in_flight": [1, 2, 7], "by_service": {"chat": line}}))
    assert page["requests"] == 10.0
    assert page["errors"] == pytest.approx(0.1)
    assert (page["p50"], page["p95"], page["p99"], page["in_flight"]) == (0.2, None, 0.4, 7)
    assert row(lines(page), "chat") == ["chat", "10.0", "10 %", "200 ms", "-", "400 ms", "2 of 2", "closed"]
    # Who was asked nothing has a row, too.
    assert row(lines(page), "voice") == ["voice", "0", "-", "-", "-", "-", "2 of 2", "-"]


def test_a_gateway_that_has_just_started_is_shown() -> None:
    nothing: dict[str, list[float]] = {name: [] for name in ("requests", "errors", "p50", "p95", "p99", "in_flight")}
    page = gathered(answers(history={**nothing, "by_service": {}}, endpoints={"endpoints": []}, breakers={}))
    shown = lines(page)
    assert "No services." in shown
    assert "0 req/s  errors -  p50 -  p95 -  p99 -  in flight 0" in shown


def test_what_clients_spoke_and_the_cache_answered_is_shown() -> None:
    history = sample.history(NOW, 10, 1)
    history["by_protocol"] = {"HTTP/1.0": [0.0, 0.0], "HTTP/1.1": [6.0, 6.0], "HTTP/2": [2.0, 4.0], "gRPC": [1.0, 1.0]}
    history["cache"] = {"requests": [4.0, 0.0], "answered": [3.0, 0.0], "bytes": [9.0, 0.0]}
    page = gathered(answers(history=history))
    assert (page["protocols"]["HTTP/2"], page["hit_rate"]) == (3.0, 0.75)
    assert lines(page)[2] == "HTTP/1.1 60 %  HTTP/2 30 %  gRPC 10 %  from the cache 75 %"


def test_limits_and_endpoints_that_are_out_follow() -> None:
    shown = lines(gathered(answers()))
    assert row(shown, "per-user") == ["per-user", "60 in 1 min", "1,234", "gateway"]
    assert shown[-2:] == ["ENDPOINTS THAT ARE OUT", "10.0.2.2:8001 of search: unhealthy"]
    at_once = lines(gathered(answers(limits={"limits": [{**sample.LIMIT, "window": None}]})))
    assert row(at_once, "per-user") == ["per-user", "60 at once", "1,234", "gateway"]


@pytest.mark.parametrize(("sort", "first"), [("requests", "b"), ("errors", "a"), ("p95", "c"), ("name", "a")])
def test_rows_stand_in_the_order_that_was_asked_for(sort: str, first: str) -> None:
    base: dict[str, Any] = {"p50": [0.1], "p99": [0.1]}
    courses: dict[str, dict[str, Any]] = {
        "a": {"requests": [1.0], "errors": [1.0], "p95": [0.1], **base},
        "b": {"requests": [9.0], "errors": [0.0], "p95": [None], **base},
        "c": {"requests": [5.0], "errors": [0.0], "p95": [0.9], **base},
    }
    history = {**courses["a"], "in_flight": [0], "by_service": courses}
    shown = lines(gathered(answers(history=history, endpoints={"endpoints": []}, breakers={})), sort)
    head = next(place for place, each in enumerate(shown) if each.startswith("SERVICE"))
    assert shown[head + 1].startswith(first)


def test_colours_say_nothing_that_words_do_not() -> None:
    page = gathered(answers())
    painted = lines(page, colour=True)
    assert any(each.startswith("\x1b[31msearch") and "open" in each for each in painted)
    assert [re.sub("\x1b\\[[0-9;]*m", "", each) for each in painted] == lines(page)


def test_names_cannot_steer_the_terminal() -> None:
    assert plain("a\x1b]0;title\x07\r\n\x9bb") == "a?]0;title????b"
    endpoint = {**sample.endpoints()[0], "service": "x\x1b[2J", "endpoint": "\x1b[2J", "state": "ejected"}
    limit = {**sample.LIMIT, "limit": "\x1b[2J", "scope": "\x1b[2J"}
    shown = lines(gathered(answers(endpoints={"endpoints": [endpoint]}, limits={"limits": [limit]})))
    assert "\x1b" not in "".join(shown)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ([rate(0.0), rate(0.25), rate(12.34), rate(1234.5)], ["0", "0.25", "12.3", "1,234"]),
        ([share(None), share(0.0), share(0.0123), share(0.5)], ["-", "0 %", "1.23 %", "50 %"]),
        ([took(None), took(0.0042), took(0.25), took(1.5)], ["-", "4.2 ms", "250 ms", "1.50 s"]),
        ([span(0), span(59.9), span(61), span(93_784)], ["0 s", "59 s", "1 min 1 s", "1 d 2 h"]),
    ],
)
def test_figures_have_their_units(written: list[str], expected: list[str]) -> None:
    assert written == expected


def test_a_line_is_cut_to_the_screen_and_its_colour_ends() -> None:
    assert _cut("\x1b[31mabcdef\x1b[0mgh", 3) == "\x1b[31mabc\x1b[0m"
    assert _cut("abc", 10) == "abc"


@pytest.fixture
def admin() -> Iterator[FakeAdmin]:
    made = FakeAdmin()
    yield made
    made.close()


def command(admin: FakeAdmin, *words: str) -> list[str]:
    return [sys.executable, "-m", "headgate", "top", "--admin", admin.address, *words]


def environment(token: str = TOKEN) -> dict[str, str]:
    return {**os.environ, "HEADGATE_ADMIN_TOKEN": token, "TERM": "xterm", "NO_COLOR": ""}


def test_programs_get_it_once_and_without_colours(admin: FakeAdmin) -> None:
    done = subprocess.run(
        command(admin), env=environment(), capture_output=True, text=True, timeout=CEILING, check=True
    )
    assert done.stdout.startswith("headgate 0.1.0 at ")
    assert "\x1b" not in done.stdout
    assert row(done.stdout.splitlines(), "search")[-1] == "open"


def test_programs_get_json(admin: FakeAdmin) -> None:
    done = subprocess.run(
        command(admin, "--once", "--json"), env=environment(), capture_output=True, timeout=CEILING, check=True
    )
    page = json.loads(done.stdout)
    assert [each["name"] for each in page["services"]] == list(sample.SERVICES)
    assert page["workers"] == {"alive": 2, "all": 2}


def test_who_shows_no_token_is_told_so(admin: FakeAdmin) -> None:
    done = subprocess.run(command(admin), env=environment("wrong"), capture_output=True, text=True, timeout=CEILING)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "token" in done.stderr


class Terminal:
    """A terminal with `headgate top` in it."""

    def __init__(self, words: list[str], columns: int, rows: int, token: str = TOKEN) -> None:
        self.screen, self._keys = pty.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self._keys)
        self.process = subprocess.Popen(
            words, stdin=self._keys, stdout=self._keys, stderr=self._keys, env=environment(token)
        )
        self.shown = ""

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._keys, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, key: str) -> None:
        os.write(self.screen, key.encode())

    def until(self, pattern: str) -> str:
        """Read until the pattern is on it; return what came since the last call."""
        came, ends = "", time.monotonic() + CEILING
        # select takes no descriptor beyond 1023, and a process of tests may have many.
        here = select.poll()
        here.register(self.screen, select.POLLIN)
        # A character may come in two parts.
        decoder = codecs.getincrementaldecoder("utf-8")()
        while re.search(pattern, came, re.DOTALL) is None:
            assert time.monotonic() < ends, came
            if here.poll(100):
                came += decoder.decode(os.read(self.screen, 65536))
        return came

    def attributes(self) -> Any:
        return termios.tcgetattr(self._keys)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.screen)
        os.close(self._keys)


@pytest.fixture
def terminal(admin: FakeAdmin) -> Iterator[Terminal]:
    made = Terminal(command(admin, "--every", "0.1"), columns=110, rows=30)
    yield made
    made.close()


def test_a_terminal_is_drawn_anew_until_q_and_given_back(terminal: Terminal) -> None:
    came = terminal.until("now by requests")
    assert "\x1b[?1049h" in came
    assert "\x1b[31msearch" in came
    # And again, by itself.
    terminal.until("now by requests")
    terminal.press("s")
    terminal.until("now by errors")
    terminal.press("q")
    assert "\x1b[?25h" in terminal.until(r"\x1b\[\?1049l")
    assert terminal.process.wait(CEILING) == 0
    assert terminal.attributes() == terminal.before


def test_another_size_of_the_window_is_drawn_at_once(admin: FakeAdmin) -> None:
    terminal = Terminal(command(admin, "--every", "3600"), columns=110, rows=30)
    try:
        terminal.until("now by requests")
        terminal.resize(40, 6)
        terminal.process.send_signal(signal.SIGWINCH)
        came = terminal.until(r"lines more.*now\x1b\[K\x1b\[J")
        drawn = re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", came).split("\r\n")
        assert len(drawn) == 6
        assert max(map(len, drawn)) <= 40
        assert drawn[-2].endswith("lines more")
    finally:
        terminal.close()


def test_being_ended_gives_the_terminal_back(terminal: Terminal) -> None:
    terminal.until("now by requests")
    terminal.process.send_signal(signal.SIGTERM)
    terminal.until(r"\x1b\[\?1049l")
    assert terminal.process.wait(CEILING) == 128 + signal.SIGTERM
    assert terminal.attributes() == terminal.before


def test_what_cannot_be_had_is_said_on_the_screen_until_it_is_there_again(admin: FakeAdmin) -> None:
    admin.refused["endpoints"] = (503, "not at the moment")
    terminal = Terminal(command(admin, "--every", "0.1"), columns=110, rows=30)
    try:
        terminal.until("not at the moment")
        admin.refused.clear()
        terminal.until("ENDPOINTS THAT ARE OUT")
    finally:
        terminal.close()
