"""Variables that nothing reads: who misspells one is told, and nobody is told of what is not ours."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.config.layers import load_layers, said

PRESET = """
env:
  PORT: {type: int, default: 8080}
  JWT_SECRET: {secret: true}
  REQUEST_TIMEOUT: {type: duration, default: 30, aliases: TIMEOUT_SECONDS}
  PLACE_*_URLS: {type: list}
  PLACE_*_WEIGHTS: {type: list}
"""


def warned(environ: Mapping[str, str], dotenv: bool = False, own: str = "", preset: str = PRESET) -> list[str]:
    """Return what is said of these variables; `dotenv`: they stand in that file."""
    return said(load_layers(preset, own, environ=environ, dotenv=environ.keys() if dotenv else frozenset()))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("PORTS", "PORT"),
        ("JWT_SECRETT", "JWT_SECRET"),
        ("REQUEST_TIMEOUTS", "REQUEST_TIMEOUT"),
        ("TIMEOUT_SECOND", "TIMEOUT_SECONDS"),
        ("request_timeuot", "REQUEST_TIMEOUT"),
        ("PLACE_CHAT_URL", "PLACE_CHAT_URLS"),
        ("PLACES_MY_CHAT_URLS", "PLACE_MY_CHAT_URLS"),
    ],
)
def test_a_name_that_is_nearly_one_of_ours_is_asked_about(name: str, meant: str) -> None:
    sentence = f"warning: nothing reads {name} - did you mean {meant}?"
    assert warned({name: "hidden-value"}) == [f"environment: {sentence}"]
    assert warned({name: "hidden-value"}, dotenv=True) == [f".env: {sentence}"]


def test_the_name_of_a_tool_may_be_nearly_one_of_ours_too() -> None:
    preset = "env: {OTEL_EXPORTER_ENDPOINT: {}}\n"
    sentence = "nothing reads OTEL_EXPORTER_ENDPONT - did you mean OTEL_EXPORTER_ENDPOINT?"
    assert warned({"OTEL_EXPORTER_ENDPONT": "x"}, preset=preset) == [f"environment: warning: {sentence}"]


def test_what_begins_as_a_family_does_is_told_the_family() -> None:
    sentence = "nothing reads PLACE_CHAT_TIMEOUT - known: PLACE_*_URLS, PLACE_*_WEIGHTS"
    assert warned({"PLACE_CHAT_TIMEOUT": "5"}) == [f"environment: warning: {sentence}"]


@pytest.mark.parametrize(
    "environ",
    [
        {"PORT": "1", "PORTS": "2"},
        {"port": "1", "jwt_secret_file": "/dev/null/none"} | {"JWT_SECRET": "x"},
        {"PLACE_CHAT_URLS": "http://a", "place_chat_weights": "1"},
        {"TIMEOUT_SECONDS": "5"},
        {"HEADGATE_PORT": "1"},
        {"PIP_REQUEST_TIMEOUT": "5", "A_REQUEST_TIMEOUT": "5", "UV_REQUEST_TIMEOU": "5"},
        {"PORTS": ""},
        {"DATABASE_URL": "x", "HOSTNAME": "x", "LANG": "C"},
        {"JWT_SECRET_KEY": "another system's"},
        {"PORT_SERVICE_HOST": "10.0.0.1", "PLACE_SERVICE_PORT_HTTP": "80", "PORT_80_TCP": "tcp://10.0.0.1:80"},
    ],
    ids=lambda environ: next(iter(environ)),
)
def test_nothing_is_said_of_what_others_may_mean(environ: dict[str, str]) -> None:
    assert warned(environ) == []


def test_a_stranger_in_dotenv_is_named() -> None:
    names = {"ANYTHING_ELSE": "1", "COMPOSE_PROJECT_NAME": "x", "POSTGRES_DB": "x", "TZ": "x", "port": "1"}
    assert warned(names, dotenv=True) == [".env: warning: nothing reads ANYTHING_ELSE"]
    sentence = "nothing reads JWT_SECRET_KEY - did you mean JWT_SECRET?"
    assert warned({"JWT_SECRET_KEY": "x"}, dotenv=True) == [f".env: warning: {sentence}"]
    names = {f"NAME{number}": "1" for number in range(12)}
    assert warned(names, dotenv=True) == [f".env: warning: nothing reads {', '.join(sorted(names)[:10])}, 2 more"]


def test_the_rest_of_a_key_is_no_name() -> None:
    assert warned({"gYkAbR7dQmZ0pX": "="}, dotenv=True) == [".env: warning: nothing reads 1 of its names"]


@pytest.mark.parametrize("dotenv", [True, False])
def test_what_a_file_uses_by_itself_is_read(dotenv: bool) -> None:
    own = "zone: '${ZONE_OF_OURS}'\nservices: [{name: chat, discovery: environment}]\n"
    names = {"ZONE_OF_OURS": "a", "CHAT_SERVICE_URL": "http://127.0.0.1:1"}
    assert warned(names, dotenv, own) == []


def test_without_declarations_nothing_is_said() -> None:
    assert warned({"ANYTHING": "1"}, dotenv=True, preset="workers: 1\n") == []


def test_who_misspelt_what_is_required_is_told_beside_the_error() -> None:
    lines = warned({"JWT_SECRETKEY": "x"}, preset="env: {JWT_SECRET_KEY: {required: true}}\n")
    assert [line.partition(" - ")[0] for line in lines] == [
        "environment: error: JWT_SECRET_KEY is not set, and the gateway cannot start without it",
        "environment: warning: nothing reads JWT_SECRETKEY",
    ]


SERVED = """
env: {PORT: {type: int, default: 8080}, LEVEL: {default: info}}
listen: ["0.0.0.0:${PORT}"]
services: [{name: a, url: "http://127.0.0.1:1", routes: [{name: a, match: {path: /}}]}]
telemetry: {level: "${LEVEL}"}
"""


def test_a_variable_whose_place_a_file_has_taken_has_no_effect() -> None:
    own = "listen: ['127.0.0.1:7000']\n"
    sentence = "PORT has no effect: a file says something else in the place where it stands"
    hint = "write ${PORT} there, or do not set it"
    assert warned({"PORT": "1"}, own=own, preset=SERVED) == [f"environment: warning: {sentence} - {hint}"]
    assert warned({}, own=own, preset=SERVED) == []
    assert warned({"PORT": "1"}, own="listen: ['127.0.0.1:${PORT}']\n", preset=SERVED) == []
    # A variable goes before what a file says in its own place.
    assert warned({"LEVEL": "debug"}, own="telemetry: {level: error}\n", preset=SERVED) == []
