"""Which tests a file has, by reading it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path


@cache
def named_tests(path: Path) -> frozenset[str]:
    """Return the names of a file's tests, those of a class as `Class::test`; none of a file that is not there."""
    if not path.is_file():
        return frozenset()
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found.update(f"{node.name}::{name}" for name in _functions(node.body))
    return frozenset(found.union(_functions(ast.parse(path.read_text(encoding="utf-8")).body)))


def _functions(body: list[ast.stmt]) -> set[str]:
    functions = (node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {name for name in functions if name.startswith("test_")}
