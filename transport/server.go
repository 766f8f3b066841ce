package transport

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mastersocket/mastersocket/internal/handshake"
)

// Server accepts connections and runs the loops that serve them. Its methods may be called from any goroutine.
type Server struct {
	opts      Options
	gate      Gate
	loops     []*Loop
	started   time.Time
	accepted  atomic.Uint64
	open      atomic.Int64 // descriptors of connections
	addresses addressCounter
	maxFDs    int64 // connections that may be open so that the rest of the process has descriptors left
	refusals  [len(causes)]atomic.Uint64
	rejected  []atomic.Uint64
	tls       tlsCounts

	mu        sync.Mutex
	listeners []*listener
	running   sync.WaitGroup
	closed    bool

	stopped atomic.Bool // nothing is listened on any more: connections are not kept for further requests
}

// NewServer starts the loops of a server that accepts nothing yet. Close ends them.
func NewServer(o Options) (*Server, error) {
	s := &Server{opts: o, started: time.Now(), maxFDs: int64(DescriptorLimit()), rejected: make([]atomic.Uint64, len(handshake.Rejections()))}
	for i := range o.Loops {
		l, err := newLoop(s, i)
		if err != nil {
			for _, l := range s.loops {
				_ = unix.Close(l.poll.fd)
				_ = unix.Close(l.inbox.evfd)
			}
			return nil, fmt.Errorf("start loop %d: %w", i, err)
		}
		s.loops = append(s.loops, l)
	}
	s.gate.loops = s.loops
	for _, l := range s.loops {
		s.running.Go(l.run)
	}
	return s, nil
}

func newLoop(s *Server, index int) (*Loop, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	evfd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(epfd)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: wakeEvent}
	if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, evfd, &ev); err != nil {
		_ = unix.Close(evfd)
		_ = unix.Close(epfd)
		return nil, fmt.Errorf("epoll_ctl: %w", err)
	}
	l := &Loop{
		srv: s, index: index, poll: poller{fd: epfd, events: make([]unix.EpollEvent, maxEvents)},
		in: inbound{buf: make([]byte, readBytes)}, pacer: pacer{gap: s.opts.TCPGap}, tls: loopTLS{patience: s.opts.HandshakeTimeout / mostPatience},
	}
	l.inbox.init(evfd, s.opts.InboxBytes)
	return l, nil
}

// Clock returns the time since the server started.
func (s *Server) Clock() time.Duration { return time.Since(s.started) }

// Loops returns the server's loops, by their Index.
func (s *Server) Loops() []*Loop { return s.loops }

// Gate returns the gate that stops the server from reading what clients send.
func (s *Server) Gate() *Gate { return &s.gate }

// StopListening closes the listeners; connections stay. The kernel refuses new ones from now on.
func (s *Server) StopListening() {
	s.stopped.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, lis := range s.listeners {
		s.stopAccepting(lis)
	}
	s.listeners = nil
}

// Close stops listening, ends every connection without further words, and waits until the loops have ended.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.StopListening()
	for _, l := range s.loops {
		l.Post(stop{})
	}
	s.running.Wait()
}

// Connections returns the number of connections, those still shaking hands or closing included.
func (s *Server) Connections() int { return int(s.open.Load()) }
