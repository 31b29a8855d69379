"""The floors hold: who may import whom, what a worker never imports, and how long a file or a function may be.

The table is that of docs/architecture.md. A floor imports lower floors only; packages of floor 1 never import each
other; what decides (policy, auth, telemetry) knows no clock, no chance and no socket.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "headgate"

FLOORS = {
    "core": 0,
    "policy": 1,
    "auth": 1,
    "telemetry": 1,
    "wire": 1,
    "plugin": 1,
    "discovery": 2,
    "stores": 2,
    "config": 3,
    "proxy": 4,
    "control": 5,
    "client": 5.5,
    "circuit_breaker": 5.75,
    "asgi": 6,
    "cli": 6,
    "__main__": 7,
}
# The registry reads floors 1 and 2 and is read by the floors above them.
CATALOG = 2.5
# The package's own docstring and version stand below everything.
GROUND = -1.0

WITHOUT_OUTSIDE_WORLD = ("policy", "auth", "telemetry")
OUTSIDE_WORLD = {"asyncio", "time", "random", "secrets", "logging", "socket"}

# Modules that workers are sent values of, or that have to outlive everything else.
STANDARD_LIBRARY_ONLY = ("core", "config.schema", "config.resolve", "config.shape")
# And what these may import of headgate itself may not bring it in by a detour: asked of a fresh interpreter.
NEVER_IN_A_WORKER = (
    "pydantic",
    "pydantic_core",
    "yaml",
    "fastapi",
    "starlette",
    "uvicorn",
    "sqlalchemy",
    "alembic",
    "psycopg",
    "httpx",
    "dns",
    "jinja2",
    "psutil",
    "opentelemetry",
)
# What only some configurations need comes with those.
NOT_BEFORE_IT_IS_CONFIGURED = ("cryptography", "jwt")
NEVER_IN_HELP = (*NEVER_IN_A_WORKER, *NOT_BEFORE_IT_IS_CONFIGURED, "uvloop", "httptools", "re2", "asyncio", "ssl")

MOST_LINES_OF_FILE = 400
MOST_LINES_OF_FUNCTION = 50
# What is longer, and why. The list can only shrink: an excuse that is no longer needed fails the test.
LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {}


class Import(NamedTuple):
    """One import: `module` (without the leading headgate) imports `name`."""

    module: str
    name: str
    line: int


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        yield ".".join(parts), path


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports_of(module: str, path: Path) -> Iterator[Import]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            if node.module == "headgate":
                for alias in node.names:
                    yield Import(module, f"headgate.{alias.name}", node.lineno)
            else:
                yield Import(module, "." * node.level + (node.module or ""), node.lineno)


def all_imports() -> list[Import]:
    return [each for module, path in modules() for each in imports_of(module, path)]


def floor_of(module: str) -> float:
    first = module.partition(".")[0]
    if first == "catalog":
        return CATALOG
    return FLOORS[first] if first else GROUND


def breach(module: str, name: str) -> str | None:
    """Return the sentence about an import of ours that breaks the table, or None."""
    own, _, _ = module.partition(".")
    target = name.removeprefix("headgate").removeprefix(".")
    other, _, _ = target.partition(".")
    if own == other or not other or other == "__version__":
        return None
    if floor_of(other) < floor_of(own):
        return None
    if own == "catalog":
        return f"headgate.catalog reads floors 1 and 2 only, and {name} is on floor {floor_of(other):g}"
    if other == "catalog":
        return f"headgate.{own} (floor {floor_of(own):g}) must not read the catalog, which reads it"
    if floor_of(other) == floor_of(own):
        return f"packages of one floor never import each other, and {own} and {other} are both on {floor_of(own):g}"
    return f"headgate.{own} is on floor {floor_of(own):g} and {name} above it, on {floor_of(other):g}"


def outside(module: str, name: str) -> str | None:
    """Return the sentence about an import from elsewhere that a package must not have, or None."""
    package, _, _ = name.partition(".")
    if module.partition(".")[0] in WITHOUT_OUTSIDE_WORLD and package in OUTSIDE_WORLD:
        return f"{package} is banned here: time, chance and sockets are handed in"
    plain = any(module == each or module.startswith(f"{each}.") for each in STANDARD_LIBRARY_ONLY)
    if plain and package not in sys.stdlib_module_names:
        return f"only the standard library is allowed here, and {package} is none of it"
    return None


@pytest.mark.parametrize(
    ("module", "name", "allowed"),
    [
        ("policy.route", "headgate.core.uri", True),
        ("policy.route", "headgate.policy.match", True),
        ("policy.route", "headgate.wire.settings", False),
        ("policy.route", "headgate.catalog", False),
        ("core.uri", "headgate.policy.route", False),
        ("catalog", "headgate.policy.route", True),
        ("catalog", "headgate.config.schema", False),
        ("config.schema", "headgate.catalog", True),
        ("cli.main", "headgate.__version__", True),
        ("proxy.plan", "headgate.control.run", False),
        ("__main__", "headgate.cli.main", True),
    ],
)
def test_the_table_is_read_as_it_is_meant(module: str, name: str, allowed: bool) -> None:
    assert (breach(module, name) is None) is allowed


@pytest.mark.parametrize(
    ("module", "name", "allowed"),
    [
        ("policy.retry", "time", False),
        ("telemetry.cells", "logging.handlers", False),
        ("telemetry.cells", "mmap", True),
        ("core.settings", "pydantic", False),
        ("config.loader", "yaml", True),
        ("config.schema", "yaml", False),
    ],
)
def test_the_bans_are_read_as_they_are_meant(module: str, name: str, allowed: bool) -> None:
    assert (outside(module, name) is None) is allowed


def test_every_package_has_a_floor() -> None:
    found = {module.partition(".")[0] for module, _ in modules()} - {"", "catalog"}
    assert found <= FLOORS.keys(), f"no floor is written down for {sorted(found - FLOORS.keys())}"


def test_imports_go_down_only() -> None:
    breaches = [
        f"headgate/{each.module.replace('.', '/')} line {each.line}: {sentence}"
        for each in all_imports()
        if each.name.split(".")[0] == "headgate" and (sentence := breach(each.module, each.name))
    ]
    assert not breaches, "\n" + "\n".join(breaches)


def test_no_import_is_relative() -> None:
    assert [each for each in all_imports() if each.name.startswith(".")] == []


def test_decisions_know_no_clock_no_chance_and_no_socket() -> None:
    breaches = [
        f"headgate/{each.module.replace('.', '/')} line {each.line}: {sentence}"
        for each in all_imports()
        if each.name.split(".")[0] != "headgate" and (sentence := outside(each.module, each.name))
    ]
    assert not breaches, "\n" + "\n".join(breaches)


@pytest.mark.parametrize(
    ("imported", "banned"),
    [
        ("headgate.proxy.gateway", (*NEVER_IN_A_WORKER, *NOT_BEFORE_IT_IS_CONFIGURED)),
        ("headgate.control.worker", (*NEVER_IN_A_WORKER, *NOT_BEFORE_IT_IS_CONFIGURED)),
        ("headgate.control.master", (*NEVER_IN_A_WORKER, "uvloop", "httptools")),
        ("headgate.control.companion", (*NEVER_IN_A_WORKER, "uvloop", "httptools")),
        ("headgate.asgi", (*NEVER_IN_A_WORKER, "uvloop", "httptools")),
        ("headgate.asgi.guest", (*NEVER_IN_A_WORKER, *NOT_BEFORE_IT_IS_CONFIGURED)),
        ("headgate.cli.main", NEVER_IN_HELP),
    ],
)
def test_an_import_brings_no_library_it_must_not(imported: str, banned: tuple[str, ...]) -> None:
    script = f"import sys, {imported}; print(*sorted(set({banned!r}) & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == [], f"importing {imported} also imports {ran.stdout.strip()}"


# -- sizes --------------------------------------------------------------------------------------------------------


def long_files(paths: list[Path], most: int) -> dict[str, int]:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in paths}
    return {name: length for name, length in lengths.items() if length > most}


def long_functions(paths: list[Path], most: int) -> dict[str, int]:
    found = {}
    for path in paths:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                length = node.end_lineno - node.lineno + 1
                if length > most:
                    found[f"{path.relative_to(ROOT)}:{node.name}"] = length
    return found


def test_files_and_functions_are_short_enough_to_be_read() -> None:
    paths = [path for _, path in modules()]
    paths += [*sorted((ROOT / "bench").glob("*.py")), *sorted((ROOT / "scripts").glob("*.py"))]
    files = long_files(paths, MOST_LINES_OF_FILE)
    functions = long_functions(paths, MOST_LINES_OF_FUNCTION)
    faults = [
        f"{name} has {size} lines, {MOST_LINES_OF_FILE} at most"
        for name, size in files.items()
        if name not in LONG_FILES
    ]
    faults += [
        f"{name} has {size} lines, {MOST_LINES_OF_FUNCTION} at most"
        for name, size in functions.items()
        if name not in LONG_FUNCTIONS
    ]
    faults += [f"{name} needs no excuse any more: take it off the list" for name in LONG_FILES.keys() - files.keys()]
    faults += [
        f"{name} needs no excuse any more: take it off the list" for name in LONG_FUNCTIONS.keys() - functions.keys()
    ]
    assert not faults, "\n" + "\n".join(faults)


def test_a_file_that_is_too_long_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "long.py"
    path.write_text("def long():\n" + "    pass\n" * 4)
    assert long_files([path], 4) == {"long.py": 5}
    assert long_functions([path], 4) == {"long.py:long": 5}
