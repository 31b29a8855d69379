"""Write the files that are generated from the settings classes, or check with --check that they are fresh."""

from __future__ import annotations

import sys
from pathlib import Path

from headgate.config.json_schema import render_json_schema
from headgate.config.reference import render_reference

DOCS = Path(__file__).resolve().parent.parent / "docs"


def generated() -> dict[Path, str]:
    """Return every generated file with its text."""
    return {DOCS / "headgate.schema.json": render_json_schema(), DOCS / "configuration.md": render_reference()}


def main(arguments: list[str]) -> int:
    """Write the files and return 0; with --check only compare, and return 1 when one is stale."""
    stale = [
        path for path, text in generated().items() if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    if "--check" in arguments:
        for path in stale:
            print(f"{path.name} is stale: run scripts/generate_docs.py", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(generated()[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
