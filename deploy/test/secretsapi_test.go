package deploy

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// secretsAPI is an API server for creating and reading Secrets. It decodes as strictly as the tests do.
type secretsAPI struct {
	*httptest.Server
	t        *testing.T
	account  string   // folder of an account that it accepts
	env      []string // variables that Kubernetes sets in a pod
	requests chan string

	mu     sync.Mutex
	stored map[string]*corev1.Secret
}

func startSecretsAPI(t *testing.T) *secretsAPI {
	t.Helper()
	a := &secretsAPI{t: t, account: t.TempDir(), requests: make(chan string, 100), stored: make(map[string]*corev1.Secret)}
	a.Server = httptest.NewTLSServer(http.HandlerFunc(a.serve))
	t.Cleanup(a.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw})
	for name, content := range map[string]string{"token": "account-token", "ca.crt": string(ca), "namespace": "hubs"} {
		if err := os.WriteFile(filepath.Join(a.account, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	host, port, err := net.SplitHostPort(strings.TrimPrefix(a.URL, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	a.env = []string{"KUBERNETES_SERVICE_HOST=" + host, "KUBERNETES_SERVICE_PORT=" + port}
	return a
}

func (a *secretsAPI) secret() *corev1.Secret {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.stored {
		return s
	}
	a.t.Fatal("no Secret was made")
	return nil
}

func (a *secretsAPI) serve(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests <- r.Method + " " + r.URL.Path
	name, inSecrets := strings.CutPrefix(r.URL.Path, "/api/v1/namespaces/hubs/secrets")
	name = strings.TrimPrefix(name, "/")
	switch {
	case r.Header.Get("Authorization") != "Bearer account-token":
		answer(w, http.StatusUnauthorized, metav1.StatusReasonUnauthorized)
	case r.URL.Path == "/api/v1":
		_ = json.NewEncoder(w).Encode(metav1.APIResourceList{
			TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: "v1",
			APIResources: []metav1.APIResource{{Name: "secrets", Kind: "Secret", Namespaced: true, Verbs: []string{"get", "create"}}},
		})
	case inSecrets && r.Method == http.MethodPost && name == "":
		a.create(w, r)
	case inSecrets && r.Method == http.MethodGet && a.stored[name] != nil:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(a.stored[name])
	default:
		answer(w, http.StatusNotFound, metav1.StatusReasonNotFound)
	}
}

func (a *secretsAPI) create(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		a.t.Error(err)
	}
	object, _, err := strictDecoder(a.t).Decode(body, nil, nil)
	s, ok := object.(*corev1.Secret)
	switch {
	case err != nil || !ok:
		a.t.Errorf("no Secret: %v in %s", err, body)
		answer(w, http.StatusBadRequest, metav1.StatusReasonBadRequest)
	case a.stored[s.Name] != nil:
		answer(w, http.StatusConflict, metav1.StatusReasonAlreadyExists)
	default:
		a.stored[s.Name] = s
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(s)
	}
}

func answer(w http.ResponseWriter, code int, reason metav1.StatusReason) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason,
	})
}

// jobArgs returns the arguments of the Job that makes the Secret of a deployment.
func (o *objects) jobArgs(name string) []string {
	o.t.Helper()
	return named[*batchv1.Job](o, name+"-secret").Spec.Template.Spec.Containers[0].Args
}
