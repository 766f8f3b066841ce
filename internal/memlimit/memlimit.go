// Package memlimit finds out how much memory the process may use, for bounds that depend on it.
package memlimit

import (
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// Bytes returns the least of GOMEMLIMIT, the limit of the process's cgroup, and the machine's memory; 0 if none is known.
func Bytes() int64 { return least(debug.SetMemoryLimit(-1), os.DirFS("/")) }

// least returns the least of the limit of Go's runtime, where math.MaxInt64 means none, and those that the file system
// tells.
func least(runtime int64, root fs.FS) int64 {
	limit := int64(0)
	for _, n := range []int64{runtime, cgroup(root), machine(root)} {
		if n > 0 && n < math.MaxInt64 && (limit == 0 || n < limit) {
			limit = n
		}
	}
	return limit
}

// cgroup returns the memory limit of the process's cgroup and of those above it, of version 2 or 1; 0 for none.
func cgroup(root fs.FS) int64 {
	membership, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0
	}
	limit := int64(0)
	for line := range strings.Lines(string(membership)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		mount, name := "", ""
		switch fields[1] {
		case "":
			mount, name = "sys/fs/cgroup", "memory.max"
		case "memory":
			mount, name = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		for at := path.Clean("/" + fields[2]); ; at = path.Dir(at) {
			if n := number(root, path.Join(mount, at, name)); n > 0 && (limit == 0 || n < limit) {
				limit = n
			}
			if at == "/" {
				break
			}
		}
	}
	return limit
}

// machine returns the machine's memory; 0 if it is not known.
func machine(root fs.FS) int64 {
	b, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			kilobytes, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err != nil {
				return 0
			}
			return kilobytes << 10
		}
	}
	return 0
}

// number returns the number in a file; 0 if there is none, as in that of a cgroup without a limit.
func number(root fs.FS, name string) int64 {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
