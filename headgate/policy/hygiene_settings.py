"""How the gateway keeps browsers and strangers in order: CORS, security headers, hosts and header names."""

from __future__ import annotations

from typing import Annotated, Literal

from headgate.core.settings import OneOrMany, Seconds, setting, settings

Many = Annotated[list[str], OneOrMany()]


@settings
class Cors:
    """Which web pages may read our answers (Fetch standard). The gateway answers preflights itself."""

    enabled: bool = setting(default=True, help="Act at all; false: pass an upstream's own headers on.")
    origins: Many = setting(
        default=list, help="Origins such as https://app.example.com, https://*.example.com, or * for all."
    )
    methods: Many = setting(
        default=lambda: ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"], help="Methods they may use; * for all."
    )
    headers: Many = setting(default=lambda: ["*"], help="Request headers they may send; * for all.")
    expose: Many = setting(default=list, help="Answer headers they may read besides the safelisted ones.")
    credentials: bool = setting(
        default=False,
        help="Cookies and Authorization may go along from origins named here; those that only * allows go without.",
    )
    max_age: Seconds = setting(default=600.0, help="Seconds a browser may remember a preflight.", ge=0, le=86400)
    private_network: bool = setting(default=False, help="Let public pages reach this private network.")


@settings
class Hsts:
    """Strict-Transport-Security (RFC 6797)."""

    max_age: Seconds = setting(default=31_536_000.0, help="Seconds browsers insist on HTTPS.", ge=0)
    subdomains: bool = setting(default=True, help="For all names below, too.")
    preload: bool = setting(default=False, help="Ask to be in the lists that browsers ship.")
    over: Literal["https", "always"] = setting(
        default="https", help="Only on answers over HTTPS, as the RFC has it, or on all."
    )


@settings
class SecurityHeaders:
    """Header fields that tell browsers to be careful, on every answer. A bare string is the preset."""

    preset: Literal["api", "web", "none"] = setting(
        default="api", help="What holds for all that is not written: api (nothing may be embedded), web, or nothing."
    )
    override: bool = setting(default=True, help="In place of an upstream's own; false: only where it has none.")
    hsts: Hsts | Literal["off"] | None = setting(
        default=None, help="Strict-Transport-Security, or off.", union_mode="left_to_right"
    )
    content_security_policy: str | None = setting(default=None, help="Content-Security-Policy; empty: none.")
    frame_options: Literal["DENY", "SAMEORIGIN", ""] | None = setting(
        default=None, help="X-Frame-Options; empty: none."
    )
    content_type_options: bool | None = setting(default=None, help="X-Content-Type-Options: nosniff.")
    referrer_policy: str | None = setting(default=None, help="Referrer-Policy; empty: none.")
    permissions_policy: str | None = setting(default=None, help="Permissions-Policy; empty: none.")
    xss_protection: str | None = setting(default=None, help="X-XSS-Protection; empty: none, as browsers advise.")
    cross_origin_opener_policy: str | None = setting(default=None, help="Cross-Origin-Opener-Policy; empty: none.")
    cross_origin_resource_policy: str | None = setting(default=None, help="Cross-Origin-Resource-Policy; empty: none.")


@settings
class HeaderLists:
    """Header fields by name, in any case; * at the end of a name stands for any text."""

    allow: Many = setting(
        default=list,
        help="Only these pass, and those without which a message would mean something else, such as If-Match or"
        " Content-Encoding (docs/hygiene.md); empty: all.",
    )
    deny: Many = setting(default=list, help="These do not pass, whatever allow says.")


@settings
class HeaderFilter:
    """Header fields that do not pass the gateway, whatever route they take."""

    request: HeaderLists = setting(default=HeaderLists, help="From clients.")
    response: HeaderLists = setting(default=HeaderLists, help="From upstreams, such as deny: [Server, X-Powered-By].")
    refuse: bool = setting(
        default=False, help="Refuse a request with a field that does not pass by 400; false: take the field off."
    )
