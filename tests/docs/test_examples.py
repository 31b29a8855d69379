"""What the documents say is true: configurations load, commands print what is shown, links lead somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from headgate.cli.main import COMMANDS, main
from headgate.config.loader import load
from headgate.core.failure import REASONS
from headgate.telemetry.families import FAMILIES, Family

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "examples" / "README.md"])
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_SAFE = ("check", "routes", "explain", "schema", "token", "keys")
_INNER = re.compile(r"\$\((headgate [^)]*)\)")
_REQUIRED = ("JWT_SECRET_KEY", "JWT_SECRET")
_ID = re.compile(r"\bkey_[0-9a-f]{16}\b")
# What differs from run to run is compared by its form alone.
_FORMS = {
    "a token": r"\beyJ[\w-]+\.[\w-]+\.[\w-]+",
    "a key": r"\b[a-z]+_[\w-]{43}(?![\w-])",
    "an id": _ID.pattern,
    "a hint": r"\b[a-z]+_[\w-]{4}\.\.\.",
    "a moment": r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ|(?<=: )1\d{9}\b",
}


def blocks(language: str) -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for number, (kind, text) in enumerate(_BLOCK.findall(page.read_text())):
            if kind == language:
                yield f"{page.name}-{number}", text


class Transcript(NamedTuple):
    """The commands of one console block, what each is shown to say, and the configuration they are about."""

    name: str
    configuration: str
    commands: list[tuple[str, list[str]]]


def transcripts() -> Iterator[Transcript]:
    """Yield the console blocks of every page, with those commands that neither ask nor start a gateway.

    They are about the whole configuration that stands before them on their page, else about that of the README.
    """
    readme = next(text for name, text in blocks("yaml") if name.startswith("README"))
    for page in PAGES:
        configuration = readme
        for number, (kind, text) in enumerate(_BLOCK.findall(page.read_text())):
            if kind == "yaml" and "services:" in text:
                configuration = text
            parts = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:] if kind == "console" else []
            commands = [(command, shown) for command, *shown in (part.rstrip("\n").split("\n") for part in parts)]
            commands = [each for each in commands if each[0].split()[0] == "headgate" and each[0].split()[1] in _SAFE]
            if commands:
                yield Transcript(f"{page.name}-{number}", configuration, commands)


def formless(text: str) -> str:
    """Return a text with what differs from run to run replaced by what it is."""
    for what, form in _FORMS.items():
        text = re.sub(form, f"<{what}>", text)
    return text


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
    # What a preset cannot start without is its reader's to set.
    result = load(
        [file], environ=dict.fromkeys(_REQUIRED, "0123456789abcdef0123456789abcdef") if "preset:" in text else {}
    )
    # A page may name certificates that exist on the reader's machine only.
    problems = [problem for problem in result.problems if "does not exist" not in problem.message]
    assert not problems, in_words([*problems])


@pytest.mark.parametrize("transcript", list(transcripts()), ids=lambda each: str(each.name))
def test_every_command_on_a_page_prints_what_is_shown(
    transcript: Transcript, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line of three dots stands for any number of lines; ids and keys that are shown, for those that were made."""
    (tmp_path / "headgate.yaml").write_text(transcript.configuration)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADGATE_STATE_DIR", str(tmp_path / "state"))
    made: dict[str, str] = {}

    def say(command: str) -> tuple[int, str]:
        command = _INNER.sub(lambda inner: say(inner[1])[1].strip(), command)
        for shown, real in made.items():
            command = command.replace(shown, real)
        status = main(shlex.split(command)[1:])
        output = capsys.readouterr()
        # A key stands alone on standard output, and what is said of it on the other comes behind it on a terminal.
        return status, (output.out + output.err if " keys " in command else output.err + output.out)

    for command, shown in transcript.commands:
        status, said = say(command)
        assert status == (1 if "error: " in "\n".join(shown) else 0), said
        lines = (r"(.*\n)*" if line == "..." else re.escape(_columns(formless(line))) + r"\n" for line in shown)
        assert re.fullmatch("".join(lines), _columns(formless(said))), said
        for form in (_ID.pattern, _FORMS["a key"]):
            made |= zip(re.findall(form, "\n".join(shown)), re.findall(form, said), strict=False)


def _columns(text: str) -> str:
    """Return a text with one blank for several: columns are as wide as what stands in them."""
    return re.sub(r"(?<=\S) +", " ", text)


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
def test_every_metric_is_in_its_page_with_its_labels(family: Family) -> None:
    rows = [line for line in (ROOT / "docs" / "metrics.md").read_text().splitlines() if line.startswith("| `")]
    shown = f"{family.name}{{{','.join(family.shown)}}}" if family.shown else family.name
    assert [row for row in rows if f"`{shown}`" in row], f"docs/metrics.md has no row for {shown}"
    if family.fine:
        fine = ", ".join(f"`{label}`" for label in family.fine)
        assert f"| `{family.name}` | {fine} |" in rows, f"docs/metrics.md does not say that {family.name} knows {fine}"


def test_every_metric_that_a_page_names_exists() -> None:
    named = {(page.name, name) for page in PAGES for name in re.findall(r"`(headgate_\w+)", page.read_text())}
    assert len(named) > 40
    assert [each for each in sorted(named) if each[1] not in FAMILIES] == []


def test_every_command_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    assert [name for name in COMMANDS if f"`headgate {name}" not in text] == []


def test_every_file_that_architecture_names_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    packages = "core|policy|auth|plugin|stores|telemetry|wire|discovery|config|proxy|control|cli"
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


def test_the_readme_leads_to_every_page() -> None:
    readme = (ROOT / "README.md").read_text()
    # Those of a folder are led to by its first page, or by the page that is about all of them.
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"](docs/{page.name}" not in readme] == []


def test_no_page_has_a_machine_without_headgate_install_it_by_its_name() -> None:
    """On the package index the name is another project's."""
    wrong = [page.name for page in PAGES if re.search(r"pip install '?headgate\b", page.read_text())]
    assert wrong == []
