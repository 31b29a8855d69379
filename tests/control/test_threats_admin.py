"""Every route of the admin address, whatever is added to it: strangers change nothing and are told nothing of it."""

from __future__ import annotations

import re

import pytest
from fastapi.routing import APIRoute

from headgate.control.admin import make_app
from tests.control.test_admin import LOCAL, Subject, ask

TOKEN = "a token of the operator"
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
]
STRANGE = [
    {"origin": "http://evil.test"},
    {"origin": "null"},
    {"host": "evil.test"},
    {"host": "127.0.0.1.evil.test"},
    {"x-forwarded-for": "127.0.0.1"},
    {"forwarded": "for=127.0.0.1"},
    {"via": "1.1 proxy"},
    {"x-real-ip": "127.0.0.1"},
    {"x-forwarded-proto": "https"},
    {"x-forwarded-host": "localhost"},
]


def routes() -> list[tuple[str, str]]:
    """List what the admin application answers, as (method, path)."""
    found = [route for route in make_app(Subject()).routes if isinstance(route, APIRoute)]
    return sorted(
        (method, re.sub(r"\{action\}", "open", re.sub(r"\{[^}]*:path\}", "api", route.path)))
        for route in found
        for method in route.methods or ()
    )


CHANGING = [route for route in routes() if route[0] not in ("GET", "HEAD", "OPTIONS")]


def test_the_crawl_finds_what_there_is() -> None:
    assert ("POST", "/reload") in CHANGING
    assert ("POST", "/breakers/api/open") in CHANGING
    assert not [path for _, path in routes() if "{" in path]


@pytest.mark.parametrize(("method", "path"), CHANGING)
def test_without_the_token_nothing_changes(method: str, path: str) -> None:
    for fields in WRONG:
        subject = Subject(TOKEN)
        answer = ask(subject, method, path, fields, body=b"{}")
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), fields
        assert TOKEN not in answer.text
        assert not subject.reloads


@pytest.mark.parametrize(("method", "path"), CHANGING)
def test_where_no_token_is_set_only_this_machine_may(method: str, path: str) -> None:
    for peer, fields in [("192.0.2.1", LOCAL), *(("127.0.0.1", {**LOCAL, **each}) for each in STRANGE)]:
        subject = Subject()
        answer = ask(subject, method, path, fields, peer, body=b"{}")
        assert answer.status_code == 403, (peer, fields)
        assert not subject.reloads


@pytest.mark.parametrize(("method", "path"), routes())
def test_no_page_of_a_stranger_reads_an_answer(method: str, path: str) -> None:
    for fields in ({"origin": "http://evil.test"}, {"origin": "null"}):
        asked = {**fields, "access-control-request-method": method}
        for answer in (ask(Subject(), method, path, fields, body=b"{}"), ask(Subject(), "OPTIONS", path, asked)):
            assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(("method", "path"), [route for route in routes() if route not in CHANGING])
def test_what_is_only_read_changes_nothing(method: str, path: str) -> None:
    subject = Subject(TOKEN)
    assert ask(subject, method, path).status_code in (200, 503)
    assert not subject.reloads
    for other in ("POST", "PUT", "DELETE", "PATCH"):
        if (other, path) not in CHANGING:
            assert ask(subject, other, path).status_code == 405
