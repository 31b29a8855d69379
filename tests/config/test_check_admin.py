"""What cannot be right in the admin listener: tokens that can be guessed or mixed up, paths and names that are none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headgate.config.loader import Layer, load

GOOD = "0123456789abcdef"


def found(admin: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (severity, path) of all findings."""
    result = load([], environ={}, layers=[Layer("test", json.dumps({"admin": admin}))])
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
        ({"hosts": ["a.example:80"]}, ("error", "admin.hosts[0]")),
        ({"hosts": ["a.example"], "address": "0.0.0.0:1"}, ("warning", "admin.hosts")),
    ],
)
def test_what_is_not(admin: dict[str, Any], expected: tuple[str, str]) -> None:
    assert found(admin) == [expected]


def test_no_finding_holds_a_token() -> None:
    admin = {"token": "planted secret", "tokens": [token(token="planted-short"), token(token="planted-short")]}
    result = load([], environ={}, layers=[Layer("test", json.dumps({"admin": admin}))])
    assert result.problems
    assert not [each for each in result.problems if "planted" in f"{each}{each.excerpt}"]
