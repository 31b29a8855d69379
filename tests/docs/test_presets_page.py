"""What the README and docs/presets.md say of the presets is so: they start as shown, and have what the tables name."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from headgate.config.declarations import Layer
from headgate.config.loader import load
from headgate.config.preset import preset_names, preset_source, preset_text
from tests.acceptance.gateway import Gateway

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "presets.md").read_text()
README = (ROOT / "README.md").read_text()
SECRET = "0123456789abcdef0123456789abcdef"
_START = re.compile(r"^\| .+ \| `(.*?headgate run --preset ([\w-]+))` \| `curl localhost:(\d+)(\S+)` \|$", re.MULTILINE)
STARTS = _START.findall(README)
# In the order of the columns.
PRESETS = ("service-mesh", "vocelio", "ai-microservices", "sandbox", "ai-edge")
NEEDED = {"vocelio": {"JWT_SECRET_KEY"}, "sandbox": {"JWT_SECRET_KEY"}, "ai-edge": {"JWT_SECRET"}}
DISAGREE = PAGE.partition("## Where the five disagree")[2].partition("Three of them")[0]
ROWS = [line.strip("| ").split(" | ") for line in DISAGREE.splitlines() if re.match(r"\| \d+ \|", line)]
PORTS = dict.fromkeys(PRESETS, "PORT") | {"ai-microservices": "GATEWAY_PORT", "ai-edge": "SERVER_PORT"}


def variables(preset: str) -> dict[str, Any]:
    return dict(yaml.safe_load(preset_text(preset))["env"])


def test_both_tables_have_every_preset() -> None:
    assert {preset for _, preset, _, _ in STARTS} == set(preset_names())
    assert set(re.findall(r"^\| `([\w-]+)` \| .+ \| \d+ \|", PAGE, re.MULTILINE)) == set(preset_names())


@pytest.mark.parametrize(("command", "preset", "port", "path"), STARTS, ids=[each[1] for each in STARTS])
def test_the_two_commands_of_the_readme_do_what_they_should(
    command: str, preset: str, port: str, path: str, tmp_path: Path
) -> None:
    """The start, with a port that is free here in place of its own, and the question that follows it."""
    words = shlex.split(command)
    given = {name: SECRET if value == "…" else value for name, _, value in (w.partition("=") for w in words[:-4])}
    assert variables(preset)[PORTS[preset]]["default"] == int(port)
    with Gateway(tmp_path, preset, env=given, port_variable=PORTS[preset], options=["--workers", "1"]) as gateway:
        answer = gateway.get(urlsplit(path).path)
    assert answer.status == 200
    assert isinstance(json.loads(answer.body), dict)


@pytest.mark.parametrize("preset", preset_names())
def test_what_a_preset_needs_is_what_the_page_says(preset: str) -> None:
    needed = NEEDED.get(preset, set())
    row = re.search(rf"^\| `{preset}` \| .+ \| \d+ \| (.+) \|$", PAGE, re.MULTILINE)
    assert row is not None
    assert needed <= set(re.findall(r"`(\w+)`", row[1]))
    assert bool(needed) == (row[1] != "nothing")
    problems = load([], environ={}, layers=[Layer(preset_source(preset), preset_text(preset))]).problems
    assert {name for name in NEEDED.get(preset, ()) if any(name in str(each) for each in problems)} == needed
    with_all = dict.fromkeys(needed, SECRET)
    assert not load([], environ=with_all, layers=[Layer(preset_source(preset), preset_text(preset))]).problems


def test_there_are_37_points_and_each_says_how_it_is_settled() -> None:
    assert [int(row[0]) for row in ROWS] == list(range(1, 38))
    assert [row for row in ROWS if len(row) != 8 or not row[7].strip()] == []


@pytest.mark.parametrize("preset", PRESETS)
def test_the_variables_that_the_points_name_are_those_of_the_preset(preset: str) -> None:
    place = 2 + PRESETS.index(preset)
    named = {name for row in ROWS for name in re.findall(r"`([A-Z][A-Z_]+)`", row[place])}
    assert named - set(variables(preset)) == set()


def test_the_keys_that_settle_a_point_are_keys_of_the_configuration() -> None:
    reference = (ROOT / "docs" / "configuration.md").read_text()
    keys = {
        key
        for row in ROWS
        for key in re.findall(r"`([a-z][a-z_.\[\]]+)`", row[7])
        if key not in ("check", "iso", "enum")
    }
    assert len(keys) > 20
    missing = [key for key in sorted(keys) if f"| `{re.split(r'[.]', key.replace('[]', ''))[-1]}` |" not in reference]
    assert missing == []
