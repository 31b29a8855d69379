"""The presets: each is a configuration file and nothing else, says what it is, and reads what it declares."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from headgate.config.declarations import Layer, env_example, read_head
from headgate.config.loader import LoadResult, load
from headgate.config.preset import preset_about, preset_names, preset_source, preset_text
from headgate.config.resolve import OWN_SERVICE
from headgate.config.yaml_nodes import Map
from tests.config.test_json_schema import errors

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "headgate"
SECRET = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
URL = "https://login.example.com"

each_preset = pytest.mark.parametrize("name", preset_names())


def loaded(name: str, *paths: Path, **more: str) -> LoadResult:
    """Load a preset with a value in each variable that has to be set, and with more variables."""
    text = preset_text(name)
    head = read_head(Layer(name, text))
    assert head.env is not None
    environ = {
        key: URL if getattr(item.items.get("type"), "text", "") == "url" else SECRET
        for key, item in head.env.items.items()
        if isinstance(item, Map) and "required" in item.items
    }
    return load(paths, environ=more | environ, layers=[Layer(preset_source(name), text, own=False)])


def test_there_is_one_for_each_of_the_five_descriptions() -> None:
    assert preset_names() == ["ai-edge", "ai-microservices", "sandbox", "service-mesh", "vocelio"]


def test_an_unknown_name_is_said_with_the_nearest() -> None:
    with pytest.raises(ValueError, match='there is no preset "sandbx": did you mean "sandbox"'):
        preset_text("sandbx")


@each_preset
def test_it_says_what_it_is(name: str) -> None:
    assert preset_text(name).startswith("# ")
    assert 20 <= len(preset_about(name)) <= 150


@each_preset
def test_it_loads_and_editors_take_it(name: str) -> None:
    assert [str(problem) for problem in loaded(name).problems] == []
    assert errors(preset_text(name)) == []


@each_preset
def test_who_asks_is_refused_only_where_a_worker_stays_a_second_behind(name: str) -> None:
    """No description knows a refusal for want of time, and a machine may be busy with something else."""
    config = loaded(name).config
    assert config is not None
    assert (config.overload.enabled, config.overload.lag) == (True, 1)


@each_preset
def test_what_workers_ask_of_control_is_counted_as_of_no_service(name: str) -> None:
    """Under names of the description's own, that is: they would show a service that nobody has."""
    config = loaded(name).config
    assert config is not None
    named = [
        form
        for family in (
            "headgate_upstream_requests_total",
            "headgate_upstream_duration_seconds",
            "headgate_retries_total",
        )
        for form in config.telemetry.metrics.names.get(family, [])
        if form.labels and "service" in form.labels.values()
    ]
    assert [form.name for form in named if OWN_SERVICE not in form.without.get("service", [])] == []


@each_preset
def test_services_of_a_users_file_are_behind_it(name: str, tmp_path: Path) -> None:
    file = tmp_path / "services.yaml"
    file.write_text("services: [{name: mine, url: 'http://127.0.0.1:9'}]\n")
    config = loaded(name, file).config
    assert config is not None
    assert "mine" in [service.name for service in config.services]


@each_preset
def test_its_example_of_variables_is_current_and_complete(name: str) -> None:
    text = preset_text(name)
    assert (PACKAGE / "config" / "presets" / f"{name}.env.example").read_text() == env_example(
        text, preset_source(name)
    )
    head = read_head(Layer(name, text))
    assert head.env is not None
    body = re.sub(r"^env:\n(?:[ #\n].*\n|\n)*", "", text, flags=re.MULTILINE)
    table = head.env
    unused = [each for each in table.items if not _is_used(each, body) and not _is_said(table, each)]
    # A variable that only says what another one needs stands in the table alone.
    assert [each for each in unused if text.count(each) < 2] == []


def _is_used(variable: str, body: str) -> bool:
    # Of a family {EACH} or * stands for the part that varies.
    spelt = re.escape(variable).replace(r"\*", r"(?:\*|\{EACH\})")
    return re.search(rf"\b{spelt}", body) is not None


def _is_said(table: Map, variable: str) -> bool:
    """Tell whether a variable says itself that it has no effect."""
    item = table.items[variable]
    return isinstance(item, Map) and "unused" in item.items


@each_preset
def test_its_example_of_variables_changes_nothing_when_all_of_it_is_set(name: str) -> None:
    example = (PACKAGE / "config" / "presets" / f"{name}.env.example").read_text()
    given = dict(re.findall(r"^#([A-Z][A-Z0-9_]*)=(.*)$", example, re.MULTILINE))
    # A file that was named has to be there.
    given.pop("CONFIG_FILE", None)
    result = loaded(name, **given)
    assert result.config is not None, result.problems
    assert result.config == loaded(name).config


@each_preset
def test_no_code_asks_for_its_name(name: str) -> None:
    asking = [
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and node.value == name
    ]
    assert asking == []
