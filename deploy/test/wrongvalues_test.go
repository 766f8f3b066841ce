package deploy

import (
	"strings"
	"testing"
)

// TestWrongValues: each of these is refused before the installation, with an error that names the mistake.
func TestWrongValues(t *testing.T) {
	t.Parallel()
	for values, want := range map[string]string{
		// Checked by the schema.
		"replica: 3":                                   "replica",
		"replicas: three":                              "/replicas",
		"replicas: 0":                                  "/replicas",
		"config: {pingInterval: 30s}":                  "pingInterval",
		"config: {ping-interval: 30}":                  "/config/ping-interval",
		"config: {drain-timeout: 30 s}":                "/config/drain-timeout",
		"config: {drain-timeout: null}":                "drain-timeout",
		"config: {max-message-bytes: 32 kilobytes}":    "/config/max-message-bytes",
		"config: {log-level: verbose}":                 "/config/log-level",
		"config: {enable: [chat]}":                     "/config/enable/0",
		"config: {listen: ':80'}":                      "listen",
		"config: {redis-prefix: 'a b'}":                "/config/redis-prefix",
		"config: {allowed-origins: [app.example.com]}": "/config/allowed-origins/0",
		"config: {loops: 1000}":                        "/config/loops",
		"image: {digest: abc}":                         "/image/digest",
		"image: {pullPolicy: Sometimes}":               "/image/pullPolicy",
		"fullnameOverride: Hub_1":                      "/fullnameOverride",
		"auth: {token: short}":                         "/auth/token",
		"auth: {tokens: [{sha256: abc}]}":              "/auth/tokens/0",
		"redis: {url: 'http://redis:6379'}":            "/redis/url",
		"redis: {password: 'a b/c'}":                   "/redis/password",
		"service: {type: ExternalName}":                "/service/type",
		"service: {port: 70000}":                       "/service/port",
		"ingress: {path: hub}":                         "/ingress/path",
		"ingress: {hosts: []}":                         "/ingress/hosts",
		"ingress: {hosts: ['https://x.example.com']}":  "/ingress/hosts/0",
		"gateway: {parentRefs: [{namespace: x}]}":      "/gateway/parentRefs/0",
		"oidc: {issuer: 'http://issuer.example.com'}":  "/oidc/issuer",
		"drain: {preStopSeconds: 5s}":                  "/drain/preStopSeconds",
		"probes: {readiness: {path: /}}":               "path",
		"resources: {limits: {memory: 512MB}}":         "/resources/limits/memory",
		"resources: {limit: {memory: 512Mi}}":          "limit",
		"goMemLimitPercent: 101":                       "/goMemLimitPercent",
		"spread: always":                               "/spread",
		"podDisruptionBudget: {minAvailable: 2}":       "minAvailable",
		"autoscaling: {scaleDown: {pods: 0, periodSeconds: 60, stabilizationWindowSeconds: 0}}": "/autoscaling/scaleDown/pods",
		"networkPolicy: {adminFrom: [{namespace: x}]}":                                          "/networkPolicy/adminFrom/0",
		"monitoring: {serviceMonitor: {interval: often}}":                                       "/monitoring/serviceMonitor/interval",
		"podLabels: {'a b': c}": "invalid propertyName 'a b'",
		// Combinations of values, checked by the templates.
		"redis: {enabled: false}": "several instances need Redis",
		"{replicas: 1, autoscaling: {enabled: true}, redis: {enabled: false}}":          "several instances need Redis",
		"redis: {url: 'redis://other:6379'}":                                            "redis.enabled brings a Redis of its own",
		"redis: {enabled: false, url: 'redis://x:1', existingSecret: other}":            "redis.url and redis.existingSecret are both set",
		"auth: {token: correct-horse, existingSecret: x}":                               "auth.token and auth.existingSecret are both set",
		"auth: {tokens: [{name: a, token: x}]}":                                         "token",
		"auth: {tokens: [{name: a, groups: [a]}]}":                                      "a must have one of sha256, claims and certificate",
		"auth: {tokens: [{name: a, claims: {sub: b}, certificate: {cn: c}}]}":           "a must have one of sha256, claims and certificate",
		"oidc: {enabled: true}":                                                         "lets nobody in without entries with claims",
		"auth: {tokens: [{name: a}], existingTokensSecret: x}":                          "auth.tokens and auth.existingTokensSecret are both set",
		"auth: {sharedToken: false}":                                                    "leaves nobody who may connect",
		"{tls: {enabled: true, only: true, secretName: x}, ingress: {enabled: true}}":   "tls.only leaves no plain listener",
		"tls: {enabled: true}":                                                          "tls.secretName",
		"gateway: {enabled: true}":                                                      "gateway.parentRefs",
		"autoscaling: {enabled: true, minReplicas: 5, maxReplicas: 4}":                  "above autoscaling.maxReplicas",
		"podDisruptionBudget: {maxUnavailable: 3}":                                      "allows all instances to be away",
		"{oidc: {enabled: true, caConfigMap: x}, auth: {existingTokensSecret: grants}}": "oidc.cluster: false",
	} {
		t.Run(values, func(t *testing.T) {
			t.Parallel()
			_, _, err := install(t, values)
			if err == nil {
				t.Fatal("it is taken")
			}
			if text := err.Error(); !strings.Contains(text, want) && !strings.Contains(text, strings.ReplaceAll(strings.TrimPrefix(want, "/"), "/", ".")) {
				t.Errorf("the error does not say %q: %v", want, err)
			}
		})
	}
}
