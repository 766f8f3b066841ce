{{/* The value that is given, or the one that is there, or a new random one; in base64. */}}
{{- define "mastersocket.keptSecret" -}}
{{- $there := lookup "v1" "Secret" .root.Release.Namespace .name -}}
{{- if .value -}}
{{- .value | b64enc | quote -}}
{{- else if dig "data" .key "" ($there | default dict) -}}
{{- index $there.data .key | quote -}}
{{- else -}}
{{- printf "ms_%s" (randAlphaNum 40) | b64enc | quote -}}
{{- end -}}
{{- end -}}

{{- define "mastersocket.redisPasswordRef" -}}
{{- if .Values.redis.existingPasswordSecret -}}
name: {{ .Values.redis.existingPasswordSecret }}
key: {{ .Values.redis.existingPasswordSecretKey }}
{{- else -}}
name: {{ include "mastersocket.fullname" . }}-redis
key: password
{{- end -}}
{{- end -}}
