package deploy

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
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

// madeByJob is the Secret that the Job makes.
const madeByJob = "Secret mastersocket"

func TestOverlayCluster(t *testing.T) {
	t.Parallel()
	o := kustomized(t, filepath.Join(kustomizeDir, "overlays/cluster"))
	o.expectSound(madeByJob)
	s := o.expectHub("mastersocket")
	o.expectJob()
	d := named[*appsv1.Deployment](o, "mastersocket")
	if *d.Spec.Replicas != 3 || !o.has("Deployment mastersocket-redis") || !o.has("PodDisruptionBudget mastersocket") {
		t.Errorf("%d instances, with %s", *d.Spec.Replicas, o)
	}
	if redis := environment(d, "MASTERSOCKET_REDIS"); redis != "redis://:$(REDIS_PASSWORD)@mastersocket-redis:6379/0" {
		t.Errorf("the hub's Redis is %q", redis)
	}
	// All settings of the hub are listed there.
	elsewhere := []string{
		"config", "token", "tokens-file", "node", "redis", "tcp-listen", "team-anonymous", "team-healthcheck", "help", "version",
		"tls-listen", "tls-cert", "tls-key", "tls-client-ca", "admin-tls", "oidc-issuer", "oidc-jwks", "oidc-audience", "oidc-ca", "oidc-bearer-file",
	}
	for _, flag := range serveFlags(t) {
		if name := strings.TrimPrefix(flag, "--"); s[name] == nil && !slices.Contains(elsewhere, name) {
			t.Errorf("the setting %s is not in kustomization.yaml", name)
		}
	}
}

func TestOverlaySingle(t *testing.T) {
	t.Parallel()
	o := kustomized(t, filepath.Join(kustomizeDir, "overlays/single"))
	o.expectSound(madeByJob)
	o.expectHub("mastersocket")
	o.expectJob()
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
			o.expectSound(madeByJob)
			if !o.has(want) {
				t.Errorf("there is no %s among %s", want, o)
			}
		})
	}
	t.Run("all", func(t *testing.T) {
		t.Parallel()
		o := withComponents(t, "ingress", "gateway", "autoscaling", "monitoring")
		o.expectSound(madeByJob)
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

// expectJob checks the Job that makes the Secret: it uses the hub's image, makes every key in use, and has exactly the
// rights that it needs.
func (o *objects) expectJob() {
	o.t.Helper()
	job := named[*batchv1.Job](o, "mastersocket-secret")
	c := job.Spec.Template.Spec.Containers[0]
	if c.Image != named[*appsv1.Deployment](o, "mastersocket").Spec.Template.Spec.Containers[0].Image {
		o.t.Errorf("the Job runs %s", c.Image)
	}
	if !slices.Equal(c.Args[:3], []string{"token", "secret", "--kubernetes=mastersocket"}) || job.Spec.TTLSecondsAfterFinished == nil {
		o.t.Errorf("the Job runs %q, and stays for %v", c.Args, job.Spec.TTLSecondsAfterFinished)
	}
	for _, d := range of[*appsv1.Deployment](o) {
		for _, key := range secretKeys(d) {
			if !slices.Contains(c.Args[4:], key) {
				o.t.Errorf("the Job does not make %s", key)
			}
		}
	}
	for _, rule := range named[*rbacv1.Role](o, "mastersocket-secret").Rules {
		if !slices.Equal(rule.Resources, []string{"secrets"}) || len(rule.Verbs) != 1 ||
			rule.Verbs[0] != "create" && (rule.Verbs[0] != "get" || !slices.Equal(rule.ResourceNames, []string{"mastersocket"})) {
			o.t.Errorf("the Job may do more than it must: %+v", rule)
		}
	}
}

// secretKeys returns the keys of the Secret mastersocket that a Deployment uses.
func secretKeys(d *appsv1.Deployment) (keys []string) {
	pod := d.Spec.Template.Spec
	for _, v := range pod.Volumes {
		if v.Secret != nil {
			for _, item := range v.Secret.Items {
				keys = append(keys, item.Key)
			}
		}
	}
	for _, e := range pod.Containers[0].Env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
			keys = append(keys, e.ValueFrom.SecretKeyRef.Key)
		}
	}
	return keys
}
