"""Nothing secret of a configuration is shown: in dumps, in problems, in excerpts, however the file is broken."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from headgate.config.loader import LoadResult
from headgate.config.problems import render, to_json, without_url_secrets
from headgate.config.schema import Config
from headgate.config.shape import Shape, fields_of, root_shape
from tests.config.golden import load_text

PLANTED = "hunter2Zq7-planted"
WINDOW = 8

DOCUMENT = f"""
admin: {{address: "127.0.0.1:0", token: {PLANTED}}}
store: {{type: redis, url: "redis://counter:{PLANTED}@127.0.0.1:6379/0", password: {PLANTED}}}
database: postgresql://keys:{PLANTED}@127.0.0.1/keys
identity:
  jwt:
    - name: own
      secret: {PLANTED}-{PLANTED}
  introspection:
    - url: https://idp.example.com/introspect
      client_id: us
      client_secret: {PLANTED}
  api_keys:
    pepper: {PLANTED}
services:
  - name: api
    url: http://127.0.0.1:9
    headers:
      request:
        set: {{Authorization: Bearer {PLANTED}, X-Provider-Key: {PLANTED}}}
    routes: [{{name: all}}]
"""


def leaks(text: str) -> list[str]:
    """Return the parts of the planted secret that stand in a text."""
    return [part for at in range(len(PLANTED) - WINDOW + 1) if (part := PLANTED[at : at + WINDOW]) in text]


def shown(result: LoadResult) -> str:
    problems = [*result.problems, *result.notices]
    dump = [f"{each.path}: {each.value}" for each in result.origins.written()]
    return "\n".join([render(problems), json.dumps(to_json(problems)), *dump, repr(result.config), repr(result.source)])


def test_the_document_is_good_and_its_dump_shows_where_secrets_stand_and_not_what_they_are() -> None:
    result = load_text(DOCUMENT)
    assert result.problems == []
    values = {each.path: each.value for each in result.origins.written()}
    assert values["admin.token"] == values["services[api].headers.request.set[X-Provider-Key]"] == "***"
    assert values["services[api].url"] == "http://127.0.0.1:9"
    # A repr is what a debugger, a failed assertion or a careless log line would show.
    for name in ("headers", "services"):
        assert getattr(result.source, name, None) is not None or name == "headers"
    assert leaks("\n".join(f"{value}" for value in values.values())) == []


def secret_paths(shape: Shape, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    if depth > 6:
        return
    for name, field in fields_of(shape.cls).items() if shape.cls is not None else ():
        if field.secret:
            yield f"{path}.{name}", field
        for below in (field.shape, field.shape.item):
            if below is not None and below.cls is not None:
                yield from secret_paths(below, f"{path}.{name}", depth + 1)
            for cls in below.options.values() if below is not None else ():
                yield from secret_paths(Shape("settings", cls=cls), f"{path}.{name}", depth + 1)


def test_no_secret_setting_stands_in_the_repr_of_its_class() -> None:
    found = dict(secret_paths(root_shape(Config)))
    assert {".admin.token", ".identity.jwt.secret", ".store.password", ".database.url"} <= set(found)
    config = load_text(DOCUMENT).source
    assert config is not None
    for part in (config.admin, config.store, config.database, config.identity):
        assert leaks(repr(part)) == []


@pytest.mark.parametrize(
    "broken",
    [
        f"admin: {PLANTED}",
        f"admin: [{PLANTED}]",
        f"admin: {{tokn: {PLANTED}}}",
        f"admin: {{token: [{PLANTED}]}}",
        f"admin: {{token: {{a: {PLANTED}}}}}",
        f"admin:\n  token:\n    {PLANTED}: b: c",
        f"admin:\n  token: >\n    {PLANTED}\n   x: : y",
        f"admin: {{token: *{PLANTED}}}",
        f"admin: {{token: !{PLANTED}}}",
        f"admin: {{token: !{PLANTED} x}}",
        f'admin: {{token: "{PLANTED}',
        f"admin: {{token: ${{{PLANTED}}}x}}",
        f"store: redis://a:{PLANTED}@127.0.0.1",
        f"store: {{type: redis, url: ['redis://a:{PLANTED}@h:{PLANTED}']}}",
        f"store: {{type: redis, url: {{a: 'redis://a:{PLANTED}@h'}}}}",
        f"database: [postgresql://a:{PLANTED}@h/x]",
        f"database: {{url: 5, {PLANTED[:4]}: 1, poll: 'postgresql://a:{PLANTED}@h/x'}}",
        f"identity: {{jwt: {{secret: 5, secrets: {PLANTED}}}}}",
        f"identity: {{jwt: {PLANTED}}}",
        f"identity: {{introspection: {{url: 'https://a:{PLANTED}@h', timeout: no}}}}",
        f"services: [{{name: a, url: 'http://a:{PLANTED}@h'}}]",
        f"services: [{{name: a, endpoints: ['ftp://a:{PLANTED}@h']}}]",
        f"services: [{{name: a, headers: {{request: {{set: {{X-Api-Key: [{PLANTED}]}}}}}}}}]",
        f"services: [{{name: a, headers: {{request: {{set: {{X-Api-Key: {{b: {PLANTED}}}}}}}}}}}]",
        f'services: [{{name: a, headers: {{request: {{set: {{X-Api-Key: "a\\n{PLANTED}"}}}}}}}}]',
        f"http: {{buffer: 'x://u:{PLANTED}@h'}}",
        f"services:\n - name: a\n   url: http://a:{PLANTED}@h: x: y",
    ],
)
def test_a_broken_file_is_told_of_without_its_secrets(broken: str) -> None:
    result = load_text(broken)
    assert result.problems
    assert leaks(shown(result)) == []


# A secret with the key that it stands under, and what is between.
KEPT = [match.span() for match in re.finditer(rf"[\w-]+: *\"?[^\",}}\n]*{PLANTED}[^\",}}\n]*\"?", DOCUMENT)]
ELSEWHERE = [at for at in range(len(DOCUMENT) + 1) if not any(start <= at < end for start, end in KEPT)]


@settings(max_examples=400)
@example(at=DOCUMENT.index("services:") + len("services:\n"), length=13, put="|")
@given(
    at=st.sampled_from(ELSEWHERE),
    length=st.integers(0, 30),
    put=st.sampled_from(
        ["", " ", "\n", ":", '"', "'", "[", "}", "{", "*", "&", "!", "#", "- ", "${", "\t", "x", "%", "|"]
    ),
)
def test_whatever_else_of_a_file_is_broken_what_stands_under_a_secrets_name_is_not_told(
    at: int, length: int, put: str
) -> None:
    nearest = min((start for start, _ in KEPT if start >= at), default=len(DOCUMENT))
    before, behind = DOCUMENT[:at] + put, min(at + length, nearest)
    # What sticks to a key makes another key of it, or an anchor.
    assume(behind != nearest or before[-1:] in set(" \n{[,"))
    text = before + DOCUMENT[behind:]
    assert leaks(shown(load_text(text))) == []


@pytest.mark.parametrize(
    "override",
    [
        f"admin.token={PLANTED}",
        f"admin.tokn={PLANTED}",
        f"admin.token=[{PLANTED}]",
        f"admin.token:{PLANTED}",
        f"admin.token {PLANTED}",
        f"store={PLANTED}: x: y",
    ],
)
def test_the_command_line_is_told_of_without_its_secrets(override: str) -> None:
    assert leaks(shown(load_text("workers: 1", override))) == []


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("redis://u:p@ss/w0rd@h:1/0", "redis://***@h:1/0"),
        ("https://token@h/x and https://u:p@g", "https://***@h/x and https://***@g"),
        ("https://h/@scope", "https://h/@scope"),
        ("mail a@b.c", "mail a@b.c"),
        ("http://h/x?a=1&api_key=abc&b=2 and ?Token=x", "http://h/x?a=1&api_key=***&b=2 and ?Token=***"),
        ("a key=5, x?y", "a key=5, x?y"),
    ],
)
def test_what_is_secret_in_a_url(text: str, kept: str) -> None:
    assert without_url_secrets(text) == kept
