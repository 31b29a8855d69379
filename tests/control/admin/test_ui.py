"""The dashboard's files: what is answered for each, that they are whole, and that the wheel brings them."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

import httpx
import pytest
from hatchling.builders.wheel import WheelBuilder

from headgate.control.admin import ui
from tests.control.admin.subject import HOST, Subject, ask

ROOT = Path(__file__).parents[3]
ASSETS = ui.read_assets()


def get(path: str, **headers: str) -> httpx.Response:
    """Ask as a browser that has shown no token."""
    return ask(Subject(), "GET", path, headers={"host": HOST, **headers})


def test_the_page_stands_below_a_folder_of_its_own() -> None:
    assert get("/ui").headers["location"] == "ui/"
    page = get("/ui/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.content == (ui.FOLDER / "index.html").read_bytes()


@pytest.mark.parametrize("name", sorted(ASSETS))
def test_each_file_is_answered_once_and_asked_for_again_by_its_etag(name: str) -> None:
    first = get(f"/ui/{name}")
    assert first.status_code == 200
    assert first.content == (ui.FOLDER / name).read_bytes()
    assert first.headers["cache-control"] == "no-cache"
    again = get(f"/ui/{name}", **{"If-None-Match": f'"other", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert get(f"/ui/{name}", **{"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("path", ["", "main.js", "style.css"])
def test_what_a_page_may_do_is_said_with_every_file(path: str) -> None:
    said = get(f"/ui/{path}").headers["content-security-policy"]
    policy = {name: rest for name, _, rest in (each.partition(" ") for each in said.split("; "))}
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "unsafe" not in said


@pytest.mark.parametrize(
    "path",
    ["nothing.js", "../parts.py", "%2e%2e/parts.py", "..%2f..%2f..%2fpyproject.toml", "/etc/passwd", "views", "%00"],
)
def test_nothing_else_is_a_file_of_it(path: str) -> None:
    answer = get(f"/ui/{path}")
    assert answer.status_code == 404
    assert answer.json()["error"] in (
        "the dashboard has no such file",
        "there is no such path; /docs lists those that there are",
    )


def references(name: str) -> set[str]:
    """The files that a file names, by their path within the folder."""
    text = ASSETS[name].body.decode()
    pattern = r'(?:from|import) "([^"]+)"' if name.endswith(".js") else r'(?:src|href)="([^"#]+)"'
    folder = PurePosixPath(name).parent
    return {_flat(folder / each) for each in re.findall(pattern, text)}


def _flat(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def test_every_file_is_needed_and_every_needed_one_is_there() -> None:
    reached, waiting = set(), {"index.html"}
    while waiting:
        name = waiting.pop()
        assert name in ASSETS, name
        reached.add(name)
        waiting |= references(name) - reached
    assert reached == set(ASSETS)


@pytest.mark.parametrize("name", sorted(ASSETS))
def test_no_file_leads_elsewhere_or_makes_markup_of_text(name: str) -> None:
    text = ASSETS[name].body.decode()
    assert not re.findall(r"(?:https?:)?//(?!www\.w3\.org/2000/svg\b)[a-z0-9-]+\.[a-z]", text)
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc", text)
    if name.endswith(".html"):
        assert not re.findall(r"<style|\son[a-z]+=|style=|<script(?![^>]*\ssrc=)", text)
    assert max(map(len, text.splitlines())) <= 120
    assert len(text.splitlines()) <= (1000 if name.endswith(".css") else 400)


def test_the_wheel_brings_every_file() -> None:
    builder: Any = WheelBuilder(str(ROOT))
    packed = {each.distribution_path for each in builder.recurse_included_files()}
    assert {f"headgate/control/ui/{name}" for name in ASSETS} <= packed
