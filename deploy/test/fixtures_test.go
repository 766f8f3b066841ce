package deploy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// version is the version of the tests' image.
const version = "v1.2.3-test"

var built struct {
	once sync.Once
	dir  string // holds the image's file system
	err  error
	out  []byte
}

func TestMain(m *testing.M) {
	if os.Getenv(envRoot) != "" {
		os.Exit(enterRoot())
	}
	// Debian's folder of haproxy, which a user's path may lack.
	_ = os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// rootfs is the image's file system, built with the Dockerfile's script. Tests must not write to it.
func rootfs(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "mastersocket-image-"); built.err == nil {
			built.out, built.err = buildRoot(filepath.Join("..", "image", "rootfs"), filepath.Join(built.dir, "root"))
		}
	})
	if built.err != nil {
		t.Fatalf("deploy/image/rootfs: %v\n%s", built.err, built.out)
	}
	return filepath.Join(built.dir, "root")
}

// releaseVersion returns what scripts/version prints.
func releaseVersion(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("../../scripts/version").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// buildRoot runs the script with further variables in its environment.
func buildRoot(script, dir string, env ...string) ([]byte, error) {
	cmd := exec.Command(script, dir)
	cmd.Env = append(os.Environ(), append([]string{"VERSION=" + version}, env...)...)
	return cmd.CombinedOutput()
}

// binary is the hub in the image.
func binary(t *testing.T) string {
	t.Helper()
	return filepath.Join(rootfs(t), "mastersocket")
}

// pair is a self-signed certificate for 127.0.0.1 and its key.
type pair struct{ pem, key string }

var made struct {
	once sync.Once
	pair pair
	err  error
}

func certificate(t *testing.T) pair {
	t.Helper()
	made.once.Do(func() { made.pair, made.err = newCertificate() })
	if made.err != nil {
		t.Fatal(made.err)
	}
	return made.pair
}

func newCertificate() (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "deploy test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return pair{}, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return pair{}, err
	}
	return pair{
		pem: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		key: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})),
	}, nil
}
