"""The dashboard of a real gateway under real requests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.control.driver import until
from tests.control.whole import Gateway, Service

_EVIL = "<img src=x onerror=alert(1)>"


def made(folder: Path, service: Service) -> Gateway:
    settings = {
        "url": f"http://{service.name}",
        "retry": {"attempts": 0},
        "circuit_breaker": {"threshold": 3, "timeout": 3600},
        "routes": [{"name": _EVIL, "limits": [{"name": "everybody", "requests": 1000, "window": 60}]}],
    }
    return Gateway(folder, 2, settings, telemetry={"access_log": {"enabled": False}, "sampling": {"ratio": 1}})


@pytest.fixture
def fresh(tmp_path: Path, service: Service) -> Iterator[Gateway]:
    """A gateway of this test alone."""
    with closing(made(tmp_path, service)) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Service]:
    """The service behind the gateway that tests share."""
    with closing(Service()) as service:
        yield service


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, endpoint: Service) -> Iterator[Gateway]:
    """One for all tests that leave it as they find it, but for what it has counted."""
    with closing(made(tmp_path_factory.mktemp("gateway"), endpoint)) as gateway:
        yield gateway


def opened(gateway: Gateway, context: Callable[..., BrowserContext]) -> Page:
    page = context().new_page()
    page.goto(f"http://{gateway.admin}/")
    page.get_by_label("Token").fill(os.environ["HEADGATE_ADMIN_TOKEN"])
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()
    expect(page.locator(".stream")).to_have_text("Live")
    return page


@pytest.fixture
def page(gateway: Gateway, context: Callable[..., BrowserContext]) -> Page:
    return opened(gateway, context)


@pytest.fixture
def fresh_page(fresh: Gateway, context: Callable[..., BrowserContext]) -> Page:
    return opened(fresh, context)


def go(page: Page, view: str) -> None:
    page.get_by_role("navigation").get_by_role("link", name=view).click()
    expect(page.get_by_role("heading", name=view, level=1)).to_be_visible()


def test_charts_fill_with_what_clients_ask(fresh: Gateway, fresh_page: Page) -> None:
    expect(fresh_page.locator(".nothing").first).to_be_visible()
    for number in range(40):
        assert fresh.ask(f"/{number}/<img src=x onerror=alert(1)>".replace(" ", "%20"))[0] == 200
    fresh_page.get_by_role("button", name="1 min").click()
    # But for the share of the cache, which nobody has asked here.
    expect(fresh_page.locator(".nothing")).to_have_count(1)
    expect(fresh_page.locator(".card", has_text="cache").locator(".nothing")).to_have_count(1)
    expect(fresh_page.locator(".tile").first).to_contain_text(re.compile("peak [1-9]"))
    row = fresh_page.locator("[data-table=services] tr", has_text="api")
    expect(row).to_contain_text("Healthy")
    expect(row).to_contain_text("ms")
    expect(row).to_contain_text("1 of 1")
    expect(fresh_page.locator("[data-table=requests-brief] tbody tr")).to_have_count(8)


def test_a_breaker_that_real_failures_opened_is_reset_by_hand(gateway: Gateway, page: Page, endpoint: Service) -> None:
    endpoint.status = 500
    for _ in range(3):
        assert gateway.ask()[0] == 500
    until(lambda: gateway.ask()[0] == 503, "both workers know that it is open")
    expect(page.get_by_role("link", name="Breaker of api")).to_be_visible()
    endpoint.status = 200
    go(page, "Breakers")
    row = page.locator("[data-table=breakers] tr", has_text="api")
    expect(row).to_contain_text("open")
    page.get_by_role("button", name="Reset the breaker of api").click()
    page.get_by_role("dialog").get_by_role("button", name="Reset").click()
    expect(row).to_contain_text("closed")
    assert gateway.ask()[0] == 200


def test_the_record_of_a_request_shows_how_it_went(gateway: Gateway, page: Page, endpoint: Service) -> None:
    assert gateway.ask("/some/where")[0] == 200
    go(page, "Requests")
    page.get_by_role("link", name="/some/where").click()
    expect(page.locator(".timeline .step").last).to_have_text("Attempt")
    expect(page.locator(".timeline")).to_contain_text(endpoint.name)
    expect(page.get_by_text(re.compile("9[0-9]{2} of 1,000 left in 1 min"))).to_be_visible()
    expect(page.locator("dd", has_text=_EVIL).first).to_be_visible()


def test_an_endpoint_is_taken_out_and_put_back(gateway: Gateway, page: Page, endpoint: Service) -> None:
    go(page, "Endpoints")
    page.get_by_role("button", name=f"Drain {endpoint.name} of api").click()
    page.get_by_role("dialog").get_by_role("button", name="Drain").click()
    expect(page.locator("[data-table=endpoints] tbody tr")).to_contain_text("draining")
    assert gateway.ask()[0] == 503
    page.get_by_role("button", name=f"Enable {endpoint.name} of api").click()
    page.get_by_role("dialog").get_by_role("button", name="Enable").click()
    expect(page.locator("[data-table=endpoints] tbody tr")).to_contain_text("healthy")
    assert gateway.ask()[0] == 200


def test_a_key_of_a_limit_begins_afresh(gateway: Gateway, page: Page) -> None:
    assert gateway.ask()[0] == 200
    go(page, "Limits")
    page.get_by_role("button", name="Reset a key of everybody").click()
    page.get_by_role("dialog").get_by_label("address").fill("127.0.0.1")
    page.get_by_role("dialog").get_by_role("button", name="Reset").click()
    expect(page.locator(".notice")).to_have_text("The count of everybody for this key begins afresh.")


def test_a_configuration_is_reloaded_and_its_change_is_shown(
    fresh: Gateway, fresh_page: Page, service: Service
) -> None:
    go(fresh_page, "Configuration")
    expect(fresh_page.get_by_text("secrets are masked")).to_be_visible()
    fresh.write({"url": f"http://{service.name}", "timeout": {"connect": 1.5}})
    fresh_page.get_by_role("button", name="Reload").click()
    fresh_page.get_by_role("dialog").get_by_role("button", name="Reload").click()
    expect(fresh_page.get_by_role("dialog")).to_have_count(0)
    expect(fresh_page.locator("[data-table=changes]")).to_contain_text("connect")
    assert os.environ["HEADGATE_ADMIN_TOKEN"] not in fresh_page.content()
    go(fresh_page, "Routes")
    expect(fresh_page.locator("[data-table=routes] tbody tr")).to_contain_text("all")
    go(fresh_page, "Log")
    expect(fresh_page.locator("[data-table=log]")).to_contain_text("is in force")


def test_a_terminal_shows_the_same(gateway: Gateway) -> None:
    def seen() -> dict[str, Any] | None:
        # Each time, for it shows what passes at the moment.
        for _ in range(10):
            assert gateway.ask()[0] == 200
        words = [sys.executable, "-m", "headgate", "top", "--admin", gateway.admin, "--once", "--json"]
        page: dict[str, Any] = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
        return page if page["requests"] > 0 else None

    page = until(seen, "requests are seen")
    (api,) = page["services"]
    assert (api["name"], api["endpoints"], api["breaker"]) == ("api", {"healthy": 1, "all": 1}, "closed")
    assert api["p99"] > 0
    assert [(each["limit"], each["requests"], each["window"]) for each in page["limits"]] == [("everybody", 1000, 60.0)]
    assert page["workers"] == {"alive": 2, "all": 2}


def test_the_page_goes_on_when_control_was_killed(fresh: Gateway, fresh_page: Page) -> None:
    fresh.kill_control()
    # Sessions end with it, so a token is asked for again.
    fresh_page.get_by_label("Token").fill(os.environ["HEADGATE_ADMIN_TOKEN"])
    fresh_page.keyboard.press("Enter")
    expect(fresh_page.locator(".stream")).to_have_text("Live")
    until(lambda: fresh.ask()[0] == 200, "requests were never harmed")
