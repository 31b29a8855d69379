"""Write the generated documents, or check with --check that they are fresh."""

from __future__ import annotations

import sys
from pathlib import Path

from headgate.config.declarations import env_example
from headgate.config.json_schema import render_json_schema
from headgate.config.preset import preset_names, preset_source, preset_text
from headgate.config.reference import render_reference
from scripts import api_reference, descriptions, openapi

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
API = ROOT / "api"
PRESETS = ROOT / "headgate" / "config" / "presets"


def generated() -> dict[Path, str]:
    """Return every generated file with its text."""
    return {
        DOCS / "headgate.schema.json": render_json_schema(),
        DOCS / "configuration.md": render_reference(),
        DOCS / "api.md": api_reference.render(),
        DOCS / "seeds.md": descriptions.render(),
        API / "openapi.yaml": openapi.public(),
        API / "admin.yaml": openapi.admin(),
        **{PRESETS / f"{name}.env.example": _variables(name) for name in preset_names()},
    }


def _variables(preset: str) -> str:
    return env_example(preset_text(preset), preset_source(preset))


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
