"""Endpoints over the admin API: shown, taken out by hand and put back."""

from __future__ import annotations

import httpx
import pytest

from headgate.stores.board import Board
from tests.control.admin.subject import Subject, ask
from tests.proxy.stage import to


def make(asked: object, subject: Subject) -> httpx.Response:
    return ask(subject, "POST", "/api/v1/endpoints", json=asked)


def state(state: str, endpoint: str = "a:80") -> dict[str, str]:
    return {"service": "api", "endpoint": endpoint, "state": state}


@pytest.mark.parametrize("hand", ["disabled", "draining"])
def test_an_endpoint_is_taken_out_and_shown_so_until_it_is_put_back(hand: str) -> None:
    subject = Subject(config=to("http://a", "http://b"))
    assert make(state(hand), subject).json()["state"] == hand
    shown = ask(subject, "GET", "/api/v1/endpoints").json()["endpoints"]
    assert [(each["endpoint"], each["state"], each["enabled"]) for each in shown] == [
        ("a:80", hand, False),
        ("b:80", "healthy", True),
    ]
    assert make(state("enabled"), subject).json()["state"] == "healthy"


def test_one_that_was_disabled_can_be_draining_and_the_other_way_round() -> None:
    subject = Subject(config=to("http://a"))
    for hand in ("disabled", "draining", "disabled"):
        assert make(state(hand), subject).json()["state"] == hand


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (state("disabled", "b:80"), 404),
        ({**state("disabled"), "service": "shop"}, 404),
        (state("gone"), 422),
        ({"service": "api", "endpoint": "a:80"}, 422),
        ({**state("disabled"), "for": 5}, 422),
        ({**state("disabled"), "endpoint": 80}, 422),
        (["api"], 422),
        ("", 422),
    ],
)
def test_what_is_no_endpoint_is_refused(body: object, status: int) -> None:
    subject = Subject(config=to("http://a"))
    answer = make(body, subject)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert subject.parts.endpoints.describe()[0]["state"] == "healthy"


def test_with_the_board_full_an_endpoint_is_not_taken_out_and_a_sentence_says_why() -> None:
    subject = Subject(Board.create(records=1), to("http://a", "http://b"))
    assert make(state("disabled"), subject).status_code == 200
    refused = make(state("disabled", "b:80"), subject)
    assert refused.status_code == 507
    assert refused.json()["error"].endswith("1 breakers and endpoints are the most there can be")
    assert subject.parts.endpoints.describe()[1]["state"] == "healthy"
