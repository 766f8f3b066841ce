{{- define "mastersocket.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "mastersocket.fullname" -}}
{{- $name := include "mastersocket.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that select pods of a component. They are constant: selectors can't change. */}}
{{- define "mastersocket.selectorOf" -}}
app.kubernetes.io/name: {{ include "mastersocket.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "mastersocket.selector" -}}
{{ include "mastersocket.selectorOf" (dict "root" . "component" "hub") }}
{{- end -}}

{{- define "mastersocket.redisSelector" -}}
{{ include "mastersocket.selectorOf" (dict "root" . "component" "redis") }}
{{- end -}}

{{- define "mastersocket.commonLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "mastersocket.labels" -}}
{{ include "mastersocket.selector" . }}
{{ include "mastersocket.commonLabels" . }}
{{- end -}}

{{- define "mastersocket.redisLabels" -}}
{{ include "mastersocket.redisSelector" . }}
{{ include "mastersocket.commonLabels" . }}
{{- end -}}

{{/* The reference of an image: root, image (a value), tag (default). */}}
{{- define "mastersocket.image" -}}
{{- $i := .image -}}
{{- with .root.Values.global.imageRegistry -}}{{ . | trimSuffix "/" }}/{{- end -}}
{{- if $i.digest -}}
{{- printf "%s@%s" $i.repository $i.digest -}}
{{- else -}}
{{- printf "%s:%s" $i.repository (default .tag $i.tag) -}}
{{- end -}}
{{- end -}}

{{- define "mastersocket.pullSecrets" -}}
{{- with concat .Values.global.imagePullSecrets .Values.image.pullSecrets | uniq -}}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end -}}
{{- end -}}

{{- define "mastersocket.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "mastersocket.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* A duration of the hub (1m30s, 500ms) in whole seconds, rounded up. */}}
{{- define "mastersocket.seconds" -}}
{{- $ms := 0.0 -}}
{{- range regexFindAll "[0-9.]+(h|ms|m|s)" . -1 -}}
{{- $n := regexFind "^[0-9.]+" . | float64 -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- $ms = addf $ms (mulf $n (get (dict "h" 3600000.0 "m" 60000.0 "s" 1000.0 "ms" 1.0) $unit)) -}}
{{- end -}}
{{- divf $ms 1000.0 | ceil | int64 -}}
{{- end -}}

{{/* preStop, the drain, 5 s for clients that don't leave, 5 s for the hub's parts, and a margin. */}}
{{- define "mastersocket.grace" -}}
{{- $drain := include "mastersocket.seconds" (index .Values.config "drain-timeout") | int64 -}}
{{- add .Values.drain.preStopSeconds $drain 10 .Values.drain.marginSeconds -}}
{{- end -}}

{{/* A percentage of a quantity of memory, in bytes: quantity, percent, value (its name, for errors). */}}
{{- define "mastersocket.memoryShare" -}}
{{- $q := ternary (printf "%d" (int64 .quantity)) (toString .quantity) (kindIs "float64" .quantity) -}}
{{- $n := regexFind "^[0-9.]+" $q | float64 -}}
{{- $unit := regexFind "[A-Za-z]*$" $q -}}
{{- $factors := dict "" 1.0 "k" 1000.0 "M" 1000000.0 "G" 1000000000.0 "T" 1000000000000.0 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 -}}
{{- if not (hasKey $factors $unit) -}}
{{- fail (printf "%s: the unit of %s is not one of Ki, Mi, Gi, Ti, k, M, G, T" .value $q) -}}
{{- end -}}
{{- divf (mulf (mulf $n (get $factors $unit)) (float64 .percent)) 100.0 | int64 -}}
{{- end -}}

{{/* The greatest number of instances: that of a rollout, which adds one. */}}
{{- define "mastersocket.mostInstances" -}}
{{- add1 (ternary (int .Values.autoscaling.maxReplicas) (int .Values.replicas) .Values.autoscaling.enabled) -}}
{{- end -}}

{{/* Memory for the output buffers of Redis, in MiB: the hard bound for each instance, and 64 MiB. */}}
{{- define "mastersocket.redisMemory" -}}
{{- $hard := regexFind "^[0-9]+(kb|mb|gb)?" .Values.redis.pubsubOutputBuffer -}}
{{- $bytes := mulf (regexFind "^[0-9]+" $hard | float64) (get (dict "" 1.0 "kb" 1024.0 "mb" 1048576.0 "gb" 1073741824.0) (regexFind "[a-z]*$" $hard)) -}}
{{- addf (divf (mulf $bytes (include "mastersocket.mostInstances" . | float64)) 1048576.0 | ceil) 64.0 | int64 -}}
{{- end -}}

{{/* The resources of Redis, with the default of the memory limit. */}}
{{- define "mastersocket.redisResources" -}}
{{- $r := deepCopy .Values.redis.resources -}}
{{- $least := include "mastersocket.redisMemory" . | int64 -}}
{{- with dig "limits" "memory" "" $r -}}
{{- $has := include "mastersocket.memoryShare" (dict "quantity" . "percent" 100 "value" "redis.resources.limits.memory") | int64 -}}
{{- if lt $has (mul $least 1048576) -}}
{{- fail (printf "redis.resources.limits.memory: %v does not hold redis.pubsubOutputBuffer of each instance: want %dMi at least" . $least) -}}
{{- end -}}
{{- else -}}
{{- $_ := set $r "limits" (merge (dict "memory" (printf "%dMi" $least)) (default dict $r.limits)) -}}
{{- end -}}
{{ toYaml $r }}
{{- end -}}

{{/* The ports of an external Redis, as a JSON list: of the URL, by default 6379, and 26379 for Sentinels. */}}
{{- define "mastersocket.redisPorts" -}}
{{- $ports := .Values.networkPolicy.redisPorts -}}
{{- if not $ports -}}
{{- $sentinel := contains "+sentinel://" .Values.redis.url -}}
{{- $hosts := regexReplaceAll "[/?#].*$" (regexReplaceAll "^[^:]*://([^/?#]*@)?" .Values.redis.url "") "" -}}
{{- $ports = list -}}
{{- range splitList "," $hosts -}}
{{- $port := regexFind ":[0-9]+$" . | trimPrefix ":" -}}
{{- $ports = append $ports (int (default (ternary "26379" "6379" $sentinel) $port)) -}}
{{- end -}}
{{- if $sentinel -}}{{- $ports = append $ports 6379 -}}{{- end -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}

{{/* Files for the connection to Redis: true if there are any. */}}
{{- define "mastersocket.redisFiles" -}}
{{- if and (include "mastersocket.withRedis" .) (or .Values.redis.tls.caSecret .Values.redis.tls.certSecret .Values.redis.clusterSecret (include "mastersocket.redisPasswordFile" .)) -}}true{{- end -}}
{{- end -}}

{{- define "mastersocket.redisPasswordFile" -}}
{{- if and (not .Values.redis.enabled) .Values.redis.existingPasswordSecret -}}true{{- end -}}
{{- end -}}

{{/* Settings of the connection to Redis besides the URL, as variables: config check refuses them in a file without the URL. */}}
{{- define "mastersocket.redisEnv" -}}
{{- $r := .Values.redis -}}
{{- $dir := "/etc/mastersocket/redis" -}}
{{- with $r.username }}
- {name: MASTERSOCKET_REDIS_USERNAME, value: {{ . | quote }}}
{{- end }}
{{- if include "mastersocket.redisPasswordFile" . }}
- {name: MASTERSOCKET_REDIS_PASSWORD_FILE, value: {{ $dir }}/password}
{{- end }}
{{- if $r.tls.caSecret }}
- {name: MASTERSOCKET_REDIS_CA, value: {{ $dir }}/ca.crt}
{{- end }}
{{- if $r.tls.certSecret }}
- {name: MASTERSOCKET_REDIS_CERT, value: {{ $dir }}/tls.crt}
- {name: MASTERSOCKET_REDIS_KEY, value: {{ $dir }}/tls.key}
{{- end }}
{{- with $r.tls.serverName }}
- {name: MASTERSOCKET_REDIS_SERVER_NAME, value: {{ . | quote }}}
{{- end }}
{{- if $r.clusterSecret }}
- {name: MASTERSOCKET_CLUSTER_SECRET_FILE, value: {{ $dir }}/cluster-secret}
{{- end }}
{{- end -}}

{{/* The file of --config. Settings that follow from other values come first. */}}
{{- define "mastersocket.config" -}}
{{- $dir := "/etc/mastersocket" -}}
listen: {{ if include "mastersocket.plain" . }}":42069"{{ else }}"off"{{ end }}
admin-listen: ":42070"
{{- if .Values.tcp.enabled }}
tcp-listen: {{ printf ":%d" (int .Values.tcp.port) | quote }}
{{- end }}
{{- if .Values.auth.sharedToken }}
token-file: {{ $dir }}/token/token
{{- end }}
{{- if or .Values.auth.tokens .Values.auth.existingTokensSecret }}
tokens-file: {{ $dir }}/tokens/tokens.yaml
{{- end }}
{{- if .Values.issuers.existingSecret }}
issuers-file: {{ $dir }}/issuers/{{ .Values.issuers.existingSecretKey }}
{{- end }}
{{- if .Values.fleets.existingSecret }}
fleet-file: {{ $dir }}/fleets/fleets.yaml
{{- end }}
{{- if .Values.tls.enabled }}
tls-listen: {{ printf ":%d" (int .Values.tls.port) | quote }}
tls-cert: {{ $dir }}/tls/tls.crt
tls-key: {{ $dir }}/tls/tls.key
{{- if .Values.tls.clientCASecret }}
tls-client-ca: {{ $dir }}/client-ca/ca.crt
{{- end }}
{{- if .Values.tls.admin }}
admin-tls: true
{{- end }}
{{- end }}
{{- if .Values.oidc.enabled }}
oidc-issuer: {{ .Values.oidc.issuer | quote }}
oidc-audience: {{ toJson .Values.oidc.audiences }}
{{- with default (ternary "https://kubernetes.default.svc/openid/v1/jwks" "" .Values.oidc.cluster) .Values.oidc.jwks }}
oidc-jwks: {{ . | quote }}
{{- end }}
{{- if or .Values.oidc.cluster .Values.oidc.caConfigMap }}
oidc-ca: {{ $dir }}/oidc/ca.crt
{{- end }}
{{- if .Values.oidc.cluster }}
oidc-bearer-file: {{ $dir }}/oidc/token
{{- end }}
{{- end }}
{{- if not (hasKey .Values.config "ready-without-broker") }}
ready-without-broker: {{ .Values.redis.enabled }}
{{- end }}
{{ toYaml .Values.config }}
{{- end -}}

{{/* A checksum of the settings that take effect only at a start: a change replaces the instances. */}}
{{- define "mastersocket.restartChecksum" -}}
{{- $settings := include "mastersocket.config" . | fromYaml -}}
{{- $fixed := omit $settings "drain-timeout" "drain-rate" "log-level" "history" -}}
{{- list $fixed .Values.redis.url .Values.redis.password | toJson | sha256sum -}}
{{- end -}}

{{- define "mastersocket.withRedis" -}}
{{- if or .Values.redis.enabled .Values.redis.url .Values.redis.existingSecret }}true{{ end -}}
{{- end -}}

{{- define "mastersocket.plain" -}}
{{- if not (and .Values.tls.enabled .Values.tls.only) }}true{{ end -}}
{{- end -}}

{{- define "mastersocket.adminScheme" -}}
{{- if and .Values.tls.enabled .Values.tls.admin }}HTTPS{{ else }}HTTP{{ end -}}
{{- end -}}

{{/* An endpoint of a ServiceMonitor or PodMonitor: root, monitor (its value). */}}
{{- define "mastersocket.endpoint" -}}
{{- $scheme := include "mastersocket.adminScheme" .root | lower -}}
port: admin
path: /metrics
interval: {{ .monitor.interval }}
scheme: {{ $scheme }}
{{- if eq $scheme "https" }}
# The certificate is for the names that clients use, not for pods.
tlsConfig: {insecureSkipVerify: true}
{{- end }}
{{- with .monitor.relabelings }}
relabelings: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .monitor.metricRelabelings }}
metricRelabelings: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "mastersocket.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Invalid combinations of values. values.schema.json checks single values. */}}
{{- define "mastersocket.validate" -}}
{{- $v := .Values -}}
{{- $several := or $v.autoscaling.enabled (gt (int $v.replicas) 1) -}}
{{- if and $several (not (include "mastersocket.withRedis" .)) -}}
{{- fail "replicas: several instances need Redis: set redis.enabled, redis.url or redis.existingSecret, or replicas: 1" -}}
{{- end -}}
{{- if and $v.redis.enabled (or $v.redis.url $v.redis.existingSecret) -}}
{{- fail "redis.enabled installs a Redis, and redis.url or redis.existingSecret names another: set redis.enabled: false" -}}
{{- end -}}
{{- if and $v.redis.url $v.redis.existingSecret -}}
{{- fail "redis.url and redis.existingSecret are both set: want one" -}}
{{- end -}}
{{- if and $v.auth.token $v.auth.existingSecret -}}
{{- fail "auth.token and auth.existingSecret are both set: want one" -}}
{{- end -}}
{{- if and $v.auth.tokens $v.auth.existingTokensSecret -}}
{{- fail "auth.tokens and auth.existingTokensSecret are both set: want one" -}}
{{- end -}}
{{- if not (or $v.auth.sharedToken $v.auth.tokens $v.auth.existingTokensSecret) -}}
{{- fail "auth.sharedToken: false without other tokens admits no client: set auth.tokens or auth.existingTokensSecret" -}}
{{- end -}}
{{- range $i, $entry := $v.auth.tokens -}}
{{- $whose := list -}}
{{- range list "sha256" "claims" "certificate" -}}
{{- if hasKey $entry . -}}{{- $whose = append $whose . -}}{{- end -}}
{{- end -}}
{{- if ne (len $whose) 1 -}}
{{- fail (printf "auth.tokens: %s must have one of sha256, claims and certificate" $entry.name) -}}
{{- end -}}
{{- end -}}
{{- if and $v.oidc.enabled (not $v.auth.tokens) (not $v.auth.existingTokensSecret) -}}
{{- fail "oidc.enabled admits no client without entries with claims: set auth.tokens or auth.existingTokensSecret" -}}
{{- end -}}
{{- if and $v.tls.enabled (not $v.tls.secretName) -}}
{{- fail "tls.enabled needs tls.secretName, a Secret of type kubernetes.io/tls" -}}
{{- end -}}
{{- if and (not (include "mastersocket.plain" .)) (or $v.ingress.enabled $v.gateway.enabled) -}}
{{- fail "tls.only leaves no plain listener, which ingress.enabled and gateway.enabled need" -}}
{{- end -}}
{{- if and $v.oidc.enabled $v.oidc.cluster $v.oidc.caConfigMap -}}
{{- fail "oidc.cluster trusts the cluster's own authority: set oidc.cluster: false with oidc.caConfigMap" -}}
{{- end -}}
{{- if and $v.gateway.enabled (not $v.gateway.parentRefs) -}}
{{- fail "gateway.enabled needs gateway.parentRefs: the Gateway that the route belongs to" -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is above autoscaling.maxReplicas" -}}
{{- end -}}
{{- $replicas := ternary (int $v.autoscaling.minReplicas) (int $v.replicas) $v.autoscaling.enabled -}}
{{- if and $v.podDisruptionBudget.enabled (gt $replicas 1) (ge (int $v.podDisruptionBudget.maxUnavailable) $replicas) -}}
{{- fail "podDisruptionBudget.maxUnavailable allows the eviction of all instances: want fewer than there are" -}}
{{- end -}}
{{- if and $v.autoscaling.external (not $v.autoscaling.enabled) -}}
{{- fail "autoscaling.external has no effect without autoscaling.enabled" -}}
{{- end -}}
{{- if and $v.monitoring.serviceMonitor.enabled $v.monitoring.podMonitor.enabled -}}
{{- fail "monitoring.serviceMonitor and monitoring.podMonitor would scrape every instance twice: want one" -}}
{{- end -}}
{{- if and $v.redis.enabled (or $v.redis.tls.caSecret $v.redis.tls.certSecret $v.redis.tls.serverName $v.redis.username) -}}
{{- fail "redis.tls and redis.username are for another Redis: set redis.enabled: false" -}}
{{- end -}}
{{- if and $v.redis.url (or $v.redis.tls.caSecret $v.redis.tls.certSecret) (not (hasPrefix "rediss" $v.redis.url)) -}}
{{- fail "redis.tls needs a redis.url that begins with rediss" -}}
{{- end -}}
{{- end -}}
