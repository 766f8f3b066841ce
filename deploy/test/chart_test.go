package deploy

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

const release = "hub-mastersocket" // full name of the tests' release

// chartCases are valid sets of values, each with objects that must and must not exist then.
var chartCases = []struct {
	name, values  string
	others        []string // existing objects
	there, absent []string
}{
	{
		name:  "defaults",
		there: []string{"Deployment hub-mastersocket-redis", "Secret hub-mastersocket-token", "PodDisruptionBudget hub-mastersocket", "NetworkPolicy hub-mastersocket-redis"},
		absent: []string{
			"Ingress hub-mastersocket", "HTTPRoute hub-mastersocket", "HorizontalPodAutoscaler hub-mastersocket",
			"ServiceMonitor hub-mastersocket", "PrometheusRule hub-mastersocket", "ConfigMap hub-mastersocket-dashboard",
		},
	},
	{
		name: "one instance without Redis",
		values: `
replicas: 1
redis: {enabled: false}
`,
		absent: []string{"Deployment hub-mastersocket-redis", "PodDisruptionBudget hub-mastersocket", "NetworkPolicy hub-mastersocket-redis"},
	},
	{
		name: "another Redis by its URL",
		values: `
redis: {enabled: false, url: "rediss://hub:secret@redis.example.com:6380/0"}
networkPolicy: {redisPorts: [6380], redisTo: [{ipBlock: {cidr: 10.0.0.0/8}}]}
`,
		there: []string{"Secret hub-mastersocket-redis"}, absent: []string{"Deployment hub-mastersocket-redis"},
	},
	{
		name: "secrets of others",
		values: `
auth: {existingSecret: tokens, existingSecretKey: hub.token}
redis: {enabled: false, existingSecret: redis, existingSecretKey: hub}
image: {pullSecrets: [registry], digest: "sha256:` + strings.Repeat("ab", 32) + `"}
`,
		others: []string{"Secret tokens", "Secret redis"},
		absent: []string{"Secret hub-mastersocket-token", "Secret hub-mastersocket-redis"},
	},
	{
		name:   "a password of others",
		values: `{redis: {existingPasswordSecret: redis, existingPasswordSecretKey: pw}}`,
		others: []string{"Secret redis"}, absent: []string{"Secret hub-mastersocket-redis"},
	},
	{
		name: "a token for each service",
		values: `
auth:
  sharedToken: false
  tokens:
    - {name: billing, sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08, groups: ["billing.*"], send: ["GROUP:audit", DIRECT], rate: 100}
    - {name: operators, sha256: 60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752, admin: true}
`,
		there: []string{"Secret hub-mastersocket-tokens"}, absent: []string{"Secret hub-mastersocket-token"},
	},
	{
		name:   "a tokens file of others beside the shared token",
		values: `{auth: {token: correct-horse-battery-staple, existingTokensSecret: grants}}`,
		others: []string{"Secret grants"}, there: []string{"Secret hub-mastersocket-token"},
	},
	{
		name: "ingress and gateway",
		values: `
ingress: {enabled: true, hosts: [hub.example.com, "*.hub.example.com"], path: /, tls: [{secretName: hub-tls, hosts: [hub.example.com]}]}
gateway: {enabled: true, parentRefs: [{name: public, namespace: gateways, sectionName: https}], hostnames: [hub.example.com]}
`,
		there: []string{"Ingress hub-mastersocket", "HTTPRoute hub-mastersocket"},
	},
	{
		name: "load balancer, other ports, TCP",
		values: `
service: {type: LoadBalancer, port: 8080, externalTrafficPolicy: Local, loadBalancerClass: example.com/lb, loadBalancerSourceRanges: [10.0.0.0/8], annotations: {example.com/idle-timeout: "120"}}
tcp: {enabled: true}
adminService: {port: 9090}
`,
	},
	{
		name: "TLS beside the plain listener",
		values: `
tls: {enabled: true, secretName: hub-tls, clientCASecret: clients, clientCASecretKey: tls.crt}
`,
		others: []string{"Secret hub-tls", "Secret clients"},
	},
	{
		name: "TLS alone, and for operators",
		values: `
tls: {enabled: true, only: true, secretName: hub-tls, admin: true}
monitoring: {serviceMonitor: {enabled: true}}
`,
		others: []string{"Secret hub-tls"}, there: []string{"ServiceMonitor hub-mastersocket"},
	},
	{
		name: "service accounts' tokens",
		values: `
oidc: {enabled: true}
auth: {tokens: [{name: orders, claims: {sub: "system:serviceaccount:shop:orders"}, groups: [orders], send: ["*"]}]}
`,
		others: []string{"ConfigMap kube-root-ca.crt"},
	},
	{
		name: "tokens of another issuer",
		values: `
oidc: {enabled: true, cluster: false, issuer: "https://id.example.com", audiences: [hub, mastersocket], caConfigMap: ca, caConfigMapKey: root.pem}
auth: {existingTokensSecret: grants}
networkPolicy: {oidcTo: [{ipBlock: {cidr: 192.0.2.0/24}}], oidcPorts: [443]}
`,
		others: []string{"ConfigMap ca", "Secret grants"},
	},
	{
		name: "autoscaling",
		values: `
autoscaling: {enabled: true, minReplicas: 2, maxReplicas: 20, targetConnections: 20000}
`,
		there: []string{"HorizontalPodAutoscaler hub-mastersocket", "PodDisruptionBudget hub-mastersocket"},
	},
	{
		name: "monitoring",
		values: `
monitoring:
  serviceMonitor: {enabled: true, interval: 30s, labels: {release: prometheus}}
  prometheusRule: {enabled: true, labels: {release: prometheus}}
  dashboard: {enabled: true}
`,
		there: []string{"ServiceMonitor hub-mastersocket", "PrometheusRule hub-mastersocket", "ConfigMap hub-mastersocket-dashboard"},
	},
	{
		name: "every setting of the hub",
		values: `
config:
  enable: [echo, team]
  team-anonymous: true
  team-healthcheck: 1m
  allowed-origins: ["https://app.example.com", "https://*.example.com"]
  redis-prefix: hub.prod
  ready-without-broker: true
  loops: 8
  max-connections: 50000
  max-message-bytes: 65536
  send-queue-bytes: 4MiB
  write-timeout: 1m30s
  identify-timeout: 5s
  handshake-timeout: 5s
  message-timeout: 1m
  ping-interval: 20s
  drain-timeout: 1m0.5s
  drain-rate: 500
  log-format: text
  log-level: debug
drain: {preStopSeconds: 12, marginSeconds: 0}
extraEnv: [{name: GOGC, value: "80"}, {name: MASTERSOCKET_LOG_LEVEL, value: warn}]
`,
	},
	{
		name: "no part that can be left out",
		values: `
networkPolicy: {enabled: false}
podDisruptionBudget: {enabled: false}
serviceAccount: {create: false, name: shared}
drain: {preStopSeconds: 0}
goMemLimitPercent: 0
spread: "off"
`,
		others: []string{"ServiceAccount shared"},
		absent: []string{"NetworkPolicy hub-mastersocket", "PodDisruptionBudget hub-mastersocket", "ServiceAccount hub-mastersocket"},
	},
	{
		name: "everything about where it runs",
		values: `
commonLabels: {team: messaging}
podLabels: {sidecar: none}
podAnnotations: {example.com/x: "y"}
spread: required
nodeSelector: {pool: hubs}
tolerations: [{key: hubs, operator: Exists}]
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: arch, operator: In, values: [arm64]}]}]}}}
priorityClassName: important
serviceAccount: {name: hub, annotations: {example.com/role: none}}
resources: {requests: {cpu: 2, memory: 1Gi}, limits: {cpu: 4, memory: 2Gi}}
redis: {nodeSelector: {pool: redis}, priorityClassName: important, tolerations: [{operator: Exists}]}
networkPolicy: {hubFrom: [{podSelector: {matchLabels: {app.kubernetes.io/component: redis}}}], extraEgress: [{ports: [{port: 4317, protocol: TCP}]}]}
`,
	},
}

func TestChart(t *testing.T) {
	t.Parallel()
	for _, c := range chartCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o, notes := installed(t, c.values)
			o.expectSound(c.others...)
			o.expectHub(release)
			for _, name := range c.there {
				if !o.has(name) {
					t.Errorf("there is no %s among %s", name, o)
				}
			}
			for _, name := range c.absent {
				if o.has(name) {
					t.Errorf("there is a %s", name)
				}
			}
			if !strings.Contains(notes, "rollout status deployment/"+release) || strings.Contains(notes, "<no value>") {
				t.Errorf("the notes are %s", notes)
			}
		})
	}
}

// TestChartSettings compares the settings of the chart with those of the hub: each exists, in config or made by the
// chart, and has the hub's default unless there is a reason.
func TestChartSettings(t *testing.T) {
	t.Parallel()
	o, _ := installed(t, "")
	s := o.expectHub(release)
	elsewhere := map[string]string{
		"config": "the file itself", "token": "a file in a Secret", "node": "the pod's name", "redis": "a Secret",
		"tokens-file": "auth.tokens", "tcp-listen": "tcp",
		"tls-listen": "tls", "tls-cert": "tls", "tls-key": "tls", "tls-client-ca": "tls", "admin-tls": "tls",
		"oidc-issuer": "oidc", "oidc-jwks": "oidc", "oidc-audience": "oidc", "oidc-ca": "oidc", "oidc-bearer-file": "oidc",
		"help": "no setting", "version": "no setting",
	}
	for _, flag := range serveFlags(t) {
		name := strings.TrimPrefix(flag, "--")
		if _, ok := s[name]; !ok && elsewhere[name] == "" {
			t.Errorf("the chart has no value for the setting %s", name)
		}
	}
}

// TestRollsOnlyWhereItMust: settings that the hub reloads while it runs change no pod; others do.
func TestRollsOnlyWhereItMust(t *testing.T) {
	t.Parallel()
	template := func(values string) string {
		o, _ := installed(t, values)
		p := named[*appsv1.Deployment](o, release).Spec.Template
		return p.Annotations["checksum/restart"] + p.String()
	}
	as := template("")
	for _, live := range []string{
		"config: {log-level: debug}", "config: {drain-rate: 100}", "auth: {token: another-token}", "commonLabels: {a: b}", "replicas: 5",
		"monitoring: {serviceMonitor: {enabled: true}}", "service: {port: 8080}",
	} {
		if template(live) != as {
			t.Errorf("%s rolls the instances", live)
		}
	}
	for _, fixed := range []string{
		"config: {ping-interval: 20s}", "config: {drain-timeout: 31s}", "redis: {password: other}", "image: {tag: other}", "tcp: {enabled: true}",
	} {
		if template(fixed) == as {
			t.Errorf("%s has no effect on the instances", fixed)
		}
	}
	tokens := `auth: {tokens: [{name: a, sha256: "` + strings.Repeat("a", 64) + `", groups: [%]}]}`
	if template(strings.ReplaceAll(tokens, "%", "one")) != template(strings.ReplaceAll(tokens, "%", "two")) {
		t.Error("rights of a token roll the instances")
	}
}

func TestMemoryLimitOfGo(t *testing.T) {
	t.Parallel()
	for limit, want := range map[string]string{
		"512Mi": "402653184", "1Gi": "805306368", "1G": "750000000", "1.5Gi": "1207959552", "1000000": "750000", "300000Ki": "230400000",
	} {
		o, _ := installed(t, "resources: {limits: {memory: "+limit+"}}")
		got := ""
		for _, e := range named[*appsv1.Deployment](o, release).Spec.Template.Spec.Containers[0].Env {
			if e.Name == "GOMEMLIMIT" {
				got = e.Value
			}
		}
		if got != want {
			t.Errorf("GOMEMLIMIT is %s with a limit of %s, want %s", got, limit, want)
		}
	}
}

func TestSecretsAreRandom(t *testing.T) {
	t.Parallel()
	token := func(values string) string {
		o, _ := installed(t, values)
		return string(named[*corev1.Secret](o, release+"-token").Data["token"])
	}
	if a, b := token(""), token(""); a == b || len(a) != len("ms_")+40 {
		t.Errorf("tokens %q and %q", a, b)
	}
	if got := token("auth: {token: correct-horse-battery-staple}"); got != "correct-horse-battery-staple" {
		t.Errorf("token %q", got)
	}
}
