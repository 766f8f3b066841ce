package localtoken_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/mastersocket/mastersocket/internal/localtoken"
)

// TestMain gives the package a cache folder of its own: the user's must not be touched.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "localtoken")
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"XDG_CACHE_HOME", "HOME", "LocalAppData"} {
		if err := os.Setenv(name, dir); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	if left, err := filepath.Glob(filepath.Join(dir, "mastersocket", ".token-*")); err != nil || len(left) > 0 {
		fmt.Fprintln(os.Stderr, "temporary files left:", left, err)
		code = 1
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func write(t *testing.T, port int, token string) string {
	t.Helper()
	path, err := localtoken.Write(port, token)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	if _, err := localtoken.Read(1001); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("Read before Write: %v, want fs.ErrNotExist", err)
	}
	path := write(t, 1001, "first")
	write(t, 1001, "second")
	if got, err := localtoken.Read(1001); err != nil || got != "second" {
		t.Fatalf("Read = %q, %v; want second", got, err)
	}
	if runtime.GOOS != "windows" {
		for path, want := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: mode %v, %v; want %v", path, info.Mode().Perm(), err, want)
			}
		}
	}
	if err := localtoken.Remove(1001, "first"); err != nil {
		t.Fatal(err)
	}
	if _, err := localtoken.Read(1001); err != nil {
		t.Fatalf("Remove of an earlier hub's token took the later one's: %v", err)
	}
	for range 2 {
		if err := localtoken.Remove(1001, "second"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := localtoken.Read(1001); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("Read after Remove: %v, want fs.ErrNotExist", err)
	}
}

func TestReadRefusesWhatIsNotPrivate(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("a mode says nothing there")
	}
	spoil := map[string]func(path string) error{
		"readable by the group": func(path string) error { return os.Chmod(path, 0o640) },
		"readable by all":       func(path string) error { return os.Chmod(path, 0o604) },
		"a link": func(path string) error {
			return errors.Join(os.Rename(path, path+".real"), os.Symlink(path+".real", path))
		},
	}
	port := 1010
	for name, spoil := range spoil {
		port++
		t.Run(name, func(t *testing.T) {
			if err := spoil(write(t, port, "secret")); err != nil {
				t.Fatal(err)
			}
			if got, err := localtoken.Read(port); !errors.Is(err, localtoken.ErrUnsafe) {
				t.Fatalf("Read = %q, %v; want ErrUnsafe", got, err)
			}
		})
	}
}

func TestForeignOwner(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" || os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	if err := os.Chown(write(t, 1020, "secret"), 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if got, err := localtoken.Read(1020); !errors.Is(err, localtoken.ErrUnsafe) {
		t.Fatalf("Read = %q, %v; want ErrUnsafe", got, err)
	}
}

func TestBadContent(t *testing.T) {
	t.Parallel()
	path := write(t, 1030, "x")
	for _, content := range []string{"", "\n", "two\nlines\n", strings.Repeat("x", 5000)} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := localtoken.Read(1030); err == nil {
			t.Errorf("Read of %.20q = %q, want an error", content, got)
		}
		if _, err := localtoken.Write(1031, strings.TrimSuffix(content, "\n")); err == nil {
			t.Errorf("Write of %.20q succeeded", content)
		}
	}
	for _, port := range []int{-1, 0, 65536} {
		if _, err := localtoken.Write(port, "x"); err == nil {
			t.Errorf("Write for port %d succeeded", port)
		}
	}
}

func TestIsLocal(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		url  string
		port int
		ok   bool
	}{
		{"ws://127.0.0.1:42069", 42069, true},
		{"ws://127.8.9.10:42069/socket", 42069, true},
		{"ws://[::1]:5", 5, true},
		{"ws://[::ffff:127.0.0.1]:5", 5, true},
		{"wss://LocalHost", 443, true},
		{"ws://localhost", 80, true},
		{"http://127.0.0.1:42069", 0, false},
		{"ws://localhost.example.com:42069", 0, false},
		{"ws://127.0.0.1.example.com:42069", 0, false},
		{"ws://127.0.0.1@example.com:42069", 0, false},
		{"ws://10.0.0.1:42069", 0, false},
		{"ws://[::ffff:10.0.0.1]:42069", 0, false},
		{"ws://0.0.0.0:42069", 0, false},
		{"ws://127.0.0.1:0", 0, false},
		{"ws://", 0, false},
		{"::", 0, false},
	} {
		if port, ok := localtoken.IsLocal(tt.url); port != tt.port || ok != tt.ok {
			t.Errorf("IsLocal(%q) = %d, %v; want %d, %v", tt.url, port, ok, tt.port, tt.ok)
		}
	}
}
