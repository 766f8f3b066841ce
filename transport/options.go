package transport

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/mastersocket/mastersocket/internal/handshake"
)

// Options configure a Server. Every field must be set; see DefaultOptions.
type Options struct {
	Loops              int                     // number of loops; each runs on a core of its own when busy
	MaxConnections     int                     // beyond it connections are opened with Conn.Excess
	AddressConnections int                     // connections of one address, beyond which they are opened with Conn.Excess; 0 for no limit
	Proxies            []netip.Prefix          // addresses for which AddressConnections does not hold, since they stand for many clients
	MaxMessageBytes    int                     // a message from a client, over all its fragments
	MaxFragments       int                     // fragments of one message
	SendQueueBytes     int                     // unsent backlog of one connection, where a frame counts for 64 bytes at least
	SendQueueTotal     int                     // memory of the unsent backlogs of all connections together
	InboxBytes         int                     // mail waiting at one loop before nothing more is read from clients
	UntrustedBytes     int                     // buffers of all connections that are not trusted together
	TCPGap             time.Duration           // pause between two messages to a client of the TCP listener that needs it: see Conn.Unpace
	TLSHandshakes      int                     // TLS handshakes at the same time; further ones wait for their turn
	HandshakeTimeout   time.Duration           // from accept to a complete request, a TLS handshake included
	MessageTimeout     time.Duration           // from the first to the last byte of a message
	WriteTimeout       time.Duration           // a backlog that doesn't move
	CloseTimeout       time.Duration           // for what is queued when a connection is closed, and then for the client to close
	CloseFrameTimeout  time.Duration           // for the client to answer a close frame
	SweepInterval      time.Duration           // how often each connection's deadlines are looked at
	Origins            *handshake.OriginPolicy // which web pages may connect
	AllowedHosts       []string                // Host headers that are answered: see hosts.NewPolicy
	Log                Logger                  // told of refusals
}

// Logger takes any number of log lines, and must bound what it writes.
type Logger interface {
	// Warn writes a line, at most one a second for each message and cause.
	Warn(msg, cause string, attrs ...slog.Attr)
}

// DefaultOptions returns the options of a server with n loops, without Origins and Log.
func DefaultOptions(n int) Options {
	return Options{
		Loops:             n,
		MaxConnections:    1 << 20,
		MaxMessageBytes:   32768,
		MaxFragments:      1024,
		SendQueueBytes:    1 << 20,
		SendQueueTotal:    1 << 40,
		InboxBytes:        8 << 20,
		UntrustedBytes:    64 << 20,
		TCPGap:            time.Millisecond,
		TLSHandshakes:     1024,
		HandshakeTimeout:  10 * time.Second,
		MessageTimeout:    30 * time.Second,
		WriteTimeout:      30 * time.Second,
		CloseTimeout:      5 * time.Second,
		CloseFrameTimeout: time.Second,
		SweepInterval:     time.Second,
	}
}
