//go:build !race

package transport

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// System calls that can't block are raw: Go's scheduler is not told of them. unix.Read and the like tell it, for each call,
// that the thread may block, which costs more than the rest of the call; and when a loop blocks in unix.EpollWait for some
// microseconds, its processor goes to sleep and has to be woken, with every burst of messages.
//
// What this must not break, and why it does not:
//
//   - The garbage collector stops the world by a signal to each thread that runs Go code. A thread in a raw call counts as
//     one. The signal ends epoll_pwait with EINTR; a read, a write or an accept on a socket that doesn't block is over in
//     microseconds. So nothing waits for a loop, unless the signals are turned off (GODEBUG=asyncpreemptoff=1), in which
//     case no loop waits raw.
//   - A loop that waits raw keeps its processor (of GOMAXPROCS). So it does that for a bounded time behind its last work,
//     and only where there are more processors than loops: one is left for all other goroutines. See poller.
//   - The race detector learns from unix.Read and unix.Write what happened before what. Its builds call them: raw_race.go.

// rawRead is read(2) on a descriptor that does not block.
func rawRead(fd int32, p []byte) (int, error) {
	return result(syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p))))
}

// rawWrite is write(2) on a descriptor that does not block.
func rawWrite(fd int32, p []byte) (int, error) {
	return result(syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p))))
}

// rawAccept is accept4(2) on a listening socket that does not block, without the client's address.
func rawAccept(fd int32) (int, error) {
	return result(syscall.RawSyscall6(syscall.SYS_ACCEPT4, uintptr(fd), 0, 0, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0))
}

// rawWait is epoll_pwait(2). It may wait for up to timeout milliseconds: see poller.
func rawWait(epfd int, events []unix.EpollEvent, timeout int) (int, error) {
	return result(syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(epfd), uintptr(unsafe.Pointer(unsafe.SliceData(events))),
		uintptr(len(events)), uintptr(timeout), 0, 0))
}

// result converts what a system call returned.
func result(n, _ uintptr, errno syscall.Errno) (int, error) {
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}
