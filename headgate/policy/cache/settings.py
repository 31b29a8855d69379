"""What may be answered from the cache, and for how long: the settings. The decisions stand beside it.

Law: what a response says of itself (RFC 9111) wins over what stands here, unless the option says that it overrides.
"""

from __future__ import annotations

from typing import Annotated, Literal

from headgate.core.settings import Between, Bytes, OneOrMany, Seconds, setting, settings


@settings
class Bypass:
    """Requests that the cache has no part in: they go to the service, and what comes back is not stored."""

    headers: Annotated[list[str], OneOrMany()] = setting(default=list, help="With one of these header fields.")
    cookies: Annotated[list[str], OneOrMany()] = setting(default=list, help="With one of these cookies.")
    query: Annotated[list[str], OneOrMany()] = setting(default=list, help="With one of these query parameters.")


@settings
class CacheKey:
    """What makes two requests the same, besides scheme, authority and the normal form of the path."""

    query: Literal["all", "none"] = setting(default="all", help="Which query parameters count, but for those below.")
    include: Annotated[list[str], OneOrMany()] = setting(default=list, help="Parameters that count under `none`.")
    exclude: Annotated[list[str], OneOrMany()] = setting(
        default=list,
        help="Parameters that do not count under `all`, such as utm_source; `*` at the end stands for any.",
    )
    ordered: bool = setting(default=False, help="Take the same parameters in another order for another request.")
    headers: Annotated[list[str], OneOrMany()] = setting(
        default=list, help="Header fields that count even where Vary does not name them."
    )
    partition: Literal["auto", "identity", "shared"] = setting(
        default="auto",
        help="Who shares entries. auto: all who asked without credentials; of those who showed some, each tenant, and"
        " without one each caller. identity: each caller. shared: everybody, whatever they showed.",
    )


@settings
class Negative:
    """Errors that are kept for a moment where they say nothing of it."""

    statuses: list[Annotated[int, Between(400, 599)]] = setting(default=lambda: [404, 410], help="Which.")
    ttl: Seconds = setting(help="Seconds.", gt=0, le=86400)


@settings
class Cache:
    """Answer from what was answered before (RFC 9111, as a shared cache). `true` is short for all defaults."""

    enabled: bool = setting(default=True, help="Cache at all.")
    ttl: Seconds | None = setting(
        default=None,
        help="Seconds for which answers with status 200, 203, 204, 300, 301, 308 are fresh whatever they say of it;"
        " no-store and private still hold.",
        gt=0,
        le=31_536_000,
    )
    default_ttl: Seconds = setting(
        default=0.0,
        help="Seconds for those that say nothing of it, and have no Last-Modified; of those to requests with Cookie"
        " only with public or Vary: Cookie.",
        ge=0,
        le=31_536_000,
    )
    max_ttl: Seconds = setting(
        default=86400.0, help="Seconds for which nothing is fresh any more, whatever it says.", gt=0, le=31_536_000
    )
    heuristic: float = setting(
        default=10.0,
        help="Percent of the time since Last-Modified for which an answer is fresh that says nothing of it; 0 = off."
        " Of answers to requests with Cookie only those with public or Vary: Cookie.",
        ge=0,
        le=100,
    )
    stale_while_revalidate: Seconds = setting(
        default=0.0,
        help="Seconds for which a stale answer is given while a new one is fetched (RFC 5861), where it does not say.",
        ge=0,
        le=31_536_000,
    )
    stale_if_error: Seconds = setting(
        default=0.0,
        help="Seconds for which a stale answer is given when there is none to get (RFC 5861), where it does not say.",
        ge=0,
        le=31_536_000,
    )
    negative: Negative | None = setting(default=None, help="Errors that are kept for a moment.")
    client_control: Literal["honour", "ignore"] = setting(
        default="honour", help="Whether Cache-Control of requests counts (RFC 9111 section 5.2.1)."
    )
    targeted: Annotated[list[str], OneOrMany()] = setting(
        default=lambda: ["CDN-Cache-Control", "Surrogate-Control"],
        help="Fields of answers that are read instead of Cache-Control and Expires, the first that is there"
        " (RFC 9213).",
    )
    key: CacheKey = setting(default=CacheKey, help="What makes two requests the same.")
    bypass: Bypass = setting(default=Bypass, help="Requests that the cache has no part in.")
    authorized: bool = setting(
        default=False,
        help="Store answers to callers who showed who they are even where these do not allow it (RFC 9111 section 3.5:"
        " public, s-maxage, must-revalidate).",
    )
    set_cookie: bool = setting(default=False, help="Store answers with Set-Cookie, without that field.")
    tags: Annotated[list[str], OneOrMany()] = setting(
        default=lambda: ["Cache-Tag", "Surrogate-Key"], help="Fields of answers that name tags to purge by."
    )
    max_entry: Bytes = setting(default=1 << 20, help="Bytes of a body; larger ones are not stored.", ge=1, le=1 << 26)
    collapse: bool = setting(default=True, help="Let requests for an entry that is being fetched wait for it.")
    wait: Seconds = setting(
        default=5.0,
        help="Seconds to wait for what another worker fetches, before asking by oneself; and for which one request of a"
        " worker keeps all others for the same waiting, before the next one asks, too.",
        ge=0,
        le=300,
    )
    status_header: bool = setting(default=True, help="Say in Cache-Status what the cache did (RFC 9211).")
