"""Wheel and sdist: what is in them, and that what was installed from them works with nothing of this checkout."""

from __future__ import annotations

import email
import os
import signal
import subprocess
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement

from headgate import __version__
from headgate.config.preset import preset_names
from tests.control.driver import CEILING, free_port, until
from tests.deploy.installed import ROOT, build, install

# Beside its environment, where man(1) looks for what is on PATH.
MANUAL = f"headgate-{__version__}.data/data/share/man/man1/headgate.1"
TRACKED = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
).stdout.splitlines()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("package")


@pytest.fixture(scope="module")
def sdist(folder: Path) -> Path:
    """The sdist, unpacked."""
    (folder / "unpacked").mkdir()
    subprocess.run(["tar", "-xf", build("sdist", folder / "sdist"), "-C", folder / "unpacked"], check=True)
    (source,) = (folder / "unpacked").iterdir()
    return source


@pytest.fixture(scope="module")
def wheel(folder: Path, sdist: Path) -> Path:
    """The wheel that is built from the sdist, as one for a release is."""
    return build("wheel", folder / "wheel", sdist)


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
    assert names - {MANUAL} == wanted
    assert MANUAL in names


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


def test_the_sdist_has_what_a_wheel_is_built_of_and_what_it_is_tested_by(
    sdist: Path, wheel: Path, folder: Path
) -> None:
    direct = build("wheel", folder / "direct")
    with zipfile.ZipFile(direct) as one, zipfile.ZipFile(wheel) as other:
        assert one.namelist() == other.namelist()
    # A build leaves what it has compiled of its own hook.
    packed = (path for path in sdist.rglob("*") if path.is_file() and path.parent.name != "__pycache__")
    found = {str(path.relative_to(sdist)) for path in packed}
    # What tells git and the build server something is of no use without them.
    here = {name for name in TRACKED if (ROOT / name).is_file() and name not in (".gitignore", ".ci/run")}
    assert found - {"PKG-INFO", ".gitignore"} == here


def test_the_installed_command_is_the_wheels_own(programs: Path, folder: Path) -> None:
    code = "import headgate, sys; print(headgate.__file__)"
    found = subprocess.run([programs / "python", "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()).is_relative_to(folder / "environment")
    assert run(programs, folder / "version", "--version") == f"headgate {__version__}\n"
    assert (programs.parent / "share/man/man1/headgate.1").is_file()
    assert "commands:" in run(programs, folder / "version", "--help")


@pytest.mark.parametrize("preset", preset_names())
def test_presets_come_along(programs: Path, wheel: Path, folder: Path, preset: str) -> None:
    with zipfile.ZipFile(wheel) as opened:
        text = opened.read(f"headgate/config/presets/{preset}.yaml").decode()
    assert run(programs, folder / "presets", "preset", "show", preset) == text
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

        def answered(url: str) -> bool:
            assert demo.poll() is None, (tmp_path / "said").read_text()
            try:
                return httpx.get(url, timeout=CEILING).status_code == 200
            except httpx.TransportError:
                return False

        for url in (f"http://127.0.0.1:{port}/hello", f"http://127.0.0.1:{admin}/ui/"):
            until(lambda url=url: answered(url), f"the demo answers at {url}")  # type: ignore[misc]
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(CEILING) == 0
    finally:
        demo.kill()
        demo.wait()
