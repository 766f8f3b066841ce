package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/mastersocket/mastersocket/client"
)

// explain adds to an error of connecting what its reader can do about it. from tells where the token came from, empty without one.
func explain(err error, o client.Options, from string) error {
	hint := hintTLS(err)
	if hint == "" {
		hint = hintHub(err, o, from)
	}
	if hint == "" {
		return err
	}
	return fmt.Errorf("%w\n%s", err, hint)
}

// hintHub is about the process that listens at the other end, and why it refuses the command.
func hintHub(err error, o client.Options, from string) string {
	var disconnected *client.DisconnectError
	var refused *client.HandshakeError
	var dns *net.DNSError
	switch {
	case errors.Is(err, errNoLocalHub):
		return "Is the hub running? Start it with: mastersocket serve\n" +
			"If it has a token, or another user started it, give the token with MASTERSOCKET_TOKEN or --token-file."
	case isRefused(err):
		return "Is the hub running there? Start one with: mastersocket serve\nIf it listens elsewhere: --url, or MASTERSOCKET_URL"
	case errors.As(err, &disconnected) && disconnected.Reason == "IDENTIFY_FAILED" && from == "":
		return fmt.Sprintf("No entry of the hub's tokens file is for the certificate of --cert, or it may not join %s.", groupList(o))
	case errors.As(err, &disconnected) && disconnected.Reason == "IDENTIFY_FAILED":
		return fmt.Sprintf("The token is wrong or has expired, or it may not join %s. It came from %s.", groupList(o), from)
	case errors.As(err, &disconnected) && disconnected.Reason == "TRY_AGAIN_LATER":
		return "The hub is full, can't reach its Redis, or has no keys yet to verify a signed token with: its log and /readyz of its admin listener say which."
	case errors.As(err, &refused), errors.Is(err, io.EOF):
		return "The process that listens there is no hub, or the path is none of a hub: check --url"
	case errors.As(err, &dns):
		return "Check the host name in --url"
	}
	return ""
}

// hintTLS is about the certificate of the hub, and about TLS at one end alone.
func hintTLS(err error) string {
	var refused *client.HandshakeError
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "If you trust the authority that issued the hub's certificate, name its file: --ca FILE"
	case errors.As(err, new(x509.HostnameError)):
		return "Connect by a name that the certificate is for: --url"
	case errors.Is(err, http.ErrSchemeMismatch):
		return "The listener has no TLS: use ws:// in place of wss://, or the port of the hub's --tls-listen"
	case errors.As(err, &refused) && refused.Status == http.StatusBadRequest && mentionsTLS(refused.Body):
		return "The listener has TLS: use wss:// in place of ws://"
	}
	return ""
}

// mentionsTLS reports whether the text of an answer says that TLS was expected. Go's own servers say HTTPS.
func mentionsTLS(text string) bool {
	return strings.Contains(text, "TLS") || strings.Contains(text, "HTTPS")
}

// isRefused reports whether no process listens at the address.
func isRefused(err error) bool {
	const windowsRefused = syscall.Errno(10061) // WSAECONNREFUSED, which is not syscall.ECONNREFUSED there
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, windowsRefused)
}

func groupList(o client.Options) string {
	if len(o.Groups) == 0 {
		return "the group " + o.Group
	}
	return "the groups " + o.Group + ", " + strings.Join(o.Groups, ", ")
}

// overdue is an error that names the flag whose time was over in place of Go's text about a deadline.
type overdue struct {
	error
	flag string
	time time.Duration
}

// withinTime returns err, in terms of the flag if its time was over.
func withinTime(err error, flag string, d time.Duration) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return overdue{err, flag, d}
}

func (e overdue) Unwrap() error { return e.error }

// Error names the flag in place of the deadline.
func (e overdue) Error() string {
	return strings.Replace(e.error.Error(), context.DeadlineExceeded.Error(),
		fmt.Sprintf("the time is over (%s %v)", e.flag, e.time), 1)
}

// whyLost says why a connection ended, without the steps of reading.
func whyLost(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return "the connection broke without a goodbye"
	}
	return err.Error()
}
