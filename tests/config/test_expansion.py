"""`when`, `select` and `for_each`: what is left of a document, and what is wrong with them."""

from __future__ import annotations

import pytest

from tests.config.layers import load_layers, said

HEAD = """\
env:
  ON: {type: bool, default: true}
  OFF: {type: bool, default: false}
  MODE: {type: enum, values: [jwt, both, none], default: none}
  NAME: {}
  LIST: {type: list, default: "http://127.0.0.1:1,http://127.0.0.1:2"}
  PEER_*_URLS: {type: list}
  PEER_*_WAIT: {type: duration, default: 9}
services:
"""


def services(text: str, **environ: str) -> list[str]:
    """Return the names of the services of a document, behind HEAD."""
    result = load_layers(HEAD + text, environ=environ)
    assert result.config is not None, said(result)
    return [service.name for service in result.config.services]


@pytest.mark.parametrize(
    ("condition", "environ", "there"),
    [
        ("ON", {}, True),
        ("ON", {"ON": "no"}, False),
        ("not ON", {}, False),
        ("OFF", {}, False),
        ("not OFF", {}, True),
        ("NAME", {}, False),
        ("NAME", {"NAME": "x"}, True),
        ("{NAME: null}", {}, True),
        ("{NAME: null}", {"NAME": "x"}, False),
        ("{MODE: jwt}", {}, False),
        ("{MODE: [jwt, both]}", {"MODE": "BOTH"}, True),
        ("{MODE: both, ON: true}", {"MODE": "both"}, True),
        ("{MODE: both, ON: false}", {"MODE": "both"}, False),
        ("[{MODE: both}, OFF]", {}, False),
        ("[{MODE: both}, OFF]", {"OFF": "1"}, True),
    ],
)
def test_a_condition_holds(condition: str, environ: dict[str, str], there: bool) -> None:
    text = (
        f"  - {{name: always, url: http://127.0.0.1:1}}\n  - {{when: {condition}, name: x, url: http://127.0.0.1:1}}\n"
    )
    assert services(text, **environ) == (["always", "x"] if there else ["always"])


def test_a_condition_may_stand_before_any_value() -> None:
    text = """\
  - name: a
    endpoints: {when: ON, value: $LIST}
    retry: {when: OFF, attempts: 7}
    timeout: {response: {when: OFF, value: 7}, connect: {when: ON, value: 3}}
    headers: {request: {set: {X-One: {when: ON, value: one}, X-Two: {when: OFF, value: two}}}}
    routes: [{name: r}]
""".replace("$LIST", "${LIST}")
    result = load_layers(HEAD + text)
    assert result.config is not None, said(result)
    (service,), (route,) = result.config.services, result.config.routes
    assert [endpoint.port for endpoint in service.endpoints] == [1, 2]
    assert route.retry.attempts != 7
    assert (route.timeout.connect, route.timeout.response) != (3, 7)
    assert route.timeout.connect == 3
    assert route.headers is not None
    assert list(route.headers.request.set) == ["X-One"]


def test_a_block_is_chosen_by_a_value() -> None:
    text = """\
  - name: a
    url: http://127.0.0.1:1
    balancer: {select: MODE, cases: {jwt: random, both: {type: peak_ewma}}, else: least_connections}
    retry: {select: MODE, cases: {jwt: {attempts: 5}}}
    routes: [{name: r}]
"""
    found = {}
    for mode in ("", "jwt", "Both"):
        config = load_layers(HEAD + text, environ={"MODE": mode}).config
        assert config is not None
        found[mode] = (config.services[0].balancer.type, config.routes[0].retry.attempts == 5)
    assert found == {"": ("least_connections", False), "jwt": ("random", True), "Both": ("peak_ewma", False)}


def test_an_item_is_repeated_for_each_variable_that_is_set() -> None:
    text = """\
  - for_each: PEER_*_URLS
    name: "{each}"
    endpoints: ${PEER_*_URLS}
    headers: {request: {set: {X-Peer: "{EACH}"}}}
    timeout: {response: "${PEER_*_WAIT}"}
    routes: [{name: "r-{each}", match: {path: "/{each}"}}]
  - {name: last, url: http://127.0.0.1:9}
"""
    environ = {"PEER_CHAT_BOT_URLS": "http://127.0.0.1:1,http://127.0.0.1:2", "PEER_B_URLS": "http://127.0.0.1:3"}
    result = load_layers(HEAD + text, environ={**environ, "PEER_CHAT_BOT_WAIT": "1m"})
    assert result.config is not None, said(result)
    assert [service.name for service in result.config.services] == ["b", "chat-bot", "last"]
    assert [endpoint.port for endpoint in result.config.services[1].endpoints] == [1, 2]
    assert [route.timeout.response for route in result.config.routes] == [9, 60]
    assert [dict(route.headers.request.set) for route in result.config.routes if route.headers] == [
        {"X-Peer": "B"},
        {"X-Peer": "CHAT_BOT"},
    ]


def test_templates_of_bodies_are_left_alone() -> None:
    body = load_layers("errors: {body: {when: '{timestamp}', select: '{status}', cases: 1}}\n").source
    assert body is not None
    assert body.errors.body == {"when": "{timestamp}", "select": "{status}", "cases": 1}


def test_a_table_may_have_the_words_as_keys_of_its_own() -> None:
    named = "env: {ON: {type: bool}}\nheaders: {request: {set: {when: '{request_id}', other: {when: ON, value: x}}}}\n"
    for environ, wanted in (({}, ["when"]), ({"ON": "1"}, ["when", "other"])):
        result = load_layers(named, environ=environ)
        assert result.source is not None and result.source.headers is not None, said(result)
        assert [*result.source.headers.request.set] == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "  - {when: ONN, name: x, url: http://127.0.0.1:1}\n",
            'there is no variable "ONN" under env - did you mean "ON"?',
        ),
        ("  - {when: {MODE: {a: b}}, name: x}\n", "expected a value of MODE, or a list of such"),
        ("  - {name: x, url: '${UNKNOWN}'}\n", "the environment variable UNKNOWN is not set"),
        (
            "  - {name: x, url: '${PEER_*_URLS}'}\n",
            "this stands for several variables, and no for_each says which ones",
        ),
        ("  - {for_each: PIER_*_URLS, name: x}\n", 'there are no variables "PIER_*_URLS" under env'),
        ("  - {for_each: ON, name: x}\n", "expected for_each: the name of variables with one *"),
    ],
)
def test_what_is_wrong_is_said_where_it_stands(text: str, message: str) -> None:
    result = load_layers(HEAD + text, environ={"PIER_A_URLS": "x"})
    assert result.config is None
    assert any(message in line and line.startswith("preset p:10:") for line in said(result)), said(result)


def test_what_is_repeated_stays_within_what_a_document_may_hold() -> None:
    fields = ", ".join(f"X-{number}: '{{each}}'" for number in range(400))
    item = f"{{for_each: UPSTREAM_*_URLS, name: '{{each}}', headers: {{request: {{set: {{{fields}}}}}}}}}"
    text = f"env: {{UPSTREAM_*_URLS: {{type: list}}}}\nservices: [{item}]\n"
    environ = {f"UPSTREAM_S{number}_URLS": "http://h:1" for number in range(2500)}
    (line,) = said(load_layers(text, environ=environ))
    assert "error: services[{each}]: more than 1,000,000 values, for all variables together" in line


def test_what_is_laid_under_all_services_stays_within_it_too() -> None:
    fields = ", ".join(f"X-{number}: '{{service}}'" for number in range(400))
    named = "".join(f"  - {{name: s{number}, url: http://h:1}}\n" for number in range(2500))
    for key in ("service_defaults", "service_overrides"):
        (line,) = said(load_layers(f"{key}: {{headers: {{request: {{set: {{{fields}}}}}}}}}\nservices:\n{named}"))
        assert f"error: {key}: more than 1,000,000 values, for all services together" in line
