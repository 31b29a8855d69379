"""Errors of the admin API: always `{"error": sentence}` with the right status, and each of them documented.

A route says which of them it may give: `@router.get(..., responses=answers(404, 409))`; those that every route may give
(of the door and of access) stand on all routers already. It gives one by `raise Refused(404, "there is no ...")`.

Law: no sentence repeats what a client sent, but for names of things that there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

# What any route here has: a method that none has is in no Allow.
_METHODS: Final = ("GET", "POST", "PUT", "DELETE")
_WHEN: Final[Mapping[int, str]] = {
    400: "The request is not HTTP that makes sense here",
    401: "Neither a token nor a session was shown, or one that is not known",
    403: "What was shown is not good for this",
    404: "There is no such thing",
    405: "The path does not know this method",
    409: "Not as things stand",
    412: "What If-Match names is no more in force",
    413: "The body is too large",
    415: "The body is of another media type than expected",
    421: "The Host is no name of this listener",
    422: "The parameters or the body are not as documented",
    428: "If-Match is missing",
    429: "Too much that was wrong came from this address; Retry-After says when to try again",
    503: "Not at the moment",
    507: "There is no room for it",
}
# Said to those who asked, where it is more than what is documented.
_SAID: Final[Mapping[int, str]] = {
    404: "there is no such path; /docs lists those that there are",
    405: "the path does not know this method; Allow lists those that it knows",
}
# What the door and access answer on any route.
_OF_ALL: Final = (400, 401, 403, 413, 415, 421, 422, 429)
# By name: for each status of each route with the model itself, a validator would be built at each start.
_PROBLEM: Final = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


class Problem(BaseModel):
    """What is wrong."""

    error: str = Field(description="A sentence for people.")


class Refused(Exception):
    """The answer to a request that is not done: raised anywhere in a route."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.headers = headers


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document these statuses, as `responses` of a route or router."""
    found: dict[int | str, dict[str, Any]] = {
        status: {"content": _PROBLEM, "description": _WHEN[status]} for status in sorted({*statuses, *_OF_ALL})
    }
    # One of them has the document define what the others refer to.
    found[_OF_ALL[0]] = {"model": Problem, "description": _WHEN[_OF_ALL[0]]}
    return found


def problem(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Make the answer."""
    return JSONResponse({"error": sentence}, status_code=status, headers=dict(headers or {}))


def answer_errors(app: FastAPI) -> None:
    """Have every error of the application answered in this shape."""

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        return problem(error.status, str(error), error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        # Only what a page cannot send to another server by itself is read as JSON.
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json" and any(each["loc"] == ("body",) for each in error.errors()):
            return problem(415, "the body is JSON, and needs the header Content-Type: application/json")
        return problem(422, "; ".join(_sentence(each) for each in error.errors()[:10]))

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> JSONResponse:
        headers = error.headers
        if error.status_code == 405:
            # RFC 9110 section 15.5.6: what the path knows, and not only the first of its routes.
            headers = {"Allow": ", ".join(_methods(app, request.scope["path"]))}
        said = _SAID.get(error.status_code) or _WHEN.get(error.status_code, "That did not work")
        return problem(error.status_code, said, headers)

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, error: Exception) -> JSONResponse:
        # What it was stands in the log, by control.unforeseen.
        return problem(500, "the gateway failed in an unforeseen way; its log says where")


def _methods(app: FastAPI, path: str) -> list[str]:
    """List the methods that a path knows."""
    asked = {"type": "http", "path": path, "root_path": "", "headers": []}
    return [
        method
        for method in _METHODS
        if any(route.matches({**asked, "method": method})[0] is Match.FULL for route in app.routes)
    ]


def _sentence(error: Mapping[str, Any]) -> str:
    """Say what is wrong with one value, without the value: it may be a secret at the wrong place."""
    place = ".".join(str(part) for part in error["loc"])
    # Messages of the library's own checks name bounds and types; those of a ValueError of ours are sentences.
    message = str(error["msg"]).removeprefix("Value error, ")
    message = "no valid JSON" if error["type"] == "json_invalid" else f"{message[:1].lower()}{message[1:]}"
    return f"{place}: {message}"
