"""What the Dockerfile says, run without Docker: in a mount and network namespace of its own, everything read-only but
the volume and 64 MB of shared memory, as user 1000 without any capability.

Needs root, as a container engine does, for the namespaces.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.control.driver import CEILING, until
from tests.deploy.dockerfile import image
from tests.deploy.installed import PACKAGES, build, install

# The root is remounted for this namespace alone. Docker gives a container /dev/shm of this size, unless told otherwise.
ENTER = """
set -e
cd "$1"
mount --bind "$2" packages
mount -t tmpfs -o "$3,mode=1777" tmpfs /dev/shm
mount -t tmpfs -o size=256m,mode=700,uid=1000,gid=1000 tmpfs state
while read -r _ place kind _; do
    case $kind in proc|sysfs|cgroup*|tmpfs|devtmpfs|devpts|mqueue) ;; *) mount -o remount,ro,bind "$place" ;; esac
done < /proc/self/mounts
case $(stat -f -c %T /tmp) in tmpfs) mount -o remount,ro,bind /tmp ;; esac
ip link set lo up
shift 3
exec "$@"
"""
NOBODY = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
NOBODY += ["--no-new-privs"]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that user 1000 may read, with the package installed."""
    reason = ""
    if os.geteuid() != 0:
        reason = "namespaces need root"
    elif subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True, check=False).returncode:
        reason = "this machine lets nobody make namespaces"
    elif not shutil.which("setpriv") or not shutil.which("ip"):
        reason = "setpriv (util-linux) and ip (iproute2) are missing"
    elif subprocess.run([*NOBODY, sys.executable, "-c", ""], capture_output=True, check=False).returncode:
        reason = f"user 1000 cannot run {sys.executable}"
    if reason:
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="headgate-container-"))
    folder.chmod(0o755)
    try:
        for name in ("packages", "state", "work"):
            (folder / name).mkdir()
        install(build("wheel", folder / "wheel"), folder / "environment", folder / "packages")
        yield folder
    finally:
        shutil.rmtree(folder)


class Container:
    """One run of the image's entry point."""

    def __init__(self, place: Path, preset: str, environ: Mapping[str, str] = {}, memory: str = "size=64m") -> None:
        self._place = place
        self._image = image(preset)
        programs = place / "environment" / "bin"
        self._environ = {
            **self._image.environ,
            **environ,
            "PATH": f"{programs}:{self._image.environ['PATH']}",
            "HEADGATE_STATE_DIR": str(place / "state"),
        }
        words = [*self._image.entrypoint, *self._image.command]
        command = ["unshare", "--mount", "--propagation", "private", "--net", "sh", "-c", ENTER, "sh"]
        command += [str(place), str(PACKAGES), memory, *NOBODY, "env", "--chdir", str(place / "work"), *words]
        with (place / "said").open("wb") as said:
            self.process = subprocess.Popen(command, env=self._environ, stdout=said, stderr=said)

    def inside(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run something in there, as `docker exec` does."""
        enter = ["nsenter", "--target", str(self.process.pid), "--mount", "--net", *NOBODY]
        return subprocess.run(
            [*enter, *words], env=self._environ, capture_output=True, text=True, timeout=CEILING, check=False
        )

    def get(self, url: str) -> tuple[int, Any]:
        """Ask from inside; return status and JSON."""
        code = (
            "import sys, urllib.request as u, urllib.error as e\\n"
            "try: answer = u.urlopen(sys.argv[1])\\n"
            "except e.HTTPError as error: answer = error\\n"
            "print(answer.status); print(answer.read().decode())"
        ).replace("\\n", "\n")
        done = self.inside("python", "-c", code, url)
        assert done.returncode == 0, done.stderr
        status, _, body = done.stdout.partition("\n")
        return int(status), json.loads(body)

    def healthy(self) -> bool:
        """Tell what HEALTHCHECK would."""
        assert self.process.poll() is None, self.said
        return self.inside(*self._image.health).returncode == 0

    @property
    def said(self) -> str:
        return (self._place / "said").read_text()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(CEILING)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def containers(place: Path) -> Iterator[list[Container]]:
    made: list[Container] = []
    yield made
    for each in made:
        each.close()


def test_docker_run_of_the_mesh(place: Path, containers: list[Container]) -> None:
    """S0-03: docker build -t service-mesh . && docker run -p 8600:8600 service-mesh"""
    made = Container(place, "service-mesh")
    containers.append(made)
    until(made.healthy, "the health check passes")
    status, body = made.get("http://127.0.0.1:8600/api/v1/health")
    assert status == 200
    # Nobody is there that it could discover services from.
    assert body["status"] in ("healthy", "degraded")
    # It is as locked up as the test believes.
    for path in ("/tmp/x", "/etc/x", str(place / "x"), str(place / "work" / "x")):
        assert "Read-only file system" in made.inside("touch", path).stderr
    who = made.inside("sh", "-c", "id -u; grep -h Cap /proc/self/status").stdout.split()
    assert who[0] == "1000"
    assert set(who[2::2]) == {"0000000000000000"}
    text = Path(f"/proc/{made.process.pid}/task/{made.process.pid}/children").read_text()
    states = [Path(f"/proc/{pid}/status").read_text() for pid in text.split()]
    assert len(states) >= 2
    assert all("Uid:\t1000\t1000\t1000\t1000" in state for state in states)
    assert made.stop() == 0, made.said
    assert "Traceback" not in made.said


def test_docker_run_of_the_sandbox(place: Path, containers: list[Container]) -> None:
    """S3-03: docker run -p 8080:8080 -e REDIS_URL=... -e JWT_SECRET_KEY=..., here with Redis away."""
    made = Container(place, "sandbox", {"JWT_SECRET_KEY": "k" * 32, "REDIS_URL": "redis://127.0.0.1:1/0"})
    containers.append(made)
    until(made.healthy, "the health check passes")
    status, body = made.get("http://127.0.0.1:8080/health")
    assert status == 200
    assert {"status", "timestamp", "version", "services", "circuit_breakers"} <= set(body)
    assert made.stop() == 0, made.said


def test_a_required_variable_that_is_missing_ends_the_container_with_its_name(
    place: Path, containers: list[Container]
) -> None:
    made = Container(place, "sandbox")
    containers.append(made)
    assert made.process.wait(CEILING) == 1
    assert "JWT_SECRET_KEY" in made.said
    assert "Traceback" not in made.said


def test_an_image_without_a_preset_says_what_it_wants(place: Path, containers: list[Container]) -> None:
    made = Container(place, "")
    containers.append(made)
    assert made.process.wait(CEILING) == 1
    assert "headgate.yaml" in made.said
    assert "Traceback" not in made.said


def test_where_nothing_at_all_can_be_written_it_says_what_is_missing(place: Path, containers: list[Container]) -> None:
    made = Container(place, "service-mesh", memory="ro")
    containers.append(made)
    assert made.process.wait(CEILING) == 1
    assert "let XDG_RUNTIME_DIR name one that can be written" in made.said
    assert "Traceback" not in made.said
