package transport

import (
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A loop that waits in unix.EpollWait tells Go's scheduler so: its processor (P) becomes idle, sysmon wakes up with the
// next event and looks around every 20 µs, and P and thread find each other again. For a loop that wakes up many times a
// second that is a tenth of all its work. A raw system call says nothing to the scheduler: the loop keeps its P while the
// kernel has its thread, which costs nothing but the P. So a loop that was woken within the last hotFor, and had slept
// for no longer than that, waits raw; any other blocks as usual, and gives up its P. What makes that safe:
//
//   - The garbage collector and sysmon interrupt a raw wait with a signal: they repeat it until the loop has returned
//     (EINTR) and reached a safe point. hot_test.go holds the pauses of the world to less than 1 ms.
//   - Half of the processors, and two at least, are left to other goroutines: so many of the garbage collector's workers,
//     TLS handshakes and requests can run while all loops of the process wait raw. Those whose number exceeds that block.
//     With GOMAXPROCS below 3 all do.
//   - A loop without work blocks after hotFor. One whose events are further apart than that never waits raw, so that an
//     idle hub costs what it would without any of this.
//
// Reads, writes and accepts of a loop never wait, so they are raw in any case: but for long writes, which the collector
// would have to wait for.

const (
	// hotFor is how long a loop waits raw for the next event. It is more than the pause between two of 20 messages a second.
	hotFor = 60 * time.Millisecond
	// maxRawWrite is the most bytes that are written raw. A write of that size takes about 10 µs.
	maxRawWrite = 16 << 10
)

// rawWaits is how many loops of the process wait raw.
var rawWaits atomic.Int32

// heat is what a loop knows of its waits.
type heat struct {
	hot      bool          // the last pause between events was not longer than hotFor
	lastWork time.Duration // the server's clock at the end of the last turn with events
	spare    int32         // how many loops may wait raw at the same time
	raw      uint64        // raw waits so far, for tests
}

// worked notes the end of a turn that began with events.
func (h *heat) worked(began, ended time.Duration) {
	h.hot = began-h.lastWork <= hotFor
	h.lastWork = ended
}

// measure looks at how many processors there are: GOMAXPROCS may change while the process runs.
func (h *heat) measure() {
	n := int32(runtime.GOMAXPROCS(0))
	h.spare = min(n/2, n-2)
}

// wait waits up to timeout milliseconds for events. now is the server's clock.
func (p *poller) wait(now time.Duration, timeout int) []unix.EpollEvent {
	h := &p.heat
	if timeout == 0 {
		return p.waitRaw(0)
	}
	if h.hot = h.hot && now-h.lastWork < hotFor; h.hot {
		if rawWaits.Add(1) <= h.spare {
			left := int((hotFor - (now - h.lastWork) + time.Millisecond - 1) / time.Millisecond)
			events := p.waitRaw(min(left, timeout))
			rawWaits.Add(-1)
			h.raw++
			return events
		}
		rawWaits.Add(-1)
	}
	n, err := unix.EpollWait(p.fd, p.events, timeout)
	if err != nil { // EINTR: the runtime preempts with signals
		return nil
	}
	return p.events[:n]
}

// waitRaw waits up to timeout milliseconds without the scheduler's knowledge.
func (p *poller) waitRaw(timeout int) []unix.EpollEvent {
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])), uintptr(len(p.events)), uintptr(timeout), 0, 0)
	if errno != 0 {
		return nil
	}
	return p.events[:n]
}

// receive reads once from a socket. It does not wait. recv(2) and send(2) cost less than read(2) and write(2), which look
// at the file behind the socket as well.
func receive(fd int32, p []byte) (int, error) {
	if raceEnabled { // the race detector watches what package unix reads and writes
		return unix.Read(int(fd), p)
	}
	n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), 0, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// send writes once to a socket. It does not wait.
func send(fd int32, p []byte) (int, error) {
	if raceEnabled || len(p) > maxRawWrite {
		return unix.Write(int(fd), p)
	}
	n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}
