"""`headgate keys`: make, list, revoke and rotate API keys in the database; a running gateway notices within seconds."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from typing import TYPE_CHECKING, Final

from headgate.auth.settings import ApiKeys
from headgate.cli.arguments import Namespace, Parser, add_configuration, add_json, duration
from headgate.cli.terminal import table
from headgate.control.keys.shown import moment_text, record_of
from headgate.core.clock import wall
from headgate.core.settings import parse_duration

if TYPE_CHECKING:
    from headgate.config.resolve import ResolvedConfig
    from headgate.control.audit import CommandAudit
    from headgate.control.keys.key_store import KeyStore, Made, StoredKey

_LONGEST_TEXT: Final = 200
_SALT_BYTES: Final = 16
_MOST_STDIN: Final = 65_536
_KEY: Final = re.compile(rb"[\x21-\x7e]{1,512}")
_HEAD: Final = ("ID", "HINT", "NAME", "OWNER", "TENANT", "ROLES", "TIER", "EXPIRES", "LAST USED", "STATE")


def add_arguments(parser: Parser) -> None:
    """Add the actions, each with its options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = actions.add_parser("create", help="make a key and print it once", description="Make a key.")
    _add_what_belongs_to_a_key(create)
    listing = actions.add_parser("list", help="list the keys", description="List the keys, but not themselves.")
    listing.add_argument("--all", action="store_true", help="those too that were revoked")
    revoke = actions.add_parser("revoke", help="end keys at once", description="End keys at once, all or none.")
    revoke.add_argument("ids", metavar="ID", nargs="+", help="ids of keys, as `headgate keys list` shows them")
    rotate = actions.add_parser(
        "rotate", help="make a key in place of another", description="Make a key like another, which ends then."
    )
    rotate.add_argument("id", metavar="ID", help="id of the key that is replaced")
    rotate.add_argument(
        "--grace", metavar="TIME", type=duration, default=3600.0, help="how long it goes on working, such as 1h (1h)"
    )
    for each in (create, listing, revoke, rotate):
        add_configuration(each, "-c", "--config")
        add_json(each)
    hashing = actions.add_parser(
        "hash",
        help="print what the configuration keeps of a key or password",
        description="Read a key (or a password) from standard input and print the hash that a configuration holds.",
    )
    hashing.add_argument(
        "--password", action="store_true", help="of a password for identity.basic, in place of a static key"
    )


def _add_what_belongs_to_a_key(parser: Parser) -> None:
    parser.add_argument("--name", metavar="TEXT", type=_text, default="", help="what it is for")
    parser.add_argument("--owner", metavar="TEXT", type=_text, default="", help="whose it is")
    parser.add_argument("--tenant", metavar="TEXT", type=_text, default="", help="its tenant")
    parser.add_argument("--role", metavar="ROLE", type=_word, action="append", default=[], help="a role; repeatable")
    parser.add_argument("--tier", metavar="TIER", type=_text, default="", help="its tier of limits")
    parser.add_argument(
        "--scope",
        metavar="SCOPE",
        type=_word,
        action="append",
        default=[],
        help="a scope; route:NAME and service:NAME bind the key to those; repeatable",
    )
    parser.add_argument(
        "--address",
        dest="networks",
        metavar="CIDR",
        type=_network,
        action="append",
        default=[],
        help="from where it may be used, such as 10.0.0.0/8; repeatable",
    )
    parser.add_argument(
        "--expires", metavar="WHEN", type=_moment, help="when it ends: 90d, 12h, 2027-01-31 or 2027-01-31T12:00:00Z"
    )


def run(arguments: Namespace) -> int:
    """Do it; return 0 when it was done, else 1."""
    if arguments.action == "hash":
        return _hash(arguments)
    # With them come the libraries of configuration and databases.
    from headgate.cli.configuration import load_valid

    config = load_valid(arguments)
    if config is None:
        return 1
    act: Callable[[Namespace, ApiKeys, KeyStore, CommandAudit], int] = {
        "create": _create,
        "list": _list,
        "revoke": _revoke,
        "rotate": _rotate,
    }[arguments.action]
    keys = config.identity.api_keys
    if keys is None or not keys.enabled or not keys.database:
        print("note: identity.api_keys takes no keys of the database, so this gateway accepts none", file=sys.stderr)
    try:
        with _opened(config, keys or ApiKeys()) as (store, audit):
            return act(arguments, keys or ApiKeys(), store, audit)
    except ValueError as error:
        print(error, file=sys.stderr)
    except KeyError as missing:
        print(f"There is no key with the id {missing.args[0]}. See `headgate keys list`.", file=sys.stderr)
    return 1


@contextmanager
def _opened(config: ResolvedConfig, keys: ApiKeys) -> Iterator[tuple[KeyStore, CommandAudit]]:
    from headgate.control.audit import CommandAudit
    from headgate.control.database import find_url
    from headgate.control.keys.key_store import open_store
    from headgate.control.state import find_pepper, make_state, state_path

    audit = CommandAudit(config.telemetry.audit)
    state = make_state(state_path(config.state_dir, os.environ))
    store = open_store(find_url(config.database.url, os.environ, state), find_pepper(keys.pepper, os.environ, state))
    try:
        yield store, audit
    finally:
        store.close()


# -- actions -------------------------------------------------------------------------------------------------------


def _create(arguments: Namespace, keys: ApiKeys, store: KeyStore, audit: CommandAudit) -> int:
    from headgate.control.keys.key_store import NewKey

    made = store.create(
        NewKey(
            arguments.name,
            arguments.owner,
            arguments.tenant,
            tuple(dict.fromkeys(arguments.role)),
            arguments.tier,
            tuple(dict.fromkeys(arguments.scope)),
            tuple(dict.fromkeys(arguments.networks)),
            arguments.expires,
        ),
        keys.prefix,
    )
    audit("key.created", "keys create", {"key": made.stored.id}, "done")
    _hand_out(arguments, made, "")
    return 0


def _rotate(arguments: Namespace, keys: ApiKeys, store: KeyStore, audit: CommandAudit) -> int:
    made = store.rotate(arguments.id, arguments.grace, keys.prefix)
    audit("key.rotated", "keys rotate", {"key": arguments.id, "replaced_by": made.stored.id}, "done")
    old = store.find(arguments.id)
    ends = moment_text(old.expires_at) if old is not None and arguments.grace else "now"
    _hand_out(arguments, made, f" {arguments.id} ends {ends}.")
    return 0


def _hand_out(arguments: Namespace, made: Made, more: str) -> None:
    """Print the key: alone on standard output, so that a script can take it; what to know of it elsewhere."""
    if arguments.json:
        print(json.dumps({"key": made.key, **record_of(made.stored, wall())}, indent=2))
        return
    print(made.key)
    print(f"This is the only time it is shown; its id is {made.stored.id}.{more}", file=sys.stderr)


def _list(arguments: Namespace, _keys: ApiKeys, store: KeyStore, _audit: CommandAudit) -> int:
    found = list(store.each(revoked=arguments.all))
    if arguments.json:
        print(json.dumps([record_of(key, wall()) for key in found], indent=2))
    elif not found:
        print("There are no keys. `headgate keys create` makes one.")
    else:
        print(table(_HEAD, [_row(key, wall()) for key in found]))
    return 0


def _revoke(arguments: Namespace, _keys: ApiKeys, store: KeyStore, audit: CommandAudit) -> int:
    revoked = store.revoke(list(dict.fromkeys(arguments.ids)))
    for key in revoked:
        audit("key.revoked", "keys revoke", {"key": key.id}, "done")
    if arguments.json:
        print(json.dumps([record_of(key, wall()) for key in revoked], indent=2))
        return 0
    for key in revoked:
        print(f"{key.id} ({key.hint}) is revoked; running gateways refuse it within seconds")
    return 0


def _hash(arguments: Namespace) -> int:
    from headgate.auth.api_key import static_hash
    from headgate.auth.basic import hash_password

    what = "password" if arguments.password else "key"
    if sys.stdin.isatty():
        secret = getpass.getpass(f"{what.capitalize()}: ").encode()
        if arguments.password and getpass.getpass("Again: ").encode() != secret:
            print("These were two different passwords.", file=sys.stderr)
            return 1
    else:
        secret = sys.stdin.buffer.read(_MOST_STDIN).removesuffix(b"\n").removesuffix(b"\r")
    try:
        if arguments.password:
            if not secret:
                raise ValueError("there is no password on standard input")
            print(hash_password(secret.decode(), os.urandom(_SALT_BYTES)))
        elif _KEY.fullmatch(secret) is None:
            raise ValueError("a key is 1 to 512 visible ASCII characters; standard input holds something else")
        else:
            print(static_hash(secret))
    except UnicodeDecodeError:
        print("a password is UTF-8; standard input holds something else", file=sys.stderr)
        return 1
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


# -- what is shown -------------------------------------------------------------------------------------------------


def _row(key: StoredKey, now: float) -> list[str]:
    cells = [
        key.id,
        key.hint,
        key.name,
        key.owner,
        key.tenant,
        ", ".join(key.roles),
        key.tier,
        moment_text(key.expires_at) or "never",
        moment_text(key.last_used_at) or "never",
        f"rotated: {key.replaced_by}" if (state := key.state(now)) == "rotated" else state,
    ]
    return [cell or "-" for cell in cells]


# -- what is written on the command line ---------------------------------------------------------------------------


def _text(text: str) -> str:
    # It is shown on terminals, which obey some characters.
    if len(text) > _LONGEST_TEXT or not text.isprintable():
        raise argparse.ArgumentTypeError(f"expected at most {_LONGEST_TEXT} printable characters")
    return text


def _word(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("expected a name")
    return _text(text)


def _network(text: str) -> str:
    try:
        return str(ip_network(text.strip(), strict=False))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; expected a network, such as 10.0.0.0/8 or 2001:db8::/32") from None


def _moment(text: str) -> float:
    from headgate.auth.api_key import read_moment

    now = wall()
    try:
        moment = read_moment(text) if "-" in text else now + parse_duration(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f'expected 90d, 12h, 2027-01-31 or 2027-01-31T12:00:00Z, got "{text}"'
        ) from None
    if moment <= now:
        raise argparse.ArgumentTypeError(f'"{text}" is over already')
    return float(moment)
