package transport

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkFeed handles frames of 250 bytes that arrived together, as a busy loop does, and JSON values likewise.
func BenchmarkFeed(b *testing.B) {
	payload := `{"x":"` + strings.Repeat("x", 242) + `"}`
	for _, tt := range []struct {
		name string
		p    protocol
		one  []byte
	}{
		{"frames", protocolWebSocket, text(payload)},
		{"values", protocolTCP, []byte(payload)},
	} {
		b.Run(tt.name, func(b *testing.B) {
			l := bareLoop(b, testOptions())
			c, peer := bareConn(b, l, tt.p, quietSession{}, 0)
			defer unix.Close(peer)
			const n = 64
			segment := bytes.Repeat(tt.one, n)
			buf := make([]byte, len(segment))
			b.SetBytes(int64(len(tt.one)))
			for i := 0; i < b.N; i += n {
				copy(buf, segment)
				l.feed(c, buf)
			}
		})
	}
}

// BenchmarkFanOut sends one message of 250 bytes to 1,000 connections of a loop; ns/op is for all of them. What they
// receive is read while the clock stands. kernel is the share of the processor time that is the system's: about 0.9, as
// measured on Linux 6.18.
func BenchmarkFanOut(b *testing.B) {
	const receivers = 1000
	payload := []byte(`{"x":"` + strings.Repeat("x", 242) + `"}`)
	for _, tt := range []struct {
		name   string
		gather int // messages of one turn
	}{{"one message a turn", 1}, {"ten messages a turn", 10}} {
		b.Run(tt.name, func(b *testing.B) {
			l := bareLoop(b, testOptions())
			conns, peers := loopback(b, l, receivers)
			var system, all int64
			b.ResetTimer()
			for sent := 0; sent < b.N; {
				before := cpuTime()
				for batch := 0; batch < 50 && sent < b.N; batch += tt.gather {
					for range tt.gather {
						fanOut(conns, payload)
						sent++
					}
					l.flush()
				}
				after := cpuTime()
				system += after.system - before.system
				all += after.system + after.user - before.system - before.user
				b.StopTimer()
				drain(peers)
				b.StartTimer()
			}
			b.ReportMetric(float64(system)/float64(max(all, 1)), "kernel")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/receivers, "ns/delivery")
		})
	}
}

func fanOut(to []*Conn, payload []byte) {
	m := NewMessage(payload)
	for _, c := range to {
		c.Send(m)
	}
	m.Release()
}

// drain reads all that has arrived.
func drain(fds []int) {
	buf := make([]byte, 64<<10)
	for _, fd := range fds {
		for n := len(buf); n == len(buf); {
			n, _ = unix.Read(fd, buf)
		}
	}
}

// cpu is processor time in nanoseconds.
type cpu struct{ user, system int64 }

func cpuTime() cpu {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return cpu{u.Utime.Nano(), u.Stime.Nano()}
}

// loopback returns n connections of a loop that doesn't run, over TCP, and the descriptors of their clients.
func loopback(b *testing.B, l *Loop, n int) (conns []*Conn, peers []int) {
	b.Helper()
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	lis, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(err)
	defer unix.Close(lis)
	must(unix.SetsockoptInt(lis, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
	must(unix.Bind(lis, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(unix.Listen(lis, 16))
	addr, err := unix.Getsockname(lis)
	must(err)
	for range n {
		peer, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		must(err)
		b.Cleanup(func() { _ = unix.Close(peer) })
		must(unix.Connect(peer, addr))
		must(unix.SetNonblock(peer, true))
		fd, err := accept(lis)
		must(err)
		conns = append(conns, bareFD(l, protocolWebSocket, quietSession{}, fd))
		peers = append(peers, peer)
	}
	return conns, peers
}
