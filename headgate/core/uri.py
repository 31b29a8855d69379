"""The one normal form of request targets, hosts and paths.

Law: a target is normalised once, here, and router, policies, log and upstream all read that result. Every
known way around a path rule is two readers decoding one path differently, so whatever two sensible servers
may read differently is refused rather than guessed.

Decoded are only escapes of unreserved characters (RFC 3986 section 6.2.2.2: the only ones that never change
the meaning of a URI); all other escapes stay, in upper case. What stands in a path raw although the grammar
wants it escaped (`[`, `|`, `"` ...) is escaped, so both spellings are one path. The query is passed on as it
came.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import Literal, NamedTuple, NoReturn

__all__ = [
    "BadTarget",
    "Target",
    "is_under",
    "join",
    "normalize_host",
    "normalize_path",
    "parse_authority",
    "rewritten",
    "split_target",
]

REASONS = {
    "bad_authority": "the authority must be host or host:port, without user name, path or list",
    "bad_escape": "a percent sign must be followed by two hexadecimal digits",
    "bad_host": "the host must be a DNS name, an IPv4 address or an IPv6 address in brackets",
    "bad_ipv4": "a host that ends in a number must be four decimal numbers from 0 to 255",
    "bad_ipv6": "the address in brackets is not an IPv6 address (zones are not accepted)",
    "bad_port": "the port must be a number from 1 to 65535",
    "bad_scheme": "the scheme of an absolute target must be http or https",
    "backslash": "a backslash, raw or escaped, is not accepted in a path",
    "climbs_above_root": "the path climbs above its root",
    "control": "control characters and spaces, raw or escaped, are not accepted in a target",
    "dot_parameter": "a ';' directly after an empty or a dot segment is not accepted",
    "empty_host": "the host is empty",
    "empty_target": "the request target is empty",
    "encoded_slash": "an escaped slash is not accepted in this path",
    "fragment": "a fragment ('#') does not belong into a request target",
    "leaves_prefix": "the rewritten path leaves the prefix it must stay under",
    "no_leading_slash": "the path must begin with a slash",
    "not_ascii": "bytes above 0x7f must be percent-encoded",
    "overlong_utf8": "the path holds an overlong UTF-8 sequence",
    "query": "a question mark does not belong into a path",
}


class BadTarget(ValueError):
    """Say why a target, host or path is refused: `reason` is a word for machines, `str()` a sentence."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return REASONS[self.reason]


class Target(NamedTuple):
    """A request target taken apart, nothing decoded. `query` is None without a '?', and never includes it."""

    form: Literal["origin", "absolute", "authority", "asterisk"]
    path: bytes
    query: bytes | None
    scheme: str | None
    authority: bytes | None


# -- the target ----------------------------------------------------------------------------------------------

_VISIBLE = bytes(range(0x21, 0x7F)).replace(b"#", b"")
_ABSOLUTE = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://([^/?]*)")


def split_target(target: bytes) -> Target:
    """Take a request target apart into one of the four forms of RFC 9112 section 3.2.

    Which methods may use which form (CONNECT authority, OPTIONS asterisk) is the caller's rule. The path
    still has to pass `normalize_path` and the authority `parse_authority`.

    Raises:
        BadTarget: if the target holds anything but visible ASCII, holds a '#', or has a scheme other than
        http(s).
    """
    refused = target.translate(None, _VISIBLE)
    if refused:
        _refuse_byte(refused[0])
    if target[:1] == b"/":
        path, mark, query = target.partition(b"?")
        return Target("origin", path, query if mark else None, None, None)
    if target == b"*":
        return Target("asterisk", b"*", None, None, None)
    absolute = _ABSOLUTE.match(target)
    if absolute is not None:
        scheme = absolute[1].lower().decode("ascii")
        if scheme not in ("http", "https"):
            raise BadTarget("bad_scheme")
        path, mark, query = target[absolute.end() :].partition(b"?")
        # RFC 9110 section 4.2.3: an empty path of an http(s) URI is the same as "/".
        return Target("absolute", path or b"/", query if mark else None, scheme, absolute[2])
    if not target:
        raise BadTarget("empty_target")
    return Target("authority", b"", None, None, target)


# -- the path ------------------------------------------------------------------------------------------------

# ';' is absent on purpose: a path parameter is legal but has to pass the slow way's test for dot segments.
_PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,=:@/"
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")

_REFUSED = re.compile(rb"[\x00-\x20\x7f-\xff#?\\]")
_REFUSED_WORDS = {ord("#"): "fragment", ord("?"): "query", ord("\\"): "backslash"}
_ESCAPE = re.compile(r'%([0-9A-Fa-f]{2})?|["<>\[\]^`{|}]')
# Tomcat and its kin cut "..;x" to ".." and "/;x/" to "//": the router would judge another path than they
# serve.
_DOT_PARAMETER = re.compile(r"(?:/|%2F)\.{0,2}(?:;|%3B)")
# Kept escaped, a slash must not hide a climb from us that an upstream which decodes it would make.
_DOT_AT_ENCODED_SLASH = re.compile(r"%2F\.{1,2}(?:/|%2F|\Z)|/\.{1,2}%2F")
# C0 AF is the classic second spelling of "/" (RFC 3629 section 10).
_OVERLONG = re.compile(r"%C[01]%[89AB]|%E0%[89][0-9A-F]%|%F0%8[0-9A-F]%")


def normalize_path(raw: bytes, merge_slashes: bool = True, encoded_slashes: bool = False) -> str:
    """Return the normal form of a path (without query): the form that everybody matches, logs and sends.

    Args:
        raw: the path as it came, beginning with "/".
        merge_slashes: make one slash of several.
        encoded_slashes: keep "%2F" as it is, never decoded, instead of refusing it.

    Raises:
        BadTarget: if the path may be read in two ways; `reason` says in which.
    """
    if not raw.translate(None, _PLAIN) and raw[:1] == b"/" and b"//" not in raw and b"/." not in raw:
        return raw.decode("ascii")
    return _normalize_slowly(raw, merge_slashes, encoded_slashes)


def _normalize_slowly(raw: bytes, merge_slashes: bool, encoded_slashes: bool) -> str:
    refused = _REFUSED.search(raw)
    if refused is not None:
        _refuse_byte(refused[0][0])
    if raw[:1] != b"/":
        raise BadTarget("no_leading_slash")
    text = _ESCAPE.sub(_unescape, raw.decode("ascii"))
    if "%2F" in text:
        if not encoded_slashes:
            raise BadTarget("encoded_slash")
        if _DOT_AT_ENCODED_SLASH.search(text):
            raise BadTarget("climbs_above_root")
    if _DOT_PARAMETER.search(text):
        raise BadTarget("dot_parameter")
    if _OVERLONG.search(text):
        raise BadTarget("overlong_utf8")
    return _resolve(text, merge_slashes)


def _unescape(match: re.Match[str]) -> str:
    digits = match[1]
    if digits is None:
        if match[0] == "%":
            raise BadTarget("bad_escape")
        return f"%{ord(match[0]):02X}"
    code = int(digits, 16)
    if code < 0x20 or code == 0x7F:
        raise BadTarget("control")
    if code == 0x5C:
        raise BadTarget("backslash")
    char = chr(code)
    return char if char in _UNRESERVED else f"%{digits.upper()}"


def _resolve(text: str, merge_slashes: bool) -> str:
    """Resolve dot segments as RFC 3986 section 5.2.4 does, but refuse to climb above the root."""
    kept: list[str] = []
    segment = ""
    for segment in text[1:].split("/"):
        if segment == "..":
            if not kept:
                raise BadTarget("climbs_above_root")
            kept.pop()
        elif segment != "." and (segment or not merge_slashes):
            kept.append(segment)
    # A path that ends in "/", "/." or "/.." names a folder. Unmerged, the empty last segment was kept
    # already.
    if segment in (".", "..") or (merge_slashes and not segment):
        kept.append("")
    return "/" + "/".join(kept)


def _refuse_byte(byte: int) -> NoReturn:
    if byte in _REFUSED_WORDS:
        raise BadTarget(_REFUSED_WORDS[byte])
    raise BadTarget("not_ascii" if byte > 0x7F else "control")


def is_under(path: str, prefix: str) -> bool:
    """Tell whether a normal path is the prefix or lies under it, on a segment boundary."""
    prefix = prefix.rstrip("/")
    return path.startswith(prefix) and (len(path) == len(prefix) or path[len(prefix)] == "/")


def rewritten(path: str, under: str = "/", merge_slashes: bool = True, encoded_slashes: bool = False) -> str:
    """Return the normal form of a path that a rule rewrote, still inside `under`.

    Stripping a prefix or filling a template can make a dot segment or a double slash out of harmless parts,
    so the result is judged like a path that came from outside.

    Raises:
        BadTarget: as `normalize_path`, or `leaves_prefix`.
    """
    try:
        raw = path.encode("ascii")
    except UnicodeEncodeError:
        raise BadTarget("not_ascii") from None
    normal = normalize_path(raw, merge_slashes, encoded_slashes)
    if not is_under(normal, under):
        raise BadTarget("leaves_prefix")
    return normal


def join(prefix: str, rest: str, merge_slashes: bool = True, encoded_slashes: bool = False) -> str:
    """Put a path behind a prefix with one slash between; the result never leaves the prefix.

    Raises:
        BadTarget: as `rewritten`.
    """
    base = prefix.rstrip("/")
    glue = "" if rest.startswith("/") or (base and not rest) else "/"
    return rewritten(base + glue + rest, base or "/", merge_slashes, encoded_slashes)


# -- the authority -------------------------------------------------------------------------------------------

_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]*))?")
_NAME = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
# WHATWG URL "ends in a number": what inet_aton would take for an address must be one (127.1, 0x7f.1,
# 2130706433).
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?!\Z)|\Z)){4}")


# Refused values are not remembered and accepted ones are short, so 1024 entries are under half a megabyte.
@lru_cache(maxsize=1024)
def parse_authority(raw: bytes, default_port: int) -> tuple[str, int]:
    """Return host and port of a Host field or of the authority of an absolute target.

    The host is in lower case, without a trailing dot; IPv6 is in its short form and keeps its brackets, so
    that `f"{host}:{port}"` is always an authority again.

    Raises:
        BadTarget: for an empty or malformed host, a user name, a list, a path, or a port out of range.
    """
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError:
        raise BadTarget("not_ascii") from None
    parts = _AUTHORITY.fullmatch(text)
    if parts is None:
        raise BadTarget("bad_authority")
    host = normalize_host(parts[1])
    digits = parts[2]
    if not digits:
        # RFC 3986 section 3.2.3: the port may be empty, and means the default then.
        return host, default_port
    port = int(digits) if len(digits) <= 5 else 0
    if not 1 <= port <= 65535:
        raise BadTarget("bad_port")
    return host, port


def normalize_host(host: str) -> str:
    """Return the normal form of a host without port: lower case, no trailing dot, short IPv6 in brackets.

    RFC 3986 section 3.2.2 lets a registered name hold nearly anything; we accept what DNS and container
    names use.

    Raises:
        BadTarget: if it is none of DNS name, IPv4 address, IPv6 address in brackets.
    """
    if not host.isascii():
        raise BadTarget("not_ascii")
    if host[:1] == "[":
        if host[-1] != "]" or "%" in host:
            raise BadTarget("bad_ipv6")
        try:
            return f"[{IPv6Address(host[1:-1]).compressed}]"
        except AddressValueError:
            raise BadTarget("bad_ipv6") from None
    name = host.lower().removesuffix(".")
    if not name:
        raise BadTarget("empty_host")
    if len(name) > 253 or _NAME.fullmatch(name) is None:
        raise BadTarget("bad_host")
    if _ENDS_IN_NUMBER.fullmatch(name) and _IPV4.fullmatch(name) is None:
        raise BadTarget("bad_ipv4")
    return name
