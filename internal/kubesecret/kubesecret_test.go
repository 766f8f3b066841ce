package kubesecret

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const accountToken = "account-token"

// apiServer is as much of Kubernetes' API server as there is to Secrets of one namespace. It knows no field but those
// that it names.
type apiServer struct {
	*httptest.Server
	mu       sync.Mutex
	secrets  map[string]secret
	requests []string
	forbid   string // a method that is answered 403
}

func startAPI(t *testing.T) *apiServer {
	t.Helper()
	s := &apiServer{secrets: make(map[string]secret)}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *apiServer) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	name, ok := strings.CutPrefix(r.URL.Path, "/api/v1/namespaces/hubs/secrets")
	name = strings.TrimPrefix(name, "/")
	switch {
	case r.Header.Get("Authorization") != "Bearer "+accountToken:
		status(w, http.StatusUnauthorized, "Unauthorized", "Unauthorized")
	case !ok:
		status(w, http.StatusNotFound, "NotFound", "the server could not find the requested resource")
	case r.Method == s.forbid:
		status(w, http.StatusForbidden, "Forbidden", "secrets is forbidden: User \"x\" cannot "+r.Method)
	case r.Method == http.MethodPost && name == "":
		s.create(w, r)
	case r.Method == http.MethodGet:
		_ = json.NewEncoder(w).Encode(s.secrets[name])
	}
}

func (s *apiServer) create(w http.ResponseWriter, r *http.Request) {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	var made secret
	if err := d.Decode(&made); err != nil || made.APIVersion != "v1" || made.Kind != "Secret" || made.Metadata.Namespace != "hubs" ||
		r.Header.Get("Content-Type") != "application/json" {
		status(w, http.StatusBadRequest, "BadRequest", fmt.Sprint(err, made.Kind))
		return
	}
	if _, ok := s.secrets[made.Metadata.Name]; ok {
		status(w, http.StatusConflict, "AlreadyExists", "secrets already exists")
		return
	}
	s.secrets[made.Metadata.Name] = made
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(made)
}

func status(w http.ResponseWriter, code int, reason, message string) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "apiVersion": "v1", "code": code, "reason": reason, "message": message})
}

// account makes the folder that a pod has.
func (s *apiServer) account(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	for name, content := range map[string]string{"token": accountToken + "\n", "ca.crt": string(ca), "namespace": "hubs"} {
		write(t, filepath.Join(dir, name), content)
	}
	return dir
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// environment is the pod's.
func (s *apiServer) environment(t *testing.T) func(string) string {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	return func(name string) string {
		return map[string]string{"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}[name]
	}
}

func (s *apiServer) cluster(t *testing.T) *Cluster {
	t.Helper()
	c, err := InCluster(s.environment(t), s.account(t))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCreatesOnce(t *testing.T) {
	t.Parallel()
	s := startAPI(t)
	c := s.cluster(t)
	labels := map[string]string{"app.kubernetes.io/name": "mastersocket"}
	first := map[string][]byte{"token": []byte("one"), "redis-password": []byte("two")}
	if made, err := c.Create(t.Context(), "hub", labels, first); !made || err != nil {
		t.Fatalf("Create: %v, %v", made, err)
	}
	if made, err := c.Create(t.Context(), "hub", labels, map[string][]byte{"token": []byte("other")}); made || err != nil {
		t.Errorf("Create of what exists: %v, %v", made, err)
	}
	got := s.secrets["hub"]
	if string(got.Data["token"]) != "one" || string(got.Data["redis-password"]) != "two" || got.Type != "Opaque" ||
		got.Metadata.Labels["app.kubernetes.io/name"] != "mastersocket" {
		t.Errorf("the API server has %+v", got)
	}
	want := "POST /api/v1/namespaces/hubs/secrets, POST /api/v1/namespaces/hubs/secrets, GET /api/v1/namespaces/hubs/secrets/hub"
	if asked := strings.Join(s.requests, ", "); asked != want {
		t.Errorf("asked for %s, want %s", asked, want)
	}
	if c.Namespace() != "hubs" {
		t.Errorf("namespace %q", c.Namespace())
	}
}

func TestSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	s := startAPI(t)
	s.secrets["hub"] = secret{Data: map[string][]byte{"token": []byte("x"), "empty": nil}}
	made, err := s.cluster(t).Create(t.Context(), "hub", nil, map[string][]byte{"token": nil, "redis-password": nil, "empty": nil})
	if made || err == nil || !strings.Contains(err.Error(), "no value for empty, redis-password:") {
		t.Errorf("Create: %v, %v", made, err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	const hidden = "must-not-be-printed"
	values := map[string][]byte{"token": []byte(hidden)}
	for name, c := range map[string]struct {
		forbid string
		exists bool
		want   string
	}{
		"create": {http.MethodPost, false, `create secret hub in namespace hubs: the API server answered 403 Forbidden: secrets is forbidden`},
		"get":    {http.MethodGet, true, `get secret hub in namespace hubs: the API server answered 403 Forbidden`},
	} {
		s := startAPI(t)
		s.forbid = c.forbid
		if c.exists {
			s.secrets["hub"] = secret{Data: values}
		}
		if _, err := s.cluster(t).Create(t.Context(), "hub", nil, values); err == nil || !strings.Contains(err.Error(), c.want) ||
			strings.Contains(err.Error(), hidden) || strings.Contains(err.Error(), accountToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOtherAnswers(t *testing.T) {
	t.Parallel()
	for _, answer := range []struct {
		code int
		body string
		want string
	}{
		{http.StatusBadGateway, "<html>" + strings.Repeat("x", 10_000), "502 Bad Gateway: <html>x"},
		{http.StatusConflict, `{"kind":"Status","reason":"Conflict","message":"busy"}`, "409 Conflict: busy"},
	} {
		s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(answer.code)
			_, _ = io.WriteString(w, answer.body)
		}))
		t.Cleanup(s.Close)
		_, err := (&apiServer{Server: s}).cluster(t).Create(t.Context(), "hub", nil, nil)
		if err == nil || !strings.Contains(err.Error(), answer.want) || len(err.Error()) > 1000 {
			t.Errorf("%d: %v", answer.code, err)
		}
	}
}

func TestAnotherAuthority(t *testing.T) {
	t.Parallel()
	s := startAPI(t)
	ca, err := os.ReadFile("testdata/other-ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	dir := s.account(t)
	write(t, filepath.Join(dir, "ca.crt"), string(ca))
	c, err := InCluster(s.environment(t), dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Create(t.Context(), "hub", nil, nil); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a server with the certificate of another authority: %v", err)
	}
	if len(s.requests) != 0 {
		t.Errorf("it was asked %q", s.requests)
	}
}

func TestCreateEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := startAPI(t).cluster(t).Create(ctx, "hub", nil, nil); err == nil {
		t.Error("no error")
	}
}

func TestNotInACluster(t *testing.T) {
	t.Parallel()
	s := startAPI(t)
	none := func(string) string { return "" }
	if _, err := InCluster(none, s.account(t)); err == nil || !strings.Contains(err.Error(), "KUBERNETES_SERVICE_HOST") {
		t.Errorf("without variables: %v", err)
	}
	for _, name := range []string{"token", "ca.crt", "namespace"} {
		dir := s.account(t)
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if _, err := InCluster(s.environment(t), dir); err == nil || !strings.Contains(err.Error(), "automountServiceAccountToken") {
			t.Errorf("without %s: %v", name, err)
		}
	}
	dir := s.account(t)
	write(t, filepath.Join(dir, "ca.crt"), "none")
	if _, err := InCluster(s.environment(t), dir); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("without a certificate: %v", err)
	}
}

func TestWriteFiles(t *testing.T) {
	t.Parallel()
	dir, n := t.TempDir(), 0
	value := func() string { n++; return fmt.Sprint("value", n) }
	write(t, filepath.Join(dir, "old"), "kept")
	made, err := WriteFiles(dir, []string{"old", "token"}, value)
	if err != nil || len(made) != 1 || made[0] != "token" {
		t.Errorf("WriteFiles: %v, %v", made, err)
	}
	if made, err := WriteFiles(dir, []string{"old", "token"}, value); err != nil || made != nil {
		t.Errorf("again: %v, %v", made, err)
	}
	for name, want := range map[string]string{"old": "kept", "token": "value1\n"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != want {
			t.Errorf("%s has %q, %v", name, b, err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("the folder has %v, %v", entries, err)
	}
	if _, err := WriteFiles(filepath.Join(dir, "none"), []string{"token"}, value); err == nil {
		t.Error("a missing folder is no error")
	}
}

func TestWriteFilesAtTheSameTime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var wg sync.WaitGroup
	var makers sync.Map
	for i := range 8 {
		wg.Go(func() {
			made, err := WriteFiles(dir, []string{"token"}, func() string { return fmt.Sprint("of", i) })
			if err != nil {
				t.Error(err)
			}
			if len(made) > 0 {
				makers.Store(fmt.Sprint("of", i, "\n"), true)
			}
		})
	}
	wg.Wait()
	b, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	makers.Range(func(any, any) bool { n++; return true })
	if _, ok := makers.Load(string(b)); !ok || n != 1 {
		t.Errorf("%d say that they made it, and it has %q", n, b)
	}
}
