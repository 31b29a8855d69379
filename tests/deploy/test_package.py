"""Wheel and sdist: what is in them, and that what was installed from them works with nothing of this checkout."""

from __future__ import annotations

import email
import os
import signal
import subprocess
import tarfile
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement

from headgate import __version__
from headgate.config.preset import preset_names, preset_text
from tests.control.driver import CEILING, free_port, until
from tests.deploy.installed import ROOT, build, install

TRACKED = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
).stdout.splitlines()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("package")


@pytest.fixture(scope="module")
def wheel(folder: Path) -> Path:
    return build("wheel", folder / "wheel")


@pytest.fixture(scope="module")
def sdist(folder: Path) -> Path:
    return build("sdist", folder / "sdist")


@pytest.fixture(scope="module")
def programs(folder: Path, wheel: Path) -> Path:
    return install(wheel, folder / "environment")


def environ(folder: Path, **more: str) -> Mapping[str, str]:
    """The environment of somebody who has just installed it: nothing of the tests' own but PATH."""
    kept = {"PATH": os.environ["PATH"], "HOME": str(folder), "HEADGATE_STATE_DIR": str(folder / "state")}
    return kept | more


def run(programs: Path, folder: Path, *words: str) -> str:
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [programs / "headgate", *words],
        cwd=folder,
        env=environ(folder),
        capture_output=True,
        text=True,
        timeout=CEILING,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_has_all_of_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        names = {name for name in opened.namelist() if ".dist-info/" not in name}
    wanted = {name for name in TRACKED if name.startswith("headgate/") and (ROOT / name).exists()}
    assert {name for name in wanted if name.endswith((".yaml", ".env.example", ".html", ".js", ".css"))} <= names
    assert names == wanted


def test_the_wheel_says_what_pyproject_says(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        (name,) = [name for name in opened.namelist() if name.endswith(".dist-info/METADATA")]
        told = email.message_from_bytes(opened.read(name))
        licences = [name for name in opened.namelist() if name.endswith("licenses/LICENSE")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (told["Name"], told["Version"], told["License-Expression"]) == ("headgate", __version__, "Apache-2.0")
    needed = {Requirement(each) for each in told.get_all("Requires-Dist", []) if "extra ==" not in each}
    assert needed == {Requirement(each) for each in project["dependencies"]}
    assert set(told.get_all("Provides-Extra", [])) == set(project["optional-dependencies"])
    assert licences


def test_the_wheel_built_from_the_sdist_is_the_same(sdist: Path, wheel: Path, folder: Path) -> None:
    with tarfile.open(sdist) as opened:
        opened.extractall(folder / "unpacked", filter="data")
    (source,) = (folder / "unpacked").iterdir()
    again = build("wheel", folder / "again", source)

    def contents(path: Path) -> dict[str, int]:
        with zipfile.ZipFile(path) as opened:
            return {each.filename: each.CRC for each in opened.infolist()}

    assert contents(again) == contents(wheel)
    assert (source / "tests").is_dir()
    assert (source / "LICENSE").is_file()
    assert not (source / ".env").exists()


def test_the_installed_command_is_the_wheels_own(programs: Path, folder: Path) -> None:
    code = "import headgate, sys; print(headgate.__file__)"
    found = subprocess.run([programs / "python", "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()).is_relative_to(folder / "environment")
    assert run(programs, folder / "version", "--version") == f"headgate {__version__}\n"
    assert "commands:" in run(programs, folder / "version", "--help")


@pytest.mark.parametrize("preset", preset_names())
def test_presets_come_along(programs: Path, folder: Path, preset: str) -> None:
    assert run(programs, folder / "presets", "preset", "show", preset) == preset_text(preset)
    assert "=" in run(programs, folder / "presets", "preset", "show", preset, "--env")


def test_the_demo_of_the_installed_package_serves(programs: Path, tmp_path: Path) -> None:
    port, admin = free_port(), free_port()
    with (tmp_path / "said").open("wb") as said:
        demo = subprocess.Popen(
            [programs / "headgate", "demo", "--port", str(port), "--admin-port", str(admin)],
            cwd=tmp_path,
            env=environ(tmp_path),
            stdout=said,
            stderr=said,
        )
    try:

        def answered() -> bool:
            assert demo.poll() is None, (tmp_path / "said").read_text()
            try:
                return httpx.get(f"http://127.0.0.1:{port}/hello").status_code == 200
            except httpx.TransportError:
                return False

        until(answered, "the demo answers")
        assert httpx.get(f"http://127.0.0.1:{admin}/ui/").status_code == 200
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(CEILING) == 0
    finally:
        demo.kill()
        demo.wait()
