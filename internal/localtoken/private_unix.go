//go:build unix

package localtoken

import (
	"io/fs"
	"os"
	"syscall"
)

// private tells whether the user owns what info describes and nobody else has any right to it.
func private(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int64(stat.Uid) == int64(os.Geteuid()) && info.Mode().Perm()&0o077 == 0
}
