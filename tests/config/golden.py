"""Tables of configurations and of every line that is said about them, in tests/config/golden/*.txt.

A case is `### title`, the YAML, lines of `--set KEY=VALUE`, then `### says` and the lines, exactly and all of them.
Files named in a case stand in the folder FILES, which the tests make. Run as a module (`python -m tests.config.golden`)
it writes what is said now into the tables, for a person to read the difference.
"""

from __future__ import annotations

import re
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from headgate.config.declarations import Layer
from headgate.config.loader import LoadResult, load
from tests.config.files import make_files

FOLDER = Path(__file__).parent / "golden"
ENVIRON = {"WORD": "some secret text", "NUMBER": "8080", "EMPTY": "", "FLAG": "true"}


class Case(NamedTuple):
    title: str
    yaml: str
    overrides: list[str]
    says: list[str]


def cases(name: str) -> list[Case]:
    """Read the table golden/NAME.txt."""
    text = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    found: list[Case] = []
    for block in re.split(r"^### case: ", text, flags=re.MULTILINE)[1:]:
        title, _, rest = block.partition("\n")
        document, _, says = rest.partition("### says\n")
        lines = document.splitlines()
        overrides = [line.removeprefix("--set ") for line in lines if line.startswith("--set ")]
        yaml = "\n".join(line for line in lines if not line.startswith("--set "))
        found.append(Case(title, yaml, overrides, [line for line in says.splitlines() if line]))
    return found


def load_text(text: str, *overrides: str, environ: dict[str, str] | None = None) -> LoadResult:
    """Load one document named gw.yaml."""
    return load(
        [], overrides=overrides, environ=ENVIRON if environ is None else environ, layers=[Layer("gw.yaml", text)]
    )


def said(result: LoadResult) -> list[str]:
    """Return the lines that people read, excerpts left out, errors before warnings."""
    return [str(problem) for problem in (*result.problems, *result.notices)]


def check_case(case: Case) -> None:
    """Assert that exactly these lines are said, and that a configuration comes out if none is an error."""
    result = load_text(case.yaml, *case.overrides)
    assert said(result) == case.says
    assert (result.config is None) == any(": error: " in line for line in case.says)


def _write(path: Path) -> None:
    blocks = []
    for case in cases(path.stem):
        document = "".join(f"{line}\n" for line in case.yaml.splitlines())
        document += "".join(f"--set {override}\n" for override in case.overrides)
        lines = "".join(f"{line}\n" for line in said(load_text(case.yaml, *case.overrides)))
        blocks.append(f"### case: {case.title}\n{document}### says\n{lines}")
    path.write_text("\n".join(blocks), encoding="utf-8")


if __name__ == "__main__":
    with TemporaryDirectory() as folder, chdir(folder):
        make_files(Path("FILES"))
        for table in sorted(FOLDER.glob("*.txt")):
            _write(table)
