//go:build unix

package localtoken

import (
	"io/fs"
	"os"
	"syscall"
)

// private reports whether the user owns the file and no other user has any right to it.
func private(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int64(stat.Uid) == int64(os.Geteuid()) && info.Mode().Perm()&0o077 == 0
}
