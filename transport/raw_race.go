//go:build race

package transport

import (
	"golang.org/x/sys/unix"
)

// For the race detector the calls of raw.go are those of the unix package, which tell it what happened before what.

func rawRead(fd int32, p []byte) (int, error) { return unix.Read(int(fd), p) }

func rawWrite(fd int32, p []byte) (int, error) { return unix.Write(int(fd), p) }

func rawAccept(fd int32) (int, error) {
	n, _, err := unix.Accept4(int(fd), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	return n, err
}

func rawWait(epfd int, events []unix.EpollEvent, timeout int) (int, error) {
	return unix.EpollWait(epfd, events, timeout)
}
