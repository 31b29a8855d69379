"""The load: wrk for requests, h2load for those over HTTP/2, and a client of our own for whole TLS handshakes.

wrk keeps the session of a TLS connection and resumes it on the next, and no option or OpenSSL setting of the client
stops that in TLS 1.3; a resumed handshake costs a gateway a third of a whole one. So handshakes are counted with
`bench.handshakes`, which resumes nothing. Its own cost does not matter: only the gateway's CPU is measured.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.stage import CannotRunError

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZES = {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of the gateway, and how: `script` is Lua for wrk, `handshakes` a new TLS connection a request.

    With `streams` it is HTTP/2 by prior knowledge, and so many requests at once on each connection.
    """

    path: str = "/api/v1/things?page=2"
    connections: int = 64
    script: str = ""
    tls: bool = False
    handshakes: bool = False
    streams: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What a load did. Latencies in seconds by percentile; `failed` counts everything that was not a good answer."""

    requests: int
    seconds: float
    read: int
    failed: int
    latency: dict[int, float]


def parse_wrk(text: str) -> Result:
    """Read what `wrk --latency` prints.

    Raises ValueError when the summary is not there, as when wrk could not connect.
    """
    summary = re.search(r"(\d+) requests in ([\d.]+)(\w+), ([\d.]+)([KMGT]?B) read", text)
    if summary is None:
        raise ValueError(f"no summary in the output of wrk:\n{text}")
    requests, seconds, unit, size, size_unit = summary.groups()
    failed = 0
    if errors := re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text):
        failed += sum(map(int, errors.groups()))
    if refused := re.search(r"Non-2xx or 3xx responses: (\d+)", text):
        failed += int(refused[1])
    latency = {
        int(percent): float(value) * _UNITS[unit_of]
        for percent, value, unit_of in re.findall(r"^\s+(\d+)%\s+([\d.]+)(us|ms|s|m|h)\s*$", text, re.MULTILINE)
    }
    read = round(float(size) * _SIZES[size_unit])
    return Result(int(requests), float(seconds) * _UNITS[unit], read, failed, latency)


def parse_h2load(text: str, log: str) -> Result:
    """Read what h2load prints, and its log: a line of start, status and microseconds for each request.

    Raises ValueError when the summary is not there, as when h2load could not connect.
    """
    finished = re.search(r"finished in ([\d.]+)(\w+)", text)
    counts = re.search(r"requests: \d+ total, \d+ started, (\d+) done, \d+ succeeded, (\d+) failed", text)
    statuses = re.search(r"status codes: \d+ 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
    read = re.search(r"traffic: \S+ \((\d+)\) total", text)
    if finished is None or counts is None or statuses is None or read is None:
        raise ValueError(f"no summary in the output of h2load:\n{text}")
    took = sorted(int(line.split("\t")[2]) for line in log.splitlines() if line.count("\t") == 2)
    latency = {percent: took[len(took) * percent // 100] * 1e-6 for percent in (50, 75, 90, 99)} if took else {}
    # Those whose heads had come when the time was over are in the statuses, and not done.
    failed = int(counts[2]) + sum(map(int, statuses.groups()))
    return Result(int(counts[1]), float(finished[1]) * _UNITS[finished[2]], int(read[1]), failed, latency)


def need_wrk() -> str:
    """Return the version of wrk; raises CannotRunError, with how to install it, when it is missing."""
    path = shutil.which("wrk")
    if path is None:
        raise CannotRunError("wrk is missing: apt-get install wrk")
    text = subprocess.run([path, "-v"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"^wrk (\S+)", text)
    return found[1] if found else "?"


def h2load_version() -> str:
    """Return the version of h2load, which only rows over HTTP/2 need."""
    path = shutil.which("h2load")
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout if path else ""
    found = re.search(r"nghttp2/(\S+)", said)
    return found[1] if found else "missing"


def run(load: Load, port: int, core: int, seconds: float, *fields: tuple[str, str]) -> Result:
    """Put the load on 127.0.0.1:`port` for so many seconds, from `core`; `fields` go with requests over HTTP/2.

    Raises CannotRunError when the generator itself failed.
    """
    pin = ["taskset", "-c", str(core)]
    if load.handshakes:
        arguments = [str(port), str(seconds), str(load.connections), load.path]
        done = _run([*pin, sys.executable, "-m", "bench.handshakes", *arguments], seconds)
        found = json.loads(done)
        latency = {int(percent): value for percent, value in found["latency"].items()}
        return Result(found["requests"], found["seconds"], found["read"], found["failed"], latency)
    if load.streams:
        return _run_h2load(load, port, pin, [f"-D{max(1, round(seconds))}"], seconds, *fields)
    url = f"{'https' if load.tls else 'http'}://127.0.0.1:{port}{load.path}"
    options = ["-t1", f"-c{load.connections}", f"-d{max(1, round(seconds))}s", "--latency", "--timeout", "10s"]
    if load.script:
        options += ["-s", load.script]
    try:
        return parse_wrk(_run([*pin, "wrk", *options, url], seconds))
    except ValueError as error:
        raise CannotRunError(str(error)) from error


def answers_http2(port: int, path: str, *fields: tuple[str, str]) -> bool:
    """Tell whether 127.0.0.1:`port` answers 200 to a GET of `path` over HTTP/2 now."""
    try:
        return _run_h2load(Load(path, connections=1, streams=1), port, [], ["-n1"], 5, *fields).failed == 0
    except CannotRunError:
        return False


def _run_h2load(
    load: Load, port: int, pin: list[str], amount: list[str], seconds: float, *fields: tuple[str, str]
) -> Result:
    program = shutil.which("h2load")
    if program is None:
        raise CannotRunError("h2load is missing: apt-get install nghttp2-client")
    headers = [f"--header={name}: {value}" for name, value in fields]
    with tempfile.NamedTemporaryFile("r", prefix="h2load-") as log:
        options = ["-t1", f"-c{load.connections}", f"-m{load.streams}", *amount, f"--log-file={log.name}", *headers]
        try:
            return parse_h2load(
                _run([*pin, program, *options, f"http://127.0.0.1:{port}{load.path}"], seconds), log.read()
            )
        except ValueError as error:
            raise CannotRunError(str(error)) from error


def _run(command: list[str], seconds: float) -> str:
    root = Path(__file__).parent.parent
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as popen:
        try:
            out, err = popen.communicate(timeout=seconds + 30)
        except BaseException:
            popen.kill()
            raise
    if popen.returncode != 0:
        raise CannotRunError(f"{' '.join(command)} ended with {popen.returncode}:\n{out}{err}")
    return out


def spread_script(paths: list[str]) -> str:
    """Return Lua that lets wrk ask for these paths in turn, with a stride so that neighbours are not asked in a row.

    Requests are made once, before the load begins: with ten paths or ten thousand, wrk does the same work for each.
    """
    listed = ",\n".join(f'"{path}"' for path in paths)
    stride = next(step for step in (7919, 7, 3, 1) if step == 1 or (len(paths) % step and step < len(paths)))
    return f"""local paths = {{
{listed}
}}
local ready = {{}}
local at = 0
function init(args)
  for index, path in ipairs(paths) do ready[index] = wrk.format("GET", path) end
end
function request()
  at = (at + {stride}) % #paths
  return ready[at + 1]
end
"""


def field_script(fields: list[tuple[str, str]]) -> str:
    """Return Lua that sends one of these header fields with every request, in turn; requests are made beforehand."""
    values = ",\n".join(f'"{value}"' for _, value in fields)
    return f"""local values = {{
{values}
}}
local ready = {{}}
local at = 0
function init(args)
  for index, value in ipairs(values) do ready[index] = wrk.format("GET", wrk.path, {{["{fields[0][0]}"] = value}}) end
end
function request()
  at = at % #ready + 1
  return ready[at]
end
"""


def key_script(header: str, keys: int, first: int | None = None) -> str:
    """Return Lua that sends one of so many keys in a header with every request: by chance, or in turn from `first` on.

    The request is put together of three texts: the load is not to be what takes the time.
    """
    key = f"math.random(0, {keys - 1})" if first is None else f"(at + {first}) % {keys}"
    return f"""local start, finish
local at = -1
function init(args)
  start, finish = wrk.format("GET", wrk.path, {{["{header}"] = "\\0"}}):match("^(.*)%z(.*)$")
end
function request()
  at = at + 1
  return start .. {key} .. finish
end
"""
