package deploy

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// compose reads the compose file as docker compose does, with variables in the environment.
func compose(t *testing.T, env ...string) *types.Project {
	t.Helper()
	o, err := cli.NewProjectOptions([]string{"../docker-compose.yml"}, cli.WithEnv(env), cli.WithProfiles([]string{"*"}), cli.WithConsistency(true))
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func service(t *testing.T, p *types.Project, name string) types.ServiceConfig {
	t.Helper()
	s, err := p.GetService(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestComposeHubs(t *testing.T) {
	t.Parallel()
	p := compose(t)
	names := make(map[string]bool)
	for _, name := range []string{"hub-1", "hub-2", "hub-3"} {
		s := service(t, p, name)
		names[s.Hostname] = true
		drain, err := time.ParseDuration(*s.Environment["MASTERSOCKET_DRAIN_TIMEOUT"])
		if err != nil || time.Duration(*s.StopGracePeriod) < drain+(hubLeast+5)*time.Second {
			t.Errorf("%s: %v to drain, and killed after %v (%v)", name, drain, s.StopGracePeriod, err)
		}
		known := serveFlags(t)
		for _, flag := range flagsOf(s.Command) {
			if !slices.Contains(known, flag) {
				t.Errorf("%s: the hub has no flag %s", name, flag)
			}
		}
		for variable := range s.Environment {
			if flag, ok := strings.CutPrefix(variable, "MASTERSOCKET_"); ok && !slices.Contains(known, "--"+strings.ToLower(strings.ReplaceAll(flag, "_", "-"))) {
				t.Errorf("%s: the hub has no setting %s", name, variable)
			}
		}
		token := s.Command[slices.Index(s.Command, "--token-file")+1]
		if len(s.Volumes) != 1 || filepath.Dir(token) != s.Volumes[0].Target || !s.Volumes[0].ReadOnly {
			t.Errorf("%s: the token is at %s, and mounted is %+v", name, token, s.Volumes)
		}
		if s.DependsOn["secrets"].Condition != types.ServiceConditionCompletedSuccessfully {
			t.Errorf("%s does not wait for the token: %+v", name, s.DependsOn)
		}
	}
	if len(names) != 3 {
		t.Errorf("the instances are called %v", names)
	}
}

func TestComposeServices(t *testing.T) {
	t.Parallel()
	p := compose(t, "MASTERSOCKET_VERSION=v9", "MASTERSOCKET_PORT=127.0.0.1:1234", "MASTERSOCKET_REDIS=redis://other:6379")
	d := dockerfile(t)
	for _, s := range p.Services {
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.CapAdd) > 0 || s.Privileged ||
			!slices.Equal(s.SecurityOpt, []string{"no-new-privileges:true"}) {
			t.Errorf("%s may do more than it must", s.Name)
		}
		if s.Build != nil {
			file := filepath.Join(s.Build.Context, s.Build.Dockerfile)
			if _, err := os.Stat(file); err != nil || s.Image != "mastersocket:v9" || *s.Build.Args["VERSION"] != "v9" {
				t.Errorf("%s: built from %s as %s: %v", s.Name, file, s.Image, err)
			}
		}
		for _, port := range s.Ports {
			if port.Target != 42069 && port.HostIP != "127.0.0.1" {
				t.Errorf("%s shows port %d to the world", s.Name, port.Target)
			}
		}
	}
	if port := service(t, p, "haproxy").Ports[0]; port.HostIP != "127.0.0.1" || port.Published != "1234" {
		t.Errorf("clients connect to %+v", port)
	}
	if redis := service(t, p, "hub-2").Environment["MASTERSOCKET_REDIS"]; *redis != "redis://other:6379" {
		t.Errorf("Redis is %q", *redis)
	}
	// Only the service that writes the token's files runs as root; the others read them through their group.
	if user := service(t, p, "secrets").User; user != "0:"+strings.Split(d.user, ":")[1] {
		t.Errorf("the token is made by %s for %s", user, d.user)
	}
}

// TestComposeSecret runs the command of the compose file that makes the token.
func TestComposeSecret(t *testing.T) {
	t.Parallel()
	dir, args := t.TempDir(), []string{binary(t)}
	s := service(t, compose(t), "secrets")
	for _, a := range s.Command {
		if a == s.Volumes[0].Target {
			a = dir
		}
		args = append(args, a)
	}
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if info, err := os.Stat(filepath.Join(dir, "token")); err != nil || info.Mode().Perm() != 0o440 {
		t.Errorf("the token: %v, %v", info, err)
	}
}

// TestHAProxy has haproxy check its configuration, with the names of the compose file's hubs.
func TestHAProxy(t *testing.T) {
	t.Parallel()
	p := compose(t)
	s := service(t, p, "haproxy")
	env := os.Environ()
	for name, value := range s.Environment {
		host, port, _ := strings.Cut(*value, ":")
		if _, err := p.GetService(host); err != nil || port != "42069" {
			t.Errorf("%s is %s: %v", name, *value, err)
		}
		env = append(env, name+"=127.0.0.1:42069") // container names don't resolve here
	}
	cmd := exec.Command("haproxy", "-c", "-f", s.Volumes[0].Source)
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("haproxy: %v\n%s", err, out)
	}
}
