"""Endpoints that variables of the environment name."""

from __future__ import annotations

import asyncio

import pytest

from headgate.discovery.environment import EnvironmentSource, read_variables
from headgate.discovery.settings import EnvironmentDiscovery
from headgate.discovery.source import NotFound
from tests.discovery.stand_in import Heard, given

BY_DEFAULT = EnvironmentDiscovery()


def names(
    environ: dict[str, str], settings: EnvironmentDiscovery = BY_DEFAULT, service: str = "ai-agents"
) -> list[str]:
    return [each.name for each in read_variables(settings, service, environ)]


@pytest.mark.parametrize(
    ("service", "variable"),
    [
        ("ai-agents", "AI_AGENTS_SERVICE_URL"),
        ("overview", "OVERVIEW_SERVICE_URL"),
        ("chat.v2", "CHAT_V2_SERVICE_URL"),
        ("chat", "UPSTREAM_CHAT_URLS"),
    ],
)
def test_the_name_of_a_service_makes_those_of_its_variables(service: str, variable: str) -> None:
    assert names({variable: "http://10.0.0.1:9101"}, service=service) == ["10.0.0.1:9101"]


def test_a_list_makes_several_endpoints_with_their_weights() -> None:
    environ = {"UPSTREAM_CHAT_URLS": "http://b, http://a:81,", "UPSTREAM_CHAT_WEIGHTS": "3,1"}
    found = read_variables(BY_DEFAULT, "chat", environ)
    assert {each.name: each.weight for each in found} == {"b:80": 3, "a:81": 1}


def test_a_list_may_be_json() -> None:
    environ = {"UPSTREAM_CHAT_URLS": '["http://b", "http://a:81"]', "UPSTREAM_CHAT_WEIGHTS": "[3, 1]"}
    found = read_variables(BY_DEFAULT, "chat", environ)
    assert {each.name: each.weight for each in found} == {"b:80": 3, "a:81": 1}
    with pytest.raises(NotFound, match="UPSTREAM_CHAT_URLS: expected http://"):
        read_variables(BY_DEFAULT, "chat", {"UPSTREAM_CHAT_URLS": '["http://b"'})


def test_the_first_variable_that_is_set_counts() -> None:
    environ = {"CHAT_SERVICE_URL": " ", "UPSTREAM_CHAT_URLS": "http://two"}
    assert names(environ, service="chat") == ["two:80"]
    assert names({**environ, "CHAT_SERVICE_URL": "http://one"}, service="chat") == ["one:80"]


def test_other_variables_and_a_default_may_be_named() -> None:
    settings = EnvironmentDiscovery(urls=["CHAT"], weights="HEAVY", default="http://last")
    assert names({"CHAT_SERVICE_URL": "http://one"}, settings, "chat") == ["last:80"]
    (found,) = read_variables(settings, "chat", {"CHAT": "http://own", "HEAVY": "7"})
    assert (found.name, found.weight) == ("own:80", 7)
    # Weights are of what the variables name.
    assert [each.weight for each in read_variables(settings, "chat", {"HEAVY": "7"})] == [1]


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "none of these variables is set: CHAT_SERVICE_URL, UPSTREAM_CHAT_URLS"),
        ({"CHAT_SERVICE_URL": "http://user:hunter2@one"}, "CHAT_SERVICE_URL: user name and password"),
        ({"CHAT_SERVICE_URL": "hunter2"}, "CHAT_SERVICE_URL: expected http"),
        ({"CHAT_SERVICE_URL": "http://one", "UPSTREAM_CHAT_WEIGHTS": "1,2"}, r"as there are URLs \(1\), got 2"),
        ({"CHAT_SERVICE_URL": "http://one", "UPSTREAM_CHAT_WEIGHTS": "much"}, "a weight is a whole number"),
    ],
)
def test_what_cannot_be_used_is_told_without_its_value(environ: dict[str, str], words: str) -> None:
    with pytest.raises(NotFound, match=words) as raised:
        names(environ, service="chat")
    assert "hunter2" not in str(raised.value)


def test_it_is_read_once() -> None:
    heard = Heard()
    asyncio.run(EnvironmentSource(BY_DEFAULT, given("chat", {"CHAT_SERVICE_URL": "http://one"})).run(heard))
    asyncio.run(EnvironmentSource(BY_DEFAULT, given("chat")).run(heard))
    assert heard.names == ["one:80"]
    assert len(heard.failures) == 1
