"""The dashboard in a browser, over an API that says what a test wants."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from headgate.control.admin import ui
from tests.control.driver import CEILING, until
from tests.control.ui import sample
from tests.control.ui.conftest import Open
from tests.control.ui.fake import COOKIE, FakeAdmin

VIEWS = (
    *("overview", "requests", "routes", "services", "endpoints", "breakers", "limits", "cache"),
    *("log", "configuration", "services/chat", "requests/0197-00000000", "requests/0197-00000001"),
)
# Of all views, with an element that stands there once everything has come.
_COME = "main :is(table, .timeline, .tile, .empty)"
_UNNAMED = """() => [...document.querySelectorAll("button, a[href], input, svg[role=img], summary")]
    .filter((each) => !each.hidden && !each.getAttribute("aria-label"))
    .filter((each) => !each.labels?.length && !each.textContent.trim())
    .map((each) => each.outerHTML)"""
_FOCUS = """() => {
    const { activeElement: at } = document;
    const { outlineStyle, outlineWidth } = getComputedStyle(at);
    return { text: at.textContent.trim(), ring: outlineStyle !== "none" && parseFloat(outlineWidth) >= 2 };
}"""
_WIDER = "() => document.documentElement.scrollWidth - window.innerWidth"


def visit(page: Page, view: str) -> None:
    page.evaluate("(view) => { window.location.hash = `#/${view}`; }", view)
    page.locator(f"#main:has({_COME.removeprefix('main ')})").wait_for()
    expect(page.locator(".loading")).to_have_count(0)


def test_a_token_is_traded_for_a_cookie_that_no_script_can_read(admin: FakeAdmin, sign_in: Open) -> None:
    page = sign_in()
    (cookie,) = [each for each in page.context.cookies() if each["name"] == COOKIE]
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert page.evaluate("() => document.cookie") == ""
    assert "token" not in page.url
    assert page.evaluate("() => localStorage.length + sessionStorage.length") == 0
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert [each for each in page.context.cookies() if each["name"] == COOKIE] == []


def test_a_wrong_token_is_refused_where_it_was_typed(admin: FakeAdmin, context: Any) -> None:
    page = context().new_page()
    page.goto(admin.url)
    field = page.get_by_label("Token")
    expect(field).to_be_focused()
    field.fill("a wrong one")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("This token is not known here.")
    expect(field).to_have_value("")
    field.fill("token-of-a-reader")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()


def test_a_session_that_has_ended_leads_to_the_sign_in(admin: FakeAdmin, sign_in: Open) -> None:
    page = sign_in("breakers")
    page.context.clear_cookies()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_charts_show_as_much_as_is_chosen(admin: FakeAdmin, sign_in: Open) -> None:
    # One tick, when the page begins to watch.
    admin.beat = CEILING
    page = sign_in()
    area = page.locator("[data-chart=traffic] path.s2xx")
    # The area above and below each point: a hundred of five minutes, sixty of one, and those of the tick.
    expect(area).to_have_attribute("d", re.compile(r"^M([^L]+L){199,201}[^L]+Z$"))
    page.get_by_role("button", name="1 min").click()
    expect(area).to_have_attribute("d", re.compile(r"^M([^L]+L){119,121}[^L]+Z$"))


def test_charts_and_figures_go_on_with_every_tick(admin: FakeAdmin, sign_in: Open) -> None:
    page = sign_in()
    area = page.locator("[data-chart=traffic] path.s2xx")
    expect(area).to_have_attribute("d", re.compile(r"^M.+Z$"))
    before = area.get_attribute("d")
    page.wait_for_function(
        "(before) => document.querySelector('[data-chart=traffic] path.s2xx').getAttribute('d') !== before", arg=before
    )
    expect(page.locator(".tile").first).to_contain_text(re.compile(r"\d/s"))
    expect(page.locator(".stream")).to_have_text("Live")


def test_a_chart_can_be_read_without_seeing_it(admin: FakeAdmin, sign_in: Open) -> None:
    page = sign_in()
    chart = page.get_by_role(
        "img", name=re.compile("^Latency, last 5 min. p50: now .* ms, lowest .* ms, highest .* ms")
    )
    chart.focus()
    page.keyboard.press("Home")
    expect(page.locator("#said")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d: p50 .* ms, p95 .* ms, p99 .* ms$"))
    page.keyboard.press("Escape")
    figures = page.locator("details", has_text="Figures of Latency as a table")
    figures.locator("summary").click()
    assert figures.get_by_role("columnheader").all_text_contents() == ["Time", "p50", "p95", "p99"]
    assert figures.get_by_role("row").count() > 5


def test_a_breaker_is_reset_by_hand_after_a_question(admin: FakeAdmin, sign_in: Open) -> None:
    page = sign_in("breakers")
    button = page.get_by_role("button", name="Reset the breaker of search")
    button.click()
    question = page.get_by_role("dialog", name="Reset the breaker of search?")
    question.get_by_role("button", name="Cancel").click()
    expect(question).to_have_count(0)
    assert admin.told == []
    button.click()
    question.get_by_role("button", name="Reset").click()
    expect(page.locator("tr", has_text="search")).to_contain_text("closed")
    assert admin.told == [("POST", "circuit-breakers/search/reset", None)]
    expect(page.locator(".notice")).to_have_text("The breaker of search is closed, and calls decide.")


@pytest.mark.parametrize(
    ("view", "button", "yes", "told"),
    [
        ("breakers", "Open the breaker of chat", "Force open", ("circuit-breakers/chat/open", None)),
        ("breakers", "Close the breaker of chat", "Force closed", ("circuit-breakers/chat/close", None)),
        (
            "endpoints",
            "Drain 10.0.0.1:8001 of chat",
            "Drain",
            ("endpoints", {"service": "chat", "endpoint": "10.0.0.1:8001", "state": "draining"}),
        ),
        (
            "services/chat",
            "Disable 10.0.0.2:8001 of chat",
            "Disable",
            ("endpoints", {"service": "chat", "endpoint": "10.0.0.2:8001", "state": "disabled"}),
        ),
        ("configuration", "Reload", "Reload", ("reload", None)),
        ("cache", "Purge all", "Purge", ("cache/purge", {"all": True})),
    ],
)
def test_what_an_operator_does_is_asked_back_and_told(
    admin: FakeAdmin, sign_in: Open, view: str, button: str, yes: str, told: tuple[str, Any]
) -> None:
    page = sign_in(view)
    page.get_by_role("button", name=button, exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name=yes, exact=True).click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert admin.told == [("POST", *told)]


def test_a_key_of_a_limit_is_typed_and_reset(admin: FakeAdmin, sign_in: Open) -> None:
    page = sign_in("limits")
    page.get_by_role("button", name="Reset a key of per-user").click()
    page.get_by_role("dialog").get_by_label("identity").fill("user:ada")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    key = {"limit": "per-user", "scope": "gateway", "key": {"identity": "user:ada"}}
    assert admin.told == [("POST", "limits/reset", key)]


def test_what_is_to_be_purged_is_typed(admin: FakeAdmin, sign_in: Open) -> None:
    page = sign_in("cache")
    page.get_by_role("button", name="Purge a tag").click()
    page.get_by_role("dialog").get_by_label("Tag").fill("product-17")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert admin.told == [("POST", "cache/purge", {"tag": "product-17"})]
    expect(page.locator(".notice")).to_have_text("3 answers are purged.")


def test_protocols_and_the_cache_have_their_course(admin: FakeAdmin, sign_in: Open) -> None:
    page = sign_in()
    protocols = page.locator("[data-chart=protocols]")
    expect(protocols).to_have_attribute("aria-label", re.compile("HTTP/1.1: now .*HTTP/2: now .*gRPC: now "))
    assert "HTTP/1.0" not in (protocols.get_attribute("aria-label") or "")
    expect(page.locator("[data-chart=cache]")).to_have_attribute("aria-label", re.compile(r"hit rate: now \d+.*%"))
    visit(page, "cache")
    expect(page.locator("main")).to_contain_text("112 MB of 268 MB")
    expect(page.locator("tr", has_text="img src")).to_contain_text("87.5%")


def test_a_request_says_what_the_cache_made_of_it_and_how_its_call_ended(sign_in: Open) -> None:
    page = sign_in("requests")
    expect(page.locator("tr", has_text="/v1/images/8")).to_contain_text("cache: hit")
    expect(page.locator("tr", has_text="/voice.Speech/Transcribe")).to_contain_text("gRPC status 14")


def test_a_refusal_is_shown_where_it_was_asked_for(admin: FakeAdmin, sign_in: Open) -> None:
    page = sign_in("breakers")
    admin.refused["circuit-breakers/search/reset"] = (404, "there is no circuit breaker of a service search")
    page.get_by_role("button", name="Reset the breaker of search").click()
    question = page.get_by_role("dialog")
    question.get_by_role("button", name="Reset").click()
    expect(question.get_by_role("alert")).to_have_text("there is no circuit breaker of a service search")
    page.keyboard.press("Escape")
    expect(question).to_have_count(0)


@pytest.mark.parametrize("view", ["breakers", "endpoints", "limits", "cache", "configuration", "services/chat"])
def test_who_may_only_read_can_change_nothing(admin: FakeAdmin, sign_in: Open, view: str) -> None:
    page = sign_in(view, token="token-of-a-reader")
    visit(page, view)
    acts = page.locator("main").get_by_role(
        "button", name=re.compile("^(Reset|Open|Close|Drain|Disable|Enable|Reload|Purge)")
    )
    assert acts.count() > 0
    for act in acts.all():
        expect(act).to_be_disabled()


def test_no_text_of_a_server_becomes_markup(admin: FakeAdmin, sign_in: Open) -> None:
    admin.answers["telemetry/logs"] = [
        {"timestamp": 1.0, "level": "ERROR", "message": sample.EVIL, "metadata": {"path": sample.EVIL}}
    ]
    tree = {sample.EVIL: [sample.EVIL], "services": {sample.EVIL: {"url": sample.EVIL}}}
    admin.answers["config"] = {"files": [sample.EVIL], "writable": True, "config": tree}
    page = sign_in()
    for view in VIEWS:
        visit(page, view)
        assert page.locator("img:not([src='icon.svg'])").count() == 0
    visit(page, "services")
    page.get_by_role("link", name=sample.EVIL).first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(sample.EVIL)
    visit(page, "log")
    expect(page.locator("td.message")).to_contain_text(sample.EVIL)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_follows_the_preferred_scheme(admin: FakeAdmin, sign_in: Open, scheme: str) -> None:
    page = sign_in(color_scheme=scheme)
    ground, text = page.evaluate(
        "() => [getComputedStyle(document.documentElement).backgroundColor, getComputedStyle(document.body).color]"
    )
    light = [sum(map(int, re.findall(r"\d+", colour))) / 3 for colour in (ground, text)]
    assert (light[0] > light[1]) is (scheme == "light")


def test_a_phone_shows_every_view_in_its_width(admin: FakeAdmin, sign_in: Open) -> None:
    page = sign_in(viewport={"width": 360, "height": 740})
    for view in VIEWS:
        visit(page, view)
        assert page.evaluate(_WIDER) <= 0, view
    page.get_by_role("button", name="Menu").click()
    expect(page.get_by_role("link", name="Configuration")).to_be_visible()
    assert page.evaluate(_WIDER) <= 0


def test_every_view_has_names_landmarks_and_headers(admin: FakeAdmin, sign_in: Open) -> None:
    page = sign_in()
    for view in VIEWS:
        visit(page, view)
        assert page.get_by_role("heading", level=1).count() == 1
        assert [page.get_by_role(role).count() for role in ("main", "navigation", "complementary")] == [1, 1, 1]
        assert page.evaluate(_UNNAMED) == [], view
        for table in page.locator("main table").all():
            assert table.locator("caption").count() == 1
            assert table.locator("thead th:not([scope=col])").count() == 0
        assert page.title().endswith("· Headgate")


def test_the_keyboard_goes_through_all_of_it_in_order_and_is_seen(admin: FakeAdmin, sign_in: Open) -> None:
    page = sign_in("breakers")
    page.reload()
    page.get_by_role("heading", name="Breakers", level=1).wait_for()
    walked = []
    for _ in range(16):
        page.keyboard.press("Tab")
        at = page.evaluate(_FOCUS)
        assert at["ring"], at
        walked.append(at["text"])
    ways = ["Requests", "Routes", "Services", "Endpoints", "Breakers", "Limits", "Cache", "Log", "Configuration"]
    ways.append("Sign out")
    assert walked[0] == "Skip to content"
    assert walked[1].startswith("Overview")
    assert walked[2:12] == ways
    assert walked[12:] == ["Service", "State", "Failures", "Last failure"]
    page.keyboard.press("Enter")
    expect(page.locator("th[aria-sort=ascending]")).to_have_text("Last failure")
    # Past the first row, whose service is a link and whose buttons are in their order.
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    question = page.get_by_role("dialog")
    expect(question).to_be_visible()
    assert question.evaluate("(node) => node.contains(document.activeElement)")
    page.keyboard.press("Escape")
    expect(question).to_have_count(0)
    assert page.evaluate("() => document.activeElement.textContent") == "Reset"


def test_skipping_and_changing_views_lead_the_keyboard_to_the_content(admin: FakeAdmin, sign_in: Open) -> None:
    page = sign_in("breakers")
    page.get_by_role("link", name="Limits").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Limits", level=1)).to_be_visible()
    expect(page.locator("#main")).to_be_focused()
    page.get_by_role("link", name="Skip to content").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    assert page.url.endswith("#/limits")


def test_the_focus_stays_while_everything_around_it_is_drawn_anew(admin: FakeAdmin, sign_in: Open) -> None:
    page = sign_in("requests")
    field = page.get_by_label("Filter requests")
    field.fill("completions/3")
    expect(page.locator("tbody tr")).to_have_count(1)
    admin.events.append(("request", sample.record(2e9, 99, path="/v1/chat/completions/33")))
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(field).to_be_focused()
    expect(field).to_have_value("completions/3")
    page.get_by_role("button", name="Hold the list still").click()
    admin.events.append(("request", sample.record(2e9 + 1, 100, path="/v1/chat/completions/34")))
    page.get_by_role("button", name="Go on with new requests").click()
    expect(page.locator("tbody tr").first).to_contain_text("completions/3")


def test_a_record_shows_each_gate_and_attempt_in_their_order(admin: FakeAdmin, sign_in: Open) -> None:
    page = sign_in("requests")
    page.get_by_role("link", name="/v1/chat/completions/3").first.click()
    steps = page.locator(".timeline .step")
    expect(steps).to_have_text(["Entry", "Identity", "Access", "Limits", "Circuit breaker", "Attempt 1", "Attempt 2"])
    rows = page.locator(".timeline li:not(.ruler)")
    expect(rows.nth(5)).to_contain_text("tried again: upstream_reset")
    expect(rows.nth(6)).to_contain_text("connection reused, head after 28 ms, 40 ms in all")
    assert rows.nth(6).locator("rect").count() == 2
    expect(page.get_by_text("41 of 60 left in 1 min")).to_be_visible()
    expect(page.locator(".candidates li")).to_have_count(2)


def test_a_record_that_is_not_in_the_list_is_asked_for(admin: FakeAdmin, sign_in: Open) -> None:
    admin.answers["telemetry/requests/elsewhere"] = sample.record(1.7e9, 7, request_id="elsewhere")
    page = sign_in("requests/elsewhere")
    expect(page.locator(".timeline")).to_be_visible()
    visit(page, "overview")
    page.evaluate("() => { window.location.hash = '#/requests/nowhere'; }")
    expect(page.locator("main").get_by_role("alert")).to_contain_text("there is no such thing")


def test_it_says_that_it_is_not_live_and_is_again(admin: FakeAdmin, sign_in: Open) -> None:
    page = sign_in()
    expect(page.locator(".stream")).to_have_text("Live")
    admin.cut.set()
    expect(page.locator(".stream")).to_have_text("Reconnecting")
    admin.cut.clear()
    expect(page.locator(".stream")).to_have_text("Live")
    assert admin.streams >= 2


def test_nothing_is_asked_while_nobody_looks(admin: FakeAdmin, sign_in: Open) -> None:
    page = sign_in()
    expect(page.locator(".stream")).to_have_text("Live")
    hide = """(hidden) => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(hide, True)
    until(lambda: admin.watching == 0, "the stream is closed")
    expect(page.locator(".stream")).to_have_text("Paused")
    page.evaluate(hide, False)
    until(lambda: admin.watching == 1, "the stream is open again")
    expect(page.locator(".stream")).to_have_text("Live")


def test_what_cannot_be_loaded_is_said_and_the_rest_is_shown(admin: FakeAdmin, sign_in: Open) -> None:
    admin.refused["telemetry/errors"] = (503, "the errors are not there at the moment")
    page = sign_in()
    expect(page.locator(".problem")).to_contain_text("the errors are not there at the moment")
    expect(page.locator(".tile")).to_have_count(6)
    admin.refused.clear()
    expect(page.locator(".problem")).to_have_count(0)


def test_a_gateway_without_anything_says_what_to_do(admin: FakeAdmin, sign_in: Open) -> None:
    nothing: dict[str, Any] = {
        "endpoints": {"endpoints": []},
        "discovery": {"services": []},
        "limits": {"limits": []},
        "circuit-breakers": {},
        "cache": {"store": None, "results": {}, "hit_rate": None, "response_bytes": 0, "routes": []},
    }
    nothing |= {"telemetry/requests": {"items": []}, "telemetry/errors": {"items": []}, "config/routes": []}
    admin.answers |= nothing
    page = sign_in()
    for view in ("endpoints", "breakers", "limits", "cache", "routes", "requests"):
        visit(page, view)
        expect(page.locator("main .empty")).to_be_visible()
    visit(page, "overview")
    expect(page.get_by_text("All well")).to_be_visible()


def test_the_policy_holds(admin: FakeAdmin, sign_in: Open, complaints: list[str]) -> None:
    page = sign_in()
    done = page.evaluate(
        """async () => {
            const broken = [];
            document.addEventListener("securitypolicyviolation", (event) => broken.push(event.effectiveDirective));
            const style = document.createElement("div");
            style.setAttribute("style", "color: red");
            const image = document.createElement("img");
            image.src = "https://example.com/x.png";
            document.body.append(style, image);
            let markup = "made";
            try { style.innerHTML = "<b>x</b>"; } catch (error) { markup = error.name; }
            let asked = "answered";
            try { await fetch("https://example.com/"); } catch (error) { asked = error.name; }
            await new Promise((done) => setTimeout(done));
            return { broken: broken.sort(), markup, asked, colour: style.style.color };
        }"""
    )
    assert done["markup"] == done["asked"] == "TypeError"
    assert {"connect-src", "img-src", "style-src-attr"} <= set(done["broken"])
    assert "require-trusted-types-for" in done["broken"]
    assert len(complaints) >= 4
    complaints.clear()


def test_all_files_are_used_by_a_browser(admin: FakeAdmin, context: Any) -> None:
    page = context().new_page()
    asked: set[str] = set()
    page.on("response", lambda answer: asked.add(answer.url.partition("/ui/")[2]) if answer.ok else None)
    page.goto(admin.url)
    page.get_by_label("Token").wait_for()
    assert {name for name in ui.read_assets() if name.endswith((".js", ".css"))} <= asked
