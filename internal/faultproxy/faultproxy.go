// Package faultproxy is a TCP proxy that breaks the network between a client and a server in tests.
//
// A Proxy passes bytes both ways until a fault is set. Its methods may be called from any goroutine. A fault applies to
// open and to later connections. All goroutines end with the test.
package faultproxy

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// Fault is the treatment of bytes by a Proxy.
type Fault int32

// The faults. When a fault that loses bytes heals, connections that lost some are cut, as their streams are corrupt;
// the others continue.
const (
	None            Fault = iota // passes everything
	SwallowReplies               // discards the server's bytes; requests pass
	SwallowRequests              // discards the client's bytes; replies pass
	Swallow                      // both: a silent partition
	Stall                        // holds all bytes back and passes them when healed: a pause
	Refuse                       // closes every connection at once, new ones too
)

// Proxy is one listener on 127.0.0.1 in front of one server.
type Proxy struct {
	tb       testing.TB
	target   string
	listener net.Listener
	running  sync.WaitGroup
	accepted atomic.Int64

	mu     sync.Mutex
	change *sync.Cond // of fault and closed
	fault  Fault
	closed bool
	conns  map[*pair]struct{}
}

// pair is one client's connection and the one made for it to the server.
type pair struct {
	client, server net.Conn
	lossy          bool // lost bytes; guarded by Proxy.mu
}

func (p *pair) close() {
	p.client.Close()
	p.server.Close()
}

// Start runs a Proxy in front of the server at target ("host:port") until tb ends.
func Start(tb testing.TB, target string) *Proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("faultproxy: %v", err)
	}
	p := &Proxy{tb: tb, target: target, listener: l, conns: make(map[*pair]struct{})}
	p.change = sync.NewCond(&p.mu)
	p.running.Go(p.accept)
	tb.Cleanup(p.close)
	return p
}

// Addr returns the host and port for clients.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Accepted returns the number of connections made to the Proxy.
func (p *Proxy) Accepted() int { return int(p.accepted.Load()) }

// Set makes f the fault from now on; Set(None) heals.
func (p *Proxy) Set(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
	for c := range p.conns {
		if f == Refuse || c.lossy && f == None {
			c.close()
		}
	}
	p.change.Broadcast()
}

// Cut closes every open connection. It does not change the fault.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.close()
	}
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	for c := range p.conns {
		c.close()
	}
	p.change.Broadcast()
	p.mu.Unlock()
	p.listener.Close()
	p.running.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.accepted.Add(1)
		p.running.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	c := &pair{client: client, server: server}
	defer c.close()
	if !p.add(c) {
		return
	}
	defer p.remove(c)
	var requests sync.WaitGroup
	requests.Go(func() { p.pump(c, c.server, c.client, SwallowRequests) })
	p.pump(c, c.client, c.server, SwallowReplies)
	requests.Wait()
}

func (p *Proxy) add(c *pair) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.fault == Refuse {
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *Proxy) remove(c *pair) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// pump copies from one side to the other until either ends; swallowed is the fault that discards this direction's
// bytes.
func (p *Proxy) pump(c *pair, to io.Writer, from io.Reader, swallowed Fault) {
	defer c.close()
	buf := make([]byte, 64<<10)
	gap := false // bytes of this direction were lost: the stream is corrupt
	for {
		n, err := from.Read(buf)
		if n > 0 {
			gap = gap || p.swallows(c, swallowed)
		}
		if n > 0 && !gap {
			if _, werr := to.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// swallows reports whether bytes just read are lost. It waits while a fault holds them back.
func (p *Proxy) swallows(c *pair, swallowed Fault) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.fault == Stall && !p.closed {
		p.change.Wait()
	}
	lost := p.fault == swallowed || p.fault == Swallow
	c.lossy = c.lossy || lost
	return lost
}
