"""An example for each block of the reference page; each is a whole configuration, and a test loads it."""

from __future__ import annotations

EXAMPLES: dict[str, str] = {
    "Config": """
listen: [0.0.0.0:8080]
admin:
  address: 127.0.0.1:8081
  token: ${HEADGATE_ADMIN_TOKEN:-}
timeout: {connect: 2, response: 30s}
services:
  - name: chat
    url: http://10.0.0.1:8001
    routes:
      - name: chat
        match: {path: /api/v1/chat}
""",
    "Listen": """
listen:
  - 0.0.0.0:8080
  - address: "[::]:8443"
    proxy_protocol: [10.0.0.0/8]
  - unix:/run/headgate/http.sock
""",
    "Admin": """
admin:
  address: unix:/run/headgate/admin.sock
  token: ${HEADGATE_ADMIN_TOKEN:-}
  expose: [/health, /ready]
  public: [/health, /ready]      # /metrics needs a token, then
  tokens:
    - {name: prometheus, role: read, token: "${METRICS_TOKEN:-0123456789abcdef}"}
    - {name: on-call, role: operate, token: "${ON_CALL_TOKEN:-fedcba9876543210}"}
""",
    "Surface": """
surface:
  - {path: /metrics, view: metrics}
  - {path: "/api/v1/proxy/{service_name}/{path}", view: proxy}
  - path: /status
    view: status
    auth: none
    body: {services: "{{ summary.total_services }}", well: "{{ summary.overall_health }} %"}
""",
    "OwnHealth": """
health:
  memory: {degraded: 80, unhealthy: 95}
  dependencies:
    - {name: redis, url: "redis://127.0.0.1:6379", ready: true}
    - {name: qdrant, url: "http://127.0.0.1:6333/healthz", timeout: 1s}
""",
    "Shutdown": """
shutdown:
  grace: 5s        # the load balancer needs this long to notice
  timeout: 30s
""",
    "HttpLimits": """
http:
  max_header_bytes: 32KiB
  header_timeout: 5s
  max_connections_per_address: 100
""",
    "Forwarding": """
forwarding:
  trust: [10.0.0.0/8, fd00::/8]
  forwarded: true
""",
    "RequestId": """
request_id:
  headers: [X-Request-ID, X-Correlation-ID]
  format: hex
  prefix: req_
""",
    "Errors": """
errors:
  content_type: application/json
  body: {error: {code: "{reason}", message: "{message}", request_id: "{request_id}"}}
  reasons:
    route_not_found: {message: "There is nothing at this address."}
  origins:
    upstream: {status: 503}
""",
    "Telemetry": """
telemetry:
  level: info
  access_log: {path: /var/log/headgate/access.log, format: json, sample: 0.1}
  redact: {client: hash, host: omit}
  redact_key: ${HEADGATE_REDACT_KEY:-a key of sixteen or more}
  audit: {enabled: true, path: /var/log/headgate/audit.jsonl}
""",
    "Metrics": """
telemetry:
  metrics:
    buckets: [5ms, 25ms, 100ms, 500ms, 1s, 5s]
    native: true
    names:
      headgate_requests_in_flight: gateway_active_requests
      headgate_requests_total:
        name: http_requests_total
        labels: {method: method, endpoint: pattern, status: status}
""",
    "Sampling": """
telemetry:
  sampling:
    ratio: 0.01
    slow: 2s
    rules:
      - {path: /v1/checkout, method: POST, ratio: 1}
      - {path: /v1/events, ratio: 0}
""",
    "Tracing": """
telemetry:
  tracing:
    enabled: true
    send: [w3c, b3]
    export: {endpoint: "http://collector:4318", headers: {x-api-key: "${COLLECTOR_KEY:-}"}}
""",
    "Registering": """
registrations:
  networks: [10.0.0.0/8]
  ttl: 30s
services:
  - {name: chat, discovery: registry}
""",
    "EnvironmentDiscovery": """
services:
  - name: chat
    discovery: {type: environment, default: "http://10.0.0.1:8001"}    # CHAT_SERVICE_URL, UPSTREAM_CHAT_URLS
""",
    "DnsDiscovery": """
services:
  - name: chat
    discovery: {type: dns, name: _http._tcp.chat.internal, record: srv, servers: ["10.0.0.2:53"]}
""",
    "HttpDiscovery": """
discovery: {type: http, host: registry.internal, port: 8000, interval: 5s}    # for all services without endpoints
services:
  - {name: chat}
""",
    "Service": """
services:
  - name: chat
    endpoints:
      - http://10.0.0.1:8001
      - {url: http://10.0.0.2:8001, weight: 3}
    balancer: round_robin
    retry: {attempts: 1}
    timeout: {connect: 1s, response: 2m}
    routes:
      - {name: chat, match: {path: /api/v1/chat, method: POST}}
""",
    "LeastConnectionsSettings": """
services:
  - name: chat
    endpoints: [http://10.0.0.1:8001, {url: http://10.0.0.2:8001, weight: 3}]
    balancer: least_connections
""",
    "PeakEwmaSettings": """
services:
  - name: chat
    endpoints: [http://10.0.0.1:8001, http://10.0.0.2:8001]
    balancer: {type: peak_ewma, decay: 5s}
""",
    "ConsistentHashSettings": """
services:
  - name: sessions
    endpoints: [http://10.0.0.1:8001, http://10.0.0.2:8001]
    balancer: {type: consistent_hash, cookie: session}
""",
    "CandidateSettings": """
zone: eu-1
services:
  - name: chat
    endpoints:
      - {url: http://10.0.0.1:8001, zone: eu-1}
      - {url: http://10.0.1.1:8001, zone: eu-2}
    candidates: {panic_threshold: 30, slow_start: 1m, zone_preference: true}
""",
    "HealthSettings": """
services:
  - name: chat
    endpoints: [http://10.0.0.1:8001, http://10.0.0.2:8001]
    health:
      path: /health/ready
      body: '"status": *"ok"'
      interval: 10s
      timeout: 2s
""",
    "OutlierSettings": """
services:
  - name: chat
    endpoints: [http://10.0.0.1:8001, http://10.0.0.2:8001, http://10.0.0.3:8001]
    outlier:
      consecutive_failures: 5
      ejection_time: 10s
""",
    "UpstreamTls": """
services:
  - name: billing
    url: https://10.0.0.7:8443
    tls: {server_name: billing.internal}
""",
    "Route": """
services:
  - name: chat
    url: http://10.0.0.1:8001
    routes:
      - name: chat
        match: {path: /api/v1/chat, method: [GET, POST]}
        destinations:                     # a canary
          - {service_name: chat, weight: 90}
          - {service_name: chat-canary, weight: 10}
        sticky: {cookie: session}
        rewrite: {strip_prefix: /api/v1/chat}
        mirror: {service_name: chat-canary, percent: 1}
        max_body: 1MiB
  - name: chat-canary
    url: http://10.0.0.2:8001
""",
    "Match": """
services:
  - name: models
    url: http://10.0.0.1:8001
    routes:
      - name: one-model
        match:
          path: {template: "/v1/models/{model}/{path}"}
          host: [api.example.com, "*.example.org"]
          method: GET
          headers: {X-Tenant: acme, X-Debug: {present: false}}
          query: {version: {regex: "[0-9]+"}}
        rewrite: {path: "/{model}/{path}"}
""",
    "HeaderEdits": """
headers:
  request: {remove: [X-Internal], set: {X-Gateway: headgate}}
  response: {remove: [Server], set: {Strict-Transport-Security: max-age=31536000}}
""",
    "Redirect": """
services:
  - name: site
    url: http://10.0.0.1:8001
    routes:
      - {name: old, match: {path: /old}, redirect: "https://example.com/new/{path}"}
""",
    "Respond": """
services:
  - name: site
    url: http://10.0.0.1:8001
    routes:
      - name: robots
        match: {path: {exact: /robots.txt}}
        respond: {body: "User-agent: *\\nDisallow: /\\n", headers: {Cache-Control: max-age=3600}}
""",
    "Compression": """
compression:
  algorithms: [br, gzip]
  min_size: 2KiB
""",
    "Limit": """
limits:
  - {name: per-client, key: address, requests: 60, window: 60}
  - {name: per-client-hour, key: address, requests: 1000, window: 1h}
  - name: tokens
    key: [header:X-Team, service]
    type: token_bucket
    requests: 100000
    window: 60
    burst: 20000
    cost: {request: 500, header: X-Tokens-Used}
    tiers: {gold: {requests: 1000000, burst: 200000}, internal: unlimited}
    match: {path: /v1/chat, method: POST}
    exempt: [/v1/chat/models]
    on_error: closed
""",
    "LimitHeaders": """
limit_headers: {forms: [plain, per_window, ietf], reset: epoch}
""",
    "RedisStoreSettings": """
store:
  type: redis
  mode: sentinel
  url: [redis://10.0.0.1:26379, redis://10.0.0.2:26379, redis://10.0.0.3:26379]
  sentinel_master: limits
  password: ${REDIS_PASSWORD:-}
  gateways: 3
""",
    "SharedStoreSettings": """
store: {type: shared, size: 256MiB}
""",
    "MemoryCacheSettings": """
cache_store: {type: memory, size: 1GiB}
""",
    "RedisCacheSettings": """
cache_store: {type: redis, url: "rediss://cache.internal:6379/0", password: "${REDIS_PASSWORD:-}"}
""",
    "BreakerSettings": """
services:
  - name: chat
    url: http://10.0.0.1:8001
    circuit_breaker: {threshold: 5, window_size: 100, success_threshold: 2, timeout: 60}
""",
    "RetrySettings": """
services:
  - name: search
    endpoints: [http://10.0.0.1:8001, http://10.0.0.2:8001]
    retry:
      attempts: 3
      on: [connect, reset, timeout, 503]
      per_try_timeout: 3s
      buffer: 256KiB
""",
    "Backoff": """
retry: {backoff: {base: 50ms, max: 1s, retry_after: 5s}}
""",
    "RetryBudget": """
retry: {budget: {percent: 10, minimum: 5}}
""",
    "Hedging": """
services:
  - name: embeddings
    endpoints: [http://10.0.0.1:8001, http://10.0.0.2:8001]
    retry: {hedge: 300ms}
""",
    "Fault": """
services:
  - name: payments
    url: http://10.0.0.1:8001
    routes:
      - name: payments
        match: {path: /payments}
        fault:
          delay: {seconds: 3, percent: 10}
          abort: {status: 503, percent: 2}
          header: X-Chaos
""",
    "AdaptiveConcurrency": """
services:
  - name: models
    url: http://10.0.0.1:8001
    adaptive_concurrency: {initial: 50, min: 10, tolerance: 2}
    routes:
      - {name: chat, match: {path: /v1/chat}, priority: high}
      - {name: batch, match: {path: /v1/batch}, priority: low}
""",
    "Overload": """
overload: {max_in_flight: 2000, lag: 200ms}
""",
    "Timeouts": """
timeout: {connect: 1s, response: 10s, total: 15s, deadline_header: X-Request-Timeout-Ms}
""",
    "JwtIssuer": """
identity:
  jwt:
    - name: login
      issuer: https://login.example.com/realms/main
      discovery: {}
      audience: api
      claims: {tenant: organization, roles: realm_access.roles}
    - name: machines
      issuer: https://tokens.example.com
      key_set: https://tokens.example.com/keys.json
      algorithms: EdDSA
      audience: [api, batch]
      typ: at+jwt
      kind: service
""",
    "ClaimNames": """
identity:
  jwt:
    - issuer: https://login.example.com
      discovery: {}
      audience: api
      claims:
        id: [user_id, sub]
        tenant: https://example.com/organization
        roles: [roles, realm_access.roles]
        tier: plan
""",
    "KeySetSource": """
identity:
  jwt:
    - issuer: https://login.example.com
      audience: api
      discovery: {refresh: 10m, cooldown: 30s, timeout: 3s, max_stale: 12h}
""",
}
