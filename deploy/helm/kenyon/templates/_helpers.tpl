{{/* What all pods have in common. Takes (dict "root" $ "role" "serve" "args" (list …) "ports" (list …)). */}}
{{- define "kenyon.pod" -}}
metadata:
  labels: { app.kubernetes.io/name: kenyon, app.kubernetes.io/instance: {{ .root.Release.Name }}, role: {{ .role }} }
  annotations:
    prometheus.io/scrape: "true"
    prometheus.io/port: "8082"
    prometheus.io/path: /metrics
    checksum/settings: {{ include "kenyon.environment" .root | sha256sum }}
spec:
  terminationGracePeriodSeconds: 60
  automountServiceAccountToken: false
  securityContext: { runAsNonRoot: true, runAsUser: 10001, fsGroup: 10001, seccompProfile: { type: RuntimeDefault } }
  containers:
    - name: kenyon
      image: "{{ .root.Values.image.repository }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}"
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args: {{ toJson .args }}
      envFrom: [{ configMapRef: { name: {{ .root.Release.Name }} } }, { secretRef: { name: {{ .root.Values.secret }} } }]
      ports: {{ toJson .ports }}
      startupProbe: { httpGet: { path: /readyz, port: metrics }, periodSeconds: 1, failureThreshold: 60 }
      {{- if eq .role "serve" }}
      # Not /readyz, which also fails while the database is away: all replicas would leave the service at once.
      readinessProbe: { httpGet: { path: /livez, port: metrics }, periodSeconds: 2, timeoutSeconds: 3 }
      lifecycle: { preStop: { sleep: { seconds: 5 } } }
      {{- end }}
      livenessProbe: { httpGet: { path: /livez, port: metrics }, periodSeconds: 10, timeoutSeconds: 5 }
      resources: {{ toJson (index .root.Values .role).resources }}
      securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: [ALL] } }
      volumeMounts:
        - { name: cache, mountPath: /data }
        {{- if .root.Values.tlsSecret }}
        - { name: tls, mountPath: /tls, readOnly: true }
        {{- end }}
  volumes:
    - { name: cache, emptyDir: {} }
    {{- if .root.Values.tlsSecret }}
    - { name: tls, secret: { secretName: {{ .root.Values.tlsSecret }} } }
    {{- end }}
{{- end }}

{{- define "kenyon.environment" -}}
{{ toYaml .Values.settings }}
KENYON_METRICS_LISTEN: 0.0.0.0:8082
{{- if .Values.tlsSecret }}
KENYON_TLS_CERT: /tls/tls.crt
KENYON_TLS_KEY: /tls/tls.key
{{- end }}
{{- end }}

{{- define "kenyon.selector" -}}
{ app.kubernetes.io/name: kenyon, app.kubernetes.io/instance: {{ .root.Release.Name }}, role: {{ .role }} }
{{- end }}
