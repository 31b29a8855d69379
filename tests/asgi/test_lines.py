"""The lines that the five systems are started by, as they are written, from inside examples/compat."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.asgi.servers import ROOT, Server, is_free, why_no_network

COMPAT = ROOT / "examples" / "compat"
SECRETS = {"JWT_SECRET_KEY": "k" * 32, "JWT_SECRET": "k" * 32}
ADMIN_PORT = 8081

LINES = [
    ("service-mesh", "uvicorn app.main:app --reload --port 8600", 8600, "/api/v1/health"),
    ("vocelio", "uvicorn apps.api-gateway.src.main:app --reload --port 8000", 8000, "/"),
    ("vocelio", "uvicorn apps.api-gateway.src.main:app --host 0.0.0.0 --port 8000", 8000, "/"),
    ("ai-microservices", "uvicorn main:app --host 0.0.0.0 --port 8080 --reload", 8080, "/health/live"),
    (
        "ai-microservices",
        "gunicorn main:app -k uvicorn.workers.UvicornWorker --bind 0.0.0.0:8080 --workers 4",
        8080,
        "/health/live",
    ),
    (
        "ai-microservices",
        "gunicorn main:app -k uvicorn.workers.UvicornWorker --workers 8",
        8000,
        "/health/live",
    ),
    ("sandbox", "uvicorn app.main:app --reload --host 0.0.0.0 --port 8080", 8080, "/docs"),
    ("ai-edge", "uvicorn main:app --host 0.0.0.0 --port 8080", 8080, "/health"),
]


def _alone(port: int) -> bool:
    """Tell whether a line runs in a network of its own; else the ports it names must be free."""
    if not (reason := why_no_network()):
        return True
    if not is_free(port) or not is_free(ADMIN_PORT):
        pytest.skip(f"port {port} or {ADMIN_PORT} is taken, and {reason}")
    return False


@pytest.mark.parametrize(("preset", "line", "port", "path"), LINES, ids=[line for _, line, _, _ in LINES])
def test_a_line_works_as_it_is_written(preset: str, line: str, port: int, path: str, tmp_path: Path) -> None:
    with Server(tmp_path, line, COMPAT / preset, SECRETS, alone=_alone(port)) as server:
        answer = server.wait(port, path)
        assert answer.status == 200, (answer, server.output)
        assert server.get(port, "/no/such/path").status in (401, 404)


@pytest.mark.parametrize("preset", sorted({preset for preset, *_ in LINES}))
def test_an_example_of_the_environment_lies_where_it_is_copied_from(preset: str, tmp_path: Path) -> None:
    """`cp .env.example .env`"""
    subprocess.run(["cp", ".env.example", str(tmp_path / ".env")], cwd=COMPAT / preset, check=True)
    assert (tmp_path / ".env").read_text().startswith(f"# Variables of preset {preset}, with their defaults.")


def test_requirements_bring_the_package(tmp_path: Path) -> None:
    # As written, but without the libraries, and built by the tools that are here: an index may be out of reach.
    environ = {
        **os.environ,
        "PIP_TARGET": str(tmp_path / "installed"),
        "PIP_NO_DEPS": "1",
        # Of a flag whose option is a negation, pip takes what is false for yes.
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    pip = Path(sys.executable).parent / "pip"
    for folder in ("service-mesh", "vocelio", "sandbox", "ai-edge"):
        assert (COMPAT / folder / "requirements.txt").read_text().splitlines()[1:] == ["../../.."]
    subprocess.run(
        [pip, "install", "--quiet", "-r", "requirements.txt"],
        cwd=COMPAT / "sandbox",
        env=environ,
        check=True,
        capture_output=True,
    )
    assert (tmp_path / "installed" / "headgate" / "asgi" / "__init__.py").exists()
