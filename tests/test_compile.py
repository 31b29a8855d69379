"""What scripts/compile makes does what the sources do, as far as reading them can tell: mypyc differs in two places."""

from __future__ import annotations

import ast
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ENDLESS = {"count", "cycle", "repeat"}


def compiled() -> dict[str, Path]:
    loader = SourceFileLoader("scripts_compile", str(ROOT / "scripts" / "compile"))
    spec = spec_from_loader("scripts_compile", loader)
    assert spec is not None
    script = module_from_spec(spec)
    loader.exec_module(script)
    names = [f"{package}/{name}" for package, listed in script.MODULES.items() for name in listed.split()]
    assert len(names) == len(set(names))
    return {name: ROOT / "headgate" / f"{name}.py" for name in names}


COMPILED = compiled()


def endless(tree: ast.AST) -> list[int]:
    """List the lines of generator expressions that never end: the compiler makes a list of each."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.GeneratorExp)
        for call in [node.generators[0].iter]
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name | ast.Attribute)
        if (call.func.id if isinstance(call.func, ast.Name) else call.func.attr) in ENDLESS
    ]


def test_one_that_never_ends_is_found() -> None:
    assert endless(ast.parse("import itertools\na = (x for x in itertools.count(0))\nb = (x for x in range(3))")) == [2]


@pytest.mark.parametrize("name", COMPILED)
def test_modules_that_are_compiled(name: str) -> None:
    tree = ast.parse(COMPILED[name].read_text())
    assert not endless(tree)
    # Class attributes of an error that is compiled do not count where its base is not compiled.
    foreign = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if isinstance(base, ast.Name) and base.id == "ProtocolError"
    ]
    assert not foreign
