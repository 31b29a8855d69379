"""Every route of the admin address, whatever is added to it: who shows nothing, something wrong or too low a role
changes nothing and is told nothing."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from headgate.control.admin.access import Allowed
from headgate.control.admin.app import ROUTERS
from headgate.control.admin.door import MOST_BODY
from headgate.control.operators import MAY
from tests.control.admin.subject import HOST, OWNER, ROLES, TOKEN, Subject, as_role, ask

READING = ("GET", "HEAD", "OPTIONS")
WRONG = [
    {},
    {"authorization": ""},
    {"authorization": "Bearer"},
    {"authorization": "Bearer "},
    {"authorization": "Bearer wrong"},
    {"authorization": f"Bearer {TOKEN}x"},
    {"authorization": f"Bearer {TOKEN[:-1]}"},
    {"authorization": f"Bearer {TOKEN.upper()}"},
    {"authorization": f"Basic {TOKEN}"},
    {"authorization": TOKEN},
    {"authorization": f"Bearer {'x' * 10_000}"},
    {"x-api-key": TOKEN},
    {"cookie": f"token={TOKEN}"},
    {"cookie": f"headgate_session_8081={TOKEN}"},
    {"cookie": f"headgate_session_8081={'x' * 10_000}"},
]
# What anybody may have: nothing that the gateway knows stands in it. Whoever adds something says here why.
OPEN = {
    ("GET", "/"): "where to look further",
    ("GET", "/docs"): "a page that asks for the document with what its reader shows",
    ("GET", "/docs/api"): "what that page loads",
    ("GET", "/ui"): "leads to the dashboard",
    ("GET", "/ui/"): "the dashboard's page, which holds nothing",
    ("GET", "/ui/api"): "what that page loads",
    ("POST", "/ui/session"): "takes the token in its body",
    ("GET", "/ui/session"): "says of a session whose it is",
    ("DELETE", "/ui/session"): "ends the session that is shown",
}


class Found(NamedTuple):
    """A route: how it is asked for, and which roles it lets in; none for one that is open."""

    method: str
    path: str
    roles: frozenset[str]


def _roles(dependant: Dependant) -> Iterator[tuple[str, ...]]:
    if isinstance(dependant.call, Allowed):
        yield dependant.call.roles
    for each in dependant.dependencies:
        yield from _roles(each)


def routes() -> list[Found]:
    found = []
    for route in (each for router in ROUTERS for each in router.routes):
        assert isinstance(route, APIRoute), route
        # A route that names several lists of roles asks for all of them.
        asked = list(_roles(route.dependant))
        path = re.sub(r"\{action\}", "open", re.sub(r"\{[^}]*\}", "api", route.path.replace("{action}", "open")))
        roles = {role for role in ROLES if asked and all(not MAY[role].isdisjoint(each) for each in asked)}  # type: ignore[index]
        found += [Found(method, path, frozenset(roles)) for method in route.methods or ()]
    return sorted(found, key=lambda each: each[:2])


ROUTES = routes()
# It goes on until its reader leaves: that it begins for whoever may read is seen in tests/control/admin.
ENDLESS = "/api/v1/telemetry/stream"
ENDING = [route for route in ROUTES if route.path != ENDLESS]
CHANGING = [route for route in ROUTES if route.method not in READING and route.roles]
PUBLIC = Subject().parts.operators.public


FILES = ("/ui/", "/docs", "/docs/api")


def test_the_crawl_finds_what_there_is() -> None:
    asked = {(route.method, route.path): route.roles for route in ROUTES}
    assert asked["POST", "/api/v1/reload"] == {"operate", "admin"}
    assert asked["POST", "/api/v1/circuit-breakers/api/open"] == {"operate", "admin"}
    assert asked["GET", "/api/v1/endpoints"] == {"read", "operate", "admin"}
    assert not [route.path for route in ROUTES if "{" in route.path]


def test_what_asks_for_no_role_is_known_and_has_its_reason() -> None:
    assert {(route.method, route.path) for route in ROUTES if not route.roles} == set(OPEN)


def test_nothing_is_changed_by_whoever_may_only_read() -> None:
    assert [route for route in CHANGING if "read" in route.roles] == []


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.roles], ids=lambda route: f"{route[0]} {route[1]}"
)
def test_without_a_token_nothing_is_done_and_nothing_told(route: Found) -> None:
    if route.method in READING and route.path in PUBLIC:
        return
    for fields in WRONG:
        subject = Subject()
        answer = ask(subject, route.method, route.path, fields, body=b"{}")
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), fields
        assert list(answer.json()) == ["error"]
        assert TOKEN not in answer.text
        assert not subject.reloads


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.roles], ids=lambda route: f"{route[0]} {route[1]}"
)
def test_a_role_is_let_in_where_it_is_named_and_nowhere_else(route: Found, role: str) -> None:
    if role in route.roles and route.path == ENDLESS:
        return
    subject = Subject()
    answer = ask(subject, route.method, route.path, as_role(role), body=b"{}")
    if role in route.roles or (route.method in READING and route.path in PUBLIC):
        assert answer.status_code not in (401, 403, 500)
    else:
        assert answer.status_code == 403
        assert list(answer.json()) == ["error"]
        assert not subject.reloads


@pytest.mark.parametrize("route", ENDING, ids=lambda route: f"{route[0]} {route[1]}")
def test_no_page_of_a_stranger_reads_an_answer(route: Found) -> None:
    for origin in ("http://evil.test", "null"):
        asked = {**OWNER, "origin": origin, "access-control-request-method": route.method}
        for method in (route.method, "OPTIONS"):
            answer = ask(Subject(), method, route.path, asked, body=b"{}")
            assert not [name for name in answer.headers if name.startswith("access-control-")]
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers["cache-control"] == (
                "no-cache" if answer.is_success and route.path in FILES else "no-store"
            )


@pytest.mark.parametrize("route", ENDING, ids=lambda route: f"{route[0]} {route[1]}")
def test_a_name_that_a_stranger_pointed_here_is_not_answered(route: Found) -> None:
    for host in ("evil.test", "127.0.0.1.evil.test", "localhost.evil.test:8081", "", "evil.test:80@127.0.0.1"):
        answer = ask(Subject(), route.method, route.path, {**OWNER, "host": host}, body=b"{}")
        assert answer.status_code == 421, host
    for host in ("localhost:8081", "127.0.0.1", "127.0.0.7:1", "[::1]:8081", "LOCALHOST"):
        answer = ask(Subject(), route.method, route.path, {**OWNER, "host": host}, body=b"{}")
        assert answer.status_code != 421, host


@pytest.mark.parametrize("host", ["x/metrics?", "x/metrics#", "x\\metrics", "a b", "a@b", "a, b", "[::1", "a:b", ":80"])
def test_what_is_no_host_is_not_answered_wherever_the_listener_is(host: str) -> None:
    subject = Subject()
    # As on another address than loopback, where any name is answered.
    subject.parts.operators.hosts = None
    assert ask(subject, "GET", "/metrics", {"host": "any.name:8081"}).status_code == 200
    for path in ("/metrics", "/api/v1/config"):
        assert ask(subject, "GET", path, {**OWNER, "host": host}).status_code == 421


def test_what_is_public_is_that_path_and_nothing_like_it() -> None:
    for path in ("/metrics/", "/Metrics", "/metrics;x", "/metrics%2f", "/metrics%3fa"):
        answer = ask(Subject(), "GET", path, {"host": HOST})
        assert answer.status_code in (401, 404), path
    for method in ("POST", "PUT", "DELETE", "PATCH", "TRACE"):
        assert ask(Subject(), method, "/metrics", {"host": HOST}).status_code == 405


@pytest.mark.parametrize("route", CHANGING, ids=lambda route: f"{route[0]} {route[1]}")
def test_a_large_body_is_not_read_before_it_is_known_who_sends_it(route: Found) -> None:
    asked = {"host": HOST, "content-type": "application/json"}
    answer = ask(Subject(), route.method, route.path, asked, body=b"[" * (MOST_BODY + 1))
    # A configuration may be larger, and is not read by then.
    assert answer.status_code == (401 if route.path == "/api/v1/config" else 413)
    assert list(answer.json()) == ["error"]


@pytest.mark.parametrize("path", ["/services", "/ui/session", "/api/v1/keys"])
def test_a_body_that_does_not_say_its_length_has_an_end_too(path: str) -> None:
    pieces = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal pieces
        while True:
            pieces += 1
            yield b"[" * 65536

    answer = ask(Subject(), "POST", path, {"host": HOST, "content-type": "application/json"}, body=body())
    assert answer.status_code == 413
    assert pieces <= MOST_BODY // 65536 + 2


@pytest.mark.parametrize("route", [route for route in ENDING if route.method == "GET"], ids=lambda route: route[1])
def test_what_is_only_read_changes_nothing(route: Found) -> None:
    subject = Subject()
    assert ask(subject, "GET", route.path).status_code not in (201, 202, 204, 401, 403, 500)
    assert not subject.reloads
