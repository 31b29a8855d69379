"""What went wrong, on which side, and whether a byte had reached the upstream.

Law: one table turns a reason into a status (`REASONS`; configuration may override a row), and `sent` alone
decides whether another try is safe for a request that is not idempotent (RFC 9110 section 9.2.2).
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from headgate.core.message import Fields

Side = Literal["client", "gateway", "upstream"]


class Reason(NamedTuple):
    """One row: whose fault, which status by default, its title, and a sentence for the caller."""

    side: Side
    status: int
    title: str
    message: str


REASONS: dict[str, Reason] = {
    # The client's side: the message says what to change, never what it said (nothing is echoed).
    "bad_request": Reason("client", 400, "Bad Request", "The request could not be understood."),
    "bad_host": Reason("client", 400, "Bad Request", "The Host of the request is missing, repeated or malformed."),
    "bad_path": Reason("client", 400, "Bad Request", "The path of the request is malformed or ambiguous."),
    "route_not_found": Reason("client", 404, "Not Found", "No route matches this request."),
    "service_not_found": Reason("client", 404, "Not Found", "There is no service of this name."),
    "method_not_allowed": Reason("client", 405, "Method Not Allowed", "This path does not answer that method."),
    "request_timeout": Reason("client", 408, "Request Timeout", "The request did not arrive in time."),
    "payload_too_large": Reason("client", 413, "Content Too Large", "The request body is larger than allowed here."),
    "uri_too_long": Reason("client", 414, "URI Too Long", "The request target is longer than allowed."),
    "expectation_failed": Reason("client", 417, "Expectation Failed", "Only 100-continue is understood in Expect."),
    "not_cached": Reason(
        "client", 504, "Gateway Timeout", "There is no stored answer, and the request wants no other (only-if-cached)."
    ),
    "headers_too_large": Reason(
        "client",
        431,
        "Request Header Fields Too Large",
        "The request has too many or too large header fields.",
    ),
    "rate_limited": Reason("client", 429, "Too Many Requests", "Too many requests; try again later."),
    "untrusted_host": Reason("client", 400, "Bad Request", "This host is not served here."),
    "header_refused": Reason("client", 400, "Bad Request", "The request has a header field that is not accepted."),
    # Who asks, and what they may: never more of it than the caller needs to do better.
    "missing_credentials": Reason("client", 401, "Unauthorized", "Authentication is required."),
    "invalid_credentials": Reason("client", 401, "Unauthorized", "The credentials are not accepted here."),
    "invalid_token": Reason("client", 401, "Unauthorized", "The token is invalid or has expired."),
    "expired_token": Reason("client", 401, "Unauthorized", "The token has expired."),
    "invalid_api_key": Reason("client", 401, "Unauthorized", "The API key is not valid."),
    "forbidden": Reason("client", 403, "Forbidden", "The caller may not do this."),
    "tenant_forbidden": Reason("client", 403, "Forbidden", "This belongs to another tenant."),
    "address_forbidden": Reason("client", 403, "Forbidden", "Requests from this address are not accepted."),
    "origin_forbidden": Reason("client", 403, "Forbidden", "Pages of this origin may not ask here."),
    "denied_externally": Reason("client", 403, "Forbidden", "The request was not authorized."),
    "denied_by_plugin": Reason("client", 403, "Forbidden", "The request was refused."),
    "client_closed": Reason("client", 499, "Client Closed Request", "The client went away before the answer."),
    "coding_not_implemented": Reason(
        "client", 501, "Not Implemented", "That method or transfer coding is not supported."
    ),
    "version_not_supported": Reason(
        "client", 505, "HTTP Version Not Supported", "That version of HTTP is not spoken here."
    ),
    # The gateway's own side.
    "internal": Reason("gateway", 500, "Internal Server Error", "An unexpected error occurred."),
    "no_destination": Reason("gateway", 503, "Service Unavailable", "Requests for this go nowhere at present."),
    "no_endpoint": Reason("gateway", 503, "Service Unavailable", "No endpoint of the service is available."),
    "overloaded": Reason("gateway", 503, "Service Unavailable", "The gateway is at its limit; try again shortly."),
    "shed": Reason("gateway", 503, "Service Unavailable", "More requests than can be served; try again shortly."),
    "breaker_open": Reason("gateway", 503, "Service Unavailable", "The service is failing and is given a rest."),
    "limits_unavailable": Reason("gateway", 503, "Service Unavailable", "Requests cannot be counted at the moment."),
    "identity_unavailable": Reason(
        "gateway", 503, "Service Unavailable", "Credentials cannot be checked at the moment."
    ),
    "authorization_unavailable": Reason(
        "gateway", 503, "Service Unavailable", "Requests cannot be authorized at the moment."
    ),
    "plugin_failed": Reason("gateway", 500, "Internal Server Error", "An unexpected error occurred."),
    "deadline_exceeded": Reason("gateway", 504, "Gateway Timeout", "The caller's own deadline has passed."),
    "fault_injected": Reason("gateway", 503, "Service Unavailable", "A fault was injected here on purpose."),
    "draining": Reason("gateway", 503, "Service Unavailable", "The gateway is shutting down; try again."),
    # The upstream's side.
    "connect_refused": Reason("upstream", 502, "Bad Gateway", "The service could not be reached."),
    "connect_timeout": Reason("upstream", 504, "Gateway Timeout", "The service did not accept a connection in time."),
    "dns": Reason("upstream", 502, "Bad Gateway", "The service's address could not be resolved."),
    "tls": Reason("upstream", 502, "Bad Gateway", "No trusted connection to the service could be made."),
    "upstream_reset": Reason("upstream", 502, "Bad Gateway", "The service closed the connection before answering."),
    "upstream_protocol": Reason("upstream", 502, "Bad Gateway", "The service sent an invalid answer."),
    "response_timeout": Reason("upstream", 504, "Gateway Timeout", "The service did not answer in time."),
    "idle_timeout": Reason("upstream", 504, "Gateway Timeout", "The service stopped sending."),
    "total_timeout": Reason("upstream", 504, "Gateway Timeout", "The request took longer than allowed."),
}


# Of these a caller is told when to ask again (RFC 9110 section 10.2.3, RFC 6585 section 4).
TRY_LATER: Final = (429, 503)


class Failure(Exception):
    """A request that cannot go on as asked. `reason` is a key of REASONS; `detail` is for the log only.

    `sent`: at least one byte of the request had been handed to the upstream's socket.
    `reused`: it was sent on a connection that had already served a request, so the upstream may have closed it idle.
    `retry_after`: seconds after which asking again makes sense; 0 when nothing is known of it.
    `status`: answered with, in place of the reason's own; 0 = that one. `fields` go with the answer.
    """

    def __init__(
        self,
        reason: str,
        detail: str = "",
        *,
        sent: bool = False,
        reused: bool = False,
        retry_after: float = 0.0,
        status: int = 0,
        message: str = "",
        fields: Fields | None = None,
    ) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
        self.sent = sent
        self.reused = reused
        self.retry_after = retry_after
        self.status = status
        self.message = message
        self.fields = fields

    @property
    def side(self) -> Side:
        """Tell whose fault it was."""
        return REASONS[self.reason].side

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason
