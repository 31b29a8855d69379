"""What holds for answers of every route of the admin API."""

from __future__ import annotations

import pytest

from tests.control.admin.subject import Subject, api, ask

# It goes on until its reader leaves.
ENDLESS = "/api/v1/telemetry/stream"
METHODS = {"GET", "POST", "PUT", "DELETE"}
PATHS = api().openapi()["paths"]


@pytest.mark.parametrize("path", sorted(PATHS))
def test_allow_lists_every_method_of_the_path(path: str) -> None:
    # RFC 9110 section 15.5.6; a method is a token (section 9.1), whoever knows it.
    documented = {method.upper() for method in PATHS[path]}
    at = path.replace("{action}", "reset").replace("{", "a").replace("}", "")
    answer = ask(Subject(), "FROB", at)
    assert answer.status_code == 405, answer.text
    allowed = answer.headers["allow"].split(", ")
    assert documented <= set(allowed) <= METHODS
    assert len(allowed) == len(set(allowed))
    # Of one path there may be several routes: that of any name, and that of this one.
    if path != ENDLESS:
        assert set(allowed) == {method for method in METHODS if ask(Subject(), method, at).status_code != 405}


def test_a_path_of_several_routes_allows_what_all_of_them_take() -> None:
    assert ask(Subject(), "PATCH", "/services").headers["allow"] == "GET, POST"
    assert ask(Subject(), "PATCH", "/services/x").headers["allow"] == "GET, PUT, DELETE"
    assert ask(Subject(), "PUT", "/ui/session").headers["allow"] == "GET, POST, DELETE"
