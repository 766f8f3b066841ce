//go:build linux

// Command gws is a fan-out server on top of github.com/lxzan/gws, written as its documentation shows: a goroutine for
// each connection's reads, and its Broadcaster, which frames a message once and writes it in each connection's queue.
//
//	gws ADDRESS:PORT [CERTIFICATE KEY]
//
// With the PEM files of a certificate it serves over TLS.
//
// It speaks the plain dialect of package servers.
package main

import (
	"crypto/tls"
	"fmt"
	"log"
	"net"
	"os"
	"strconv"
	"sync"

	"github.com/lxzan/gws"
)

func main() {
	if len(os.Args) != 2 && len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: gws ADDRESS:PORT [CERTIFICATE KEY]")
		os.Exit(2)
	}
	l, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	if len(os.Args) == 4 {
		certificate, err := tls.LoadX509KeyPair(os.Args[2], os.Args[3])
		if err != nil {
			log.Fatal(err)
		}
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate}})
	}
	server := gws.NewServer(&handler{numbers: map[*gws.Conn]int{}}, &gws.ServerOption{})
	// It reports connections that were reset, as the benchmark's are at their end.
	server.OnError = func(net.Conn, error) {}
	log.Fatal(server.RunListener(l))
}

type handler struct {
	gws.BuiltinEventHandler

	mu      sync.RWMutex
	clients []*gws.Conn // nil if the client has left
	numbers map[*gws.Conn]int
}

// OnClose implements gws.Event.
func (h *handler) OnClose(c *gws.Conn, _ error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n, ok := h.numbers[c]; ok {
		h.clients[n] = nil
		delete(h.numbers, c)
	}
}

// OnMessage implements gws.Event.
func (h *handler) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	b := m.Bytes()
	if len(b) == 0 {
		return
	}
	switch b[0] {
	case 'S':
		h.subscribe(c)
	case 'P':
		h.publish(b)
	case 'D':
		h.direct(b)
	}
}

func (h *handler) subscribe(c *gws.Conn) {
	h.mu.Lock()
	n := len(h.clients)
	h.clients = append(h.clients, c)
	h.numbers[c] = n
	h.mu.Unlock()
	// A connection that fails is closed by gws.
	_ = c.WriteMessage(gws.OpcodeBinary, fmt.Appendf(nil, "S%08x", n))
}

func (h *handler) publish(b []byte) {
	broadcast := gws.NewBroadcaster(gws.OpcodeBinary, b)
	defer broadcast.Close()
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, c := range h.clients {
		if c != nil {
			_ = broadcast.Broadcast(c)
		}
	}
}

func (h *handler) direct(b []byte) {
	if len(b) < 9 {
		return
	}
	n, err := strconv.ParseUint(string(b[1:9]), 16, 32)
	if err != nil {
		return
	}
	h.mu.RLock()
	var to *gws.Conn
	if n < uint64(len(h.clients)) {
		to = h.clients[n]
	}
	h.mu.RUnlock()
	if to != nil {
		_ = to.WriteMessage(gws.OpcodeBinary, b)
	}
}
