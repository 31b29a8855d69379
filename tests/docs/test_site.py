"""The documentation as a site: it builds without a warning, leads nowhere that is not there, and needs nobody else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from scripts.site_pages import place, source

ROOT = Path(__file__).parents[2]


class Page(HTMLParser):
    """Where a page leads, what it fetches, and the names of its places."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        for name in ("id", "name"):
            self.places.add(given.get(name) or "")
        if tag == "a":
            self.links.append(given.get("href") or "")
        elif tag in ("script", "img", "link", "iframe"):
            self.fetched.append(given.get("src") or given.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith(("WARNING", "ERROR"))] == []
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text()) for path in site.rglob("*.html")}


def test_every_page_of_the_repository_is_there(site: Path, pages: dict[Path, Page]) -> None:
    wanted = [*(ROOT / "docs").rglob("*.md"), *(ROOT / name for name in ("README.md", "CHANGELOG.md", "SECURITY.md"))]
    there = {str(path.relative_to(site)) for path in pages}
    named = [place(str(path.relative_to(ROOT))).removesuffix(".md") + ".html" for path in wanted]
    assert [name for name in named if name not in there] == []


def test_every_link_leads_to_a_page_and_to_a_place_on_it(site: Path, pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for link in [*page.links, *page.fetched]:
            parts = urlsplit(link)
            if parts.scheme or not link or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.is_file() or (
                parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].places
            ):
                broken.append(f"{path.relative_to(site)} -> {link}")
    assert broken == []


def test_no_page_fetches_anything_from_elsewhere(pages: dict[Path, Page]) -> None:
    assert [url for page in pages.values() for url in page.fetched if urlsplit(url).netloc] == []


def test_whoever_searches_finds_pages_and_no_code(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text())
    found = {each["location"].partition("#")[0] for each in index["docs"]}
    assert {"index.html", "runbook.html", "policies/limits.html"} <= found
    assert [name for name in found if name.endswith((".py.html", ".yaml.html"))] == []


def test_lists_are_lists(site: Path, pages: dict[Path, Page]) -> None:
    """A list that follows a paragraph without a blank line is one on GitHub, and part of the paragraph on the site."""
    for path in pages:
        text = path.read_text()
        body = text[text.index("<article") :] if "<article" in text else ""
        assert not re.search(r"<p>[^<]*\n(- |\d+\. |\| )", body), path.relative_to(site)


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("README.md", "index.md"),
        ("docs/policies/limits.md", "policies/limits.md"),
        ("examples/README.md", "examples/index.md"),
        ("examples/quickstart.yaml", "examples/quickstart.yaml.md"),
        ("deploy/prometheus", "deploy/prometheus/index.md"),
        ("CHANGELOG.md", "CHANGELOG.md"),
    ],
)
def test_what_is_in_the_repository_has_its_place(path: str, page: str) -> None:
    assert place(path) == page
    assert source(page) == path
