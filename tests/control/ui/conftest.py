"""A browser for the tests of one file, and a page of it for each test, which must not complain nor ask anybody else."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

from tests.control.driver import CEILING
from tests.control.ui.fake import FakeAdmin

TOKEN = "token-of-an-operator"
expect.set_options(timeout=CEILING * 1000)
# What a test refuses on purpose is said by the browser, too.
_REFUSED = re.compile("Failed to load resource|net::ERR_")

Open = Callable[..., Page]


# One for each file and not for the session: its loop stands in this thread, and other tests run loops of their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        reason = "chromium is not installed"
        print(f"skipped: {reason}")
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def admin() -> Iterator[FakeAdmin]:
    made = FakeAdmin()
    yield made
    made.close()


@pytest.fixture
def complaints() -> list[str]:
    """What pages have complained of, and whom else they wanted to ask; nothing may be left at the end."""
    return []


@pytest.fixture
def context(browser: Browser, complaints: list[str]) -> Iterator[Callable[..., BrowserContext]]:
    """Make a window; when the test ends, none may have complained or asked another host."""
    made: list[BrowserContext] = []

    def asked(request: Request) -> None:
        if urlsplit(request.url).hostname != "127.0.0.1":
            complaints.append(f"asked for {request.url}")

    def make(**options: object) -> BrowserContext:
        window = browser.new_context(**options)  # type: ignore[arg-type]
        window.set_default_timeout(CEILING * 1000)
        window.on("request", asked)
        window.on("weberror", lambda error: complaints.append(str(error.error)))
        window.on(
            "console",
            lambda message: (
                complaints.append(message.text)
                if message.type in ("error", "warning") and not _REFUSED.match(message.text)
                else None
            ),
        )
        made.append(window)
        return window

    yield make
    for window in made:
        window.close()
    assert complaints == []


@pytest.fixture
def sign_in(admin: FakeAdmin, context: Callable[..., BrowserContext]) -> Open:
    """Open the dashboard in a window of its own, and sign in."""

    def open_(view: str = "overview", token: str = TOKEN, **options: object) -> Page:
        page = context(**options).new_page()
        page.goto(f"{admin.url}#/{view}")
        page.get_by_label("Token").fill(token)
        page.keyboard.press("Enter")
        page.locator("h1", has_not_text="Sign in").wait_for()
        return page

    return open_
