"""Programs on the pages about the presets run against a gateway with that preset; all others are Python, too."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.gateway import TOKEN, Gateway
from tests.docs.test_examples import PAGES, ROOT
from tests.stores.redis.servers import RedisServer

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECRET = "0123456789abcdef0123456789abcdef"
# What a preset is started with: its environment, the variable of its port, and files besides.
STARTS: dict[str, tuple[dict[str, str], str, list[dict[str, Any]]]] = {
    "service-mesh": (
        {},
        "PORT",
        [{"services": [{"name": "edge-ai", "url": "http://127.0.0.1:9", "circuit_breaker": {"threshold": 5}}]}],
    ),
    "vocelio": ({"JWT_SECRET_KEY": SECRET}, "PORT", []),
    "ai-microservices": ({}, "GATEWAY_PORT", []),
    "sandbox": ({"JWT_SECRET_KEY": SECRET}, "PORT", []),
    "ai-edge": ({"JWT_SECRET": SECRET}, "SERVER_PORT", [{"services": [{"name": "chat", "url": "http://127.0.0.1:9"}]}]),
}
PROGRAMS = [
    pytest.param(page.stem, program, id=f"{page.stem}-{number}")
    for page in PAGES
    if page.stem in STARTS and page.parent.name == "migrate"
    for number, program in enumerate(_BLOCK.findall(page.read_text()))
    if "headgate.client" in program
]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.mark.parametrize(("preset", "program"), PROGRAMS)
def test_a_program_about_a_preset_runs(
    preset: str,
    program: str,
    redis: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    env, port, files = STARTS[preset]
    env = env | {"REDIS_URL": redis}
    with Gateway(tmp_path, preset, *files, env=env, port_variable=port, options=["--workers", "1"]) as gateway:
        monkeypatch.setenv("HEADGATE_ADMIN", gateway.admin)
        monkeypatch.setenv("HEADGATE_ADMIN_TOKEN", TOKEN)
        exec(compile(program.replace("127.0.0.1:8081", gateway.admin), f"docs/migrate/{preset}.md", "exec"), {})
    assert capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_program_is_python(page: Path) -> None:
    for program in _BLOCK.findall(page.read_text()):
        ast.parse(program)
