"""What makes the site of mkdocs.yml of this repository: pages of docs/, and what they lead to outside of it.

Law: a link that leads somewhere in the repository leads to the same on the site. The README is the front page; other
Markdown, and each file that a page links to, gets a page under its own name; a folder is the list of what it holds.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
# Behind `](`, up to the end of the path: a fragment stays as it is.
_LINK = re.compile(r"(?<=\]\()(?!https?://|mailto:|#)([^)\s#]+)(?=[)#])")
_LANGUAGES = {".yaml": "yaml", ".py": "python", ".json": "json", ".toml": "toml", ".conf": "nginx", ".sh": "sh"}
# Shown in the repository only: too long for a page, or no text.
_RAW = (".json", ".svg", ".png", ".tgz")


def place(path: str) -> str:
    """Return where a path of the repository stands on the site: `README.md` at `index.md`, `docs/x.md` at `x.md`."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    pure = PurePosixPath(path)
    if pure.name == "README.md":
        return str(pure.with_name("index.md"))
    if (ROOT / path).is_dir():
        return str(pure / "index.md")
    return path if pure.suffix == ".md" or pure.suffix in _RAW else f"{path}.md"


def source(page: str) -> str:
    """Return the path in the repository of what stands at `page` on the site."""
    for path in (f"docs/{page}", page.replace("index.md", "README.md"), page.removesuffix("/index.md"), page):
        if (ROOT / path).exists():
            return path
    return page.removesuffix(".md")


def led_to(link: str, path: str) -> str:
    """Return the path in the repository that a link on the page of `path` leads to; of a folder, that of its README."""
    # A folder without one shows what it holds, and its links are to that.
    folder = PurePosixPath(path) if (ROOT / path).is_dir() else PurePosixPath(path).parent
    target = normpath(str(folder / link))
    return f"{target}/README.md" if (ROOT / target / "README.md").is_file() else target


def shown(path: str) -> str:
    """Return the Markdown of what is not in docs/: its own, the list of a folder, or a file as a block of code."""
    target = ROOT / path
    if target.is_dir():
        names = sorted(each.name for each in target.iterdir() if not each.name.startswith(("_", ".")))
        return f"# {path}\n\n" + "\n".join(f"- [{name}]({name})" for name in names) + "\n"
    text = target.read_text()
    if target.suffix == ".md":
        return text
    # Whoever searches looks for words about it, not for the code.
    language = _LANGUAGES.get(target.suffix, "text")
    return f"---\nsearch: {{exclude: true}}\n---\n\n# {path}\n\n````{language}\n{text}````\n"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Let a folder in the navigation stand for its pages, in the order of their names."""

    def opened(entry: object) -> object:
        if isinstance(entry, dict):
            return {title: opened(value) for title, value in entry.items()}
        if isinstance(entry, str) and entry.endswith("/"):
            return [str(path.relative_to(ROOT / "docs")) for path in sorted((ROOT / "docs" / entry).glob("*.md"))]
        return entry

    config.nav = [opened(entry) for entry in config.nav or []]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add everything outside of docs/ that is reached from the README and the pages of docs/."""
    reached = {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"}
    waiting = [*sorted(reached), *(f"docs/{file.src_uri}" for file in files if file.src_uri.endswith(".md"))]
    while waiting:
        path = waiting.pop()
        if not path.startswith("docs/"):
            if PurePosixPath(path).suffix in _RAW:
                files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
                continue
            listed = InclusionLevel.INCLUDED if path in reached else InclusionLevel.NOT_IN_NAV
            files.append(File.generated(config, place(path), content=shown(path), inclusion=listed))
        text = (ROOT / path).read_text() if path.startswith("docs/") else shown(path)
        targets = {led_to(match[1], path) for match in _LINK.finditer(text)}
        waiting += sorted(
            target
            for target in targets - set(waiting)
            if not target.startswith("docs/")
            and (ROOT / target).exists()
            and files.get_file_from_path(place(target)) is None
        )
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to where things stand on the site."""
    here = page.file.src_uri
    path = source(here)

    def moved(match: re.Match[str]) -> str:
        target = led_to(match[1], path)
        return relpath(place(target), str(PurePosixPath(here).parent)) if (ROOT / target).exists() else match[0]

    return _LINK.sub(moved, markdown)
