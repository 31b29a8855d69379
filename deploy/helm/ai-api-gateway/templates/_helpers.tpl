{{- define "gateway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "gateway.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 57 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "gateway.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 57 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 57 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "gateway.selector" -}}
app.kubernetes.io/name: {{ include "gateway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "gateway.labels" -}}
{{ include "gateway.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "gateway.secret" -}}
{{- default (include "gateway.fullname" .) .Values.secrets.existingSecret -}}
{{- end -}}

{{- define "gateway.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "gateway.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "gateway.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* A value as text. A whole number of a file comes as a fraction, and a large one would be written as 1e+06. */}}
{{- define "gateway.plain" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- int64 . -}}
{{- else -}}
{{- toString . -}}
{{- end -}}
{{- end -}}

{{/* The variables in the clear that `config` stands for. What is not set is left to the preset. */}}
{{- define "gateway.variables" -}}
{{- $config := .Values.config -}}
{{- $found := dict
  "SERVER_PORT" $config.server.port
  "SERVER_READ_TIMEOUT" $config.server.readTimeout
  "SERVER_WRITE_TIMEOUT" $config.server.writeTimeout
  "SERVER_IDLE_TIMEOUT" $config.server.idleTimeout
  "REDIS_MAX_RETRIES" $config.redis.maxRetries
  "REDIS_POOL_SIZE" $config.redis.poolSize
  "REDIS_MIN_IDLE_CONNS" $config.redis.minIdleConns
  "REDIS_DIAL_TIMEOUT" $config.redis.dialTimeout
  "REDIS_READ_TIMEOUT" $config.redis.readTimeout
  "REDIS_WRITE_TIMEOUT" $config.redis.writeTimeout
  "REDIS_POOL_TIMEOUT" $config.redis.poolTimeout
  "REDIS_IDLE_TIMEOUT" $config.redis.idleTimeout
  "AUTH_TYPE" $config.auth.type
  "OIDC_ISSUER" $config.auth.oidcIssuer
  "OIDC_CLIENT_ID" $config.auth.oidcClientID
  "RATELIMIT_ENABLED" $config.rateLimit.enabled
  "RATELIMIT_ALGORITHM" $config.rateLimit.algorithm
  "RATELIMIT_BUCKET_SIZE" $config.rateLimit.bucketSize
  "RATELIMIT_REFILL_RATE" $config.rateLimit.refillRate
  "RATELIMIT_WINDOW_SIZE" $config.rateLimit.windowSize
  "RATELIMIT_KEY_PREFIX" $config.rateLimit.keyPrefix
  "PROXY_LOAD_BALANCER" $config.proxy.loadBalancer
  "PROXY_TIMEOUT" $config.proxy.timeout
  "PROXY_MAX_IDLE_CONNS" $config.proxy.maxIdleConns
  "PROXY_IDLE_CONN_TIMEOUT" $config.proxy.idleConnTimeout
  "LOG_LEVEL" $config.observability.logLevel
  "TRACING_ENABLED" $config.observability.tracingEnabled
  "JAEGER_ENDPOINT" $config.observability.jaegerEndpoint
  "METRICS_ENABLED" $config.observability.metricsEnabled
  "METRICS_PATH" $config.observability.metricsPath
-}}
{{- range $name, $upstream := $config.upstreams -}}
{{- $part := $name | upper | replace "-" "_" -}}
{{- $_ := set $found (printf "UPSTREAM_%s_URLS" $part) (join "," $upstream.urls) -}}
{{- with $upstream.weights -}}
{{- $_ := set $found (printf "UPSTREAM_%s_WEIGHTS" $part) (join "," .) -}}
{{- end -}}
{{- range $key, $value := $upstream.health -}}
{{- $_ := set $found (printf "UPSTREAM_%s_HEALTH_%s" $part (upper $key)) $value -}}
{{- end -}}
{{- end -}}
{{- range $name := keys $found | sortAlpha -}}
{{- $value := get $found $name -}}
{{- if not (or (kindIs "invalid" $value) (eq (toString $value) "")) }}
{{ $name }}: {{ include "gateway.plain" $value | quote }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The secret variables that values say; what the installation makes is not among them. */}}
{{- define "gateway.secrets" -}}
{{- $found := dict
  "JWT_SECRET" (default .Values.config.auth.jwtSecret .Values.secrets.jwtSecret)
  "JWT_SECRET_KEY" .Values.secrets.jwtSecretKey
  "OIDC_CLIENT_SECRET" (default .Values.config.auth.oidcClientSecret .Values.secrets.oidcClientSecret)
  "REDIS_URL" .Values.config.redis.url
-}}
{{- $found = merge (deepCopy .Values.secrets.variables) $found -}}
{{- range $name := keys $found | sortAlpha -}}
{{- with get $found $name }}
{{ $name }}: {{ include "gateway.plain" . | b64enc | quote }}
{{- end -}}
{{- end -}}
{{- end -}}
