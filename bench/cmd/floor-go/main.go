//go:build linux

// Command floor-go is a minimal fan-out server in Go: one thread, one epoll loop, one unix.Write of a prebuilt frame
// per subscriber. It lacks checks, buffers for slow clients and groups: a comparison shows the cost of these. Its C
// twin is peers/floor.c.
//
//	floor-go ADDRESS PORT each|coalesce
//
// It speaks the plain dialect of package servers.
package main

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

func main() {
	runtime.LockOSThread()
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: floor-go ADDRESS PORT each|coalesce")
		os.Exit(2)
	}
	f, err := listen(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, "floor-go:", err)
		os.Exit(1)
	}
	f.coalesce = os.Args[3] == "coalesce"
	if err := f.serve(); err != nil {
		fmt.Fprintln(os.Stderr, "floor-go:", err)
		os.Exit(1)
	}
}

// writeAll writes b to a socket and waits while its buffer is full: the clients of a benchmark do read.
func writeAll(fd int, b []byte) {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		switch {
		case err == nil:
			b = b[n:]
		case err == unix.EAGAIN:
			// The error would come again from Write.
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 1000)
		case err != unix.EINTR:
			return
		}
	}
}
