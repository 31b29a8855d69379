"""What documents declare: variables that must be there, presets below and files above them, and who wins."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from headgate.config.declarations import env_example
from headgate.config.loader import load
from headgate.config.preset import preset_names
from tests.config.layers import document, load_layers, said

PRESET = """\
env:
  PORT: {type: int, default: 8600, help: Port.}
  SECRET: {secret: true, required: {MODE: [jwt]}, help: What tokens are signed with.}
  MODE: {type: enum, values: [jwt, none], default: none}
  EXTRA: {absent: extra things are not done}
listen: ["127.0.0.1:${PORT}"]
store: {type: redis, url: "redis://127.0.0.1:1"}
limits: [{name: all, key: address, requests: 5, window: 60}]
http: {max_connections: "${PORT}"}
"""


def test_without_a_required_variable_one_sentence_says_so() -> None:
    result = load_layers(PRESET + "nonsense: here\n", environ={"MODE": "jwt"})
    assert result.config is None
    assert said(result) == [
        "environment: error: SECRET is not set, and the gateway cannot start without it (What tokens are signed with)"
        " - set it in the environment or in .env, or name a file that holds it in SECRET_FILE"
    ]


def test_without_another_one_it_is_said_what_does_not_work() -> None:
    result = load_layers(PRESET)
    assert result.config is not None
    assert said(result) == ["environment: warning: EXTRA is not set: extra things are not done"]
    assert said(load_layers(PRESET, environ={"EXTRA": "x"})) == []


def test_what_does_not_work_is_said_only_where_it_matters() -> None:
    preset = "env: {ON: {type: bool, default: false}, WHERE: {absent: nothing is sent, absent_when: ON}}\n"
    assert said(load_layers(preset)) == []
    assert said(load_layers(preset, environ={"ON": "true", "WHERE": "x"})) == []
    assert said(load_layers(preset, environ={"ON": "1"})) == ["environment: warning: WHERE is not set: nothing is sent"]
    wrong = preset.replace("absent_when: ON", "absent_when: OFF")
    assert any('there is no variable "OFF" under env' in line for line in said(load_layers(wrong)))


def test_a_variable_without_effect_says_so_where_it_is_set() -> None:
    preset = "env: {POOL: {type: int, default: 10, unused: one connection does}}\n"
    assert said(load_layers(preset)) == []
    assert said(load_layers(preset, environ={"POOL": "5"})) == [
        "environment: warning: POOL has no effect: one connection does"
    ]
    assert said(load_layers(preset, environ={"POOL": "many"})) == ["environment: error: POOL: expected a whole number"]
    assert "It has no effect: one connection does." in env_example(preset, "x")


def test_the_environment_goes_before_the_files_and_the_command_line_before_it() -> None:
    own = "http: {max_connections: 7000}\n"
    found = []
    for environ, overrides in (({}, ()), ({"PORT": "9000"}, ()), ({"PORT": "9000"}, ("http.max_connections=9100",))):
        result = load_layers(PRESET, own, *overrides, environ=environ)
        assert result.source is not None, said(result)
        found.append(result.source.http.max_connections)
    assert found == [7000, 9000, 9100]


def test_a_required_variable_that_cannot_be_read_is_one_mistake_and_not_two() -> None:
    preset = "env: {ISSUER: {type: url, required: true}}\n"
    said_once = ["environment: error: ISSUER: expected a URL such as http://host:8000"]
    assert said(load_layers(preset, environ={"ISSUER": "auth.example.com"})) == said_once


def test_what_was_taken_out_for_a_mistake_is_missed_by_nobody_over_a_preset_either() -> None:
    (mistake,) = said(load_layers(PRESET, 'listen: ["127.0.0.1:${NOT_SET}"]\n', environ={"EXTRA": "x"}))
    assert "the environment variable NOT_SET is not set" in mistake


def test_a_file_that_has_no_secret_is_one_mistake_and_not_two(tmp_path: Path) -> None:
    result = load_layers(PRESET, environ={"MODE": "jwt", "SECRET_FILE": str(tmp_path / "none")})
    assert said(result) == ["environment: error: SECRET_FILE: the file cannot be read: No such file or directory"]


@pytest.mark.parametrize(
    "preset",
    [
        "env: {PLACE: {type: list, default: 'http://a'}}\nservices: [{name: a, endpoints: '${PLACE}'}]\n",
        "env: {PLACE: {type: list}}\nservices: [{name: a, discovery: {type: environment, urls: PLACE}}]\n",
    ],
    ids=["its value", "its name"],
)
def test_where_a_service_runs_is_said_by_a_variable_that_is_set_and_else_by_the_file(preset: str) -> None:
    own = "services: [{name: a, url: 'http://c', health_path: /up}]"
    shown = document(load_layers(preset, own, environ={"PLACE": "http://b"}))["services"][0]
    assert len(shown["endpoints"]) == (1 if "endpoints" in preset else 0)
    assert shown["discovery"] == ({"type": "environment"} | shown["discovery"] if "urls" in preset else None)
    assert (shown["url"], shown["health_path"]) == (None, "/up")
    shown = document(load_layers(preset, own))["services"][0]
    assert (shown["url"], shown["endpoints"], shown["discovery"]) == ("http://c", [], None)


def test_what_a_file_replaces_by_something_else_the_environment_does_not_bring_back() -> None:
    preset = PRESET.replace('url: "redis://127.0.0.1:1"', 'url: "redis://127.0.0.1:${PORT}"')
    own = "store: {type: memory}\nlisten: [unix:/tmp/headgate.sock, '127.0.0.1:1']\n"
    shown = document(load_layers(preset, own, environ={"PORT": "9000"}))
    assert shown["store"]["type"] == "memory"
    assert [each["address"] for each in shown["listen"]] == ["unix:/tmp/headgate.sock", "127.0.0.1:1"]
    for empty in ("http: null\n", "http: {max_connections: null}\n"):
        source = load_layers(preset, empty, environ={"PORT": "9000"}).source
        assert source is not None and source.http.max_connections != 9000


def test_a_file_names_the_preset_below_it(tmp_path: Path) -> None:
    name = preset_names()[0]
    file = tmp_path / "own.yaml"
    file.write_text(f"preset: {name}\nservices: [{{name: mine, url: 'http://127.0.0.1:9'}}]\n")
    environ = dict.fromkeys(("JWT_SECRET_KEY", "JWT_SECRET", "SECRET_KEY"), "0123456789abcdef0123456789abcdef")
    result = load([file], environ=environ)
    assert result.config is not None, said(result)
    assert "mine" in [service.name for service in result.config.services]
    assert any(written.origin.source == f"preset {name}" for written in result.origins.written())
    file.write_text("preset: nobody\n")
    assert "own.yaml:1:9: error: preset: there is no preset" in said(load([file], environ={}))[0]


def test_files_are_included_over_the_one_that_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    preset = "env: {FILE: {default: mesh.yaml}}\ninclude: [{path: '${FILE}', optional: true}]\nzone: low\n"
    absent = load_layers(preset)
    assert document(absent)["zone"] == "low"
    assert absent.files == [Path("mesh.yaml")]
    # Whoever names a file wants that one.
    named = load_layers(preset, environ={"FILE": "other.yaml"})
    assert said(named) == ["preset p:2:18: error: include: there is no such file: other.yaml"]
    Path("mesh.yaml").write_text("zone: high\ninclude: more.yaml\n")
    Path("more.yaml").write_text("route_order: file\n")
    shown = document(load_layers(preset))
    assert (shown["zone"], shown["route_order"]) == ("high", "file")
    assert document(load_layers(preset, "zone: own\n"))["zone"] == "own"
    Path("more.yaml").unlink()
    assert said(load_layers(preset)) == ["mesh.yaml:2:10: error: include: there is no such file: more.yaml"]
    Path("more.yaml").write_text("include: mesh.yaml\n")
    assert any("files include each other" in line for line in said(load_layers(preset)))


@pytest.mark.parametrize("text", ["", "zone: high\n", "services:\n", "services: []\n", "services: ''\n", "[]\n"])
def test_an_included_file_may_have_to_say_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    wanting = "include: [{path: mesh.yaml, optional: true, needs: [services]}]\n"
    assert said(load_layers(wanting)) == []
    Path("mesh.yaml").write_text("services: [{name: a, url: 'http://127.0.0.1:9'}]\n")
    assert "services" in document(load_layers(wanting))
    Path("mesh.yaml").write_text(text)
    assert "mesh.yaml: error: it has no services" in said(load_layers(wanting))


def test_files_are_included_four_deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(1, 5):
        Path(f"{number}.yaml").write_text(f"include: {number + 1}.yaml\n")
    Path("4.yaml").write_text("zone: deep\n")
    assert document(load_layers("", "include: 1.yaml\n"))["zone"] == "deep"
    Path("4.yaml").write_text("include: 5.yaml\n")
    Path("5.yaml").write_text("zone: deep\n")
    assert any("or too many of them" in line for line in said(load_layers("", "include: 1.yaml\n")))


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("9PORT: {}", "expected letters, digits and underscores"),
        ("A_*_*: {}", "expected letters, digits and underscores"),
        ("A: {type: int, default: many}", "env.A.default: expected a whole number"),
        ("A: {type: enum}", "an enum has values"),
        ("A: {values: [x]}", "an enum has values"),
        ("A: {aliases: [B]}, B: {}", "B is a variable of its own"),
        ("A: {typ: int}", 'unknown key - did you mean "type"?'),
        ("A: {required: NOBODY}", 'there is no variable "NOBODY" under env'),
    ],
)
def test_what_is_wrong_with_a_declaration_is_said(declared: str, message: str) -> None:
    result = load_layers(f"env: {{{declared}}}\n")
    assert result.config is None
    assert any(message in line for line in said(result)), said(result)


def test_defaults_lie_under_every_service() -> None:
    preset = """\
service_defaults:
  timeout: {response: 5}
  circuit_breaker: {threshold: 7, timeout: 20}
  routes: [{name: "v1-{service}", match: {path: "/v1/{service}"}}]
"""
    own = """\
services:
  - {name: plain, url: http://127.0.0.1:1}
  - name: says
    url: http://127.0.0.1:2
    circuit_breaker: {threshold: 3}
    routes: [{name: own, match: {path: /own}}]
  - {name: alone, url: http://127.0.0.1:3, use_defaults: false}
"""
    result = load_layers(preset, own, "services.plain.timeout.connect=1", "service_defaults.timeout.response=6")
    assert result.config is not None, said(result)
    assert [
        (service.name, service.breaker and (service.breaker.threshold, service.breaker.timeout))
        for service in result.config.services
    ] == [("plain", (7, 20)), ("says", (3, 20)), ("alone", None)]
    assert {route.name: route.timeout.response for route in result.config.routes} == {
        "v1-plain": 6,
        "v1-says": 6,
        "own": 6,
    }


def test_what_is_wrong_with_defaults_is_said_once() -> None:
    own = "services: [{name: a, url: http://127.0.0.1:1}, {name: b, url: http://127.0.0.1:2}]\n"
    result = load_layers("service_defaults: {timeout: {response: -1}}\n", own)
    assert len(said(result)) == 1, said(result)


def test_variables_are_shown_as_a_file_that_sets_them() -> None:
    assert env_example(PRESET, "preset p").splitlines()[2:8] == [
        "# Port.",
        "#PORT=8600",
        "",
        "# What tokens are signed with.",
        "#SECRET=",
        "",
    ]


@pytest.mark.parametrize(
    ("required", "line"), [("true", "KEY="), ("{KIND: [a]}", "KEY="), ("{KIND: b}", "#KEY="), ("false", "#KEY=")]
)
def test_what_is_required_by_default_stands_there_to_be_filled_in(required: str, line: str) -> None:
    preset = f"env: {{KIND: {{type: enum, values: [a, b], default: a}}, KEY: {{required: {required}}}}}\n"
    assert line in env_example(preset, "preset p").splitlines()


def test_what_a_variable_stands_for_is_shown_unless_it_is_secret() -> None:
    preset = "env: {PORT: {default: 8600}, SECRET: {secret: true}}\nlisten: ['127.0.0.1:${PORT}']\nzone: ${SECRET}\n"
    result = load_layers(preset, environ={"SECRET": "hidden"})
    values = {written.path: (written.value, str(written.origin)) for written in result.origins.written()}
    assert values["listen[0]"] == ("${PORT} = 127.0.0.1:8600", "preset p:2:10")
    assert values["zone"] == ("${SECRET}", "environment, at preset p:3:7")


def test_a_variable_of_text_stays_text_whatever_it_looks_like_and_still_is_the_number_that_a_key_takes() -> None:
    preset = """
env: {VERSION: {default: '1.0'}, COUNT: {type: int, default: 2}, PLACES: {default: '3'}}
errors: {body: {version: "${VERSION}", no: "${VERSION}", count: "${COUNT}"}}
workers: "${PLACES}"
"""
    config = load_layers(preset, environ={"VERSION": "2.0"}).config
    assert config is not None
    assert config.errors.body == {"version": "2.0", "no": "2.0", "count": 2}
    assert config.workers == 3


def test_what_cannot_be_included_stops_nothing(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, reason in ((pipe, "it is a pipe"), ("x" * 5000, "File name too long")):
        (line,) = said(load_layers(f"include: [{{path: '{path}', optional: true}}]\n"))
        assert "error: the file cannot be read" in line
        assert reason in line


CHOICES = """
env: {LEVEL: {default: info}, STORE: {}, ON: {type: bool}, SIZE: {type: int, default: 5}}
telemetry: {level: {select: LEVEL, cases: {warn: warning, loud: debug, none: null}, else: info}}
store: {select: STORE, cases: {shared: {type: shared}, other: {type: redis, url: "redis://127.0.0.1:1"}}}
workers: {when: ON, value: 3}
trusted_hosts: {select: STORE, cases: {shared: []}, else: [a.test]}
http: {max_connections: {when: ON, value: "${SIZE}"}}
"""
CHOSEN_OTHERWISE = """
telemetry: {level: error}
store: memory
workers: 4
trusted_hosts: [b.test]
http: {max_connections: 8}
"""


def chosen(**environ: str) -> tuple[Any, ...]:
    """Return what a file that says otherwise leaves of what variables choose."""
    source = load_layers(CHOICES, CHOSEN_OTHERWISE, environ=environ).source
    assert source is not None
    hosts = source.trusted_hosts
    return source.telemetry.level, source.store.type, source.workers, hosts, source.http.max_connections


def test_what_a_variable_that_is_set_chooses_goes_before_the_files() -> None:
    own = ("error", "memory", 4, ["b.test"], 8)
    assert chosen() == own
    assert chosen(LEVEL="warn") == ("warning", *own[1:])
    assert chosen(STORE="shared") == (own[0], "shared", own[2], [], own[4])
    assert chosen(STORE="other")[1] == "redis"
    assert chosen(ON="yes") == (*own[:2], 3, *own[3:])
    assert chosen(ON="yes", SIZE="9") == (*own[:2], 3, own[3], 9)


def test_what_nobody_has_chosen_is_the_files_to_say() -> None:
    own = ("error", "memory", 4, ["b.test"], 8)
    assert chosen(LEVEL="info") == own
    assert chosen(LEVEL="none") == own
    assert chosen(ON="no", STORE="neither") == own


def test_who_chose_a_value_is_shown() -> None:
    result = load_layers(CHOICES, environ={"LEVEL": "warn", "ON": "1"})
    values = {written.path: (written.value, str(written.origin)) for written in result.origins.written()}
    assert values["telemetry.level"] == ("warning", "environment (LEVEL), at preset p:3:50")
    assert values["workers"] == ("3", "environment (ON), at preset p:5:28")
    assert values["http.max_connections"] == ("${SIZE} = 5", "preset p:7:43")
    result = load_layers(CHOICES.replace("cases: {warn", "cases: {info: error, warn"))
    values = {written.path: (written.value, str(written.origin)) for written in result.origins.written()}
    assert values["telemetry.level"] == ("error", "preset p:3:50")
