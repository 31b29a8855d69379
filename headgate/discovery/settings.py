"""Settings of the sources that tell which endpoints a service has (`discovery` of a service)."""

from __future__ import annotations

from typing import Annotated, Literal

from headgate.core.settings import OneOrMany, Seconds, setting, settings


@settings
class EnvironmentDiscovery:
    """Variables of the gateway's environment, read when a configuration is loaded.

    By default <NAME>_SERVICE_URL, and UPSTREAM_<NAME>_URLS with UPSTREAM_<NAME>_WEIGHTS; NAME is the service's name in
    capitals, what is no letter or digit as an underscore.
    """

    type: Literal["environment"] = setting(default="environment", help="Variables of the environment.")
    urls: Annotated[list[str], OneOrMany()] = setting(
        default=list, help="Variables that may hold URLs, separated by commas, in place of the two by default."
    )
    weights: str | None = setting(default=None, help="Variable that holds their weights, separated by commas.")
    default: str | None = setting(default=None, help="URLs where no variable is set, separated by commas.")


@settings
class DnsDiscovery:
    """Addresses (A, AAAA) or services (SRV) of a name."""

    type: Literal["dns"] = setting(default="dns", help="Records of a name.")
    name: str = setting(
        help="The name, such as chat.internal or _http._tcp.chat.internal; {service} stands for the service's name.",
        min_length=1,
    )
    record: Literal["a", "aaaa", "both", "srv"] = setting(default="both", help="Which records.")
    port: int = setting(default=80, help="Port, where the record has none.", ge=1, le=65535)
    scheme: Literal["http", "https"] = setting(default="http", help="How the endpoints are spoken to.")
    servers: Annotated[list[str], OneOrMany()] = setting(
        default=list, help="Name servers as ADDRESS or ADDRESS:PORT, in place of the system's."
    )
    min_ttl: Seconds = setting(
        default=1.0, help="Shortest time between two questions, whatever the TTL.", ge=0.1, le=3600
    )
    max_ttl: Seconds = setting(default=300.0, help="Longest time between two questions.", ge=1, le=86_400)
    timeout: Seconds = setting(default=5.0, help="Seconds for an answer.", gt=0, le=60)


@settings
class HttpDiscovery:
    """Another registry that lists services as JSON (GET /services or /api/v1/services)."""

    type: Literal["http"] = setting(default="http", help="A registry that lists services as JSON.")
    url: str | None = setting(
        default=None, help="URL of the list, or of the registry alone; by default http://HOST:PORT and the paths."
    )
    host: str = setting(default="service-discovery", help="Host of the registry.", min_length=1)
    port: int = setting(default=8000, help="Port of the registry.", ge=1, le=65535)
    paths: Annotated[list[str], OneOrMany()] = setting(
        default=lambda: ["/services", "/api/v1/services"], help="Paths of the list; the first that is there."
    )
    service: str | None = setting(default=None, help="Name in the registry; by default the service's.")
    unhealthy: Annotated[list[str], OneOrMany()] = setting(
        default=lambda: ["unhealthy", "error", "down", "critical"],
        help="Statuses, in small letters, of instances that get no requests.",
    )
    scheme: Literal["http", "https"] = setting(default="http", help="How the endpoints are spoken to.")
    token: str = setting(default="", help="Bearer token for it.", secret=True)
    ca: str | None = setting(default=None, help="PEM file of authorities in place of the system's.")
    interval: Seconds = setting(default=10.0, help="Seconds between two questions.", ge=0.1, le=3600)
    timeout: Seconds = setting(default=5.0, help="Seconds for an answer.", gt=0, le=60)


@settings
class RegistryDiscovery:
    """Instances that register themselves with this gateway (POST /services of the admin API)."""

    type: Literal["registry"] = setting(default="registry", help="Instances that register themselves here.")
    service: str | None = setting(default=None, help="Name under which they register; by default the service's.")


@settings
class Registering:
    """What instances may register themselves with this gateway (POST /services of the admin API)."""

    networks: Annotated[list[str], OneOrMany()] = setting(
        default=list,
        help="Addresses and CIDRs that instances may be at, which then must give an address; by default any but"
        " link-local ones.",
    )
    max_instances: int = setting(default=10_000, help="How many there may be, of all services.", ge=1, le=100_000)
    ttl: Seconds = setting(
        default=60.0,
        help="Seconds until an instance is dropped that nothing is heard of, where it names no ttl of its own: no"
        " heartbeat, and no check that went well.",
        ge=1,
        le=86_400,
    )
    health_check: str = setting(
        default="/health", help="Path that instances are asked at which name none; empty for no check of those."
    )
    check_interval: Seconds = setting(default=30.0, help="Seconds between two checks.", ge=0.1, le=3600)
    check_timeout: Seconds = setting(default=5.0, help="Seconds for an answer.", gt=0, le=60)


@settings
class ConsulDiscovery:
    """Instances of a service in Consul, by blocking queries."""

    type: Literal["consul"] = setting(default="consul", help="A service of Consul.")
    url: str = setting(default="http://127.0.0.1:8500", help="URL of an agent.")
    service: str | None = setting(default=None, help="Name in Consul; by default the service's.")
    tag: str = setting(default="", help="Only instances with this tag.")
    datacenter: str = setting(default="", help="Datacenter, where it is not the agent's.")
    token: str = setting(default="", help="ACL token.", secret=True)
    scheme: Literal["http", "https"] = setting(default="http", help="How the endpoints are spoken to.")
    wait: Seconds = setting(default=55.0, help="Seconds that a blocking query may wait.", ge=1, le=600)
    ca: str | None = setting(default=None, help="PEM file of authorities in place of the system's.")


@settings
class EtcdDiscovery:
    """Keys below a prefix in etcd (version 3), by a watch.

    The value of a key is a URL, or a JSON object with url, or host and port, and optionally weight and zone.
    """

    type: Literal["etcd"] = setting(default="etcd", help="Keys below a prefix in etcd.")
    url: Annotated[list[str], OneOrMany()] = setting(
        default=lambda: ["http://127.0.0.1:2379"], help="URLs of the members."
    )
    prefix: str | None = setting(default=None, help="What the keys begin with; by default /services/NAME/.")
    username: str = setting(default="", help="User, if etcd wants one.")
    password: str = setting(default="", help="The user's password.", secret=True)
    ca: str | None = setting(default=None, help="PEM file of authorities in place of the system's.")
    cert: str | None = setting(default=None, help="PEM file of our client certificate.")
    key: str | None = setting(default=None, help="PEM file of its key.")


@settings
class KubernetesDiscovery:
    """EndpointSlices of a Kubernetes service, by a watch."""

    type: Literal["kubernetes"] = setting(default="kubernetes", help="EndpointSlices of a Kubernetes service.")
    service: str | None = setting(default=None, help="Name of the Kubernetes service; by default the service's.")
    namespace: str | None = setting(default=None, help="Its namespace; by default the gateway's own.")
    port: str | int | None = setting(default=None, help="Name or number of the port; by default the only or first one.")
    scheme: Literal["http", "https"] = setting(default="http", help="How the endpoints are spoken to.")
    server: str | None = setting(default=None, help="URL of the API server; by default the cluster's own.")
    token_path: str = setting(
        default="/var/run/secrets/kubernetes.io/serviceaccount/token",
        help="File with the token, read anew as it rotates.",
    )
    ca: str | None = setting(
        default="/var/run/secrets/kubernetes.io/serviceaccount/ca.crt", help="PEM file of the API server's authority."
    )
