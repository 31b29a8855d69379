"""docs/seeds.md: each sentence of the five descriptions that the presets keep, beside the tests that say so.

Source: tests/acceptance/seeds/NAME.yaml, one for each preset, in the order of its description. Law: an item has a test,
or a note that says why it cannot have one; tests/docs/test_descriptions.py holds both.
"""

from __future__ import annotations

import html
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tests" / "acceptance" / "seeds"
# In the order in which pages name the presets.
PRESETS = ("service-mesh", "vocelio", "ai-microservices", "sandbox", "ai-edge")
_HEAD = """\
# The five descriptions

Each preset keeps what the description of a gateway says, sentence by sentence. This page is made from the lists in
`tests/acceptance/seeds`. The tests run against the preset, started as a process of its own, with real services behind
it and, where the description names Redis, a real Redis. What the five say against each other, and how one product says
both, is in [presets.md](presets.md#where-the-five-disagree).
"""


class Item(NamedTuple):
    """A sentence, a row of a table or a line of code, the tests that show it true, and what is to be known of it."""

    says: str
    tests: list[str]
    note: str


def items(preset: str) -> list[Item]:
    """Return what the description of a preset says, in its order."""
    entries = yaml.safe_load((FOLDER / f"{preset}.yaml").read_text(encoding="utf-8"))
    return [Item(str(each["says"]), each.get("tests") or [], str(each.get("note") or "")) for each in entries]


def render() -> str:
    """Return the page."""
    parts = [_HEAD]
    for preset in PRESETS:
        found = items(preset)
        tests = {test for item in found for test in item.tests}
        noted = sum(bool(item.note) for item in found)
        parts.append(f"\n## {preset}\n")
        parts.append(
            f"\n{len(found)} items, {len(tests)} tests; {noted} have a note."
            f" From that system to Headgate: [migrate/{preset}.md](migrate/{preset}.md).\n"
        )
        parts.append("\n| it says | to be known | tests |\n|---|---|---|\n")
        parts += [f"| {_cell(each.says)} | {_cell(each.note)} | {_tests(each.tests)} |\n" for each in found]
    return "".join(parts)


def _cell(text: str) -> str:
    """Return a text as it stands in a table: nothing in it is taken for Markdown but its code."""
    pieces = " ".join(text.split()).split("`")
    if len(pieces) % 2 == 0:
        pieces = ["`".join(pieces)]
    return "".join(_code(piece) if place % 2 else _plain(piece) for place, piece in enumerate(pieces))


def _plain(text: str) -> str:
    text = html.escape(text, quote=False)
    for sign in "*_[]`|":
        text = text.replace(sign, f"&#{ord(sign)};")
    return text


def _code(text: str) -> str:
    # Behind a backtick a bar would part cells on GitHub, and a backslash before it would be shown elsewhere.
    return f"<code>{html.escape(text, quote=False).replace('|', '&#124;')}</code>" if "|" in text else f"`{text}`"


def _tests(tests: list[str]) -> str:
    found = (test.partition("::") for test in tests)
    return "<br>".join(f"[`{name}`](../{path})" if name else f"[`{path}`](../{path})" for path, _, name in found)
