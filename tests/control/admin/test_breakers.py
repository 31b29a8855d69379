"""Circuit breakers over the admin API: shown and steered."""

from __future__ import annotations

import pytest

from tests.control.admin.subject import Subject, ask
from tests.proxy.stage import to

PATH = "/api/v1/circuit-breakers"


def with_breaker(**settings: object) -> Subject:
    return Subject(config=to("http://a", service={"circuit_breaker": {"threshold": 3, **settings}}))


def test_breakers_are_shown_and_steered() -> None:
    subject = with_breaker()
    shown = ask(subject, "GET", PATH).json()
    assert list(shown) == ["api"]
    assert (shown["api"]["state"], shown["api"]["failure_count"], shown["api"]["threshold"]) == ("closed", 0, 3)
    assert "window" not in shown["api"]
    for action, state, forced in (("open", "open", "open"), ("close", "closed", "closed"), ("reset", "closed", None)):
        told = ask(subject, "POST", f"{PATH}/api/{action}")
        assert (told.status_code, told.json()["service"], told.json()["state"]) == (200, "api", state)
        shown = ask(subject, "GET", PATH).json()["api"]
        assert (shown["state"], shown["forced"]) == (state, forced)


def test_one_that_goes_by_a_rate_of_errors_shows_that() -> None:
    shown = ask(with_breaker(error_rate=40, window=20, minimum_requests=7), "GET", PATH).json()["api"]
    assert (shown["threshold"], shown["error_rate"], shown["window"], shown["minimum_requests"]) == (None, 40, 20, 7)


@pytest.mark.parametrize(("path", "status"), [("shop/reset", 404), ("api/explode", 422), ("api", 404), ("", 405)])
def test_what_is_no_breaker_is_refused(path: str, status: int) -> None:
    assert ask(with_breaker(), "POST", f"{PATH}/{path}".rstrip("/")).status_code == status


def test_a_service_of_any_name_has_its_breaker_steered() -> None:
    subject = Subject(config=to("http://a", service={"name": "a/b c", "circuit_breaker": {}}))
    assert ask(subject, "POST", f"{PATH}/a%2Fb%20c/open").json()["service"] == "a/b c"
