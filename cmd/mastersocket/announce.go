//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mastersocket/mastersocket/internal/config"
	"github.com/mastersocket/mastersocket/internal/localtoken"
)

// announceToken prints the token that the hub made, and leaves it for commands on this machine. The returned function
// removes it.
func announceToken(token string, addr net.Addr, log *slog.Logger, stderr io.Writer) func() {
	leave, err := leaveToken(token, addr)
	how := "Clients on this machine that are started by the same user find it by themselves."
	if err != nil {
		how = "Give it to clients with MASTERSOCKET_TOKEN or --token-file."
	}
	fmt.Fprintf(stderr, "\nNo token is configured, so this one was made for this run:\n\n    %s\n\n%s\n"+
		"To set one that lasts: mastersocket token secret --dir . token && mastersocket serve --token-file token\n\n", token, how)
	if err != nil {
		log.Warn("the token could not be left for commands on this machine", "error", err)
		return func() {}
	}
	return func() {
		if err := leave(); err != nil {
			log.Warn("the token's file could not be removed", "error", err)
		}
	}
}

// leaveToken writes the token where commands on this machine find it, and returns a function that removes it.
func leaveToken(token string, addr net.Addr) (remove func() error, err error) {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return nil, errors.New("there is no listener without TLS")
	}
	if _, err := localtoken.Write(tcp.Port, token); err != nil {
		return nil, err
	}
	return func() error { return localtoken.Remove(tcp.Port, token) }, nil
}

// explainListen says which setting, at place, names an address that the hub can't listen on, and what to do about it. It is
// one line, as the last line of a hub that does not start says why.
func explainListen(place string, addr config.Address, err error) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return fmt.Errorf("%s: %w", place, err)
	}
	hint := ""
	switch errno {
	case unix.EADDRINUSE:
		_, port, _ := net.SplitHostPort(string(addr))
		hint = fmt.Sprintf("; see which process has it: ss -tanp 'sport = :%s'", port)
	case unix.EACCES:
		hint = "; a port below 1024 needs root or the capability CAP_NET_BIND_SERVICE"
	case unix.EADDRNOTAVAIL:
		hint = "; no interface of this machine has it"
	}
	return fmt.Errorf("%s: listen on %s: %w%s", place, addr, errno, hint)
}

// explainStart adds to an error of the start what its reader can do about it. redis is the place of the setting redis.
func explainStart(err error, redis string) error {
	switch {
	case refusedByRedis(err):
		return fmt.Errorf("%s: %w; check the user and the password in the URL", redis, err)
	case errors.Is(err, unix.EMFILE):
		return fmt.Errorf("%w; raise the limit of open files: ulimit -Hn, LimitNOFILE=", err)
	}
	return err
}

// refusedByRedis tells whether Redis refused the user or the password.
func refusedByRedis(err error) bool {
	text := err.Error()
	return strings.Contains(text, "WRONGPASS") || strings.Contains(text, "NOAUTH") || strings.Contains(text, "without any password configured")
}

// fewConnections is a limit of connections that is worth a warning where --max-connections does not set it.
const fewConnections = 500

// warnOfLimit says when the limit of open files leaves room for fewer connections than were asked for, or for few.
func (c *serveCmd) warnOfLimit(limit int, log *slog.Logger) {
	switch {
	case c.MaxConnections > limit:
		log.Warn("--max-connections: the limit of open files leaves room for fewer; raise it: ulimit -Hn, LimitNOFILE=",
			"max_connections", c.MaxConnections, "connections_limit", limit)
	case c.MaxConnections == 0 && limit < fewConnections:
		log.Warn("the limit of open files leaves room for few connections; raise it: ulimit -Hn, LimitNOFILE=",
			"connections_limit", limit)
	}
}
