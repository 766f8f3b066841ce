package transport

import (
	"golang.org/x/sys/unix"
)

// reservedFDs are descriptors that connections never take: for the admin listener, the broker, files.
const reservedFDs = 64

// DescriptorLimit returns how many connections the process's open-file limit allows.
func DescriptorLimit() int {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil || lim.Cur > 1<<30 {
		return 1 << 30
	}
	return max(int(lim.Cur)-reservedFDs, 1)
}

// closeFD closes a connection's descriptor.
func (s *Server) closeFD(fd int32) {
	if s.opts.AddressConnections > 0 {
		s.addresses.remove(fd) // before the descriptor can be another connection's
	}
	_ = unix.Close(int(fd))
	s.open.Add(-1)
}
