"""The Dockerfile, the compose files and Railway's file: linted, held to their schemas and to the gateway."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from jsonschema import validators

from headgate.config.preset import preset_names, preset_text
from tests.control.driver import CEILING
from tests.deploy.dockerfile import FILE, image, stages
from tests.deploy.installed import ROOT

COMPOSE = ("docker-compose.yaml", "docker-compose.test.yaml")
RAILWAY = tomllib.loads((ROOT / "railway.toml").read_text())
# What every gateway reads, whatever its preset says.
OWN = {"HEADGATE_PRESET", "HEADGATE_ADMIN_TOKEN", "HEADGATE_STATE_DIR"}


def compose(file: str) -> dict[str, Any]:
    """Return a compose file with its variables as nobody sets them."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (ROOT / file).read_text())
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def services(file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from compose(file)["services"].items()


def check(folder: Path, environ: dict[str, str], *words: str) -> str:
    """Run `headgate check` as there, and return what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "headgate", "check", *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "HEADGATE_STATE_DIR": str(folder), **environ},
        capture_output=True,
        text=True,
        timeout=CEILING,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def declared(preset: str) -> set[str]:
    return set(yaml.safe_load(preset_text(preset))["env"])


def test_hadolint_finds_nothing_wrong() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), "--failure-threshold", "style", FILE],
        capture_output=True,
        text=True,
        timeout=CEILING,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_it_is_built_from_is_pinned() -> None:
    first, *others = stages()
    (base,) = [each.text for each in first if each.name == "ARG"]
    assert re.fullmatch(r"PYTHON=python:3\.\d+\.\d+-slim-\w+", base)
    assert all(each[0].text.split()[0] == "${PYTHON}" for each in others)
    installs = [part for each in others[0] for part in each.text.split("&&") if "pip install" in part]
    # Each package by its hash, or a file made here.
    assert all("--require-hashes" in part or "--no-index" in part for part in installs)
    assert len(installs) == 3


def test_what_is_copied_is_there_and_is_let_in() -> None:
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert ignored[0] == "*"
    let_in = [line[1:] for line in ignored if line.startswith("!")]
    for stage in stages()[1:]:
        for each in stage:
            if each.name == "COPY" and not each.text.startswith("--from"):
                for path in each.text.split()[:-1]:
                    assert (ROOT / path).exists()
                    assert any(fnmatch.fnmatch(path.rstrip("/"), pattern) for pattern in let_in), path
    assert all((ROOT / path).exists() for path in let_in)


def test_it_runs_as_somebody_who_may_nothing() -> None:
    made = image()
    assert made.user == "1000:1000"
    # Made for that user, so that it can be written without a volume; Railway refuses to build what declares one.
    commands = [each.text for each in stages()[-1] if each.name == "RUN"]
    assert f"--owner headgate --group headgate --mode 700 {made.environ['HEADGATE_STATE_DIR']}" in " ".join(commands)
    assert not [each for stage in stages() for each in stage if each.name == "VOLUME"]
    # Neither the environment nor the base can install anything.
    removed = [each.text for stage in stages()[1:] for each in stage if "pip uninstall --yes" in each.text]
    assert len(removed) == 2
    assert (made.entrypoint, made.command) == (["headgate"], ["run"])
    assert not [each for each in stages()[-1] if each.name == "COPY" and ".env" in each.text]


def test_every_port_of_a_preset_is_exposed() -> None:
    (exposed,) = [set(each.text.split()) for each in stages()[-1] if each.name == "EXPOSE"]
    ports = set()
    for preset in preset_names():
        variables = yaml.safe_load(preset_text(preset))["env"]
        ports |= {
            str(variables[name]["default"]) for name in ("PORT", "SERVER_PORT", "GATEWAY_PORT") if name in variables
        }
    assert exposed == ports


@pytest.mark.parametrize("preset", preset_names())
def test_a_line_that_builds_an_image_is_about_the_preset_of_its_folder(preset: str) -> None:
    """S0-03: `docker build -t service-mesh .` says nothing of a preset, so the folder it is run in does."""
    first, second = stages(ROOT / "examples/compat" / preset / "Dockerfile")
    assert [each.text for each in first] == ["BASE=ai-gateway"]
    # All else is the image's own.
    assert [(each.name, each.text) for each in second] == [("FROM", "${BASE}"), ("ENV", f"HEADGATE_PRESET={preset}")]


@pytest.mark.parametrize("file", COMPOSE)
def test_compose_files_are_what_the_specification_says(file: str) -> None:
    schema = get_builtin_schema("vendor.compose-spec")
    validator = validators.validator_for(schema)(schema)
    assert [error.message for error in validator.iter_errors(compose(file))] == []


@pytest.mark.parametrize("file", COMPOSE)
def test_compose_files_pin_images_and_mount_what_is_there(file: str) -> None:
    found = compose(file)
    # Compose builds at once what is to be built, and an image that is written twice at once stops it.
    (own,) = [service["image"] for _, service in services(file) if service.get("build") == "."]
    for name, service in services(file):
        assert re.search(r":v?\d+\.\d+(\.\d+)?(-\w+)?$", service["image"]) or service["image"] == own, name
        for volume in service.get("volumes", []):
            source, target, *mode = volume.split(":")
            if source.startswith("."):
                assert (ROOT / source).is_file(), volume
                assert mode == ["ro"]
            else:
                assert source in found["volumes"]
            assert target.startswith("/")
        # On a machine that trusts its network this would be open to all of it, with secrets that everybody knows.
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert set(service.get("depends_on", {})) <= set(found["services"])


@pytest.mark.parametrize("file", COMPOSE)
def test_what_compose_says_to_the_gateway_is_what_it_takes(file: str, tmp_path: Path) -> None:
    gateway = compose(file)["services"]["gateway"]
    environ = gateway["environment"]
    preset = environ["HEADGATE_PRESET"]
    families = [name.replace("*", "[A-Z0-9_]+") for name in declared(preset)]
    for name in set(environ) - OWN:
        assert any(re.fullmatch(family, name) for family in families), name
    command = gateway["command"]
    assert command[0] == "run"
    check(tmp_path, environ)
    # And each service that it speaks to is one of the file.
    for url in re.findall(r"http://([\w-]+):", json.dumps(environ)):
        assert url in compose(file)["services"] or url == "localhost", url
    # The issuer is on the gateway's own loopback, which alone needs no TLS.
    issuer = compose(file)["services"]["issuer"]
    assert issuer["network_mode"] == "service:gateway"
    assert issuer["command"][1] == environ.get("OIDC_ISSUER", "http://localhost:8090")


def test_the_two_files_are_beside_each_other_on_one_machine() -> None:
    ports = [
        port.split(":")[1] for file in COMPOSE for _, service in services(file) for port in service.get("ports", [])
    ]
    assert len(ports) == len(set(ports))
    assert {"8080", "8082", "6379", "6380", "8081"} <= set(ports)
    # The description's name of the file.
    assert (ROOT / "docker-compose.test.yml").samefile(ROOT / COMPOSE[1])
    assert compose(COMPOSE[1])["services"]["gateway"]["environment"]["AUTH_TYPE"] == "mock"


def test_prometheus_and_grafana_are_given_what_is_there() -> None:
    scraped = yaml.safe_load((ROOT / "deploy/compose/prometheus.yaml").read_text())
    assert scraped["scrape_configs"][0]["static_configs"][0]["targets"] == ["gateway:8081"]
    assert compose(COMPOSE[0])["services"]["gateway"]["command"] == ["run", "--admin", "0.0.0.0:8081"]
    provided = yaml.safe_load((ROOT / "deploy/compose/grafana/dashboards.yaml").read_text())["providers"][0]
    mounted = [volume.split(":")[1] for volume in compose(COMPOSE[0])["services"]["grafana"]["volumes"]]
    assert f"{provided['options']['path']}/headgate.json" in mounted
    sources = yaml.safe_load((ROOT / "deploy/compose/grafana/datasources.yaml").read_text())["datasources"]
    for source in sources:
        assert re.fullmatch(r"http://(\w+):\d+", source["url"])[1] in compose(COMPOSE[0])["services"]  # type: ignore[index]


def test_nobody_logs_in_with_a_password_that_everybody_knows() -> None:
    grafana = compose(COMPOSE[0])["services"]["grafana"]["environment"]
    assert grafana["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert grafana["GF_AUTH_BASIC_ENABLED"] == "false"
    assert grafana["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"


@pytest.mark.parametrize("file", COMPOSE)
def test_no_container_has_more_rights_than_it_needs_nor_is_seen_from_outside(file: str) -> None:
    for name, service in compose(file)["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name


def test_railway_is_told_what_the_description_says() -> None:
    """S1-47: healthcheckPath /health, timeout 300 s, restart ON_FAILURE three times, two environments."""
    deploy = RAILWAY["deploy"]
    assert (deploy["healthcheckPath"], deploy["healthcheckTimeout"]) == ("/health", 300)
    assert (deploy["restartPolicyType"], deploy["restartPolicyMaxRetries"]) == ("ON_FAILURE", 3)
    assert set(RAILWAY["environments"]) == {"production", "staging"}
    assert (ROOT / RAILWAY["build"]["dockerfilePath"]) == FILE
    # The gateway has its 30 seconds to end.
    assert deploy["drainingSeconds"] > 30


@pytest.mark.parametrize("name", ["production", "staging"])
def test_railways_services_are_found_by_their_names_there(name: str, tmp_path: Path) -> None:
    shell, option, line = shlex.split(RAILWAY["environments"][name]["deploy"]["startCommand"])
    assert (shell, option) == ("/bin/sh", "-c")
    assert line.startswith(f"ENVIRONMENT=${{ENVIRONMENT:-{name}}} ")
    words = line[line.index("exec ") :].split()
    assert words[1:3] == ["headgate", "run"]
    copied = next(each.text.split() for each in stages()[-1] if each.text.startswith("deploy/railway"))
    own = words[3].replace(copied[1], str(ROOT / copied[0]) + "/")
    environ = {"JWT_SECRET_KEY": "x" * 32, "PORT": "4321", "ENVIRONMENT": name}
    said = check(tmp_path, environ, own, *words[4:], "--explain")
    suffix = {"production": "", "staging": "-staging"}[name]
    assert f"http://overview-service{suffix}.railway.internal:8001" in said
    assert f"http://webhooks-service{suffix}.railway.internal:8018" in said
    assert "4321" in said
    # A variable wins over the file.
    said = check(tmp_path, environ | {"OVERVIEW_SERVICE_URL": "http://elsewhere:1"}, own, *words[4:], "--explain")
    assert "http://elsewhere:1" in said
    assert f"http://overview-service{suffix}.railway.internal" not in said


@pytest.mark.parametrize(
    ("environment", "file"),
    [("production", "production"), ("staging", "staging"), ("pr-7", "staging"), ("", "staging")],
)
def test_the_line_for_railways_other_environments_names_a_file_that_is_there(
    environment: str, file: str, tmp_path: Path
) -> None:
    program = tmp_path / "headgate"
    program.write_text('#!/bin/sh\necho "$ENVIRONMENT $PWD $*"\n')
    program.chmod(0o755)
    there = ROOT / "deploy" / "railway"
    line = shlex.split(RAILWAY["deploy"]["startCommand"].replace("/etc/headgate/railway", str(there)))
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "RAILWAY_ENVIRONMENT_NAME": environment}
    done = subprocess.run(line, env=environ, capture_output=True, text=True, timeout=CEILING, check=True)
    assert done.stdout == f"staging {there} run {file}.yaml --preset vocelio\n"
    assert (there / f"{file}.yaml").is_file()
