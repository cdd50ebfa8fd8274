{{- define "ociserver.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "ociserver.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "ociserver.labels" -}}
{{ include "ociserver.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "ociserver.image" -}}
{{- $repository := required "set image.repository, such as ghcr.io/OWNER/ociserver" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* What the values say, in the form of registry.toml. It wins over `config`. */}}
{{- define "ociserver.ownConfig" -}}
server:
  port: 5000
  {{- if .Values.tls.existingSecret }}
  tls-cert: /etc/ociserver-secrets/tls/tls.crt
  tls-key: /etc/ociserver-secrets/tls/tls.key
  {{- end }}
{{- if .Values.metrics.enabled }}
metrics:
  address: {{ printf "0.0.0.0:%d" (int .Values.metrics.port) | quote }}
{{- end }}
{{- if or .Values.auth.htpasswd.existingSecret .Values.auth.tokenKeys.existingSecret }}
auth:
  {{- if .Values.auth.htpasswd.existingSecret }}
  htpasswd:
    file: {{ printf "/etc/ociserver-secrets/users/%s" .Values.auth.htpasswd.key | quote }}
  {{- end }}
  {{- if .Values.auth.tokenKeys.existingSecret }}
  token-keys:
    {{- range .Values.auth.tokenKeys.keys }}
    - file: {{ printf "/etc/ociserver-secrets/token-keys/%s" . | quote }}
    {{- end }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "ociserver.config" -}}
{{- $config := mergeOverwrite (deepCopy .Values.config) (include "ociserver.ownConfig" . | fromYaml) -}}
{{/* Numbers in YAML are floats for Helm, and toToml writes 5000.0. Strings are in quotes, so no string is changed. */}}
{{- regexReplaceAll "(?m)^(\\s*[A-Za-z0-9_-]+ = [0-9]+)\\.0$" ($config | toToml) "${1}" -}}
{{- end -}}

{{- define "ociserver.check" -}}
{{- if gt (int .Values.replicaCount) 1 -}}
{{- fail "replicaCount must be 1: the data is in SQLite and files, which one pod can use at a time. One pod serves many clients; config.server.workers uses more cores" -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.enabled) -}}
{{- fail "metrics.serviceMonitor.enabled needs metrics.enabled" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (empty .Values.ingress.hosts) -}}
{{- fail "set ingress.hosts to the names of the registry" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (empty .Values.httpRoute.parentRefs) -}}
{{- fail "set httpRoute.parentRefs to the gateway" -}}
{{- end -}}
{{- end -}}

{{- define "ociserver.probe" -}}
{{- if dig "server" "tls-client-ca" "" .config -}}
{{/* The kubelet has no certificate. */}}
exec:
  command: [ociserver, health]
{{- else -}}
httpGet:
  path: {{ .path }}
  port: http
  scheme: {{ .scheme }}
{{- end -}}
{{- end -}}
