"""What cannot be right in the admin listener: tokens that can be guessed or mixed up, paths and names that are none."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.routing import Route

from headgate.config.check_admin import PATHS
from headgate.config.declarations import Layer
from headgate.config.loader import load
from headgate.control.admin.app import ROUTERS

GOOD = "0123456789abcdef"


def found(admin: dict[str, Any], environ: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    """Return (severity, path) of all findings."""
    result = load([], environ=environ or {}, layers=[Layer("test", json.dumps({"admin": admin}))])
    return [(each.severity, each.path) for each in (*result.problems, *result.notices) if each.path.startswith("admin")]


def token(**more: Any) -> dict[str, Any]:
    return {"name": "eve", "token": GOOD, **more}


@pytest.mark.parametrize(
    "admin",
    [
        {},
        {"token": "short", "address": "127.0.0.1:1"},
        {"token": "short", "address": "unix:/tmp/x"},
        {"token": GOOD, "address": "0.0.0.0:1"},
        {"tokens": [token(), token(name="bob", token=GOOD[::-1], role="admin")], "public": [], "hosts": ["a.example"]},
    ],
)
def test_what_is_right(admin: dict[str, Any]) -> None:
    assert found(admin) == []


@pytest.mark.parametrize(
    ("admin", "expected"),
    [
        ({"token": "two words"}, ("error", "admin.token")),
        ({"token": "geheim\u00e4"}, ("error", "admin.token")),
        ({"token": "short", "address": "0.0.0.0:1"}, ("warning", "admin.token")),
        ({"tokens": [token(token=GOOD[1:])]}, ("error", "admin.tokens[eve].token")),
        ({"tokens": [token(token="two words are long")]}, ("error", "admin.tokens[eve].token")),
        ({"token": GOOD, "tokens": [token()]}, ("error", "admin.tokens[eve].token")),
        ({"tokens": [token(), token(name="bob")]}, ("error", "admin.tokens[bob].token")),
        ({"tokens": [token(name="admin")]}, ("error", "admin.tokens[admin].name")),
        ({"public": ["metrics"]}, ("error", "admin.public[0]")),
        ({"public": ["/metrics", "/metric"]}, ("warning", "admin.public[1]")),
        ({"public": ["/api/v1/services/chat/helth"]}, ("warning", "admin.public[0]")),
        ({"hosts": ["a.example:80"]}, ("error", "admin.hosts[0]")),
        ({"hosts": ["a.example"], "address": "0.0.0.0:1"}, ("warning", "admin.hosts")),
    ],
)
def test_what_is_not(admin: dict[str, Any], expected: tuple[str, str]) -> None:
    assert found(admin) == [expected]


@pytest.mark.parametrize(
    ("environ", "admin", "expected"),
    [
        ({"HEADGATE_ADMIN_TOKEN": "short"}, {"address": "0.0.0.0:1"}, [("warning", "admin.address")]),
        ({"HEADGATE_ADMIN_TOKEN": ""}, {"address": "0.0.0.0:1"}, []),
        ({"HEADGATE_ADMIN_TOKEN": GOOD}, {"address": "0.0.0.0:1"}, []),
        ({"HEADGATE_ADMIN_TOKEN": "short"}, {"address": "127.0.0.1:1"}, []),
        ({"HEADGATE_ADMIN_TOKEN": "change-me-openssl-rand-hex-32"}, {}, [("warning", "admin.address")]),
        ({"HEADGATE_ADMIN_TOKEN": "change-me-openssl-rand-hex-32"}, {"token": GOOD}, []),
        ({"HEADGATE_ADMIN_TOKEN": "short"}, {"address": "0.0.0.0:1", "token": GOOD}, []),
    ],
    ids=["short", "none", "long", "loopback", "example", "example that is not used", "not used"],
)
def test_a_token_of_the_environment_counts_too(
    environ: dict[str, str], admin: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert found(admin, environ) == expected


def test_every_path_that_can_be_public_is_known_and_no_other() -> None:
    answered = {
        re.sub(r":path\}", "}", route.path)
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, Route) and "GET" in (route.methods or ())
    }
    assert {_names_aside(path) for path in answered} == {_names_aside(path) for path in PATHS}
    assert found({"public": [path.replace("{", "").replace("}", "") for path in PATHS]}) == []


def _names_aside(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path)


def test_no_finding_holds_a_token() -> None:
    admin = {"token": "planted secret", "tokens": [token(token="planted-short"), token(token="planted-short")]}
    result = load([], environ={}, layers=[Layer("test", json.dumps({"admin": admin}))])
    assert result.problems
    assert not [each for each in result.problems if "planted" in f"{each}{each.excerpt}"]
