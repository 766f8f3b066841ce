//go:build linux

package report

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// A Machine is what the figures were taken on.
type Machine struct {
	CPU       string `json:"cpu"`
	Cores     int    `json:"cores"`
	MemoryGiB int    `json:"memory_gib"`
	Kernel    string `json:"kernel"`
	System    string `json:"system"`
	Go        string `json:"go"` // that built the tool and the floor
}

// ThisMachine describes the machine that the tool runs on. It has neither a host's name nor an address.
func ThisMachine() Machine {
	m := Machine{
		Cores: runtime.NumCPU(), Go: runtime.Version(),
		CPU:    field("/proc/cpuinfo", "model name", ":"),
		System: strings.Trim(field("/etc/os-release", "PRETTY_NAME", "="), `"`),
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err == nil {
		release := unix.ByteSliceToString(name.Release[:])
		m.Kernel, _, _ = strings.Cut(release, "-")
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err == nil {
		const gib = 1 << 30
		m.MemoryGiB = int((info.Totalram*uint64(info.Unit) + gib/2) / gib)
	}
	return m
}

// String returns the machine in one line.
func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, %d GiB of memory, Linux %s, %s, %s", m.CPU, m.Cores, m.MemoryGiB, m.Kernel, m.System, m.Go)
}

// field returns the value of the first line with a name, or "unknown".
func field(file, name, separator string) string {
	f, err := os.Open(file)
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		found, value, ok := strings.Cut(lines.Text(), separator)
		if ok && strings.TrimSpace(found) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
