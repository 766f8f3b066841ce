package deploy

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// TestThreeInstances starts Redis and three hubs with the arguments, variables and files of the manifests. A message
// goes from a client of the first hub to one of the last.
func TestThreeInstances(t *testing.T) {
	t.Parallel()
	for name, deployment := range map[string]struct {
		objects func(t *testing.T) *objects
		name    string
	}{
		"chart":     {func(t *testing.T) *objects { o, _ := installed(t, ""); return o }, release},
		"kustomize": {func(t *testing.T) *objects { return kustomized(t, filepath.Join(kustomizeDir, "overlays/cluster")) }, "mastersocket"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := deployment.objects(t)
			hub := named[*appsv1.Deployment](o, deployment.name)
			redis := o.startRedis(deployment.name + "-redis")
			dir := o.files(hub)
			var urls []string
			for i := range *hub.Spec.Replicas {
				urls = append(urls, "ws://"+o.startHub(hub, dir, redis, fmt.Sprint("hub-", i)).listeners("hub", "admin")["hub"])
			}
			if len(urls) != 3 {
				t.Fatalf("%d instances", len(urls))
			}
			token, err := os.ReadFile(filepath.Join(dir, tokenFile(o, hub)))
			if err != nil {
				t.Fatal(err)
			}
			as := []string{"MASTERSOCKET_TOKEN=" + string(token)}
			sub := start(t, "", as, binary(t), "sub", "--url", urls[0], "--wait", "30s", "--group", "g", "--format", "text")
			sub.await("connected to")
			if code, out := start(t, "", as, binary(t), "pub", "--url", urls[2], "--wait", "30s", "--to", "GROUP:g", "--event", "hi", "1").wait(); code != 0 {
				t.Fatalf("pub ends with %d: %s", code, out)
			}
			sub.await("hi 1 from ")
			o.runHelmTest(urls[1], string(token))
		})
	}
}

// runHelmTest runs the Pod of helm test, if there is one, against the hub at url: with its token and with a wrong one.
func (o *objects) runHelmTest(url, token string) {
	o.t.Helper()
	for _, p := range of[*corev1.Pod](o) {
		c := p.Spec.Containers[0]
		args := []string{binary(o.t)}
		for _, a := range c.Args {
			if strings.HasPrefix(a, "ws://") {
				a = url
			}
			args = append(args, a)
		}
		for given, want := range map[string]int{token: 0, "another-token-of-the-test": 1} {
			if code, out := start(o.t, "", []string{c.Env[0].Name + "=" + given}, args...).wait(); code != want {
				o.t.Errorf("helm test ends with %d, want %d: %s", code, want, out)
			}
		}
	}
}

// tokenFile is the path of the hub's token file.
func tokenFile(o *objects, d *appsv1.Deployment) string {
	return fmt.Sprint(settings(o.t, named[*corev1.ConfigMap](o, d.Name).Data["hub.yaml"])["token-file"])
}

const redisPassword = "password-of-the-test"

// freeAddress returns an address on which nothing listens, with a port below the range of outgoing connections.
func freeAddress() string {
	for {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 12_000+rand.IntN(20_000)))
		if err == nil {
			_ = l.Close()
			return l.Addr().String()
		}
	}
}

// startRedis runs the Redis of a Deployment, and returns its address.
func (o *objects) startRedis(name string) string {
	o.t.Helper()
	c := named[*appsv1.Deployment](o, name).Spec.Template.Spec.Containers[0]
	addr := freeAddress()
	args := append([]string{}, c.Command...)
	var err error
	if args[0], err = exec.LookPath(args[0]); err != nil {
		o.t.Fatal(err)
	}
	for _, a := range c.Args {
		args = append(args, strings.ReplaceAll(a, "$(REDISCLI_AUTH)", redisPassword))
	}
	_, port, _ := net.SplitHostPort(addr)
	redis := start(o.t, "", nil, append(args, "--port", port, "--bind", "127.0.0.1", "--dir", o.t.TempDir())...)
	redis.await("Ready to accept connections")
	return addr
}

// startHub runs an instance of a Deployment whose files are below dir.
func (o *objects) startHub(d *appsv1.Deployment, dir, redis, node string) *container {
	o.t.Helper()
	c := d.Spec.Template.Spec.Containers[0]
	env := []string{"MASTERSOCKET_LISTEN=127.0.0.1:0", "MASTERSOCKET_ADMIN_LISTEN=127.0.0.1:0", "MASTERSOCKET_DRAIN_TIMEOUT=0s"}
	for _, e := range c.Env {
		value := strings.ReplaceAll(e.Value, "$(REDIS_PASSWORD)", redisPassword)
		value = strings.ReplaceAll(value, d.Name+"-redis:6379", redis)
		if e.Name == "MASTERSOCKET_NODE" {
			value = node
		}
		env = append(env, e.Name+"="+value)
	}
	args := []string{binary(o.t)}
	for _, a := range c.Args {
		if strings.HasPrefix(a, "/etc/mastersocket/") {
			a = dir + a
		}
		args = append(args, a)
	}
	file := filepath.Join(dir, "etc/mastersocket/config/hub.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		o.t.Fatal(err)
	}
	if !strings.Contains(string(text), dir) {
		text = []byte(strings.ReplaceAll(string(text), "/etc/mastersocket", dir+"/etc/mastersocket"))
		if err := os.WriteFile(file, text, 0o600); err != nil {
			o.t.Fatal(err)
		}
	}
	return start(o.t, "", env, args...)
}

// TestSecretJob runs the Job's command against an API server that decodes the real type.
func TestSecretJob(t *testing.T) {
	t.Parallel()
	t.Run("kustomize", func(t *testing.T) {
		t.Parallel()
		runSecretJob(t, kustomized(t, filepath.Join(kustomizeDir, "overlays/cluster")), "mastersocket", "mastersocket")
	})
	t.Run("chart", func(t *testing.T) {
		t.Parallel()
		o, _ := installed(t, "")
		runSecretJob(t, o, release, release+"-made")
	})
}

func runSecretJob(t *testing.T, o *objects, name, secret string) {
	t.Helper()
	api := startSecretsAPI(t)
	args := append([]string{binary(t)}, o.jobArgs(name)...)
	args = append(args, "--account-dir", api.account)
	for _, want := range []string{"made", "exists and stays as it is"} {
		code, out := start(t, "", api.env, args...).wait()
		if code != 0 || !strings.Contains(out, "secret "+secret+" in namespace hubs: "+want) {
			t.Fatalf("the Job ends with %d: %s", code, out)
		}
	}
	s := api.secret()
	for _, key := range []string{"token", "redis-password"} {
		if value := string(s.Data[key]); !strings.HasPrefix(value, "ms_") || len(value) < 40 {
			t.Errorf("%s is %q", key, value)
		}
	}
	if string(s.Data["token"]) == string(s.Data["redis-password"]) || s.Labels["app.kubernetes.io/name"] != "mastersocket" {
		t.Errorf("it made %+v", s)
	}
	select {
	case r := <-api.requests:
		if r != "POST /api/v1/namespaces/hubs/secrets" {
			t.Errorf("it asked %s first", r)
		}
	case <-time.After(patience):
		t.Error("it asked nothing")
	}
}
