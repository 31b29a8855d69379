"""The admin API of a running gateway from Python: what the command line uses, for programs of one's own.

    from headgate.client import Client

    with Client() as gateway:                      # or Client("10.0.0.7:8081", token="...")
        print(gateway.status()["plan"])
        gateway.set_endpoint("chat", "10.0.0.1:8001", "draining")

Without arguments it is the gateway of this machine: the address of HEADGATE_ADMIN or 127.0.0.1:8081, and the token of
HEADGATE_ADMIN_TOKEN or of the file that the gateway made in its state_dir (HEADGATE_STATE_DIR). What methods return is
what the API answers (docs/admin.md, /docs of the gateway), as plain data.

Every method may raise `Refused`, when the gateway said no, and `Unreachable`, when it said nothing.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote

import httpx

from headgate.config.admin_settings import TOKEN_VARIABLE
from headgate.control.admin_token import FILE, read_token
from headgate.control.state import state_path

DEFAULT_ADDRESS: Final = "127.0.0.1:8081"
ADDRESS_VARIABLE: Final = "HEADGATE_ADMIN"

Record = dict[str, Any]


class Unreachable(Exception):
    """No gateway answers at the address; the sentence says why."""


class Refused(Exception):
    """The gateway said no. `status` is the HTTP status, `body` what it answered."""

    def __init__(self, status: int, body: Any) -> None:
        self.status = status
        self.body = body
        super().__init__(_sentence(status, body))


class Tagged(NamedTuple):
    """A configuration, and the tag that `put_config` has to name to take its place."""

    tag: str
    record: Record


def find_token(environ: Mapping[str, str] = os.environ, state_dir: str | None = None) -> str:
    """Return the token of this machine's gateway; empty when there is none to be found.

    `state_dir` is that of its configuration, where that says one.

    Raises:
        ValueError: with a sentence, when there is a file that cannot be used.
    """
    if named := environ.get(TOKEN_VARIABLE, ""):
        return named
    try:
        file = state_path(state_dir, environ) / FILE
    except ValueError:
        return ""
    return read_token(file) if _is_there(file) else ""


class Client:
    """A gateway's admin API. Good for one thread; close it, or use it in a `with`."""

    def __init__(self, address: str | None = None, token: str | None = None, *, timeout: float = 30.0) -> None:
        """Take `admin.address` of the gateway (HOST:PORT or unix:/path), a token, and seconds to wait for an answer.

        Raises:
            ValueError: with a sentence, when the token of this machine's gateway cannot be read.
        """
        self.address = address or os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS
        found = find_token() if token is None else token
        headers = {"Authorization": f"Bearer {found}"} if found else {}
        unix = self.address.removeprefix("unix:") if self.address.startswith("unix:") else None
        base = "http://localhost" if unix is not None else f"http://{self.address}"
        # What the environment says of proxies is for the world outside, and none of them is shown the token.
        transport = httpx.HTTPTransport(uds=unix) if unix is not None else None
        try:
            self._http = httpx.Client(
                base_url=base, headers=headers, timeout=timeout, transport=transport, trust_env=False
            )
        except (httpx.InvalidURL, UnicodeError) as error:
            raise ValueError(f"{self.address} is no address or token: {error}") from None

    # -- how it is -------------------------------------------------------------------------------------------------

    def status(self) -> Record:
        """Return the gateway in one record: plan, workers, counts, the last reload."""
        return self._record("GET", "/api/v1/status")

    def is_ready(self) -> bool:
        """Tell whether the gateway takes traffic."""
        return self.ask("GET", "/ready").status_code == 200

    def endpoints(self) -> list[Record]:
        """List all endpoints of all services."""
        return self._list("/api/v1/endpoints", "endpoints")

    def breakers(self) -> dict[str, Record]:
        """Return all circuit breakers, by service."""
        return self._record("GET", "/api/v1/circuit-breakers")

    def limits(self) -> list[Record]:
        """List all rate limits."""
        return self._list("/api/v1/limits", "limits")

    def cache(self) -> Record:
        """Return what the cache holds and what became of requests at it, with all routes that have one."""
        return self._record("GET", "/api/v1/cache")

    # -- what it is told -------------------------------------------------------------------------------------------

    def reload(self) -> Record:
        """Have the configuration files loaded anew; Refused with 422 when they do not load."""
        return self._record("POST", "/api/v1/reload")

    def set_endpoint(self, service: str, endpoint: str, state: Literal["enabled", "disabled", "draining"]) -> Record:
        """Take an endpoint out, or let it in again; return how it is."""
        return self._record("POST", "/api/v1/endpoints", {"service": service, "endpoint": endpoint, "state": state})

    def steer_breaker(self, service: str, action: Literal["reset", "open", "close"]) -> Record:
        """Close a breaker and forget what it counted, or force it open or closed until a reset."""
        return self._record("POST", f"/api/v1/circuit-breakers/{quote(service, safe='')}/{action}")

    def reset_limit(self, limit: str, key: Mapping[str, str], scope: str | None = None) -> Record:
        """Begin afresh with the counts of one key, such as {"address": "203.0.113.9"}."""
        return self._record("POST", "/api/v1/limits/reset", {"limit": limit, "key": dict(key), "scope": scope})

    def purge_cache(self, by: Literal["url", "prefix", "tag", "all"], value: str = "") -> int:
        """Forget the cached answers of a URL, of those that begin so, with a tag, or all; return how many there were.

        Refused with 409 where no route has a cache, with 503 where its store is away.
        """
        named = {by: value if by != "all" else True}
        return int(self._record("POST", "/api/v1/cache/purge", named)["purged"])

    # -- the configuration -----------------------------------------------------------------------------------------

    def config(self, *, origins: bool = False) -> Tagged:
        """Return the configuration in force, with defaults and without secrets."""
        answer = self._done("GET", "/api/v1/config", params={"origins": "true"} if origins else None)
        return Tagged(answer.headers.get("ETag", ""), _plain(answer))

    def put_config(self, text: str, tag: str, *, dry_run: bool = False) -> Record:
        """Put a whole configuration (YAML or JSON) in place of the one of `tag`, or only say what that would change."""
        headers = {"If-Match": tag, "Content-Type": "application/yaml"}
        params = {"dry_run": "true"} if dry_run else None
        return self._record("PUT", "/api/v1/config", content=text.encode(), headers=headers, params=params)

    def config_changes(self, limit: int = 20) -> list[Record]:
        """List the last changes of the configuration, newest first."""
        return self._list(f"/api/v1/config/changes?limit={limit}", "items")

    # -- keys ------------------------------------------------------------------------------------------------------

    def keys(self, *, revoked: bool = False) -> Iterator[Record]:
        """Go through all keys, page by page, but not through themselves."""
        cursor: str | None = ""
        while cursor is not None:
            more = {"cursor": cursor} if cursor else {}
            page = self._record(
                "GET", "/api/v1/keys", params={"revoked": str(revoked).lower(), "limit": "1000", **more}
            )
            yield from page["items"]
            cursor = page["next"]

    def create_key(self, **asked: Any) -> Record:
        """Make a key of a `name`, `owner`, `tenant`, `roles`, `tier`, `scopes`, `addresses`, `expires_at`.

        The key itself is in `key` of what is returned, this one time.
        """
        return self._record("POST", "/api/v1/keys", asked)

    def revoke_key(self, id_: str) -> Record:
        """End a key at once."""
        return self._record("DELETE", f"/api/v1/keys/{quote(id_, safe='')}")

    def rotate_key(self, id_: str, grace: float = 3600.0) -> Record:
        """Make a key like another, which ends after `grace` seconds."""
        return self._record("POST", f"/api/v1/keys/{quote(id_, safe='')}/rotate", {"grace": grace})

    # -- what happened ---------------------------------------------------------------------------------------------

    def request(self, request_id: str) -> Record:
        """Return the decision record of a sampled request, with its spans."""
        return self._record("GET", f"/api/v1/telemetry/requests/{quote(request_id, safe='')}")

    def telemetry(
        self, kind: Literal["requests", "errors", "spans", "logs", "metrics"], **filters: str
    ) -> list[Record]:
        """List the newest of one kind, as the filters of the API say."""
        found = _plain(self._done("GET", f"/api/v1/telemetry/{kind}", params=filters))
        items: list[Record] = found["items"] if isinstance(found, dict) else found
        return items

    def stream(self) -> Iterator[tuple[str, Any]]:
        """Follow what happens: (event, data) for each, until the gateway or the caller ends it."""
        try:
            with self._http.stream("GET", "/api/v1/telemetry/stream", timeout=None) as answer:
                if answer.status_code != 200:
                    answer.read()
                    raise Refused(answer.status_code, _plain(answer))
                event = "message"
                for line in answer.iter_lines():
                    field, _, value = line.partition(": ")
                    if field == "event":
                        event = value
                    elif field == "data":
                        yield event, json.loads(value)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None

    # -- below -----------------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: object = None, **more: Any) -> httpx.Response:
        """Send any request to the API, with `body` as JSON, and return whatever is answered.

        Raises:
            Unreachable: nothing is.
        """
        try:
            return (
                self._http.request(method, path, json=body, **more)
                if body is not None
                else self._http.request(method, path, **more)
            )
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None

    def close(self) -> None:
        """Let go of its connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {self.address}>"

    def _done(self, method: str, path: str, body: object = None, **more: Any) -> httpx.Response:
        answer = self.ask(method, path, body, **more)
        if not answer.is_success:
            raise Refused(answer.status_code, _plain(answer))
        return answer

    def _record(self, method: str, path: str, body: object = None, **more: Any) -> Record:
        found: Record = _plain(self._done(method, path, body, **more))
        return found

    def _list(self, path: str, name: str) -> list[Record]:
        found: list[Record] = self._record("GET", path)[name]
        return found

    def _unreachable(self, error: Exception) -> Unreachable:
        reason = re.sub(r"^\[Errno [0-9-]+\] ", "", str(error)) or type(error).__name__
        return Unreachable(f"No gateway answers at {self.address}: {reason}")


def _plain(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        # Whatever listens there, it is no gateway.
        return {"error": f"status {answer.status_code}, and no JSON"}


def _sentence(status: int, body: Any) -> str:
    if isinstance(body, dict):
        if isinstance(body.get("error"), str):
            return str(body["error"])
        problems = body.get("problems")
        if isinstance(problems, list) and problems:
            return "\n".join(
                str(each.get("message", each)) if isinstance(each, dict) else str(each) for each in problems
            )
    return f"the gateway answered with status {status}"


def _is_there(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:
        return False
