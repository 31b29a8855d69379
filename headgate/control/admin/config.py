"""The configuration: what is in force, with its secrets masked; its changes; and another one put in its place."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, Field

from headgate.config.effective import shown
from headgate.config.problems import to_json
from headgate.control.admin.access import about, actor_of, allowed
from headgate.control.admin.answers import Problem, Refused, answers
from headgate.control.admin.subject import Subject, TheGateway
from headgate.control.audit import Cause
from headgate.control.config_file import Changed, ConfigFile
from headgate.control.configuration import different

router = APIRouter(tags=["configuration"], prefix="/api/v1/config")

_KINDS = ("application/json", "application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")
_TAG: dict[str, Any] = {"ETag": {"description": "Which configuration it is.", "schema": {"type": "string"}}}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The whole configuration, as a file would hold it.",
        "content": {
            "application/yaml": {"schema": {"type": "string"}},
            "application/json": {"schema": {"type": "object"}},
        },
    }
}


class Place(BaseModel):
    """Where a value was written."""

    path: str
    value: str
    origin: str = Field(description="FILE:LINE:COLUMN, or the option that set it.")


class ConfigShown(BaseModel):
    """The configuration in force; secrets are ***, and what comes from a variable is its name."""

    files: list[str] = Field(description="What it was read from, lowest first.")
    writable: bool = Field(description="Whether a configuration can be put in its place over this API.")
    config: dict[str, Any] = Field(description="All of it, with defaults.")
    origins: list[Place] | None = Field(default=None, description="With ?origins=true.")


class Difference(BaseModel):
    """A place where two configurations differ."""

    path: str
    before: Any = Field(description="null for what was not there.")
    after: Any = Field(description="null for what is no more there.")


class ConfigProblem(BaseModel):
    """What is wrong with a configuration, or worth knowing of it."""

    file: str
    line: int | None
    column: int | None
    path: str
    message: str
    hint: str | None
    severity: Literal["error", "warning"]


class ConfigPut(BaseModel):
    """What became of a configuration that was put, or would."""

    ok: bool = Field(description="Whether it is in force; of a dry run, whether it would be.")
    dry_run: bool
    plan: int = Field(description="The plan in force now.")
    problems: list[ConfigProblem]
    notices: list[ConfigProblem]
    diff: list[Difference] = Field(description="What it changes.")
    more: bool = Field(description="Whether there is more to the diff than is shown.")


class ChangeShown(BaseModel):
    """A configuration that came into force, or did not."""

    at: float = Field(description="Seconds since 1970.")
    by: str = Field(description="Who, as the audit log names them.")
    cause: str
    ok: bool
    plan: int = Field(description="The plan that was in force then.")
    problems: list[str]
    diff: list[Difference]
    more: bool = Field(description="Whether there is more to the diff than is kept.")


class ChangesShown(BaseModel):
    """The last changes, newest first."""

    items: list[ChangeShown]


class Match(BaseModel):
    """What a route matches."""

    path: Any = Field(description="A prefix as text, another kind as a mapping; null for every path.")
    method: list[str] = Field(description="Empty for every method.")
    headers: dict[str, Any]
    host: list[str]
    query: dict[str, Any]


class To(BaseModel):
    """Where a route leads."""

    service_name: str
    weight: int


class RouteShown(BaseModel):
    """A route."""

    name: str
    service: str = Field(description="The service it stands at.")
    match: Match
    destinations: list[To]


@router.get("", dependencies=[allowed("read")], responses={**answers(409, 503), 200: {"headers": _TAG}})
async def config(
    response: Response,
    gateway: TheGateway,
    origins: Annotated[bool, Query(description="Also where each value was written.")] = False,
) -> ConfigShown:
    """Show the configuration in force. Its ETag is what If-Match of a PUT has to name."""
    known = gateway.parts.configuration
    document = await asyncio.to_thread(known.document)
    if document is None:
        raise _unknown()
    response.headers["ETag"] = known.tag
    places = None
    if origins:
        places = await asyncio.to_thread(_origins, gateway)
    return ConfigShown(files=list(known.files), writable=known.file is not None, config=document, origins=places)


@router.put(
    "",
    dependencies=[allowed("admin")],
    responses={
        **answers(409, 412, 428),
        200: {"headers": _TAG},
        422: {"model": ConfigPut | Problem, "description": "The configuration is not usable; nothing has changed"},
    },
    openapi_extra=_BODY,
)
async def put(
    request: Request,
    response: Response,
    gateway: TheGateway,
    if_match: Annotated[
        str | None, Header(max_length=200, description="ETag of the configuration that it takes the place of.")
    ] = None,
    dry_run: Annotated[bool, Query(description="Only say what is wrong with it and what it would change.")] = False,
) -> ConfigPut:
    """Write a whole configuration to the file that the gateway was started with, and bring it into force."""
    about(request, {}, "dry run" if dry_run else "")
    known = gateway.parts.configuration
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in _KINDS:
        raise Refused(415, "a configuration is application/yaml or application/json")
    if known.file is None:
        text = "the gateway was not started with one configuration file: change the files that it reads, and reload"
        raise Refused(409, text)
    if if_match is None:
        raise Refused(428, "If-Match has to name the ETag of the configuration in force, from GET /api/v1/config")
    if if_match.removeprefix("W/") != known.tag:
        raise Refused(412, "another configuration than that is in force by now")
    try:
        text = (await request.body()).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Refused(400, "the configuration is not UTF-8 text") from None
    draft = await asyncio.to_thread(_draft, gateway, known.file, text)
    if not dry_run and draft.ok:
        draft = await _bring(request, gateway, known.file, text, draft)
    response.status_code = 200 if draft.ok or dry_run else 422
    response.headers["ETag"] = known.tag
    return draft.model_copy(update={"dry_run": dry_run})


@router.get("/changes", dependencies=[allowed("read")], responses=answers())
async def changes(
    gateway: TheGateway, limit: Annotated[int, Query(ge=1, le=100, description="How many.")] = 20
) -> ChangesShown:
    """Show the last changes: when, by whom, and what they changed; the newest first."""
    return ChangesShown(
        items=[
            ChangeShown(
                at=round(each.at, 3),
                by=each.by,
                cause=each.cause,
                ok=each.ok,
                plan=each.plan,
                problems=list(each.problems),
                diff=[Difference(**found._asdict()) for found in each.differences],
                more=each.more,
            )
            for each in list(gateway.parts.configuration.changes)[:limit]
        ]
    )


@router.get("/services", dependencies=[allowed("read")], responses=answers(503))
async def services(gateway: TheGateway) -> list[dict[str, Any]]:
    """List the services as they are configured, with defaults, in the order of the file."""
    return await asyncio.to_thread(_services, gateway)


@router.get("/services/{name:path}", dependencies=[allowed("read")], responses=answers(404, 503))
async def service(name: str, gateway: TheGateway) -> dict[str, Any]:
    """Show one service as it is configured."""
    found = next((each for each in await asyncio.to_thread(_services, gateway) if each["name"] == name), None)
    if found is None:
        raise Refused(404, "there is no service of that name")
    return found


@router.get("/routes", dependencies=[allowed("read")], responses=answers(503))
async def routes(gateway: TheGateway) -> list[RouteShown]:
    """List the routes of all services, in the order of the file."""
    return await asyncio.to_thread(_routes, gateway)


def _unknown() -> Refused:
    text = "the configuration in force was loaded before this control process began, and its files do not load now"
    return Refused(503, text)


def _services(gateway: Subject) -> list[dict[str, Any]]:
    document = gateway.parts.configuration.document()
    if document is None:
        raise _unknown()
    found: list[dict[str, Any]] = document["services"]
    return found


def _routes(gateway: Subject) -> list[RouteShown]:
    shown_: list[RouteShown] = []
    for each in _services(gateway):
        for route in each["routes"]:
            match = route["match"] or {}
            leads = route["destinations"]
            if leads is None:
                leads = [{"service_name": each["name"], "weight": 100}]
            shown_.append(
                RouteShown(
                    name=route["name"],
                    service=each["name"],
                    match=Match(
                        path=_path(match.get("path")),
                        method=match.get("method") or [],
                        headers=match.get("headers") or {},
                        host=match.get("host") or [],
                        query=match.get("query") or {},
                    ),
                    destinations=[To(service_name=to["service_name"], weight=to["weight"]) for to in leads],
                )
            )
    return shown_


def _path(path: Any) -> Any:
    """Write a path as an operator would: a prefix is text."""
    if not isinstance(path, dict):
        return path
    said = {kind: value for kind, value in path.items() if value is not None and (kind, value) != ("segments", True)}
    return said["prefix"] if set(said) == {"prefix"} else said


def _origins(gateway: Subject) -> list[Place]:
    known = gateway.parts.configuration
    if known.file is None:
        raise Refused(409, "the gateway was not started with one configuration file; `headgate check --explain` tells")
    loaded = known.file.load()
    if loaded.digest != known.digest:
        raise Refused(409, "the file has changed since it was loaded")
    return [Place(path=path, value=value, origin=str(at)) for path, value, at in loaded.origins.written()]


def _draft(gateway: Subject, file: ConfigFile, text: str) -> ConfigPut:
    loaded = file.draft(text)
    plan = gateway.snapshot()["plan"]
    problems = [ConfigProblem(**each) for each in to_json(loaded.problems)]
    notices = [ConfigProblem(**each) for each in to_json(loaded.notices)]
    diff: list[Difference] = []
    more = False
    if loaded.source is not None:
        after = shown(loaded.source, loaded.origins)
        for path in after.masks():
            mask = ConfigProblem(
                file=str(file.path),
                line=None,
                column=None,
                path=path,
                message="this is what is shown in place of a secret",
                hint="write the secret, or a variable that holds it",
                severity="error",
            )
            problems.append(mask)
        before = gateway.parts.configuration.shown
        found, more = different(before, after) if before is not None else ((), False)
        diff = [Difference(**each._asdict()) for each in found]
    ok = not problems
    return ConfigPut(ok=ok, dry_run=True, plan=plan, problems=problems, notices=notices, diff=diff, more=more)


async def _bring(request: Request, gateway: Subject, file: ConfigFile, text: str, draft: ConfigPut) -> ConfigPut:
    """Write it and bring it into force; what workers refuse is taken back."""
    if gateway.draining:
        raise Refused(409, "the gateway is stopping")
    in_force = gateway.parts.configuration.digest
    try:
        cause = Cause("PUT /api/v1/config", actor_of(request))
        outcome = await gateway.reload(cause, lambda: file.put(text, in_force), file.restore)
    except Changed:
        raise Refused(
            412, "the file has changed since it was loaded: reload it, or look what has become of it"
        ) from None
    except OSError as error:
        raise Refused(409, f"the configuration file cannot be written: {error.strerror}") from None
    told = [_told(file, each) for each in outcome.problems]
    return draft.model_copy(update={"ok": outcome.ok, "plan": outcome.version, "problems": told})


def _told(file: ConfigFile, sentence: str) -> ConfigProblem:
    at = str(file.path)
    return ConfigProblem(file=at, line=None, column=None, path="", message=sentence, hint=None, severity="error")
