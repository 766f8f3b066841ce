// Package kubesecret creates a Secret through the API server of the Kubernetes cluster that the process runs in, once:
// one that exists is left as it is.
//
// It needs an account that may create Secrets and get the one of that name. It sends a request or two over HTTPS with the
// account's token. No error repeats a value.
package kubesecret

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// AccountDir is where Kubernetes puts a pod's account: files token, ca.crt and namespace.
const AccountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// Bounds of what is asked of the API server.
const (
	requestTimeout = 15 * time.Second
	maxAnswerBytes = 4 << 20 // a Secret has at most 1 MiB, in base64
	maxReason      = 500     // bytes of an answer that an error repeats
)

// Cluster is a way to the API server. It may be used by several goroutines.
type Cluster struct {
	url       string // of the API server, without a slash at the end
	namespace string
	token     string
	client    *http.Client
}

// InCluster returns the way that Kubernetes gives to every pod with an account: getenv returns KUBERNETES_SERVICE_HOST and
// KUBERNETES_SERVICE_PORT, and dir, usually [AccountDir], holds the account.
func InCluster(getenv func(string) string, dir string) (*Cluster, error) {
	host, port := getenv("KUBERNETES_SERVICE_HOST"), getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, errors.New("this is no pod of Kubernetes: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set")
	}
	var files [3][]byte
	for i, name := range []string{"token", "ca.crt", "namespace"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("the pod has no account (automountServiceAccountToken: true gives it one): %w", err)
		}
		files[i] = b
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(files[1]) {
		return nil, fmt.Errorf("%s: has no certificate in PEM", filepath.Join(dir, "ca.crt"))
	}
	return &Cluster{
		url:       "https://" + net.JoinHostPort(host, port),
		namespace: strings.TrimSpace(string(files[2])),
		token:     strings.TrimSpace(string(files[0])),
		client: &http.Client{Timeout: requestTimeout, Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			DisableKeepAlives: true, // there are one or two requests
		}},
	}, nil
}

// Namespace is the pod's own, in which Secrets are made.
func (c *Cluster) Namespace() string { return c.namespace }

// secret is a Secret of the API v1, as far as it matters here.
type secret struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   metadata          `json:"metadata"`
	Type       string            `json:"type"`
	Data       map[string][]byte `json:"data"` // base64, as encoding/json writes bytes
}

type metadata struct {
	Name      string            `json:"name"`
	Namespace string            `json:"namespace"`
	Labels    map[string]string `json:"labels,omitempty"`
}

// Create makes a Secret of that name with the values, and returns true. Where there is one already it stays as it is and
// Create returns false, or an error if one of the keys is missing in it: a pod that needs that key would wait forever.
func (c *Cluster) Create(ctx context.Context, name string, labels map[string]string, values map[string][]byte) (bool, error) {
	body, err := json.Marshal(secret{
		APIVersion: "v1", Kind: "Secret", Type: "Opaque", Data: values,
		Metadata: metadata{Name: name, Namespace: c.namespace, Labels: labels},
	})
	if err != nil {
		return false, fmt.Errorf("secret %s: %w", name, err)
	}
	_, err = c.do(ctx, http.MethodPost, "", body)
	var refused *refusal
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &refused) && refused.code == http.StatusConflict && refused.reason == "AlreadyExists":
		return false, c.expectKeys(ctx, name, values)
	}
	return false, fmt.Errorf("create secret %s in namespace %s: %w", name, c.namespace, err)
}

// expectKeys tells which of the values' keys the Secret has not.
func (c *Cluster) expectKeys(ctx context.Context, name string, values map[string][]byte) error {
	answer, err := c.do(ctx, http.MethodGet, "/"+url.PathEscape(name), nil)
	if err != nil {
		return fmt.Errorf("get secret %s in namespace %s: %w", name, c.namespace, err)
	}
	var found secret
	if err := json.Unmarshal(answer, &found); err != nil {
		return fmt.Errorf("get secret %s in namespace %s: the answer can't be read: %w", name, c.namespace, err)
	}
	var missing []string
	for key := range values {
		if len(found.Data[key]) == 0 {
			missing = append(missing, key)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return fmt.Errorf("secret %s in namespace %s exists, and has no value for %s: add what is missing, or delete it to have it made again",
		name, c.namespace, strings.Join(missing, ", "))
}

// refusal is an answer of the API server other than success.
type refusal struct {
	code            int
	reason, message string // of its Status
}

func (r *refusal) Error() string {
	return fmt.Sprintf("the API server answered %d %s: %s", r.code, r.reason, r.message)
}

// do sends one request about Secrets of the namespace, and returns the answer to one that succeeded.
func (c *Cluster) do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	at := c.url + "/api/v1/namespaces/" + url.PathEscape(c.namespace) + "/secrets" + path
	req, err := http.NewRequestWithContext(ctx, method, at, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return nil, refusalOf(resp.StatusCode, answer)
	}
	return answer, nil
}

// refusalOf reads the Status that the API server answers with, or the answer of a proxy in between.
func refusalOf(code int, answer []byte) *refusal {
	var status struct{ Kind, Reason, Message string }
	if json.Unmarshal(answer, &status) != nil || status.Kind != "Status" {
		return &refusal{code, http.StatusText(code), string(answer[:min(len(answer), maxReason)])}
	}
	return &refusal{code, status.Reason, status.Message}
}
