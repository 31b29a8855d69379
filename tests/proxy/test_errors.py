"""The bodies of the gateway's own errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headgate.config.schema import ErrorAnswer, Errors
from headgate.proxy.errors import ErrorShapes


def body(settings: Errors, reason: str = "route_not_found", **values: Any) -> bytes:
    return ErrorShapes(settings).body(reason, lambda: values)


def test_problem_details_are_one_line_of_json() -> None:
    said = body(Errors(), request_id="abc", path="/x")
    problem = json.loads(said)
    assert (problem["status"], problem["title"]) == (404, "Not Found")
    assert said.endswith(b"}\n")
    assert said.count(b"\n") == 1


@pytest.mark.parametrize(
    ("reason", "status", "title"),
    [
        ("fault_injected", 503, "Service Unavailable"),
        ("fault_injected", 418, "I'm a Teapot"),
        ("dns", 530, "Bad Gateway"),
    ],
)
def test_the_title_is_that_of_the_status_which_is_answered(reason: str, status: int, title: str) -> None:
    settings = Errors(body="{title}", reasons={reason: ErrorAnswer(status=status)})
    assert body(settings, reason).decode() == title
    assert body(Errors(body="{title}"), reason, status=status).decode() == title


def test_a_text_stays_as_it_was_written() -> None:
    assert body(Errors(body="{status} {title}")) == b"404 Not Found"


@pytest.mark.parametrize("template", [{"path": "{path}"}, {}])
def test_a_template_of_which_nothing_is_left_is_an_empty_mapping(template: dict[str, str]) -> None:
    assert body(Errors(body=template), path=None) == b"{}\n"


def test_a_reason_wins_over_its_side() -> None:
    settings = Errors(
        body={"code": "{status}", "why": "{message}"},
        reasons={"route_not_found": ErrorAnswer(status=410)},
        origins={"client": ErrorAnswer(status=418, message="yours")},
    )
    assert ErrorShapes(settings).status("route_not_found") == 410
    assert json.loads(body(settings)) == {"code": 410, "why": "yours"}


def test_a_message_is_filled_in_and_gives_way_where_it_cannot_be() -> None:
    settings = Errors(body="{message}", reasons={"dns": ErrorAnswer(message="The {service} service is away")})
    assert body(settings, "dns", service="chat") == b"The chat service is away"
    assert body(settings, "dns", service=None) == body(Errors(body="{message}"), "dns")
    # A caller of gRPC is told before anything is filled in.
    assert "{" not in ErrorShapes(settings).message("dns")


def test_when_to_ask_again_is_said_by_the_configuration_where_nothing_is_known() -> None:
    settings = Errors(origins={"upstream": ErrorAnswer(retry_after=30)})
    assert ErrorShapes(settings).retry_after("dns") == 30
    assert ErrorShapes(settings).retry_after("shed") == 1


def test_a_route_wins_over_the_gateway_where_it_says_something() -> None:
    settings = Errors(body="{title}: {message}", reasons={"dns": ErrorAnswer(status=503, message="away")})
    shapes = ErrorShapes(settings, {"dns": ErrorAnswer(status=502)})
    assert (shapes.status("dns"), shapes.body("dns", dict)) == (502, b"Bad Gateway: away")
    assert shapes.status("tls") == ErrorShapes(settings).status("tls")
