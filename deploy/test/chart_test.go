package deploy

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const release = "hub-mastersocket" // full name of the tests' release

// kedaExample is the example in the chart's README: KEDA scales by the number of clients.
const kedaExample = `
autoscaling: {enabled: true, external: true, minReplicas: 3, maxReplicas: 20}
extraObjects:
  - apiVersion: keda.sh/v1alpha1
    kind: ScaledObject
    metadata: {name: '{{ include "mastersocket.fullname" . }}', namespace: '{{ .Release.Namespace }}'}
    spec:
      scaleTargetRef: {name: '{{ include "mastersocket.fullname" . }}'}
      minReplicaCount: 3
      maxReplicaCount: 20
      triggers:
        - type: prometheus
          metricType: AverageValue
          metadata:
            serverAddress: http://prometheus.monitoring.svc:9090
            query: 'sum(mastersocket_connections{namespace="{{ .Release.Namespace }}"})'
            threshold: "20000"
      advanced:
        horizontalPodAutoscalerConfig:
          behavior:
            scaleDown: {stabilizationWindowSeconds: 900, policies: [{type: Pods, value: 1, periodSeconds: 300}]}
`

// chartCases are valid sets of values, each with objects that must and must not exist then.
var chartCases = []struct {
	name, values  string
	others        []string // existing objects
	there, absent []string
}{
	{
		name:  "defaults",
		there: []string{"Deployment hub-mastersocket-redis", "Job hub-mastersocket-secret", "Pod hub-mastersocket-test", "PodDisruptionBudget hub-mastersocket", "NetworkPolicy hub-mastersocket-redis"},
		absent: []string{
			"Ingress hub-mastersocket", "HTTPRoute hub-mastersocket", "HorizontalPodAutoscaler hub-mastersocket",
			"ServiceMonitor hub-mastersocket", "PrometheusRule hub-mastersocket", "ConfigMap hub-mastersocket-dashboard",
			"Secret hub-mastersocket-token", "Secret hub-mastersocket-redis", "PodMonitor hub-mastersocket",
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
networkPolicy: {redisTo: [{ipBlock: {cidr: 10.0.0.0/8}}]}
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
		absent: []string{"Secret hub-mastersocket-token", "Secret hub-mastersocket-redis", "Job hub-mastersocket-secret", "Role hub-mastersocket-secret"},
	},
	{
		name: "secrets in values",
		values: `
auth: {token: correct-horse-battery-staple}
redis: {password: correct-horse}
`,
		there:  []string{"Secret hub-mastersocket-token", "Secret hub-mastersocket-redis"},
		absent: []string{"Job hub-mastersocket-secret", "ServiceAccount hub-mastersocket-secret"},
	},
	{
		name: "Redis with TLS, a password that rotates and a cluster secret",
		values: `
redis:
  enabled: false
  url: rediss://redis.example.com:6380
  existingPasswordSecret: redis
  username: hub
  tls: {caSecret: redis-ca, caSecretKey: ca.pem, certSecret: redis-client, serverName: redis.internal}
  clusterSecret: cluster
`,
		others: []string{"Secret redis", "Secret redis-ca", "Secret redis-client", "Secret cluster"},
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
		there: []string{"Secret hub-mastersocket-tokens"}, absent: []string{"Secret hub-mastersocket-token", "Pod hub-mastersocket-test"},
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
		name:   "autoscaling by KEDA",
		values: kedaExample,
		there:  []string{"ScaledObject hub-mastersocket"}, absent: []string{"HorizontalPodAutoscaler hub-mastersocket"},
	},
	{
		name: "PodMonitor with relabelings",
		values: `
monitoring:
  podMonitor:
    enabled: true
    labels: {release: prometheus}
    relabelings: [{sourceLabels: [__meta_kubernetes_pod_node_name], targetLabel: node}]
    metricRelabelings: [{sourceLabels: [__name__], regex: go_.*, action: drop}]
tls: {enabled: true, secretName: hub-tls, admin: true}
`,
		others: []string{"Secret hub-tls"},
		there:  []string{"PodMonitor hub-mastersocket"}, absent: []string{"ServiceMonitor hub-mastersocket"},
	},
	{
		name: "extensions of the pod",
		values: `
extraEnv: [{name: TZ, value: UTC}]
initContainers:
  - name: wait
    image: registry.example.com/wait:1
    volumeMounts: [{name: scratch, mountPath: /scratch}]
    resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 16Mi}}
    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
extraVolumes: [{name: scratch, emptyDir: {}}, {name: more, configMap: {name: more, defaultMode: 0440}}]
extraVolumeMounts: [{name: more, mountPath: /etc/more, readOnly: true}]
podSecurityContext: {sysctls: [{name: net.ipv4.tcp_keepalive_time, value: "60"}]}
dnsPolicy: ClusterFirst
dnsConfig: {options: [{name: ndots, value: "2"}]}
topologySpreadConstraints: [{maxSkew: 2, topologyKey: example.com/rack, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app.kubernetes.io/component: hub}}}]
runtimeClassName: gvisor
redis: {runtimeClassName: gvisor}
extraObjects:
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: more}, data: {release: "{{ .Release.Name }}"}}
  - |
    apiVersion: v1
    kind: ConfigMap
    metadata:
      name: {{ include "mastersocket.fullname" . }}-text
networkPolicy: {dnsPorts: [53, 5353]}
`,
		there: []string{"ConfigMap more", "ConfigMap hub-mastersocket-text"},
	},
	{
		name: "sources of clients, with helm test",
		values: `
networkPolicy: {hubFrom: [{namespaceSelector: {}}]}
`,
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
		name:   "every setting of the hub",
		others: []string{"Secret fleets", "Secret issuers"},
		values: `
config:
  enable: [echo, fleet, team]
  team-anonymous: true
  fleet-anonymous: true
  fleet-command-event: command
  team-healthcheck: 1m
  allowed-origins: ["https://app.example.com", "https://*.example.com"]
  allowed-hosts: [hub.example.com, "*.hub.example.com"]
  history: [{groups: "orders.*", messages: 10000, age: 24h, bytes: 64MiB, max_groups: 100}, {groups: "*", age: 1h}]
  redis-prefix: hub.prod
  ready-without-broker: true
  loops: 8
  max-connections: 50000
  presence-members: 5000
  request-memory: 128MiB
  max-connections-per-address: 100
  trusted-proxies: [10.0.0.0/8, "2001:db8::1"]
  send-queue-total: 128MiB
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
fleets: {existingSecret: fleets}
issuers: {existingSecret: issuers}
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
redis: {nodeSelector: {pool: redis}, priorityClassName: important, tolerations: [{operator: Exists}], resources: {limits: {memory: 1Gi, cpu: 1}}}
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
		"redis-username": "redis", "redis-username-file": "redis", "redis-password": "redis", "redis-password-file": "redis",
		"redis-sentinel-username": "extraEnv", "redis-sentinel-password-file": "extraEnv", "redis-ca": "redis.tls",
		"redis-cert": "redis.tls", "redis-key": "redis.tls", "redis-server-name": "redis.tls",
		"cluster-secret-file": "redis.clusterSecret", "tcp-gap": "extraEnv", "advertise": "extraEnv", "advertise-ca": "extraEnv",
		"tokens-file": "auth.tokens", "tcp-listen": "tcp", "fleet-file": "fleets", "issuers-file": "issuers",
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
		"config: {log-level: debug}", "config: {drain-rate: 100}", "commonLabels: {a: b}", "replicas: 5",
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
	given := func(token string) string { return template("auth: {token: " + token + "}") }
	if given("one-token-of-the-test") != given("two-token-of-the-test") {
		t.Error("another token rolls the instances")
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

// TestRenderingTwiceIsTheSame: without access to the cluster, as with helm template and Argo CD, the same values give the
// same manifests, secrets included.
func TestRenderingTwiceIsTheSame(t *testing.T) {
	t.Parallel()
	for _, values := range []string{"", "replicas: 1", "auth: {token: correct-horse-battery-staple}"} {
		a, notes, err := install(t, values)
		if err != nil {
			t.Fatal(err)
		}
		if b, again, err := install(t, values); err != nil || string(a) != string(b) || notes != again {
			t.Errorf("%s: rendering it again gives other manifests (%v)", values, err)
		}
	}
	o, _ := installed(t, "auth: {token: correct-horse-battery-staple}")
	if got := string(named[*corev1.Secret](o, release+"-token").Data["token"]); got != "correct-horse-battery-staple" {
		t.Errorf("token %q", got)
	}
}

// TestSecretJobOfTheChart checks the Job that makes the Secret: its hook comes after those of its account and rights.
func TestSecretJobOfTheChart(t *testing.T) {
	t.Parallel()
	// The Job never changes the Secret, so it makes the keys that other values may need later.
	for _, values := range []string{"redis: {enabled: false, existingSecret: redis}", "auth: {token: correct-horse-battery-staple}"} {
		o, _ := installed(t, values)
		if keys := o.madeByJobs()[release+"-made"]; !slices.Equal(keys, []string{"token", "redis-password"}) {
			t.Errorf("%s: the Job makes %q", values, keys)
		}
	}
	o, _ := installed(t, "")
	o.expectJob(release)
	weight := func(m metav1.Object) int {
		a := m.GetAnnotations()
		if a["helm.sh/hook"] != "pre-install,pre-upgrade" || !strings.Contains(a["helm.sh/hook-delete-policy"], "before-hook-creation") {
			t.Errorf("%s: %v", m.GetName(), a)
		}
		n, err := strconv.Atoi(a["helm.sh/hook-weight"])
		if err != nil {
			t.Error(err)
		}
		return n
	}
	job := weight(named[*batchv1.Job](o, release+"-secret"))
	for _, before := range []metav1.Object{
		named[*corev1.ServiceAccount](o, release+"-secret"), named[*rbacv1.Role](o, release+"-secret"), named[*rbacv1.RoleBinding](o, release+"-secret"),
	} {
		if weight(before) >= job {
			t.Errorf("%T is not made before the Job", before)
		}
	}
}

// TestEgressFollowsTheURL: the NetworkPolicy opens the ports of the Redis URL, and those of the DNS servers.
func TestEgressFollowsTheURL(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"redis://redis.example.com":                                    "6379",
		"redis://hub:pa:ss@redis.example.com:6390/3?x=:1":              "6390",
		"rediss://redis.example.com:6380":                              "6380",
		"rediss://[2001:db8::1]:6381/0":                                "6381",
		"redis://[2001:db8::1]":                                        "6379",
		"redis+cluster://a:7000,b:7001,c":                              "7000 7001 6379",
		"redis+sentinel://:secret@a,b:26380,c:26379/hub?db=1":          "26379 26380 6379",
		"rediss+sentinel://sentinel.example.com:5000/hub/0?password=@": "5000 6379",
	} {
		o, _ := installed(t, "redis: {enabled: false, url: '"+url+"'}")
		if got := egressPorts(o, 1); got != want {
			t.Errorf("%s: egress to the ports %s, want %s", url, got, want)
		}
	}
	for values, want := range map[string][2]string{
		"redis: {enabled: false, existingSecret: redis}":                                            {"53 53", "6379"},
		"{redis: {enabled: false, existingSecret: redis}, networkPolicy: {redisPorts: [26379, 1]}}": {"53 53", "26379 1"},
		"networkPolicy: {dnsPorts: [5353]}":                                                         {"5353 5353", "6379"},
	} {
		o, _ := installed(t, values)
		if got := [2]string{egressPorts(o, 0), egressPorts(o, 1)}; got != want {
			t.Errorf("%s: egress to the ports %q, want %q", values, got, want)
		}
	}
}

// egressPorts returns the ports of a rule of the hub's NetworkPolicy.
func egressPorts(o *objects, rule int) string {
	var ports []string
	for _, p := range named[*networkingv1.NetworkPolicy](o, release).Spec.Egress[rule].Ports {
		ports = append(ports, p.Port.String())
	}
	return strings.Join(ports, " ")
}

// TestRedisConnection: the settings of the connection to Redis name files that are mounted.
func TestRedisConnection(t *testing.T) {
	t.Parallel()
	for _, c := range chartCases {
		if !strings.HasPrefix(c.name, "Redis with TLS") {
			continue
		}
		o, _ := installed(t, c.values)
		d := named[*appsv1.Deployment](o, release)
		dir := o.files(d)
		for name, want := range map[string]string{
			"MASTERSOCKET_REDIS_PASSWORD_FILE": "password", "MASTERSOCKET_REDIS_CA": "ca.crt", "MASTERSOCKET_REDIS_CERT": "tls.crt",
			"MASTERSOCKET_REDIS_KEY": "tls.key", "MASTERSOCKET_CLUSTER_SECRET_FILE": "cluster-secret",
		} {
			file := environment(d, name)
			if _, err := os.Stat(filepath.Join(dir, file)); err != nil || filepath.Base(file) != want {
				t.Errorf("%s is %q: %v", name, file, err)
			}
		}
		if environment(d, "MASTERSOCKET_REDIS_USERNAME") != "hub" || environment(d, "MASTERSOCKET_REDIS_SERVER_NAME") != "redis.internal" {
			t.Errorf("%+v", d.Spec.Template.Spec.Containers[0].Env)
		}
		var sources []string
		for _, v := range d.Spec.Template.Spec.Volumes {
			if v.Name == "redis" {
				for _, s := range v.Projected.Sources {
					sources = append(sources, s.Secret.Name)
				}
			}
		}
		if !slices.Equal(sources, []string{"redis", "redis-ca", "redis-client", "cluster"}) {
			t.Errorf("the volume is made from %q", sources)
		}
	}
}

// TestReadyWithoutBroker: the default is what docs/operations.md recommends for one Redis shared by all instances.
func TestReadyWithoutBroker(t *testing.T) {
	t.Parallel()
	for values, want := range map[string]any{
		"": true, "{replicas: 1, redis: {enabled: false}}": false, "redis: {enabled: false, existingSecret: redis}": false,
		"config: {ready-without-broker: false}": false, "{redis: {enabled: false, existingSecret: redis}, config: {ready-without-broker: true}}": true,
	} {
		o, _ := installed(t, values)
		if got := settings(t, named[*corev1.ConfigMap](o, release).Data["hub.yaml"])["ready-without-broker"]; got != want {
			t.Errorf("%s: ready-without-broker is %v, want %v", values, got, want)
		}
	}
	s := settings(t, named[*corev1.ConfigMap](kustomized(t, filepath.Join(kustomizeDir, "overlays/cluster")), "mastersocket").Data["hub.yaml"])
	if s["ready-without-broker"] != true {
		t.Errorf("overlays/cluster: ready-without-broker is %v, want true", s["ready-without-broker"])
	}
}

// TestRedisMemoryFitsItsBuffers: the memory limit holds the hard bound of every instance's output buffer, during a rollout.
func TestRedisMemoryFitsItsBuffers(t *testing.T) {
	t.Parallel()
	for values, instances := range map[string]int64{
		"": 3, "replicas: 12": 12, "autoscaling: {enabled: true, maxReplicas: 20}": 20,
		"redis: {pubsubOutputBuffer: 1gb 32mb 60}": 3, "redis: {pubsubOutputBuffer: 100kb 10kb 60}": 3,
		"redis: {resources: {limits: {memory: 1Gi}}}": 3,
	} {
		o, _ := installed(t, values)
		o.expectRedisMemory(release+"-redis", instances)
	}
	o := withComponents(t, "autoscaling")
	o.expectRedisMemory("mastersocket-redis", int64(of[*autoscalingv2.HorizontalPodAutoscaler](o)[0].Spec.MaxReplicas))
}

func (o *objects) expectRedisMemory(name string, instances int64) {
	o.t.Helper()
	c := named[*appsv1.Deployment](o, name).Spec.Template.Spec.Containers[0]
	hard := strings.Fields(c.Args[len(c.Args)-1])[1]
	n, err := strconv.ParseInt(strings.TrimRight(hard, "kmgb"), 10, 64)
	if err != nil {
		o.t.Fatal(err)
	}
	unit := map[string]int64{"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}[strings.TrimLeft(hard, "0123456789")]
	if least, limit := (instances+1)*n*unit+64<<20, c.Resources.Limits.Memory().Value(); limit < least || limit > 8*least {
		o.t.Errorf("%s has %d bytes for %d instances with %s each, want %d", name, limit, instances, hard, least)
	}
}

// TestRouteTimeouts: a WebSocket has no limit of time by default; Gateways without timeouts get none.
func TestRouteTimeouts(t *testing.T) {
	t.Parallel()
	for timeouts, want := range map[string]bool{"": true, ", timeouts: null": false, ", timeouts: {}": true, ", timeouts: {request: 0s}": true} {
		o, _ := installed(t, "gateway: {enabled: true, parentRefs: [{name: public}]"+timeouts+"}")
		o.expectRoutes()
		if got := named[*gatewayv1.HTTPRoute](o, release).Spec.Rules[0].Timeouts != nil; got != want {
			t.Errorf("gateway%s: has timeouts: %v", timeouts, got)
		}
	}
}

// TestUserIDs: the ids are the image's by default, and the cluster's choice if values remove them.
func TestUserIDs(t *testing.T) {
	t.Parallel()
	const removed = "podSecurityContext: {runAsUser: null, runAsGroup: null, fsGroup: null}"
	o, _ := installed(t, "{"+removed+", redis: {"+removed+"}}")
	o.expectSound()
	for _, w := range o.workloads() {
		if s := w.template.Spec.SecurityContext; s.RunAsUser != nil || s.RunAsGroup != nil || s.FSGroup != nil {
			t.Errorf("%s: %+v, want no ids", w.name, s)
		}
	}
	o, _ = installed(t, "")
	for _, w := range o.workloads() {
		if s := w.template.Spec.SecurityContext; s.RunAsUser == nil || s.RunAsGroup == nil || s.FSGroup == nil {
			t.Errorf("%s: %+v, want ids", w.name, s)
		}
	}
}

func TestNamesAndRegistry(t *testing.T) {
	t.Parallel()
	o, _ := installed(t, `{nameOverride: bus, global: {imageRegistry: registry.example.com/mirror/, imagePullSecrets: [mirror]}, image: {pullSecrets: [hub, mirror]}}`)
	o.expectSound()
	o.expectHub("hub-bus")
	for _, w := range o.workloads() {
		if w.template.Labels["app.kubernetes.io/name"] != "bus" {
			t.Errorf("%s has the labels %v", w.name, w.template.Labels)
		}
		if secrets := w.template.Spec.ImagePullSecrets; len(secrets) != 2 || secrets[0].Name != "mirror" || secrets[1].Name != "hub" {
			t.Errorf("%s pulls with %v", w.name, secrets)
		}
		if image := w.template.Spec.Containers[0].Image; !strings.HasPrefix(image, "registry.example.com/mirror/") || strings.Contains(image, "//") {
			t.Errorf("%s has the image %s", w.name, image)
		}
	}
}

// TestKEDAExample: the chart's README has the example that the tests render.
func TestKEDAExample(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join(chartDir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "```yaml"+kedaExample+"```") {
		t.Error("README.md has another example")
	}
}

// TestVersionsAgree: the image and the chart have the version that scripts/version prints.
func TestVersionsAgree(t *testing.T) {
	t.Parallel()
	want := releaseVersion(t)
	if m := loadChart(t).Metadata; m.Version != want || m.AppVersion != want {
		t.Errorf("Chart.yaml has version %s and appVersion %s, want %s", m.Version, m.AppVersion, want)
	}
	o := kustomized(t, filepath.Join(kustomizeDir, "overlays/cluster"))
	if image := named[*appsv1.Deployment](o, "mastersocket").Spec.Template.Spec.Containers[0].Image; !strings.HasSuffix(image, ":"+want) {
		t.Errorf("overlays/cluster has the image %s, want version %s", image, want)
	}
	o = kustomized(t, filepath.Join(kustomizeDir, "overlays/single"))
	if image := named[*appsv1.Deployment](o, "mastersocket").Spec.Template.Spec.Containers[0].Image; !strings.HasSuffix(image, ":"+want) {
		t.Errorf("overlays/single has the image %s, want version %s", image, want)
	}
}
