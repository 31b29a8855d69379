"""The page of the view docs: of the document of all own endpoints, or of the one that the operator wrote."""

from __future__ import annotations

import json

import pytest

from headgate.config.declarations import Layer
from headgate.config.loader import load
from headgate.control.log import Log
from headgate.control.surface.answers import Answers, Asked, Given
from tests.control.admin.subject import Subject
from tests.loops import on_plain_loop

TITLED = {
    "openapi": "{{ openapi.openapi }}",
    "info": {"title": "Shop & Co", "version": "7"},
    "paths": "{{ openapi.paths }}",
}


async def docs(body: object) -> Given:
    subject = Subject()
    loaded = load(
        [], environ={}, layers=[Layer("test", repr({"surface": [{"path": "/d", "view": "docs", "body": body}]}))]
    )
    assert loaded.config is not None, loaded.problems
    answers = Answers(subject, Log("control"))
    answers.follow(loaded.config)
    return await answers.answer(Asked("GET", "/d"))


@pytest.mark.parametrize(
    ("body", "title"), [(TITLED, b"<title>Shop &amp; Co</title>"), ("<title>{{ version }}</title>", b"<title>")]
)
@on_plain_loop
async def test_a_page_of_the_operators_document(body: object, title: bytes) -> None:
    given = await docs(body)
    assert given.status == 200
    assert title in given.body
    assert (b"<code>/d</code>" in given.body) is isinstance(body, dict)


@on_plain_loop
async def test_what_is_no_document_is_an_error_and_nothing_else() -> None:
    assert (await docs({"paths": [1]})).status == 500


@on_plain_loop
async def test_the_paths_of_services_are_there_for_who_wants_them() -> None:
    routes = [
        {"name": "all", "match": {"path": "/v1/shop", "method": "get"}},
        {"name": "one", "match": {"path": {"template": "/v1/{shop}/item"}}, "auth": "none"},
        {"name": "exact", "match": {"path": {"exact": "/hook"}, "method": ["POST", "PURGE"]}},
        {"name": "expression", "match": {"path": {"regex": "/x[0-9]+"}}},
    ]
    document = {
        "surface": [{"path": "/d", "view": "openapi", "body": "{{ whole | tojson }}"}],
        "services": [{"name": "shop", "url": "http://a", "routes": routes}],
    }
    subject = Subject(config=document)
    answers = Answers(subject, Log("control"))
    answers.follow(subject.config)
    paths = json.loads((await answers.answer(Asked("GET", "/d"))).body)["paths"]
    assert set(paths) == {"/health", "/ready", "/d", "/v1/shop/{path}", "/v1/{shop}/item", "/hook"}
    assert list(paths["/v1/shop/{path}"]) == ["get"]
    assert paths["/v1/shop/{path}"]["get"]["summary"] == "Sent to shop"
    assert len(paths["/v1/{shop}/item"]) == 7
    assert [each["name"] for each in paths["/v1/{shop}/item"]["put"]["parameters"]] == ["shop"]
    assert list(paths["/hook"]) == ["post"]
    assert "parameters" not in paths["/hook"]["post"]


@on_plain_loop
async def test_what_a_worker_asks_by_a_plan_on_its_way_is_answered_when_that_is_in_force() -> None:
    subject = Subject()
    answers = Answers(subject, Log("control"))
    loaded = load([], environ={}, layers=[Layer("test", repr({"surface": [{"path": "/d", "view": "openapi"}]}))])
    assert loaded.config is not None, loaded.problems
    config = loaded.config

    async def settled() -> None:
        answers.follow(config)

    subject.parts.fleet.settled = settled  # type: ignore[method-assign]
    assert (await answers.answer(Asked("GET", "/d"))).status == 200
