"""Headgate, an API gateway for AI microservices.

The nouns, from a byte to the machine:

    RequestHead   what a client asked, in one normal form that everybody reads (core.message, core.uri)
    Listener      an address that clients connect to; the master opens it, the workers accept there
    Downstream    a client's connection, and Upstream one to an endpoint: bytes, framing, backpressure (wire)
    Stream        one request of a client and its answer, in any version of HTTP (wire.stream); a Call is the same to an
                  endpoint (wire.call). Over HTTP/2 each is carried by a Lane, and many share a Link (wire.http2)
    Route         which requests are meant, and what is done to them (policy.route, policy.rewrite)
    Service       what an operator configures; at run time a Cluster: its endpoints, their pools, its balancer
    Endpoint      one address of a service
    Identity      who asks; a Method judges one kind of credential, a Way remembers its verdicts (auth, proxy.way)
    Gate          what a request must pass on its way, in one order; a Plugin is one of an operator's own (proxy.gates)
    Limit         how many requests of one key may pass (policy.limit); a Store counts them for all workers (stores)
    Breaker       refuses calls to a service that fails; like health and ejection it lives on the Board, which all
                  processes of a gateway share (policy.breaker, stores.board)
    Entry         an answer that is kept (policy.cache); a Fetch gets it once for all who wait, a CacheStore holds it
                  for all workers (proxy.caching, stores.cache)
    Exchange      the life of one request, one coroutine, from its head to its line in the log (proxy.exchange)
    Failure       what went wrong, on whose side, whether a byte had left; one table makes it a status (core.failure)
    Layer         one document of the configuration; a Preset is one that comes with the package and lies below an
                  operator's own, a Variable what a document takes from the environment (config.declarations)
    Plan          all that a worker runs, built whole from a configuration and swapped in at once (proxy.plan)
    Worker        a process with one event loop and one Plan; master and control look after it (control)
    Guest         a worker whose process is an ASGI server's (asgi); in the master's place there is a Companion, which
                  gives each of them its Seat (control.companion, control.children)
    Record        all that was decided on the way of one sampled request; the worker makes it (telemetry.record),
                  control keeps it and makes spans, logs and answers of it (control.telemetry)
    Source        tells where a service runs, when the configuration does not (discovery); control asks it
    Surface       the gateway's own endpoints on its public listeners (proxy.own, proxy.own_routes, control.surface)
    Operator      who may look at the gateway or tell it something over the admin API, and its role (control.operators)
    Part          one of what lives in control and follows the configuration in force (control.parts)

Reading order: core.message, core.failure, wire.downstream, proxy.exchange, then whatever the exchange calls;
config.schema for what can be configured, config.loader for how; control.master for the processes, control.parts for
what control does. docs/architecture.md walks through a request file by file. A package imports only packages of lower
floors: core < policy, auth, telemetry, wire, plugin < discovery, stores < config < proxy < control < client <
circuit_breaker < asgi, cli.
"""

from __future__ import annotations

__version__ = "0.1.0"
