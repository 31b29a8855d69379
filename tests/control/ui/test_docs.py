"""The pages of the admin API's document and of own endpoints, in a browser: whole, and without asking anybody else."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from headgate.control.admin.app import make_api
from tests.control.admin.subject import Subject
from tests.control.whole import Gateway, Service


@pytest.fixture
def gateway(tmp_path: Path, service: Service) -> Iterator[Gateway]:
    surface = [{"path": "/docs", "view": "docs"}]
    made = Gateway(tmp_path, 1, {"url": f"http://{service.name}"}, surface=surface, security_headers={"preset": "api"})
    yield made
    made.close()


@pytest.fixture
def page(gateway: Gateway, context: Callable[..., BrowserContext]) -> Page:
    page = context().new_page()
    page.goto(f"http://{gateway.admin}/docs")
    page.get_by_label("Token of the admin API").fill("wrong")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#said")).to_contain_text("Authorization")
    page.get_by_label("Token of the admin API").fill(os.environ["HEADGATE_ADMIN_TOKEN"])
    page.get_by_role("button", name="Show").click()
    page.locator("#paths section").first.wait_for()
    return page


def test_every_operation_is_listed_and_opens(page: Page) -> None:
    documented = {
        (method.upper(), path) for path, methods in make_api(Subject()).openapi()["paths"].items() for method in methods
    }
    operations = page.locator("#paths section > details")
    titles = page.locator("#paths section > details > summary")
    found = [(title.locator(".method").inner_text(), title.locator("code").inner_text()) for title in titles.all()]
    assert (len(found), set(found)) == (len(documented), documented)
    expect(page.locator("#ask")).to_be_hidden()
    # Among them is one with parameters, one with a body, and shapes of answers.
    put = operations.filter(has=page.locator("summary", has_text=re.compile("PUT\\s*/api/v1/config\\b")))
    put.locator("summary").first.click()
    expect(put).to_contain_text("If-Match")
    expect(put).to_contain_text("application/yaml")
    put.locator("details summary").first.click()
    expect(put.locator("pre").first).to_be_visible()


def test_who_is_signed_in_at_the_dashboard_needs_no_token(page: Page, gateway: Gateway) -> None:
    page.goto(f"http://{gateway.admin}/ui/")
    page.get_by_label("Token").fill(os.environ["HEADGATE_ADMIN_TOKEN"])
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()
    page.goto(f"http://{gateway.admin}/docs")
    page.locator("#paths section").first.wait_for()
    expect(page.locator("#ask")).to_be_hidden()


def test_the_page_of_own_endpoints_sends_requests(gateway: Gateway, context: Callable[..., BrowserContext]) -> None:
    page = context().new_page()
    page.goto(f"http://127.0.0.1:{gateway.port}/docs")
    answer = page.locator("#answer")
    page.locator("tr", has_text="/ready").first.get_by_role("button", name="Try").click()
    page.get_by_role("button", name="Send").click()
    expect(answer).to_contain_text('{"status": "ready"}')
    expect(answer).to_contain_text("content-type: application/json")
    # Of a service, with all that a request may have.
    page.get_by_label("Method").select_option("POST")
    page.get_by_label("Path").fill("/x?y=1")
    page.get_by_label("Header fields").fill("X-One: 1\n\nX-Two: 2\n")
    page.get_by_label("Body").fill('{"a": "<b>"}')
    with page.expect_request("**/x?y=1") as asked:
        page.get_by_role("button", name="Send").click()
    sent = asked.value
    assert (sent.method, sent.post_data) == ("POST", '{"a": "<b>"}')
    told = sent.all_headers()
    assert [told[name] for name in ("x-one", "x-two", "content-type")] == ["1", "2", "application/json"]
    # What comes is text, though it be a page: this service takes GET alone.
    expect(answer).to_contain_text("<p>Message: Unsupported method ('POST').</p>")
    page.get_by_label("Header fields").fill("this is no field")
    page.get_by_role("button", name="Send").click()
    expect(answer).to_contain_text("Nothing was answered")
