"""Who runs in the bench: how each peer is found, configured and started, and how to install it when it is missing.

A peer that is missing is a line in the output and no error; its bounds are then not judged.
"""

from __future__ import annotations

import getpass
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import configs, setup
from bench.configs import Setting
from bench.stage import Running, Stage

# Where scripts/compile leaves the package with its request path compiled.
COMPILED = Path(__file__).parent.parent / "build" / "compiled"
_DEBIAN_SBIN = ("/usr/sbin", "/sbin", "/usr/local/sbin")


@dataclass(frozen=True, slots=True)
class Peer:
    """A gateway the bench can start.

    `command` returns the command line for a setting, after it wrote the configuration; `version` is None when the
    peer is not here, and `install` then says how to get it.
    """

    name: str
    title: str
    install: str
    version: Callable[[], str | None]
    command: Callable[[Setting], list[str]]


def start(peer: Peer, stage: Stage, setting: Setting, core: int) -> Running:
    """Start the peer on `core`; whether it answers already is the caller's question."""
    return stage.start(peer.name, peer.command(setting), core)


def program(name: str) -> str | None:
    """Find a program, also where Debian puts daemons and a plain user's PATH does not look."""
    return shutil.which(name) or shutil.which(name, path=":".join(_DEBIAN_SBIN))


def root_user() -> str:
    """Return the user nginx must be told to stay when it is started by root, else nothing."""
    return getpass.getuser() if os.geteuid() == 0 else ""


def _said(command: list[str], pattern: str) -> str | None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(pattern, result.stdout + result.stderr)
    return found[1] if found else None


def _write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def nginx_command(conf: Path) -> list[str]:
    """Return the command line of nginx; `-e` because it opens its default log before it has read the configuration."""
    return [program("nginx") or "nginx", "-e", str(conf.with_suffix(".err")), "-p", str(conf.parent), "-c", str(conf)]


def nginx_version() -> str | None:
    """Return the version of nginx, None when it is not installed."""
    path = program("nginx")
    return _said([path, "-v"], r"nginx/(\S+)") if path else None


def _nginx(setting: Setting) -> list[str]:
    conf = setting.folder / f"nginx-{setting.port}.conf"
    conf.write_text(configs.nginx_conf(setting, root_user()))
    return nginx_command(conf)


def _haproxy_version() -> str | None:
    path = program("haproxy")
    return _said([path, "-v"], r"version (\d[\d.]*)") if path else None


def _haproxy(setting: Setting) -> list[str]:
    conf = _write(setting.folder / f"haproxy-{setting.port}.cfg", configs.haproxy_conf(setting))
    return [program("haproxy") or "haproxy", "-db", "-f", conf]


def _envoy_path() -> str | None:
    # The wheel holds the binary under envoy/_bin; a system's own Envoy serves as well.
    inside = sorted(setup.FOLDER.glob("lib/python3*/site-packages/envoy/_bin/envoy"))
    return str(inside[0]) if inside else program("envoy")


def _envoy_version() -> str | None:
    path = _envoy_path()
    return _said([path, "--version"], r"/(\d+\.\d+\.\d+)") if path else None


def _envoy(setting: Setting) -> list[str]:
    conf = _write(setting.folder / f"envoy-{setting.port}.yaml", configs.envoy_conf(setting))
    return [_envoy_path() or "envoy", "--concurrency", "1", "--disable-hot-restart", "-l", "error", "-c", conf]


def _usual_version() -> str | None:
    if not setup.PYTHON.exists():
        return None
    script = "from importlib.metadata import version as v; print(*map(v, ['fastapi', 'uvicorn', 'httpx']))"
    said = _said([str(setup.PYTHON), "-c", script], r"^(\d\S* \d\S* \d\S*)$")
    return " / ".join(said.split()) if said else None


def _usual(setting: Setting) -> list[str]:
    app = Path(__file__).parent / "peer_app.py"
    return [str(setup.PYTHON), str(app), str(setting.port), str(setting.upstream)]


def _headgate_version() -> str | None:
    if importlib.util.find_spec("headgate.__main__") is None:
        return None
    try:
        version = importlib.metadata.version("headgate")
    except importlib.metadata.PackageNotFoundError:
        version = "(not installed)"
    return f"{version}, Python {sys.version.split()[0]}"


def _compiled_version() -> str | None:
    return _headgate_version() if COMPILED.is_dir() else None


def _compiled(setting: Setting) -> list[str]:
    return ["env", f"PYTHONPATH={COMPILED}", *_headgate(setting)]


def _headgate(setting: Setting) -> list[str]:
    conf = _write(setting.folder / f"headgate-{setting.port}.yaml", configs.headgate_conf(setting))
    # -P: the package that PYTHONPATH or the environment names, not the one below the working directory.
    return [sys.executable, "-P", "-m", "headgate", "run", conf]


_PEERS_VENV = "python -m bench.setup"

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("headgate", "Headgate", "make install", _headgate_version, _headgate),
        Peer("headgate-compiled", "Headgate, compiled", "scripts/compile", _compiled_version, _compiled),
        Peer("nginx", "nginx", "apt-get install nginx-light", nginx_version, _nginx),
        Peer("haproxy", "HAProxy", "apt-get install haproxy", _haproxy_version, _haproxy),
        Peer("envoy", "Envoy", _PEERS_VENV, _envoy_version, _envoy),
        Peer("usual", "FastAPI + httpx", _PEERS_VENV, _usual_version, _usual),
    )
}
