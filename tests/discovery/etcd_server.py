"""A real etcd on loopback, in a folder of its own, gone with the test that started it."""

from __future__ import annotations

import base64
import json
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.control.driver import CEILING, free_port
from tests.wire.certificates import Authority


class Etcd:
    """One member."""

    def __init__(self, folder: Path, authority: Authority | None = None) -> None:
        """With an `authority` it speaks TLS, and takes only clients with a certificate of it."""
        program = shutil.which("etcd")
        assert program is not None, "etcd is not installed (apt-get install etcd-server)"
        self._command = [program, "--data-dir", str(folder / "etcd"), "--log-level", "error", "--logger", "zap"]
        # What a test stores need not outlive the machine, and others may keep its disk busy.
        self._command += ["--unsafe-no-fsync"]
        self.port, peers = free_port(), free_port()
        self.url = f"http{'s' if authority else ''}://127.0.0.1:{self.port}"
        peer_url = f"http://127.0.0.1:{peers}"
        self._command += ["--listen-client-urls", self.url, "--advertise-client-urls", self.url]
        self._command += ["--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url]
        self._command += ["--initial-cluster", f"default={peer_url}"]
        self._tls: ssl.SSLContext | None = None
        if authority is not None:
            cert, key = authority.issue("127.0.0.1")
            self._command += ["--cert-file", cert, "--key-file", key]
            self._command += ["--client-cert-auth", "--trusted-ca-file", authority.path]
            self._tls = ssl.create_default_context(cafile=authority.path)
            self._tls.load_cert_chain(cert, key)
        self._process: subprocess.Popen[bytes] | None = None
        self.token = ""

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + CEILING
        while True:
            try:
                self.ask("kv/range", key=_encoded("/"))
                return
            except (OSError, urllib.error.URLError) as error:
                if isinstance(error, urllib.error.HTTPError) and error.code != 503:
                    return
                assert self._process.poll() is None, "etcd has ended"
                assert time.monotonic() < end, "etcd does not answer"
                time.sleep(0.02)

    def kill(self) -> None:
        """Kill it; what it has stored stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def ask(self, method: str, **question: Any) -> dict[str, Any]:
        """Ask its JSON gateway."""
        fields = {"Authorization": self.token} if self.token else {}
        request = urllib.request.Request(f"{self.url}/v3/{method}", json.dumps(question).encode(), fields)
        with urllib.request.urlopen(request, timeout=CEILING, context=self._tls) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found

    def put(self, key: str, value: str, lease: str = "0") -> int:
        """Write a key; return the revision."""
        found = self.ask("kv/put", key=_encoded(key), value=_encoded(value), lease=lease)
        return int(found["header"]["revision"])

    def delete(self, key: str) -> None:
        """Remove a key."""
        self.ask("kv/deleterange", key=_encoded(key))

    def compact(self, revision: int) -> None:
        """Forget what was before a revision."""
        self.ask("kv/compaction", revision=str(revision), physical=True)

    def want_passwords(self, password: str) -> None:
        """Turn authentication on, with `root` and a reader of /services/."""
        self.ask("auth/user/add", name="root", password=password)
        self.ask("auth/user/grant", user="root", role="root")
        self.ask("auth/user/add", name="reader", password=password)
        self.ask("auth/role/add", name="reading")
        permission = {"permType": "READ", "key": _encoded("/services/"), "range_end": _encoded("/services0")}
        self.ask("auth/role/grant", name="reading", perm=permission)
        self.ask("auth/user/grant", user="reader", role="reading")
        self.ask("auth/enable")
        self.token = self.ask("auth/authenticate", name="root", password=password)["token"]


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
