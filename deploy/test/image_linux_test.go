package deploy

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestImageServes starts the hub in the image's file system as a container engine does, and uses it.
func TestImageServes(t *testing.T) {
	t.Parallel()
	const token = "token-of-the-image-test"
	root := copyRoot(t, rootfs(t), map[string]string{"token": token})
	d := dockerfile(t)
	args := append(append([]string{}, d.entrypoint...), d.cmd...)
	hub := start(t, root, nil, append(args, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-format", "json",
		"--token-file", "/run/secrets/mastersocket/token", "--drain-timeout", "1s")...)
	addr := hub.listeners("hub", "admin")
	hub.expectConfined()

	for url, want := range map[string]int{"/readyz": 0, "/healthz": 0, "/v1/nodes": 1} {
		health := start(t, root, nil, append(append([]string{}, d.healthcheck...), "--url", "http://"+addr["admin"]+url)...)
		if code, out := health.wait(); code != want {
			t.Errorf("the health check for %s ends with %d: %s", url, code, out)
		}
	}
	as := []string{"MASTERSOCKET_URL=ws://" + addr["hub"], "MASTERSOCKET_TOKEN_FILE=/run/secrets/mastersocket/token"}
	sub := start(t, root, as, "/mastersocket", "sub", "--group", "image", "--format", "text")
	sub.await("connected to")
	if code, out := start(t, root, as, "/mastersocket", "pub", "--to", "GROUP:image", "--event", "hi", `{"n":1}`).wait(); code != 0 {
		t.Errorf("pub ends with %d: %s", code, out)
	}
	sub.await(`hi {"n":1} from `)
	sub.stop(0)
	if out := hub.stop(0); !strings.Contains(out, "drained") {
		t.Errorf("it does not drain: %s", out)
	}
}

// listeners waits until the hub listens, and returns its addresses by name.
func (c *container) listeners(names ...string) map[string]string {
	c.t.Helper()
	found := make(map[string]string)
	c.until(func(out string) bool {
		for lines := bufio.NewScanner(strings.NewReader(out)); lines.Scan(); {
			var line struct{ Msg, Listener, Addr string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
				found[line.Listener] = line.Addr
			}
		}
		return len(found) == len(names)
	})
	return found
}

// expectConfined checks that the process has no capabilities and can't write anywhere.
func (c *container) expectConfined() {
	c.t.Helper()
	proc := fmt.Sprint("/proc/", c.cmd.Process.Pid)
	status, err := os.ReadFile(proc + "/status")
	if err != nil {
		c.t.Fatal(err)
	}
	uid := imageUser
	if os.Getuid() != 0 {
		uid = os.Getuid() // as seen from outside the user namespace
	}
	for _, want := range []string{fmt.Sprintf("Uid:\t%d\t%[1]d\t%[1]d", uid), "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1"} {
		if !strings.Contains(string(status), want) {
			c.t.Errorf("its status has no %q:\n%s", want, status)
		}
	}
	mounts, err := os.ReadFile(proc + "/mountinfo")
	if err != nil {
		c.t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^\d+ \d+ \S+ \S+ / ro\b`).Match(mounts) {
		c.t.Errorf("its root can be written to:\n%s", mounts)
	}
}

// TestImageTrustsItsAuthorities: certificates are verified with the file in the image.
func TestImageTrustsItsAuthorities(t *testing.T) {
	t.Parallel()
	p := certificate(t)
	cert, err := tls.X509KeyPair([]byte(p.pem), []byte(p.key))
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan bool, 10)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- true }))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.StartTLS()
	t.Cleanup(s.Close)
	root := copyRoot(t, rootfs(t), nil)
	url := "wss://" + strings.TrimPrefix(s.URL, "https://")
	try := func() string {
		_, out := start(t, root, []string{"MASTERSOCKET_TOKEN=some-token"}, "/mastersocket", "sub", "--url", url, "--group", "x").wait()
		return out
	}
	if out := try(); !strings.Contains(out, "x509") || len(asked) != 0 {
		t.Errorf("a certificate that the image does not trust: %s", out)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/ssl/certs/ca-certificates.crt"), []byte(p.pem), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := try(); strings.Contains(out, "x509") || len(asked) == 0 {
		t.Errorf("a certificate that the image trusts: %s", out)
	}
}

// TestImageContent checks the complete list of the image's files.
func TestImageContent(t *testing.T) {
	t.Parallel()
	root, got := rootfs(t), []string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		got = append(got, fmt.Sprintf("%v %d %s", info.Mode(), info.ModTime().Unix(), strings.TrimPrefix(path, root)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "-rw-r--r-- 0 /etc/group\n-rw-r--r-- 0 /etc/passwd\n-rw-r--r-- 0 /etc/ssl/certs/ca-certificates.crt\n-rwxr-xr-x 0 /mastersocket"
	if strings.Join(got, "\n") != want {
		t.Errorf("the image has\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
	expectStatic(t, filepath.Join(root, "mastersocket"), elf.EM_X86_64, elf.EM_AARCH64)
	code, out := start(t, copyRoot(t, root, nil), nil, "/mastersocket", "version").wait()
	if code != 0 || !strings.HasPrefix(out, "mastersocket "+version+" go1.") {
		t.Errorf("version ends with %d: %s", code, out)
	}
}

// expectStatic checks that a program is static and built for one of the machines.
func expectStatic(t *testing.T, path string, machines ...elf.Machine) {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("%s needs libraries", path)
		}
	}
	for _, m := range machines {
		if f.Machine == m {
			return
		}
	}
	t.Errorf("%s is for %v", path, f.Machine)
}

// TestImageIsReproducible builds in another folder, from only the files of the Dockerfile's build context.
func TestImageIsReproducible(t *testing.T) {
	t.Parallel()
	first := binary(t)
	source := buildContext(t)
	dir := filepath.Join(t.TempDir(), "root")
	if out, err := buildRoot(filepath.Join(source, "deploy/image/rootfs"), dir); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if a, b := sum(t, first), sum(t, filepath.Join(dir, "mastersocket")); a != b {
		t.Errorf("two builds differ: %s and %s", a, b)
	}
}

// TestImageForOtherMachine cross-compiles for arm64, or from there for amd64.
func TestImageForOtherMachine(t *testing.T) {
	t.Parallel()
	other, machine := "arm64", elf.EM_AARCH64
	if f, err := elf.Open(binary(t)); err != nil {
		t.Fatal(err)
	} else if f.Machine == elf.EM_AARCH64 {
		other, machine = "amd64", elf.EM_X86_64
	}
	dir := filepath.Join(t.TempDir(), "root")
	if out, err := buildRoot("../image/rootfs", dir, "TARGETOS=linux", "TARGETARCH="+other); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	expectStatic(t, filepath.Join(dir, "mastersocket"), machine)
}

func sum(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))
}
