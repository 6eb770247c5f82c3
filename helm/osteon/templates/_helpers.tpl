{{- define "osteon.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "osteon.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := include "osteon.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* What identifies the pods. Never to change: a deployment's selector is immutable. */}}
{{- define "osteon.selector" -}}
app.kubernetes.io/name: {{ include "osteon.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "osteon.labels" -}}
{{ include "osteon.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "osteon.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "osteon.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "osteon.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- define "osteon.dataClaim" -}}
{{- default (printf "%s-data" (include "osteon.fullname" . | trunc 58 | trimSuffix "-")) .Values.data.existingClaim }}
{{- end }}

{{/* "true" where rows are in PostgreSQL and images in S3, so that any number of pods can share them. */}}
{{- define "osteon.shared" -}}
{{- if and .Values.database.existingSecret .Values.objects.url }}true{{ end }}
{{- end }}

{{/* The deployments, as JSON: role, component (empty where there is only one), name, name of its service, and replicas. */}}
{{- define "osteon.workloads" -}}
{{- $name := include "osteon.fullname" . }}
{{- $short := $name | trunc 55 | trimSuffix "-" }}
{{- if .Values.roles.split }}
{{- $doors := dict "role" "door" "component" "doors" "name" (printf "%s-doors" $short) "service" $name "replicas" .Values.doors.replicas }}
{{- $workers := printf "%s-workers" $short }}
{{- $workers = dict "role" "worker" "component" "workers" "name" $workers "service" $workers "replicas" .Values.workers.replicas }}
{{- list $doors $workers | toJson }}
{{- else }}
{{- list (dict "role" "all" "component" "" "name" $name "service" $name "replicas" .Values.replicas) | toJson }}
{{- end }}
{{- end }}

{{/* What identifies the pods of one deployment: the argument is a dict of root and workload. */}}
{{- define "osteon.podSelector" -}}
{{ include "osteon.selector" .root }}
{{- with .workload.component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{/* osteon.toml. A JSON string is a TOML string, too. */}}
{{- define "osteon.configFile" -}}
{{- with .Values.sites }}
[sites]
{{- range $institution, $site := . }}
{{ toRawJson $institution }} = {{ toRawJson $site }}
{{- end }}
{{ end }}
{{- if .Values.dicom.enabled }}
{{- range .Values.dicom.callers }}
[[dicom-callers]]
ae-title = {{ toRawJson .aeTitle }}
{{- with .hosts }}
hosts = {{ toRawJson . }}
{{- end }}
{{ end }}
{{- end }}
{{- range .Values.destinations }}
[[destinations]]
name = {{ toRawJson .name }}
kind = {{ toRawJson .kind }}
{{- if eq .kind "dimse" }}
host = {{ toRawJson .host }}
port = {{ .port }}
ae-title = {{ toRawJson .aeTitle }}
{{- with .callingAeTitle }}
calling-ae-title = {{ toRawJson . }}
{{- end }}
{{- else }}
url = {{ toRawJson .url }}
{{- with .aeTitle }}
ae-title = {{ toRawJson . }}
{{- end }}
{{- end }}
{{- with .use }}
use = {{ toRawJson . }}
{{- end }}
{{- with .objects }}
objects = {{ toRawJson . }}
{{- end }}
{{- with .format }}
format = {{ toRawJson . }}
{{- end }}
{{- if .tokenSecret }}
bearer-token-file = "/etc/osteon/destinations/{{ .name }}"
{{- else if .user }}
user = {{ toRawJson .user }}
password-file = "/etc/osteon/destinations/{{ .name }}"
{{- end }}
{{- with .timeoutSeconds }}
timeout-seconds = {{ . }}
{{- end }}
{{ end }}
{{- end }}

{{/* A stopping pod takes connections until the readiness probe has seen that it is not ready, and a second more. */}}
{{- define "osteon.linger" -}}
{{- with .Values.probes.readiness }}
{{- add (mul .periodSeconds .failureThreshold) .timeoutSeconds 1 }}
{{- end }}
{{- end }}

{{/* Within this time osteon is gone by itself, 5 s before Kubernetes would kill it. */}}
{{- define "osteon.grace" -}}
{{- sub .Values.terminationGracePeriodSeconds 5 }}
{{- end }}

{{/* Where clients find the server through the ingress. */}}
{{- define "osteon.ingressUrl" -}}
{{ ternary "https" "http" .Values.ingress.tls.enabled }}://{{ .Values.ingress.host }}
{{- end }}

{{/* What the schema cannot see, because several values have to fit together. */}}
{{- define "osteon.refuse" -}}
{{- $needs := "SQLite has one writer: set database.existingSecret (a secret with postgres://...) and objects.url (s3://BUCKET/PREFIX)" }}
{{- if and .Values.roles.split (not (include "osteon.shared" .)) }}
{{- fail (printf "roles.split needs a database and images that all pods share, and %s" $needs) }}
{{- end }}
{{- if and .Values.roles.split (ne (int .Values.replicas) 1) }}
{{- fail "with roles.split, set doors.replicas and workers.replicas, and leave replicas at 1" }}
{{- end }}
{{- if and (gt (int .Values.replicas) 1) (not (include "osteon.shared" .)) }}
{{- fail (printf "replicas: %d needs a database and images that all pods share, and %s" (int .Values.replicas) $needs) }}
{{- end }}
{{- $least := add 15 (include "osteon.linger" .) | int }}
{{- if lt (int .Values.terminationGracePeriodSeconds) $least }}
{{- fail (printf "terminationGracePeriodSeconds leaves less than 10 s to finish anything: make it at least %d" $least) }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) }}
{{- fail "ingress.enabled needs ingress.host, the name by which clients call, such as osteon.hospital.example" }}
{{- end }}
{{- if and .Values.gpu.enabled (contains "/mig-" .Values.gpu.resource) (gt (int .Values.gpu.count) 1) }}
{{- fail (printf "gpu.count: CUDA gives a process one slice of %s and no more: leave it at 1, and set replicas or workers.replicas" .Values.gpu.resource) }}
{{- end }}
{{- if and .Values.dicom.enabled (not .Values.dicom.callers) }}
{{- fail "dicom.enabled needs dicom.callers: without them only the pod itself may call" }}
{{- end }}
{{- $names := list }}
{{- range .Values.destinations }}
{{- if has .name $names }}
{{- fail (printf "destinations has %s twice" .name) }}
{{- end }}
{{- if ne (eq .kind "dimse") (hasKey . "host") }}
{{- fail (printf "destination %s: kind dimse has host, port and aeTitle, the other kinds have a url" .name) }}
{{- end }}
{{- if eq .kind "webhook" }}
{{- if or (hasKey . "aeTitle") (hasKey . "objects") (has "studies" (default list .use)) }}
{{- fail (printf "destination %s: a webhook has no aeTitle, no objects and no studies" .name) }}
{{- end }}
{{- else if hasKey . "format" }}
{{- fail (printf "destination %s: format is for a webhook" .name) }}
{{- end }}
{{- $names = append $names .name }}
{{- end }}
{{- end }}

{{/* A probe: the argument is a dict of path and the timings from values. */}}
{{- define "osteon.probe" -}}
httpGet:
  path: {{ .path }}
  port: http
{{ toYaml .timings }}
{{- end }}
