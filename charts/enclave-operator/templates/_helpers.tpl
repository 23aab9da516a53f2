{{- /* Name of everything that the chart has one of. */ -}}
{{- define "enclave-operator.name" -}}
enclave-operator
{{- end -}}

{{- /* Which Pods are the operator's. Never changes: a Deployment's selector cannot. */ -}}
{{- define "enclave-operator.selector" -}}
app.kubernetes.io/name: {{ include "enclave-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "enclave-operator.labels" -}}
{{ include "enclave-operator.selector" . }}
app.kubernetes.io/part-of: enclave-operator
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "enclave-operator.metadata" -}}
name: {{ include "enclave-operator.name" . }}
namespace: {{ .Release.Namespace | quote }}
labels:
  {{- include "enclave-operator.labels" . | nindent 2 }}
{{- end -}}

{{- define "enclave-operator.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end -}}

{{- /* The source of the trusted certificates as a volume has it, or nothing. */ -}}
{{- define "enclave-operator.trustedCa" -}}
{{- with .Values.trustedCa -}}
{{- if and .configMap.name .secret.name -}}
{{- fail "trustedCa: name a ConfigMap or a Secret, not both" -}}
{{- else if .configMap.name -}}
configMap:
  name: {{ .configMap.name }}
  items:
  - {key: {{ .configMap.key | quote }}, path: ca.crt}
{{- else if .secret.name -}}
secret:
  secretName: {{ .secret.name }}
  items:
  - {key: {{ .secret.key | quote }}, path: ca.crt}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The operator's account, as a FlowSchema names it. */ -}}
{{- define "enclave-operator.subjects" -}}
- kind: ServiceAccount
  serviceAccount:
    name: {{ .Values.serviceAccount.name | quote }}
    namespace: {{ .Release.Namespace | quote }}
{{- end -}}

{{- define "enclave-operator.flow" }}
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata:
  labels:
    {{- include "enclave-operator.labels" . | nindent 4 }}
{{- end -}}
