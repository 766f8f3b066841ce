package transport

import (
	"encoding/binary"
	"log/slog"
	"net/netip"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// addressCounter counts connections by the address of their other end, for Options.AddressConnections. Addresses of IPv6
// count by their first 64 bits, which one client may choose the others of.
type addressCounter struct {
	mu    sync.Mutex
	of    map[int32]netip.Prefix // by descriptor, or Conn.detachedKey
	count map[netip.Prefix]int
}

// admission is what becomes of a connection that was accepted.
type admission uint8

const (
	admitted admission = iota
	surplus            // it is told to try later
	refused            // it is closed at once: those that were told have not gone
)

// admit counts the connection of a descriptor.
func (s *Server) admit(fd int32) admission {
	limit := s.opts.AddressConnections
	if limit <= 0 {
		return admitted
	}
	from := peerAddress(fd)
	if !from.IsValid() {
		return admitted // broken already
	}
	return s.admitAs(fd, from.Addr())
}

// admitAs counts a connection of an address under a key that no other connection has.
func (s *Server) admitAs(key int32, addr netip.Addr) admission {
	limit := s.opts.AddressConnections
	for _, proxy := range s.opts.Proxies {
		if proxy.Contains(addr) {
			return admitted
		}
	}
	n := s.addresses.add(key, addressKey(addr))
	if n <= limit {
		return admitted
	}
	s.count(causeAddress, slog.String("from", addr.String()), slog.Int("limit", limit))
	if n <= 2*limit {
		return surplus
	}
	return refused
}

// admitDetached counts a connection without a socket, whose client is at that address.
func (s *Server) admitDetached(c *Conn, from netip.AddrPort) admission {
	if s.opts.AddressConnections <= 0 || !from.IsValid() {
		return admitted
	}
	return s.admitAs(c.detachedKey(), from.Addr())
}

// dismissDetached takes it from the count.
func (s *Server) dismissDetached(c *Conn) {
	if s.opts.AddressConnections > 0 {
		s.addresses.remove(c.detachedKey())
	}
}

// detachedKey is the key of a connection without a socket. Those of sockets, their descriptors, are not negative.
func (c *Conn) detachedKey() int32 { return -1 - int32(c.loop.index)<<24 - int32(c.slot) }

// addressKey returns what an address counts as.
func addressKey(addr netip.Addr) netip.Prefix {
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.WithZone("").Prefix(bits)
	return p
}

// add counts a connection and returns how many its address has.
func (a *addressCounter) add(fd int32, key netip.Prefix) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.count == nil {
		a.of, a.count = make(map[int32]netip.Prefix), make(map[netip.Prefix]int)
	}
	a.of[fd] = key
	a.count[key]++
	return a.count[key]
}

// remove takes the connection of a descriptor, which is about to be closed, from the count.
func (a *addressCounter) remove(fd int32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key, ok := a.of[fd]
	if !ok {
		return
	}
	delete(a.of, fd)
	if a.count[key]--; a.count[key] == 0 {
		delete(a.count, key)
	}
}

// peerAddress returns the address of the other end of a socket, invalid if it is broken. unix.Getpeername would allocate,
// and make a second system call.
func peerAddress(fd int32) netip.AddrPort {
	var sa unix.RawSockaddrInet6 // that of IPv4 is shorter
	size := uint32(unix.SizeofSockaddrInet6)
	_, _, errno := unix.RawSyscall(unix.SYS_GETPEERNAME, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)))
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&sa.Port))[:])
	switch {
	case errno != 0:
		return netip.AddrPort{}
	case sa.Family == unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(&sa)).Addr), port)
	case sa.Family == unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), port)
	}
	return netip.AddrPort{}
}
