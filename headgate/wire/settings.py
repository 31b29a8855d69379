"""Bounds of the wire, as plain values: what one client or one upstream may cost us.

Law: every buffer, count and wait on the wire has its finite default here, with its precedent.
"""

from __future__ import annotations

from typing import Literal

from headgate.core.settings import Bytes, Seconds, setting, settings


@settings
class Http2Limits:
    """What a client may do on an HTTP/2 connection, besides what holds for every version."""

    max_streams: int = setting(
        default=100, help="Requests at once on one connection (Envoy at the edge: 100).", ge=1, le=10_000
    )
    stream_window: Bytes = setting(
        default=65536, help="Bytes of a request body that a client may send ahead.", ge=65535, le=1 << 30
    )
    connection_window: Bytes = setting(
        default=1 << 20,
        help="Of all requests of a connection together (Envoy at the edge: 1 MiB).",
        ge=65535,
        le=1 << 30,
    )
    max_continuations: int = setting(
        default=8, help="CONTINUATION frames of one head; more ends the connection.", ge=0, le=1000
    )
    max_resets: int = setting(
        default=100,
        help="Streams that may be reset, by either side for the client's doing, within `window`; more than that, and"
        " than half of those begun, ends the connection.",
        ge=1,
        le=100_000,
    )
    max_control_frames: int = setting(
        default=1000,
        help="PING, SETTINGS, PRIORITY and other frames that move no request on, within `window`; more ends the"
        " connection.",
        ge=10,
        le=1_000_000,
    )
    window: Seconds = setting(
        default=10.0, help="Seconds in which resets and control frames are counted.", gt=0, le=3600
    )


@settings
class HttpLimits:
    """What a client may send, and how slowly."""

    max_request_line: Bytes = setting(default=8192, help="Bytes of the request target; more is 414.", ge=64, le=1 << 20)
    max_header_line: Bytes = setting(
        default=8192, help="Bytes of one field, name and value; more is 431.", ge=64, le=1 << 20
    )
    max_headers: int = setting(default=100, help="Number of header fields (Envoy: 100); more is 431.", ge=1, le=10_000)
    max_header_bytes: Bytes = setting(
        default=65536,
        help="Bytes of the whole head and of the trailers (Envoy: 60 KiB); more is 431.",
        ge=256,
        le=1 << 22,
    )
    header_timeout: Seconds = setting(
        default=10.0, help="Seconds for the whole head, from its first byte.", gt=0, le=3600
    )
    keepalive_timeout: Seconds = setting(
        default=75.0, help="Seconds a connection may stay idle (nginx: 75).", gt=0, le=86400
    )
    keepalive_requests: int = setting(default=0, help="Requests on one connection; 0 = no bound.", ge=0)
    body_timeout: Seconds = setting(default=30.0, help="Seconds without a byte of the request body.", gt=0, le=86400)
    min_body_rate: Bytes = setting(
        default=500, help="Bytes a second a body must average after its first 5 s; 0 = off.", ge=0
    )
    write_timeout: Seconds = setting(
        default=60.0, help="Seconds without progress while the client does not read.", gt=0, le=86400
    )
    max_pipelined: int = setting(
        default=8, help="Requests read ahead on one connection; then reading pauses.", ge=1, le=1000
    )
    buffer: Bytes = setting(
        default=65536, help="Bytes held in each direction before the sender is paused.", ge=4096, le=1 << 26
    )
    max_connections: int = setting(
        default=0, help="Client connections of one worker; 0 = four fifths of its file descriptors.", ge=0
    )
    max_connections_per_address: int = setting(
        default=0, help="Of one client address in one worker; 0 = no own bound.", ge=0
    )
    underscores: Literal["drop", "refuse", "allow"] = setting(
        default="drop",
        help="Header names with an underscore, which some upstreams take for a hyphen: drop, refuse or allow.",
    )
    trailers: list[str] = setting(
        default=list, help="Names of trailer fields that are passed on; all others are dropped."
    )
    merge_slashes: bool = setting(default=True, help="Take // in a path for /.")
    encoded_slashes: Literal["refuse", "keep"] = setting(
        default="refuse", help="%2F in a path: refuse with 400, or keep it encoded."
    )
    http2: Http2Limits = setting(default=Http2Limits, help="Bounds of HTTP/2 connections.")


Speaks = Literal["http1", "http2", "auto"]
"""What is spoken to a service: HTTP/1, HTTP/2, or what its endpoint chooses in the TLS handshake."""
ALPN: dict[str, tuple[str, ...]] = {"http1": ("http/1.1",), "http2": ("h2",), "auto": ("h2", "http/1.1")}
"""What is offered in that."""


@settings
class PoolLimits:
    """Connections to one endpoint, in each worker."""

    max_connections: int = setting(default=1024, help="Connections to one endpoint (Envoy: 1024).", ge=1, le=65535)
    max_idle: int = setting(default=256, help="Of them, kept open without a request.", ge=0, le=65535)
    idle_timeout: Seconds = setting(
        default=4.0,
        help="Seconds an unused connection is kept: below what upstreams keep (uvicorn and Node.js: 5 s).",
        gt=0,
        le=3600,
    )
    max_requests: int = setting(default=0, help="Requests on one connection before it is replaced; 0 = no bound.", ge=0)
    max_pending: int = setting(default=1024, help="Requests waiting for a connection; more is 503.", ge=0, le=1_000_000)
    max_streams: int = setting(
        default=100,
        help="Requests at once on one HTTP/2 connection, if the upstream allows as many; the next one opens another.",
        ge=1,
        le=10_000,
    )


@settings
class Timeouts:
    """How long the upstream may take, in seconds."""

    connect: Seconds = setting(default=2.0, help="To connect, TLS included.", gt=0, le=3600)
    response: Seconds = setting(default=30.0, help="From the request's end to the response head.", gt=0, le=86400)
    idle: Seconds = setting(default=60.0, help="Between two pieces of a body or stream.", gt=0, le=86400)
    head: Seconds = setting(
        default=0.0,
        help="To the response head, all tries and waits between them together; 0 = no bound. For a first try it begins"
        " when the request has come whole; what streams behind the head may take longer.",
        ge=0,
        le=86400,
    )
    total: Seconds = setting(default=0.0, help="For the whole exchange; 0 = no bound.", ge=0, le=86400)
    tunnel: Seconds = setting(default=3600.0, help="Silence on an upgraded connection (WebSocket).", gt=0, le=604800)
    deadline_header: str | None = setting(
        default=None,
        help="Request header with the milliseconds the caller will wait, such as X-Request-Timeout-Ms: bounds the"
        " exchange as `total` does, and goes on to the upstream with what is left of it.",
    )


@settings
class UpstreamTls:
    """TLS towards a service's https endpoints."""

    verify: bool = setting(default=True, help="Check the certificate and its name.")
    ca: str | None = setting(default=None, help="PEM file of authorities in place of the system's.")
    cert: str | None = setting(default=None, help="PEM file of our client certificate.")
    key: str | None = setting(default=None, help="PEM file of its key.")
    server_name: str | None = setting(
        default=None, help="Name to ask for (SNI) and to check; by default the endpoint's host."
    )


@settings
class Compression:
    """Compression of responses for clients that ask for it."""

    enabled: bool = setting(default=True, help="Compress at all.")
    algorithms: list[Literal["zstd", "br", "gzip"]] = setting(
        default=lambda: ["zstd", "br", "gzip"], help="In order of preference among what the client likes equally."
    )
    types: list[str] = setting(
        default=lambda: [
            "text/*",
            "application/json",
            "application/*+json",
            "application/javascript",
            "application/xml",
            "image/svg+xml",
        ],
        help="Content types to compress; text/event-stream only if listed by its full name (flushed per event).",
    )
    min_size: Bytes = setting(default=1024, help="Bytes below which compressing does not pay.", ge=0)


@settings
class Forwarding:
    """Whose word is taken about the client's address, and what upstreams are told."""

    trust: list[str] = setting(
        default=list,
        help="CIDRs of proxies whose X-Forwarded-* is believed; by default nobody's: all is overwritten.",
    )
    hops: int = setting(
        default=0, help="How many trusted proxies stand before us at most; 0 = as many as `trust` covers.", ge=0
    )
    forwarded: bool = setting(default=False, help="Also send Forwarded (RFC 7239).")
    via: str = setting(default="headgate", help="Our name in Via, in both directions; empty = no Via.")


@settings
class RequestId:
    """The one id of a request: taken from the client when well formed, else made; sent upstream and returned."""

    headers: list[str] = setting(
        default=lambda: ["X-Request-ID", "X-Correlation-ID"],
        help="Fields that carry it; the first one that is present wins.",
    )
    format: Literal["uuid", "hex"] = setting(default="uuid", help="Form of the ids made here.")
    prefix: str = setting(default="", help="Put before the ids made here, as in req_.")
    accept: bool = setting(
        default=True, help="Take a well-formed id (1-128 of A-Z a-z 0-9 . _ ~ + / = : -) from the client."
    )
