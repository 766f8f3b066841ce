package memlimit

import (
	"math"
	"testing"
	"testing/fstest"
)

func TestLeast(t *testing.T) {
	t.Parallel()
	const meminfo = "MemTotal:        8000000 kB\nMemFree:          100 kB\n"
	for name, tt := range map[string]struct {
		runtime int64
		files   map[string]string
		want    int64
	}{
		"nothing is known":             {math.MaxInt64, nil, 0},
		"GOMEMLIMIT":                   {384 << 20, nil, 384 << 20},
		"the machine":                  {math.MaxInt64, map[string]string{"proc/meminfo": meminfo}, 8_000_000 << 10},
		"GOMEMLIMIT below the machine": {1 << 30, map[string]string{"proc/meminfo": meminfo}, 1 << 30},
		"a container": {math.MaxInt64, map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "536870912\n"}, 512 << 20},
		"no limit of the cgroup": {math.MaxInt64, map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n"}, 8_000_000 << 10},
		"a limit above": {math.MaxInt64, map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": "1000000\n"}, 1_000_000},
		"version 1": {math.MaxInt64, map[string]string{
			"proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/docker/1\n", "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": "2000000\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 2_000_000},
		"nonsense": {math.MaxInt64, map[string]string{"proc/meminfo": "MemTotal: much\n", "proc/self/cgroup": "\n0\n"}, 0},
	} {
		root := fstest.MapFS{}
		for file, content := range tt.files {
			root[file] = &fstest.MapFile{Data: []byte(content)}
		}
		if got := least(tt.runtime, root); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}
