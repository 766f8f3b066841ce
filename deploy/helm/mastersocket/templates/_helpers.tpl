{{- define "mastersocket.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that never change: those that select. */}}
{{- define "mastersocket.selector" -}}
app.kubernetes.io/name: mastersocket
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: hub
{{- end -}}

{{- define "mastersocket.redisSelector" -}}
app.kubernetes.io/name: mastersocket
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: redis
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

{{- define "mastersocket.image" -}}
{{- $i := .image -}}
{{- if $i.digest -}}
{{- printf "%s@%s" $i.repository $i.digest -}}
{{- else -}}
{{- printf "%s:%s" $i.repository (default .tag $i.tag) -}}
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

{{/* preStop, the drain, 5 s for those that did not go and 5 s for the hub's parts to end, and a margin. */}}
{{- define "mastersocket.grace" -}}
{{- $drain := include "mastersocket.seconds" (index .Values.config "drain-timeout") | int64 -}}
{{- add .Values.drain.preStopSeconds $drain 10 .Values.drain.marginSeconds -}}
{{- end -}}

{{/* A share of a quantity of memory, in bytes. */}}
{{- define "mastersocket.memoryShare" -}}
{{- $q := ternary (printf "%d" (int64 .quantity)) (toString .quantity) (kindIs "float64" .quantity) -}}
{{- $n := regexFind "^[0-9.]+" $q | float64 -}}
{{- $unit := regexFind "[A-Za-z]*$" $q -}}
{{- $factors := dict "" 1.0 "k" 1000.0 "M" 1000000.0 "G" 1000000000.0 "T" 1000000000000.0 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 -}}
{{- if not (hasKey $factors $unit) -}}
{{- fail (printf "resources.limits.memory: %s has a unit that is none of Ki, Mi, Gi, Ti, k, M, G, T" $q) -}}
{{- end -}}
{{- divf (mulf (mulf $n (get $factors $unit)) (float64 .percent)) 100.0 | int64 -}}
{{- end -}}

{{/* What --config reads. Settings that the chart makes from other values come first. */}}
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
{{ toYaml .Values.config }}
{{- end -}}

{{/* Of what an instance takes over only when it starts: a change of it rolls the instances. */}}
{{- define "mastersocket.restartChecksum" -}}
{{- $settings := include "mastersocket.config" . | fromYaml -}}
{{- $fixed := omit $settings "drain-timeout" "drain-rate" "log-level" -}}
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

{{- define "mastersocket.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "mastersocket.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* What values can't say together. Everything that one value alone can't be is in values.schema.json. */}}
{{- define "mastersocket.validate" -}}
{{- $v := .Values -}}
{{- $several := or $v.autoscaling.enabled (gt (int $v.replicas) 1) -}}
{{- if and $several (not (include "mastersocket.withRedis" .)) -}}
{{- fail "replicas: several instances need Redis: set redis.enabled, redis.url or redis.existingSecret, or replicas: 1" -}}
{{- end -}}
{{- if and $v.redis.enabled (or $v.redis.url $v.redis.existingSecret) -}}
{{- fail "redis.enabled brings a Redis of its own, and redis.url or redis.existingSecret names another: set redis.enabled: false" -}}
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
{{- fail "auth.sharedToken: false leaves nobody who may connect: set auth.tokens or auth.existingTokensSecret" -}}
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
{{- fail "oidc.enabled lets nobody in without entries with claims: set auth.tokens or auth.existingTokensSecret" -}}
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
{{- fail "podDisruptionBudget.maxUnavailable allows all instances to be away: want fewer than there are" -}}
{{- end -}}
{{- end -}}
