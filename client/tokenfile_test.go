package client_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mastersocket/mastersocket/client"
)

func TestTokenFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	token := client.TokenFile(file)
	if _, err := token(context.Background()); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("without the file: %v, want an error that names it", err)
	}
	for _, text := range []string{"one", "two\n", "  three\r\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := token(context.Background()); err != nil || got != strings.TrimSpace(text) {
			t.Errorf("of %q: %q, %v", text, got, err)
		}
	}
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := token(context.Background()); err == nil {
		t.Error("a file of 1 MiB was taken for a token")
	}
}
