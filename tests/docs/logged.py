"""What the gateway's own log may say of warnings and errors, by reading the code: no list that could be forgotten."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "headgate"
_LEVELS = ("warning", "error")
# A part of a message that differs from time to time.
OPEN = "..."


def messages() -> dict[str, str]:
    """Return each message, its open parts as `...`, with the file that says it."""
    found: dict[str, str] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        code = path.read_text(encoding="utf-8")
        if "log(" not in code and "say(" not in code:
            # Most say nothing; to take them all apart would cost every run of the tests some seconds.
            continue
        for function in ast.walk(ast.parse(code)):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for text in _said_in(function):
                    found.setdefault(text, str(path.relative_to(PACKAGE.parent)))
    return found


def _said_in(function: ast.AST) -> Iterator[str]:
    texts = dict(_assigned(function))
    for node in ast.walk(function):
        if not (
            isinstance(node, ast.Call) and len(node.args) >= 2 and _name(node.func) in ("log", "say", "_log", "_say")
        ):
            continue
        level, message = node.args[:2]
        if not any(isinstance(each, ast.Constant) and each.value in _LEVELS for each in ast.walk(level)):
            continue
        for text in texts.get(message.id, []) if isinstance(message, ast.Name) else [_text(message)]:
            if text.replace(OPEN, "").strip():
                yield text


def _assigned(function: ast.AST) -> Iterator[tuple[str, list[str]]]:
    """Yield the texts that names of a function stand for."""
    found: dict[str, list[str]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            choices = [node.value.body, node.value.orelse] if isinstance(node.value, ast.IfExp) else [node.value]
            found.setdefault(node.targets[0].id, []).extend(text for each in choices if (text := _text(each)))
    yield from found.items()


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else OPEN for part in node.values)
    return ""


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
