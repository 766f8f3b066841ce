// Package localtoken hands the token that a hub made for itself to the commands of the same user on the same machine,
// so that a first try needs no token typed at all.
//
// The token lies in a file of the user's cache folder, one file for each port. The hub writes it when it made its token by
// itself, and removes it when it stops. The file has mode 0600 in a folder with 0700, and Read refuses a file that another
// user owns or may read. It must never be used for a hub on another machine; see [IsLocal].
//
// The package keeps no state; its functions may be called from any goroutine.
package localtoken

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// maxBytes is far above the length of a generated token.
const maxBytes = 4096

// ErrUnsafe is the error of [Read] and [Write] for a file or folder that another user owns or may read.
var ErrUnsafe = errors.New("not private to this user")

// Path returns the file with the token of the hub that listens on port: token-<port> in the folder mastersocket of
// [os.UserCacheDir]. It fails where the user has no such folder, as without $HOME.
func Path(port int) (string, error) {
	if port < 1 || port > 65535 {
		return "", fmt.Errorf("local token: port %d is not within 1 to 65535", port)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("local token: %w", err)
	}
	return filepath.Join(cache, "mastersocket", "token-"+strconv.Itoa(port)), nil
}

// Write stores the token of the hub that listens on port, over that of an earlier one, and returns where it lies. The
// file appears whole or not at all.
func Write(port int, token string) (path string, err error) {
	if token == "" || len(token) > maxBytes || strings.ContainsAny(token, "\r\n") {
		return "", fmt.Errorf("local token: a token is one line of 1 to %d bytes", maxBytes)
	}
	path, err = Path(port)
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(path)
	if err := makeDir(dir); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, ".token-*") // made with 0600
	if err != nil {
		return "", fmt.Errorf("local token: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if err := errors.Join(second(f.WriteString(token+"\n")), f.Close()); err != nil {
		return "", fmt.Errorf("local token: write %s: %w", f.Name(), err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return "", fmt.Errorf("local token: %w", err)
	}
	return path, nil
}

func second(_ int, err error) error { return err }

// makeDir makes the private folder, and refuses one that is there and isn't private.
func makeDir(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("local token: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("local token: %w", err)
	}
	return checkDir(dir)
}

// checkDir returns an error if another user can put a file into dir or read one there.
func checkDir(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("local token: %w", err)
	}
	if !info.IsDir() || !private(info) {
		return fmt.Errorf("local token: %s: %w: it must be a folder of your own with mode 0700", dir, ErrUnsafe)
	}
	return nil
}

// Read returns the token of the hub that listens on port. The error is [fs.ErrNotExist] where there is none. A file or folder
// that isn't private to the user is an error, too.
func Read(port int) (string, error) {
	path, err := Path(port)
	if err != nil {
		return "", err
	}
	if err := checkDir(filepath.Dir(path)); err != nil {
		return "", err
	}
	// No other user can write to the folder, so the file is not swapped between this check and the opening.
	if info, err := os.Lstat(path); err != nil {
		return "", fmt.Errorf("local token: %w", err)
	} else if !info.Mode().IsRegular() || !private(info) {
		return "", fmt.Errorf("local token: %s: %w: it must be a file of your own with mode 0600", path, ErrUnsafe)
	}
	return read(path)
}

func read(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("local token: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxBytes+2))
	if err != nil {
		return "", fmt.Errorf("local token: read %s: %w", path, err)
	}
	token := strings.TrimSuffix(string(b), "\n")
	if token == "" || len(token) > maxBytes || strings.ContainsAny(token, "\r\n") {
		return "", fmt.Errorf("local token: %s does not hold one line with a token", path)
	}
	return token, nil
}

// Remove deletes the file of the hub that listens on port if it still holds token: a later hub on the same port may
// have written its own. It is no error if there is nothing to delete.
func Remove(port int, token string) error {
	current, err := Read(port)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case current != token:
		return nil
	}
	path, err := Path(port)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("local token: %w", err)
	}
	return nil
}

// IsLocal reports whether a ws or wss URL names this machine by a loopback address or as localhost, and on which port. A
// token from this package must go nowhere else.
func IsLocal(rawURL string) (port int, ok bool) {
	u, err := url.Parse(rawURL)
	if err != nil || !isLoopback(u.Hostname()) {
		return 0, false
	}
	switch u.Scheme {
	case "ws":
		port = 80
	case "wss":
		port = 443
	default:
		return 0, false
	}
	if p := u.Port(); p != "" {
		if port, err = strconv.Atoi(p); err != nil || port < 1 || port > 65535 {
			return 0, false
		}
	}
	return port, true
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
