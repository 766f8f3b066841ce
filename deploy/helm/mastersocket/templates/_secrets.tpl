{{/*
Secrets without a value in values. A Job makes them (secretjob.yaml), so that rendering without access to the cluster gives
the same manifests each time. A Secret that an earlier release of the chart rendered stays in use.
*/}}

{{/* The present value of a key in a Secret of this release that Helm manages, in base64: root, name, key. */}}
{{- define "mastersocket.rendered" -}}
{{- $secret := lookup "v1" "Secret" .root.Release.Namespace .name | default dict -}}
{{- if eq (dig "metadata" "labels" "app.kubernetes.io/managed-by" "" $secret) "Helm" -}}
{{- dig "data" .key "" $secret -}}
{{- end -}}
{{- end -}}

{{/* The Secret that the Job makes. */}}
{{- define "mastersocket.madeSecret" -}}
{{- include "mastersocket.fullname" . }}-made
{{- end -}}

{{/* The rendered value of the token, in base64; empty: the Secret is not rendered. */}}
{{- define "mastersocket.token" -}}
{{- if and .Values.auth.sharedToken (not .Values.auth.existingSecret) -}}
{{- if .Values.auth.token -}}
{{- .Values.auth.token | b64enc -}}
{{- else -}}
{{- include "mastersocket.rendered" (dict "root" . "name" (printf "%s-token" (include "mastersocket.fullname" .)) "key" "token") -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "mastersocket.tokenRef" -}}
{{- if .Values.auth.existingSecret -}}
name: {{ .Values.auth.existingSecret }}
key: {{ .Values.auth.existingSecretKey }}
{{- else if include "mastersocket.token" . -}}
name: {{ include "mastersocket.fullname" . }}-token
key: token
{{- else -}}
name: {{ include "mastersocket.madeSecret" . }}
key: token
{{- end -}}
{{- end -}}

{{/* The rendered value of the password of this chart's Redis, in base64; empty: the Secret is not rendered. */}}
{{- define "mastersocket.redisPassword" -}}
{{- if and .Values.redis.enabled (not .Values.redis.existingPasswordSecret) -}}
{{- if .Values.redis.password -}}
{{- .Values.redis.password | b64enc -}}
{{- else -}}
{{- include "mastersocket.rendered" (dict "root" . "name" (printf "%s-redis" (include "mastersocket.fullname" .)) "key" "password") -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "mastersocket.redisPasswordRef" -}}
{{- if .Values.redis.existingPasswordSecret -}}
name: {{ .Values.redis.existingPasswordSecret }}
key: {{ .Values.redis.existingPasswordSecretKey }}
{{- else if include "mastersocket.redisPassword" . -}}
name: {{ include "mastersocket.fullname" . }}-redis
key: password
{{- else -}}
name: {{ include "mastersocket.madeSecret" . }}
key: redis-password
{{- end -}}
{{- end -}}

{{/*
The keys that the Job makes, separated by spaces; empty: there is no Job. If one is needed it makes both, since it never
changes the Secret and the other may be needed later.
*/}}
{{- define "mastersocket.madeKeys" -}}
{{- $token := and .Values.auth.sharedToken (not .Values.auth.existingSecret) (not (include "mastersocket.token" .)) -}}
{{- $password := and .Values.redis.enabled (not .Values.redis.existingPasswordSecret) (not (include "mastersocket.redisPassword" .)) -}}
{{- if or $token $password -}}token redis-password{{- end -}}
{{- end -}}
