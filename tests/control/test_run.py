"""What the options of `headgate run` become, through the real loader; and that the master stays small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from headgate.config.loader import load
from headgate.config.merge import Override
from headgate.control.run import RunOptions


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ({}, "127.0.0.1:7000"),
        ({"port": 9000}, "0.0.0.0:9000"),
        ({"host": "10.0.0.1"}, "10.0.0.1:8080"),
        ({"host": "10.0.0.1", "port": 9000}, "10.0.0.1:9000"),
        ({"host": "::1", "port": 9000}, "[::1]:9000"),
        ({"host": "[::]"}, "[::]:8080"),
    ],
)
def test_host_and_port_replace_the_first_listener(tmp_path: Path, options: dict[str, object], address: str) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("listen: [{address: 127.0.0.1:7000, proxy_protocol: 10.0.0.0/8}, 127.0.0.1:7001]\n")
    made = RunOptions(paths=(path,), **options)  # type: ignore[arg-type]
    loaded = load(made.paths, overrides=[Override(*each) for each in made.settings()], environ={})
    assert loaded.problems == []
    assert loaded.config is not None
    assert [listener.address for listener in loaded.config.listeners] == [address, "127.0.0.1:7001"]
    # What else was said of the listener stays.
    assert loaded.config.listeners[0].proxy_protocol == ["10.0.0.0/8"]


def test_options_win_over_set_and_over_an_empty_configuration() -> None:
    made = RunOptions(paths=(), overrides=("workers=3",), workers="5", admin="[::1]:9001", port=9000)
    overrides: list[str | Override] = [*made.overrides, *(Override(*each) for each in made.settings())]
    loaded = load((), overrides=overrides, environ={})
    assert loaded.config is not None, loaded.problems
    assert loaded.config.workers == 5
    assert loaded.config.admin.address == "[::1]:9001"
    assert [listener.address for listener in loaded.config.listeners] == ["0.0.0.0:9000"]


def test_errors_name_the_option() -> None:
    made = RunOptions(paths=(), workers="many")
    loaded = load((), overrides=[Override(*each) for each in made.settings()], environ={})
    assert "--workers" in str(loaded.problems[0])


def test_the_master_imports_neither_loop_nor_framework() -> None:
    code = "import sys, headgate.control.run; print(*sys.modules)"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"asyncio", "uvloop", "httptools", "pydantic", "yaml", "fastapi", "uvicorn", "logging"}
    assert heavy.isdisjoint(imported)


def test_a_worker_imports_neither_validation_nor_framework() -> None:
    code = "import sys, headgate.control.worker; print(*sys.modules)"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"pydantic", "yaml", "fastapi", "uvicorn", "starlette"}.isdisjoint(imported)
