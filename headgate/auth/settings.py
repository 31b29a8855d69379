"""How callers are told apart: the settings of every way to show who one is, and of what follows from it."""

from __future__ import annotations

from typing import Annotated, Literal

from headgate.core.settings import Bytes, OneOrMany, Seconds, Short, setting, settings

Algorithm = Literal[
    "HS256",
    "HS384",
    "HS512",
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
]
Kind = Literal["user", "api_key", "service"]
Many = Annotated[list[str], OneOrMany()]
_NAME = "Name in logs, metrics and auth.methods."


@settings
class ClaimNames:
    """Which claims say what; of several names the first that is present counts. a.b is b inside a."""

    id: Many = setting(default=lambda: ["sub"], help="Claims with the caller's id.")
    tenant: Many = setting(default=lambda: ["tenant", "org_id", "organization_id"], help="Claims with the tenant.")
    roles: Many = setting(default=lambda: ["roles", "role"], help="Claims with roles: a list, or words in one text.")
    scopes: Many = setting(default=lambda: ["scope", "scp", "scopes"], help="Claims with scopes: a list, or words.")
    tier: Many = setting(default=lambda: ["tier"], help="Claims with the tier.")


@settings
class KeySetSource:
    """Where an issuer's public keys come from. A bare string is the URL."""

    url: str | None = setting(default=None, help="URL of the key set; absent: as the issuer's discovery document says.")
    refresh: Seconds = setting(default=300.0, help="Seconds after which it is fetched again.", ge=5, le=86400)
    cooldown: Seconds = setting(
        default=30.0, help="Seconds between two fetches for the sake of an unknown key id.", ge=1, le=3600
    )
    timeout: Seconds = setting(default=5.0, help="Seconds a fetch may take.", gt=0, le=60)
    max_stale: Seconds = setting(
        default=86400.0, help="Seconds that keys are used on while the issuer cannot be reached.", ge=0, le=86400 * 30
    )
    max_bytes: Bytes = setting(default=262_144, help="Bytes of a key set or discovery document.", ge=1024, le=1 << 24)
    ca: str | None = setting(default=None, help="PEM file of authorities in place of the system's.")


@settings
class JwtIssuer:
    """One issuer of signed tokens (RFC 7519). Exactly one of secret, public_key, key_set and discovery."""

    name: str = setting(default="jwt", help=_NAME, min_length=1, max_length=100)
    issuer: str | None = setting(default=None, help="What `iss` must be, to the letter; demanded with discovery.")
    audience: Many = setting(
        default=list,
        help="What `aud` must hold one of, such as authenticated for Supabase; * takes any. Without it a token must"
        " have no `aud`.",
    )
    algorithms: Annotated[list[Algorithm], OneOrMany()] = setting(
        default=list,
        help="Signature algorithms accepted, whatever a token says; by default HS256 with secret, else RS256 and"
        " ES256.",
    )
    secret: str | None = setting(
        default=None, help="Shared secret of HS256, HS384, HS512; one that is no text as a JWK.", secret=True
    )
    public_key: str | None = setting(default=None, help="PEM or JWK (set) file with the public key.")
    key_set: Annotated[KeySetSource | None, Short("url")] = setting(default=None, help="Fetch the key set (JWKS).")
    discovery: Annotated[KeySetSource | None, Short("url")] = setting(
        default=None,
        help="OpenID Connect: fetch ISSUER/.well-known/openid-configuration (or url) and the keys it names.",
    )
    typ: Many = setting(default=list, help="What the header `typ` must be one of, such as at+jwt; empty: anything.")
    skew: Seconds = setting(default=30.0, help="Seconds that clocks may differ by.", ge=0, le=60)
    max_age: Seconds = setting(
        default=0.0, help="Seconds since `iat` beyond which a token is too old; 0 = no bound.", ge=0
    )
    require: list[str] = setting(default=list, help="Claims that must be present besides exp.")
    expect: dict[str, Many] = setting(
        default=dict, help="Claims, and what they must be one of where a token has them at all: token_type: access."
    )
    sources: Many = setting(
        default=lambda: ["header:Authorization"],
        help="Where the token is looked for: header:NAME (with Authorization behind Bearer), cookie:NAME, query:NAME."
        " The places of all issuers count for each.",
    )
    bare: bool = setting(
        default=False, help="Take a token in Authorization without Bearer before it, too; for one issuer is for all."
    )
    claims: ClaimNames = setting(default=ClaimNames, help="Which claims say what.")
    kind: Literal["user", "service"] = setting(default="user", help="What its callers are.")


@settings
class Introspection:
    """Ask a server about opaque tokens (RFC 7662), or about keys that another service keeps."""

    name: str = setting(default="introspection", help=_NAME, min_length=1, max_length=100)
    url: Many = setting(
        help="URL that is asked by POST; of several the next one where one cannot be reached.", min_length=1
    )
    path: str = setting(default="", help="Put behind each url, for URLs of servers alone; such as /introspect.")
    client_id: str | None = setting(default=None, help="Our name there (HTTP Basic).")
    client_secret: str | None = setting(default=None, help="Our password there.", secret=True)
    form: Literal["form", "json"] = setting(default="form", help="Body of the question: form fields, or JSON.")
    field: str = setting(default="token", help="Name of the token in the question.")
    active: str = setting(
        default="active", help='Field of the answer that must be true; empty (""): status 200 is enough.'
    )
    refuse: dict[str, Many] = setting(
        default=dict,
        help="Fields of the answer, and values of them that mean no: status: [revoked, expired], valid: false.",
    )
    sources: Many = setting(default=lambda: ["header:Authorization"], help="Where the token is looked for, as for jwt.")
    prefix: str = setting(default="", help="What its tokens begin with; empty: all that no other method takes.")
    claims: ClaimNames = setting(default=ClaimNames, help="Which fields of the answer say what.")
    issuer: str | None = setting(default=None, help="What `iss` must be, where the answer has one.")
    audience: Many = setting(default=list, help="What `aud` must hold one of, where the answer has one.")
    timeout: Seconds = setting(default=2.0, help="Seconds an answer may take; then 503.", gt=0, le=60)
    cache: Seconds = setting(
        default=30.0, help="Seconds an answer is used, never beyond its exp; 0 = never.", ge=0, le=3600
    )
    max_stale: Seconds = setting(
        default=0.0, help="Seconds a known good answer is used on while the server is away.", ge=0, le=86400
    )
    kind: Kind = setting(default="user", help="What its callers are.")
    ca: str | None = setting(default=None, help="PEM file of authorities in place of the system's.")


@settings
class StaticKey:
    """An API key that the configuration knows by its hash."""

    id: str = setting(help="Name of the key in logs.", min_length=1, max_length=100)
    hash: str = setting(help="sha256:HEX of the whole key, as `headgate keys hash` prints it.", secret=True)
    owner: str = setting(default="", help="Whose it is.", max_length=200)
    tenant: str = setting(default="", help="Its tenant.", max_length=200)
    roles: Many = setting(default=list, help="Its roles.")
    scopes: Many = setting(default=list, help="Its scopes; route:NAME and service:NAME bind it to those.")
    tier: str = setting(default="", help="Its tier.", max_length=100)
    addresses: Many = setting(default=list, help="CIDRs it may come from; empty: any.")
    expires: str | None = setting(
        default=None, help="Day or moment it ends, ISO 8601: 2027-01-31 or 2027-01-31T12:00:00Z."
    )


@settings
class ApiKeys:
    """API keys: those made by `headgate keys create`, and static ones."""

    name: str = setting(default="api_key", help=_NAME, min_length=1, max_length=100)
    enabled: bool = setting(default=True, help="Take API keys.")
    prefix: str = setting(default="hg_", help="What keys begin with, such as voc_.", pattern=r"^[A-Za-z0-9_.-]{0,32}$")
    headers: Many = setting(
        default=lambda: ["X-API-Key"], help="Header fields that carry a key; a key is taken from nowhere else."
    )
    bearer: bool = setting(default=True, help="Also Authorization: Bearer, for what begins with the prefix.")
    database: bool = setting(default=True, help="Take keys from the database, too; false: static keys only.")
    static: list[StaticKey] = setting(default=list, help="Keys known by their hash.")
    unknown: Literal["refuse", "ask"] = setting(
        default="refuse", help="A key known neither here nor in the database: refuse it, or have introspection ask."
    )
    pepper: str | None = setting(
        default=None,
        help="Secret that keys are hashed with in the database; by default HEADGATE_KEY_PEPPER, else made once in"
        " state_dir.",
        secret=True,
    )


@settings
class BasicUser:
    """One user of HTTP Basic."""

    name: str = setting(help="The user name.", min_length=1, max_length=100)
    hash: str = setting(help="scrypt hash of the password, as `headgate keys hash --password` prints it.", secret=True)
    tenant: str = setting(default="", help="Its tenant.", max_length=200)
    roles: Many = setting(default=list, help="Its roles.")
    scopes: Many = setting(default=list, help="Its scopes.")
    tier: str = setting(default="", help="Its tier.", max_length=100)


@settings
class Basic:
    """HTTP Basic (RFC 7617), for what can do nothing better."""

    name: str = setting(default="basic", help=_NAME, min_length=1, max_length=100)
    users: list[BasicUser] = setting(help="Who there is.")


@settings
class CertificateRule:
    """What follows from a certificate: of several rules the first that matches counts."""

    match: str = setting(default="*", help="What the id must be; * at an end stands for any text.")
    roles: Many = setting(default=list, help="Roles of its holder.")
    scopes: Many = setting(default=list, help="Scopes of its holder.")
    tenant: str = setting(default="", help="Tenant of its holder; absent: as `tenant` says.", max_length=200)
    tier: str = setting(default="", help="Tier of its holder.", max_length=100)


@settings
class Certificates:
    """Client certificates as identity, on listeners with tls.client_ca."""

    name: str = setting(default="certificate", help=_NAME, min_length=1, max_length=100)
    id: Literal["common_name", "dns", "uri", "email", "subject"] = setting(
        default="common_name",
        help="What of it is the caller's id: of the subject, or the first alternative name of a kind.",
    )
    tenant: Literal["organization", "organizational_unit", "none"] = setting(
        default="organization", help="What of the subject is the tenant."
    )
    rules: list[CertificateRule] = setting(default=list, help="Roles, scopes and tiers by id; without a match none.")


@settings
class StandIn:
    """For tests: whoever shows anything at all in Authorization is this caller."""

    name: str = setting(default="stand_in", help=_NAME, min_length=1, max_length=100)
    id: str = setting(default="stand-in", help="Id of the caller.", min_length=1, max_length=200)
    tenant: str = setting(default="", help="Its tenant.", max_length=200)
    roles: Many = setting(default=list, help="Its roles.")
    scopes: Many = setting(default=list, help="Its scopes.")
    tier: str = setting(default="", help="Its tier.", max_length=100)


@settings
class TierRule:
    """Who has a tier: all that stands here must hold. The first rule that matches counts."""

    tier: str = setting(help="The tier.", min_length=1, max_length=100)
    kind: Annotated[list[Kind], OneOrMany()] = setting(default=list, help="One of these kinds of caller.")
    claim: str | None = setting(default=None, help="A claim of the token, or a field of the key (tier, owner, ...).")
    values: Many = setting(default=list, help="One of these values of the claim; empty: any.")
    roles: Many = setting(default=list, help="One of these roles.")
    tenants: Many = setting(default=list, help="One of these tenants.")


@settings
class TenantRule:
    """Whose request it is, where the credential alone does not say."""

    header: str | None = setting(
        default=None,
        help="Header that names the tenant of callers whose credential names none, and of choosers; from all others"
        " another tenant than their own there is 403. The credential's own tenant holds where it is absent.",
    )
    choosers: Many = setting(default=list, help="Roles that may choose the tenant by the header.")
    only_choosers: bool = setting(default=False, help="Who has a credential without a tenant may choose none, either.")
    anonymous: bool = setting(default=False, help="Let callers without a credential choose it, too.")


@settings
class Tenant:
    """One tenant: what holds for all its callers."""

    name: str = setting(help="The tenant, as credentials name it.", min_length=1, max_length=200)
    enabled: bool = setting(default=True, help="false: its callers get 403.")
    tier: str = setting(default="", help="Tier of its callers that have none by themselves.", max_length=100)
    allow: Many = setting(default=list, help="CIDRs its callers may come from; empty: any.")
    deny: Many = setting(default=list, help="CIDRs they may not come from.")


@settings
class IdentitySettings:
    """Who asks: the ways to show it, and what follows. What callers may do stands in `auth`."""

    jwt: Annotated[list[JwtIssuer], OneOrMany()] = setting(default=list, help="Signed tokens, by issuer.")
    introspection: Annotated[list[Introspection], OneOrMany()] = setting(default=list, help="Opaque tokens.")
    api_keys: ApiKeys | None = setting(default=None, help="API keys.")
    basic: Basic | None = setting(default=None, help="User names and passwords.")
    certificates: Certificates | None = setting(default=None, help="Client certificates.")
    stand_in: StandIn | None = setting(default=None, help="For tests: whoever shows anything is one caller.")
    order: Many = setting(
        default=lambda: ["certificate", "jwt", "api_key", "basic", "introspection", "stand_in"],
        help="Which way is looked for first; the first credential that is there decides, right or wrong.",
    )
    realm: str = setting(default="headgate", help="Realm in WWW-Authenticate.", pattern=r'^[^"\\\x00-\x1f\x7f]{1,100}$')
    hide_credentials: bool = setting(default=False, help="Take the credential that was used off what goes upstream.")
    strict: bool = setting(
        default=False,
        help="Refuse with 401 an Authorization that no way takes, even where a good credential stands elsewhere;"
        " otherwise it is for the service.",
    )
    forward: dict[str, str] = setting(
        default=dict,
        help="Request headers for the upstream and what they say: id, kind, tenant, roles, scopes, tier, method or"
        " claims.NAME. What clients send under these names is always taken off.",
    )
    tiers: list[TierRule] = setting(
        default=list, help="Tiers by rule; otherwise the credential's, the tenant's, or the name of the caller's kind."
    )
    tenant: TenantRule = setting(default=TenantRule, help="Tenants by header.")
    tenants: list[Tenant] = setting(default=list, help="What holds for single tenants.")
    unknown_tenants: Literal["allow", "refuse"] = setting(
        default="allow", help="Callers of a tenant that is not listed: allow, or refuse with 403."
    )
    permissions: dict[str, Many] = setting(
        default=dict,
        help="Permissions of each role, such as admin: ['*'], agent: ['calls:read', 'leads:*']. Between : or dots"
        " * stands for one part, at the end for all that follow.",
    )
    cache: int = setting(default=10_000, help="Verdicts on credentials that each worker remembers.", ge=0, le=1_000_000)


# -- what callers may do -------------------------------------------------------------------------------------------


@settings
class AccessRule:
    """What a caller must have. Whatever stands here must hold."""

    method: Annotated[list[str], OneOrMany()] = setting(
        default=list, help="Methods it holds for, in any case; empty: all. GET stands for HEAD, too."
    )
    roles: Many = setting(default=list, help="One of these roles.")
    scopes: Many = setting(default=list, help="All of these scopes.")
    permissions: Many = setting(default=list, help="All of these permissions, which roles give (identity.permissions).")
    tenants: Many = setting(default=list, help="One of these tenants.")
    kinds: Annotated[list[Kind], OneOrMany()] = setting(default=list, help="One of these kinds of caller.")
    not_roles: Many = setting(
        default=list, help="No caller who has these roles alone; who has another one besides may, and who has none."
    )


@settings
class Isolation:
    """Whose thing the request is about: callers of another tenant get 403. A bare string is `tenant`."""

    tenant: str = setting(
        help="Where the request names it: params.NAME (of the route's path), header:NAME or query:NAME. A request that"
        " names none there, or another one as well, gets 403."
    )
    crossing: Many = setting(default=list, help="Roles that may cross.")


@settings
class ExternalAuth:
    """Ask a service whether a request may pass. A bare string is the URL."""

    url: str = setting(
        help="URL that is asked. 2xx lets the request pass; 401 is 401 with its WWW-Authenticate; any other 3xx or 4xx"
        " is 403; everything else is as on_error says."
    )
    method: Literal["GET", "POST"] = setting(default="GET", help="How it is asked.")
    send: list[str] = setting(
        default=lambda: ["Authorization", "Cookie"],
        help="Request headers it is told, those of identity.forward too, besides X-Forwarded-Method, -Uri, -For,"
        " -Proto, -Host and -Port, X-Real-IP and X-Request-ID.",
    )
    take: list[str] = setting(
        default=list,
        help="Headers of its answer that go upstream; what clients send under these names is always taken off.",
    )
    timeout: Seconds = setting(default=1.0, help="Seconds an answer may take.", gt=0, le=60)
    cache: Seconds = setting(
        default=0.0, help="Seconds a verdict on the same question is used; 0 = never.", ge=0, le=3600
    )
    on_error: Literal["closed", "open"] = setting(
        default="closed", help="When it does not answer, or with 5xx: closed: 503, open: pass."
    )
    ca: str | None = setting(default=None, help="PEM file of authorities in place of the system's.")


@settings
class Auth:
    """What callers must show and have. A bare string is the mode; `auth: none` opens a route."""

    mode: Literal["required", "optional", "none"] = setting(
        default="required",
        help="required: without a credential 401. optional: without one anonymous; a wrong one is refused. none:"
        " nobody looks.",
    )
    methods: Many = setting(default=list, help="Names of the ways in `identity` that count here; empty: all.")
    roles: Many = setting(default=list, help="One of these roles is needed.")
    scopes: Many = setting(default=list, help="All of these scopes are needed.")
    permissions: Many = setting(default=list, help="All of these permissions are needed.")
    tenants: Many = setting(default=list, help="One of these tenants is needed.")
    rules: list[AccessRule] = setting(default=list, help="More of that, by method; all rules that apply must hold.")
    isolation: Annotated[Isolation | None, Short("tenant")] = setting(default=None, help="Keep tenants apart.")
    external: Annotated[ExternalAuth | None, Short("url")] = setting(default=None, help="Ask a service, too.")


@settings
class Addresses:
    """From where one may ask. A bare list is `allow`."""

    allow: Many = setting(default=list, help="CIDRs; empty: any. Clients by a Unix socket are in none.")
    deny: Many = setting(default=list, help="CIDRs that are refused, whatever allow says.")
