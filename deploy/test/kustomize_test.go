package deploy

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const kustomizeDir = "../kustomize"

var update = flag.Bool("update", false, "write files that are made from others")

// built builds a folder as kubectl kustomize does.
func kustomized(t *testing.T, dir string) *objects {
	t.Helper()
	all, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	manifests, err := all.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, manifests)
}

// withComponents makes an overlay over the overlay cluster with more components, and builds it.
func withComponents(t *testing.T, components ...string) *objects {
	t.Helper()
	here, err := filepath.Abs(kustomizeDir)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(here, "test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	text := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: mastersocket\n" +
		"resources: [../overlays/cluster]\ncomponents:\n"
	for _, c := range components {
		text += "  - ../components/" + c + "\n"
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return kustomized(t, dir)
}

func TestOverlayCluster(t *testing.T) {
	t.Parallel()
	o := kustomized(t, filepath.Join(kustomizeDir, "overlays/cluster"))
	o.expectSound()
	s := o.expectHub("mastersocket")
	o.expectJob("mastersocket")
	d := named[*appsv1.Deployment](o, "mastersocket")
	if *d.Spec.Replicas != 3 || !o.has("Deployment mastersocket-redis") || !o.has("PodDisruptionBudget mastersocket") {
		t.Errorf("%d instances, with %s", *d.Spec.Replicas, o)
	}
	if redis := environment(d, "MASTERSOCKET_REDIS"); redis != "redis://:$(REDIS_PASSWORD)@mastersocket-redis:6379/0" {
		t.Errorf("the hub's Redis is %q", redis)
	}
	// All settings of the hub are listed there.
	elsewhere := []string{
		"config", "token", "tokens-file", "node", "redis", "tcp-listen", "team-anonymous", "team-healthcheck", "fleet-file", "issuers-file", "fleet-command-event", "fleet-anonymous", "help", "version",
		"tcp-gap", "redis-username", "redis-username-file", "redis-password", "redis-password-file", "redis-sentinel-username",
		"redis-sentinel-password-file", "redis-ca", "redis-cert", "redis-key", "redis-server-name", "cluster-secret-file",
		"advertise", "advertise-ca", "tls-listen", "tls-cert", "tls-key", "tls-client-ca", "admin-tls", "oidc-issuer", "oidc-jwks", "oidc-audience", "oidc-ca", "oidc-bearer-file",
	}
	for _, flag := range serveFlags(t) {
		if name := strings.TrimPrefix(flag, "--"); s[name] == nil && !slices.Contains(elsewhere, name) {
			t.Errorf("the setting %s is not in kustomization.yaml", name)
		}
	}
}

// TestOverlayAsDocumented uncomments the optional parts of the overlay cluster in its file, as its comments say.
func TestOverlayAsDocumented(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		lines  []string // beginnings of the lines to uncomment
		others []string
		check  func(t *testing.T, o *objects)
	}{
		"ingress": {lines: []string{"- ../../components/ingress"}, check: func(t *testing.T, o *objects) { named[*networkingv1.Ingress](o, "mastersocket") }},
		"gateway": {lines: []string{"- ../../components/gateway"}, check: func(t *testing.T, o *objects) { named[*gatewayv1.HTTPRoute](o, "mastersocket") }},
		"autoscaling": {lines: []string{"- ../../components/autoscaling"}, check: func(t *testing.T, o *objects) {
			named[*autoscalingv2.HorizontalPodAutoscaler](o, "mastersocket")
			if n := named[*appsv1.Deployment](o, "mastersocket").Spec.Replicas; n != nil {
				t.Errorf("the Deployment has replicas: %d, against the autoscaler", *n)
			}
		}},
		"keda":       {lines: []string{"- ../../components/keda"}, check: func(t *testing.T, o *objects) { named[*ScaledObject](o, "mastersocket") }},
		"monitoring": {lines: []string{"- ../../components/monitoring"}, check: func(t *testing.T, o *objects) { named[*monitoringv1.ServiceMonitor](o, "mastersocket") }},
		"all": {lines: []string{"- ../../components/ingress", "- ../../components/gateway", "- ../../components/autoscaling", "- ../../components/monitoring"},
			check: func(*testing.T, *objects) {}},
		"the patches at the end": {lines: []string{"- target: ", "  patch: |", "    - {op: ", "    - op: add", "      path: ", "      value: "}, others: []string{"Secret redis"},
			check: func(t *testing.T, o *objects) {
				if s := named[*corev1.Service](o, "mastersocket"); s.Spec.Type != corev1.ServiceTypeLoadBalancer {
					t.Errorf("the Service has type %q", s.Spec.Type)
				}
				if e := environmentRef(named[*appsv1.Deployment](o, "mastersocket"), "MASTERSOCKET_REDIS"); e == nil || e.Name != "redis" {
					t.Errorf("the URL of Redis is from %+v", e)
				}
			}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := uncommented(t, tc.lines)
			if name == "the patches at the end" { // without the component that they replace
				o = uncommented(t, tc.lines, "  - ../../components/redis")
			}
			o.expectSound(tc.others...)
			o.expectHub("mastersocket")
			tc.check(t, o)
		})
	}
}

// uncommented builds a copy of the overlay cluster with the commented lines that begin so, and without others.
func uncommented(t *testing.T, beginnings []string, without ...string) *objects {
	t.Helper()
	cluster := filepath.Join(kustomizeDir, "overlays/cluster")
	dir, err := os.MkdirTemp(filepath.Join(kustomizeDir, "overlays"), "test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.CopyFS(dir, os.DirFS(cluster)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "kustomization.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var kept strings.Builder
	found := make(map[string]bool)
	for line := range strings.Lines(string(text)) {
		for _, b := range beginnings {
			if rest, ok := strings.CutPrefix(line, "  # "+b); ok {
				line, found[b] = "  "+b+rest, true
				break
			}
		}
		if !slices.Contains(without, strings.TrimRight(line, "\n")) {
			kept.WriteString(line)
		}
	}
	if len(found) != len(beginnings) {
		t.Fatalf("only %v of %v are in %s", found, beginnings, file)
	}
	if err := os.WriteFile(file, []byte(kept.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return kustomized(t, dir)
}

// environmentRef returns the Secret and key of a container's variable.
func environmentRef(d *appsv1.Deployment, name string) *corev1.SecretKeySelector {
	for _, e := range d.Spec.Template.Spec.Containers[0].Env {
		if e.Name == name && e.ValueFrom != nil {
			return e.ValueFrom.SecretKeyRef
		}
	}
	return nil
}

func TestOverlaySingle(t *testing.T) {
	t.Parallel()
	o := kustomized(t, filepath.Join(kustomizeDir, "overlays/single"))
	o.expectSound()
	o.expectHub("mastersocket")
	o.expectJob("mastersocket")
	d := named[*appsv1.Deployment](o, "mastersocket")
	if *d.Spec.Replicas != 1 || environment(d, "MASTERSOCKET_REDIS") != "" || len(of[*appsv1.Deployment](o)) != 1 {
		t.Errorf("%d instances, with %s", *d.Spec.Replicas, o)
	}
}

func TestComponents(t *testing.T) {
	t.Parallel()
	for component, want := range map[string]string{
		"ingress": "Ingress mastersocket", "gateway": "HTTPRoute mastersocket", "autoscaling": "HorizontalPodAutoscaler mastersocket",
		"monitoring": "PrometheusRule mastersocket",
	} {
		t.Run(component, func(t *testing.T) {
			t.Parallel()
			o := withComponents(t, component)
			o.expectSound()
			if !o.has(want) {
				t.Errorf("there is no %s among %s", want, o)
			}
		})
	}
	t.Run("all", func(t *testing.T) {
		t.Parallel()
		o := withComponents(t, "ingress", "gateway", "autoscaling", "monitoring")
		o.expectSound()
		o.expectHub("mastersocket")
	})
}

// TestMonitoringComponent compares the component's alerts with those of the chart.
func TestMonitoringComponent(t *testing.T) {
	t.Parallel()
	alerts, err := os.ReadFile(filepath.Join(chartDir, "files/alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, groups, ok := strings.Cut(string(alerts), "\ngroups:\n")
	if !ok {
		t.Fatal("alerts.yaml has no groups")
	}
	want := "# Made from deploy/helm/mastersocket/files/alerts.yaml.\napiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\n" +
		"metadata:\n  name: mastersocket\nspec:\n  groups:\n"
	for line := range strings.Lines(groups) {
		if strings.TrimSpace(line) != "" {
			line = "  " + line
		}
		want += line
	}
	file := filepath.Join(kustomizeDir, "components/monitoring/prometheusrule.yaml")
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != want {
		t.Errorf("%s is not made from the chart's alerts (%v): go test -run MonitoringComponent -update", file, err)
	}
}

// TestNoSecretInTheFiles: the manifests contain no published secret.
func TestNoSecretInTheFiles(t *testing.T) {
	t.Parallel()
	for _, overlay := range []string{"single", "cluster"} {
		o := kustomized(t, filepath.Join(kustomizeDir, "overlays", overlay))
		if secrets := of[*corev1.Secret](o); len(secrets) > 0 {
			t.Errorf("%s has %s", overlay, describe(secrets[0]))
		}
	}
}

// environment returns the value of a container's variable.
func environment(d *appsv1.Deployment, name string) string {
	for _, e := range d.Spec.Template.Spec.Containers[0].Env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

// expectJob checks the Job that makes the Secret of a deployment: it uses the hub's image, and has exactly the rights that
// it needs. expectSound checks that it makes every key in use.
func (o *objects) expectJob(name string) {
	o.t.Helper()
	job := named[*batchv1.Job](o, name+"-secret")
	c := job.Spec.Template.Spec.Containers[0]
	if c.Image != named[*appsv1.Deployment](o, name).Spec.Template.Spec.Containers[0].Image {
		o.t.Errorf("the Job runs %s", c.Image)
	}
	secret, ok := strings.CutPrefix(c.Args[2], "--kubernetes=")
	if !ok || !slices.Equal(c.Args[:2], []string{"token", "secret"}) || job.Spec.TTLSecondsAfterFinished == nil {
		o.t.Errorf("the Job runs %q, and stays for %v", c.Args, job.Spec.TTLSecondsAfterFinished)
	}
	for _, rule := range named[*rbacv1.Role](o, job.Spec.Template.Spec.ServiceAccountName).Rules {
		if !slices.Equal(rule.Resources, []string{"secrets"}) || len(rule.Verbs) != 1 ||
			rule.Verbs[0] != "create" && (rule.Verbs[0] != "get" || !slices.Equal(rule.ResourceNames, []string{secret})) {
			o.t.Errorf("the Job may do more than it must: %+v", rule)
		}
	}
}
