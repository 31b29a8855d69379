"""Tables of configurations and of every line that is said about them, in tests/config/golden/*.txt.

A case is `### title`, the YAML, lines of `--set KEY=VALUE`, then `### says` and the lines, exactly and all of them.
Files named in a case stand in the folder FILES, which the tests make.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from headgate.config.loader import Layer, LoadResult, load

FOLDER = Path(__file__).parent / "golden"
ENVIRON = {"WORD": "some secret text", "NUMBER": "8080", "EMPTY": "", "FLAG": "true"}


class Case(NamedTuple):
    yaml: str
    overrides: list[str]
    says: list[str]


def cases(name: str) -> list[object]:
    """Read the table golden/NAME.txt as parameters of a test."""
    text = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    found: list[object] = []
    for block in re.split(r"^### case: ", text, flags=re.MULTILINE)[1:]:
        title, _, rest = block.partition("\n")
        document, _, says = rest.partition("### says\n")
        lines = document.splitlines()
        overrides = [line.removeprefix("--set ") for line in lines if line.startswith("--set ")]
        yaml = "\n".join(line for line in lines if not line.startswith("--set "))
        case = Case(yaml, overrides, [line for line in says.splitlines() if line])
        found.append(pytest.param(case, id=title.replace(" ", "-")))
    return found


def load_text(
    text: str, *overrides: str, files: Path | None = None, environ: dict[str, str] | None = None
) -> LoadResult:
    """Load one document named gw.yaml; FILES in it stands for a folder."""
    layer = Layer("gw.yaml", text.replace("FILES", str(files)) if files is not None else text)
    return load([], overrides=overrides, environ=ENVIRON if environ is None else environ, layers=[layer])


def said(result: LoadResult, files: Path | None = None) -> list[str]:
    """Return the lines that people read, excerpts left out, errors before warnings."""
    lines = [str(problem) for problem in (*result.problems, *result.notices)]
    return [line.replace(str(files), "FILES") for line in lines] if files is not None else lines


def check_case(case: Case, files: Path | None = None) -> None:
    """Assert that exactly these lines are said, and that a configuration comes out if none is an error."""
    result = load_text(case.yaml, *case.overrides, files=files)
    assert said(result, files) == case.says
    assert (result.config is None) == any(": error: " in line for line in case.says)
