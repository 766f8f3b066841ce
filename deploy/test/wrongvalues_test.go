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
		"replica: 3":                                     "replica",
		"replicas: three":                                "/replicas",
		"replicas: 0":                                    "/replicas",
		"config: {pingInterval: 30s}":                    "pingInterval",
		"config: {ping-interval: 30}":                    "/config/ping-interval",
		"config: {drain-timeout: 30 s}":                  "/config/drain-timeout",
		"config: {drain-timeout: null}":                  "drain-timeout",
		"config: {max-message-bytes: 32 kilobytes}":      "/config/max-message-bytes",
		"config: {log-level: verbose}":                   "/config/log-level",
		"config: {enable: [chat]}":                       "/config/enable/0",
		"config: {listen: ':80'}":                        "listen",
		"config: {redis-prefix: 'a b'}":                  "/config/redis-prefix",
		"config: {allowed-origins: [app.example.com]}":   "/config/allowed-origins/0",
		"config: {loops: 1000}":                          "/config/loops",
		"image: {digest: abc}":                           "/image/digest",
		"image: {pullPolicy: Sometimes}":                 "/image/pullPolicy",
		"fullnameOverride: Hub_1":                        "/fullnameOverride",
		"auth: {token: fifteen-letters}":                 "/auth/token",
		"nameOverride: Hub":                              "/nameOverride",
		"global: {imageRegistry: 'a b'}":                 "/global/imageRegistry",
		"config: {allowed-hosts: ['https://x']}":         "/config/allowed-hosts/0",
		"config: {trusted-proxies: [proxy.example.com]}": "/config/trusted-proxies/0",
		"networkPolicy: {dnsPorts: []}":                  "/networkPolicy/dnsPorts",
		"dnsPolicy: Sometimes":                           "/dnsPolicy",
		"gateway: {timeouts: {request: soon}}":           "/gateway/timeouts/request",
		"extraVolumes: [{emptyDir: {}}]":                 "/extraVolumes/0",
		"redis: {tls: {ca: x}}":                          "ca",
		"auth: {token: short}":                           "/auth/token",
		"auth: {tokens: [{sha256: abc}]}":                "/auth/tokens/0",
		"redis: {url: 'http://redis:6379'}":              "/redis/url",
		"redis: {password: 'a b/c'}":                     "/redis/password",
		"service: {type: ExternalName}":                  "/service/type",
		"service: {port: 70000}":                         "/service/port",
		"ingress: {path: hub}":                           "/ingress/path",
		"ingress: {hosts: []}":                           "/ingress/hosts",
		"ingress: {hosts: ['https://x.example.com']}":    "/ingress/hosts/0",
		"gateway: {parentRefs: [{namespace: x}]}":        "/gateway/parentRefs/0",
		"oidc: {issuer: 'http://issuer.example.com'}":    "/oidc/issuer",
		"drain: {preStopSeconds: 5s}":                    "/drain/preStopSeconds",
		"probes: {readiness: {path: /}}":                 "path",
		"resources: {limits: {memory: 512MB}}":           "/resources/limits/memory",
		"resources: {limit: {memory: 512Mi}}":            "limit",
		"goMemLimitPercent: 101":                         "/goMemLimitPercent",
		"spread: always":                                 "/spread",
		"podDisruptionBudget: {minAvailable: 2}":         "minAvailable",
		"autoscaling: {scaleDown: {pods: 0, periodSeconds: 60, stabilizationWindowSeconds: 0}}": "/autoscaling/scaleDown/pods",
		"networkPolicy: {adminFrom: [{namespace: x}]}":                                          "/networkPolicy/adminFrom/0",
		"monitoring: {serviceMonitor: {interval: often}}":                                       "/monitoring/serviceMonitor/interval",
		"podLabels: {'a b': c}": "invalid propertyName 'a b'",
		// Combinations of values, checked by the templates.
		"redis: {enabled: false}": "several instances need Redis",
		"{replicas: 1, autoscaling: {enabled: true}, redis: {enabled: false}}":          "several instances need Redis",
		"redis: {url: 'redis://other:6379'}":                                            "redis.enabled installs a Redis",
		"redis: {enabled: false, url: 'redis://x:1', existingSecret: other}":            "redis.url and redis.existingSecret are both set",
		"auth: {token: correct-horse-staple, existingSecret: x}":                        "auth.token and auth.existingSecret are both set",
		"auth: {tokens: [{name: a, token: x}]}":                                         "token",
		"auth: {tokens: [{name: a, groups: [a]}]}":                                      "a must have one of sha256, claims and certificate",
		"auth: {tokens: [{name: a, claims: {sub: b}, certificate: {cn: c}}]}":           "a must have one of sha256, claims and certificate",
		"oidc: {enabled: true}":                                                         "admits no client without entries with claims",
		"auth: {tokens: [{name: a}], existingTokensSecret: x}":                          "auth.tokens and auth.existingTokensSecret are both set",
		"auth: {sharedToken: false}":                                                    "admits no client",
		"{tls: {enabled: true, only: true, secretName: x}, ingress: {enabled: true}}":   "tls.only leaves no plain listener",
		"tls: {enabled: true}":                                                          "tls.secretName",
		"gateway: {enabled: true}":                                                      "gateway.parentRefs",
		"autoscaling: {external: true}":                                                 "autoscaling.external has no effect",
		"monitoring: {serviceMonitor: {enabled: true}, podMonitor: {enabled: true}}":    "scrape every instance twice",
		"redis: {tls: {caSecret: ca}}":                                                  "redis.tls and redis.username are for another Redis",
		"redis: {enabled: false, url: 'redis://x:1', tls: {caSecret: ca}}":              "begins with rediss",
		"redis: {resources: {limits: {memory: 256Mi}}}":                                 "want 320Mi at least",
		"{autoscaling: {enabled: true}, redis: {resources: {limits: {memory: 512Mi}}}}": "want 704Mi at least",
		"redis: {resources: {limits: {memory: 1Ti}}, url: 'redis://x:1'}":               "redis.enabled installs a Redis",
		"autoscaling: {enabled: true, minReplicas: 5, maxReplicas: 4}":                  "above autoscaling.maxReplicas",
		"podDisruptionBudget: {maxUnavailable: 3}":                                      "allows the eviction of all instances",
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
