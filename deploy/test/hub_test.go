package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// hubLeast bounds the hub's shutdown beyond the drain timeout: 5 s for clients that don't leave, 5 s for its parts.
const hubLeast = 10

// expectHub checks the Deployment of the hub against the hub itself: the settings exist, the files that they name are
// mounted, and the grace period suffices. It returns the settings.
func (o *objects) expectHub(name string) map[string]any {
	o.t.Helper()
	d := named[*appsv1.Deployment](o, name)
	pod := d.Spec.Template.Spec
	c := pod.Containers[0]
	known := serveFlags(o.t)
	for _, flag := range flagsOf(c.Args) {
		if !slices.Contains(known, flag) {
			o.t.Errorf("%s: the hub has no flag %s", name, flag)
		}
	}
	for _, e := range c.Env {
		if flag, ok := strings.CutPrefix(e.Name, "MASTERSOCKET_"); ok &&
			!slices.Contains(known, "--"+strings.ToLower(strings.ReplaceAll(flag, "_", "-"))) {
			o.t.Errorf("%s: the hub has no setting %s", name, e.Name)
		}
	}
	at := slices.Index(c.Args, "--config")
	if c.Args[0] != "serve" || at < 0 {
		o.t.Fatalf("%s: runs %q", name, c.Args)
	}
	dir := o.files(d)
	config := filepath.Join(dir, c.Args[at+1])
	text, err := os.ReadFile(config)
	if err != nil {
		o.t.Fatal(err)
	}
	here := regexp.MustCompile(`: (/etc/mastersocket/)`).ReplaceAllString(string(text), ": "+dir+"$1")
	if err := os.WriteFile(config, []byte(here), 0o600); err != nil {
		o.t.Fatal(err)
	}
	if out, err := exec.Command(binary(o.t), "config", "check", config).CombinedOutput(); err != nil {
		o.t.Errorf("%s: the hub does not take its settings: %s\n%s", name, out, text)
	}
	s := settings(o.t, string(text))
	o.expectGrace(d, s)
	o.expectPorts(d, s)
	return s
}

// expectGrace checks that the grace period suffices for a graceful shutdown.
func (o *objects) expectGrace(d *appsv1.Deployment, s map[string]any) {
	o.t.Helper()
	drain, err := time.ParseDuration(fmt.Sprint(s["drain-timeout"]))
	if err != nil {
		o.t.Fatal(err)
	}
	pod, sleep := d.Spec.Template.Spec, int64(0)
	if l := pod.Containers[0].Lifecycle; l != nil {
		sleep = l.PreStop.Sleep.Seconds
	}
	least := float64(sleep+hubLeast) + drain.Seconds()
	if grace := float64(*pod.TerminationGracePeriodSeconds); grace < least || grace > least+30 {
		o.t.Errorf("%s: the grace period is %v s, and stopping takes up to %v s", d.Name, grace, least)
	}
	if r := d.Spec.Strategy.RollingUpdate; r == nil || r.MaxUnavailable.IntVal != 0 || r.MaxSurge.IntVal != 1 {
		o.t.Errorf("%s: rolls by %+v", d.Name, r)
	}
}

// expectPorts checks that the ports and probes match the hub's listeners.
func (o *objects) expectPorts(d *appsv1.Deployment, s map[string]any) {
	o.t.Helper()
	c, want := d.Spec.Template.Spec.Containers[0], []string{}
	for _, setting := range []string{"listen", "admin-listen", "tls-listen", "tcp-listen"} {
		if address, ok := s[setting]; ok && address != "off" {
			want = append(want, fmt.Sprint(address))
		}
	}
	var got []string
	for _, p := range c.Ports {
		got = append(got, fmt.Sprint(":", p.ContainerPort))
	}
	if !slices.Equal(got, want) {
		o.t.Errorf("%s: the hub listens on %q, and its ports are %q", d.Name, want, got)
	}
	scheme := corev1.URISchemeHTTP
	if s["admin-tls"] == true {
		scheme = corev1.URISchemeHTTPS
	}
	for _, p := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
		if p.HTTPGet.Scheme != scheme && (p.HTTPGet.Scheme != "" || scheme != corev1.URISchemeHTTP) {
			o.t.Errorf("%s is asked by %s, and speaks %s", d.Name, p.HTTPGet.Scheme, scheme)
		}
	}
	if c.LivenessProbe.HTTPGet.Path != "/healthz" || c.StartupProbe.HTTPGet.Path != "/healthz" || c.ReadinessProbe.HTTPGet.Path != "/readyz" {
		o.t.Errorf("%s: its probes ask for the wrong things", d.Name)
	}
}

// files writes the volumes of the pod's first container below a folder.
func (o *objects) files(d *appsv1.Deployment) string {
	o.t.Helper()
	dir, pod := o.t.TempDir(), d.Spec.Template.Spec
	for _, m := range pod.Containers[0].VolumeMounts {
		v := pod.Volumes[slices.IndexFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })]
		for name, content := range o.contents(v) {
			file := filepath.Join(dir, path.Join(m.MountPath, name))
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				o.t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				o.t.Fatal(err)
			}
		}
	}
	return dir
}

// madeUpToken is the token in Secrets that are not among the objects.
const madeUpToken = "made-up-token-of-the-tests"

// contents returns the files of a volume. Missing objects get invented contents.
func (o *objects) contents(v corev1.Volume) map[string]string {
	o.t.Helper()
	switch {
	case v.ConfigMap != nil:
		return named[*corev1.ConfigMap](o, v.ConfigMap.Name).Data
	case v.Projected != nil:
		p := certificate(o.t)
		return map[string]string{
			"token": "account-token", "ca.crt": p.pem, "tls.crt": p.pem, "tls.key": p.key,
			"password": "pass word", "cluster-secret": strings.Repeat("s", 32),
		}
	case v.EmptyDir != nil:
		return nil
	case v.Name == "tls":
		return map[string]string{"tls.crt": certificate(o.t).pem, "tls.key": certificate(o.t).key}
	case v.Name == "client-ca":
		return map[string]string{"ca.crt": certificate(o.t).pem}
	}
	found := make(map[string]string)
	for _, s := range of[*corev1.Secret](o) {
		for _, item := range v.Secret.Items {
			if s.Name == v.Secret.SecretName {
				found[item.Path] = s.StringData[item.Key] + string(s.Data[item.Key])
			}
		}
	}
	if len(found) == 0 && v.Name == "tokens" {
		return map[string]string{"tokens.yaml": "tokens: [{name: a, sha256: " + strings.Repeat("a", 64) + ", groups: [a]}]"}
	}
	if len(found) == 0 && v.Name == "issuers" {
		return map[string]string{"issuers.yaml": "issuers: {local: {key-file: user.key}}", "user.key": strings.Repeat("s", 32)}
	}
	if len(found) == 0 && v.Name == "fleets" {
		return map[string]string{"fleets.yaml": "fleets: {default: {token: made-up}}"}
	}
	if len(found) == 0 {
		return map[string]string{"token": madeUpToken}
	}
	return found
}

// serveFlags returns the flags of mastersocket serve.
func serveFlags(t *testing.T) []string {
	t.Helper()
	help, err := exec.Command(binary(t), "serve", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`--[a-z-]+`).FindAllString(string(help), -1)
}
