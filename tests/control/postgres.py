"""A real PostgreSQL for tests: a cluster of its own in a folder of its own, on a free port of loopback.

PostgreSQL refuses to run as root, so for root it runs as the user postgres, or else nobody.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg
import pytest

from tests.control.driver import CEILING, free_port, until

_INSTALL = "apt-get install postgresql"


def programs() -> Path | None:
    """Return the folder of initdb and postgres, of the newest version that is here."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda each: int(each.parts[-3]))
    return found[-1].parent if found else None


def need() -> Path:
    """Return the same; without it the test is skipped on a developer's machine, and fails in CI."""
    found = programs()
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"PostgreSQL is not installed: {_INSTALL}")
        pytest.skip(f"PostgreSQL is not installed: {_INSTALL}")
    return found


class Postgres:
    """A server; `password` is that of its user headgate."""

    password = "s3cret-of-postgres"

    def __init__(self) -> None:
        self._programs = need()
        self.port = free_port()
        user = _unprivileged()
        self._uid: int | None
        self._gid: int | None
        self._uid, self._gid = (None, None) if user is None else (user.pw_uid, user.pw_gid)
        # Folders of pytest are closed to other users.
        self.folder = Path(tempfile.mkdtemp(prefix="headgate-postgres-"))
        if user is not None:
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        secret = self.folder / "password"
        secret.write_text(self.password)
        secret.chmod(0o644)
        self._run(
            "initdb", "-D", str(self._data), "-U", "headgate", "-A", "scram-sha-256", "--pwfile", str(secret), "-N",
            "-E", "UTF8", "--locale", "C",
        )  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def url(self) -> str:
        return f"postgresql://headgate:{self.password}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start, and wait until it answers."""
        command = [
            str(self._programs / "postgres"), "-D", str(self._data), "-p", str(self.port), "-h", "127.0.0.1",
            "-k", str(self.folder), "-c", "fsync=off",
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                user=self._uid,
                group=self._gid,
            )
        until(self._answers, "PostgreSQL answers")

    def execute(self, statement: str) -> None:
        """Run a statement."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode())

    def fresh(self, name: str) -> str:
        """Make an empty database; return its URL."""
        self.execute(f"CREATE DATABASE {name}")
        return self.url.removesuffix("postgres") + name

    def kill(self) -> None:
        """End it at once, with all of its connections, and wait for that."""
        if self._process is not None:
            # Immediate shutdown: the children go, too, and it recovers at its next start as after a crash.
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(CEILING)
            self._process = None

    def close(self) -> None:
        """End it, and remove what it had."""
        self.kill()
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: str) -> None:
        ran = subprocess.run(
            [str(self._programs / program), *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            check=False,
            user=self._uid,
            group=self._gid,
        )
        assert ran.returncode == 0, ran.stderr

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def _unprivileged() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise AssertionError("no user for PostgreSQL, which refuses to run as root")
