"""What the documents say is true: configurations load, commands print what is shown, links lead somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.cli.main import COMMANDS, main
from headgate.config.loader import load
from headgate.core.failure import REASONS
from headgate.telemetry.families import FAMILIES, Family

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "examples" / "README.md"])
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_SAFE = ("check", "routes", "explain", "schema")


def blocks(language: str) -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for number, (kind, text) in enumerate(_BLOCK.findall(page.read_text())):
            if kind == language:
                yield f"{page.name}-{number}", text


def transcripts() -> Iterator[tuple[str, str, list[str]]]:
    """Yield (id, command, lines shown) of every `headgate` command in a console block that has no effects."""
    for name, text in blocks("console"):
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, *shown = part.rstrip("\n").split("\n")
            words = command.split()
            if words[0] == "headgate" and words[1] in _SAFE:
                yield f"{name}-{words[1]}", command, shown


def anchor(heading: str) -> str:
    """Return the name that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def in_words(problems: list[object]) -> str:
    return "\n".join(map(str, problems))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.name))
def test_every_example_loads_without_a_variable_set(path: Path) -> None:
    result = load([path], environ={})
    assert not result.problems, in_words([*result.problems])


def test_the_examples_are_there() -> None:
    assert {path.name for path in EXAMPLES} >= {"quickstart.yaml", "demo.yaml", "canary.yaml", "production.yaml"}
    listed = (ROOT / "examples" / "README.md").read_text()
    assert [path.name for path in EXAMPLES if f"]({path.name})" not in listed] == []


@pytest.mark.parametrize(("name", "text"), list(blocks("yaml")), ids=lambda value: value if "\n" not in value else "")
def test_every_configuration_on_a_page_loads(name: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "headgate.yaml"
    file.write_text(text)
    result = load([file], environ={})
    # A page may name certificates that exist on the reader's machine only.
    problems = [problem for problem in result.problems if "does not exist" not in problem.message]
    assert not problems, in_words([*problems])


@pytest.mark.parametrize(("name", "command", "shown"), list(transcripts()), ids=[name for name, _, _ in transcripts()])
def test_every_command_on_a_page_prints_what_is_shown(
    name: str,
    command: str,
    shown: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A line of three dots stands for any number of lines. The README's configuration is the one in the folder."""
    (tmp_path / "headgate.yaml").write_text(next(text for page, text in blocks("yaml") if page.startswith("README")))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    _, *words = shlex.split(command)
    status = main(words)
    said = capsys.readouterr()
    assert status == (1 if "error: " in "\n".join(shown) else 0), said.err
    pattern = "".join(r"(.*\n)*" if line == "..." else re.escape(line) + r"\n" for line in shown)
    assert re.fullmatch(pattern, said.err + said.out), said.err + said.out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    text = page.read_text()
    for link in _LINK.findall(text):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, fragment = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name} links to {link}, which is not there"
        if fragment:
            headings = {anchor(heading) for heading in _HEADING.findall(target.read_text())}
            assert fragment in headings, f"{page.name} links to {link}, and {target.name} has no such heading"


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_is_in_troubleshooting_with_its_status(reason: str) -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    row = re.search(rf"^\| `{reason}` \| (\d+)", text, re.MULTILINE)
    assert row, f"docs/troubleshooting.md does not say what to do about {reason}"
    assert int(row[1]) == REASONS[reason].status


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: str(family.name))
def test_every_metric_is_in_operations_with_its_labels(family: Family) -> None:
    rows = [line for line in (ROOT / "docs" / "operations.md").read_text().splitlines() if line.startswith("| `")]
    shown = f"{family.name}{{{','.join(family.labels)}}}" if family.labels else family.name
    assert [row for row in rows if f"`{shown}`" in row], f"docs/operations.md has no row for {shown}"


def test_every_metric_that_a_page_names_exists() -> None:
    named = {(page.name, name) for page in PAGES for name in re.findall(r"`(headgate_\w+)", page.read_text())}
    assert len(named) > 40
    assert [each for each in sorted(named) if each[1] not in FAMILIES] == []


def test_every_command_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    assert [name for name in COMMANDS if f"`headgate {name}" not in text] == []


def test_every_file_that_architecture_names_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    packages = "core|policy|stores|telemetry|wire|discovery|config|proxy|control|cli"
    named = re.findall(rf"`((?:{packages})/[\w/]+(?:\.py|/))`", text)
    assert len(named) > 40
    assert [name for name in named if not (ROOT / "headgate" / name).exists()] == []


def test_every_direct_dependency_has_its_line() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[<>=!~\[ ]", each)[0] for each in wanted}
    lines = set(re.findall(r"^\| ([\w.-]+) \|", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE))
    assert lines - {"package"} == names


def test_the_changelog_tells_of_this_version() -> None:
    from headgate import __version__

    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()
