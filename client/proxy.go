package client

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// proxy returns the forward proxy for the hub's URL; nil for none.
func (c *Client) proxy() (*url.URL, error) {
	choose := c.opts.Proxy
	switch {
	case choose != nil:
	case c.opts.Dial != nil:
		return nil, nil
	default:
		choose = http.ProxyFromEnvironment
	}
	u, err := url.Parse(c.opts.URL)
	if err != nil {
		return nil, err
	}
	u.Scheme = strings.Replace(u.Scheme, "ws", "http", 1)
	proxy, err := choose(&http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{}})
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	return proxy, nil
}

// isSOCKS reports whether net/http speaks to the proxy by itself, as it does with a tunnel for any URL.
func isSOCKS(proxy *url.URL) bool {
	return proxy != nil && (proxy.Scheme == "socks5" || proxy.Scheme == "socks5h")
}

// dialTunnel connects to addr through an HTTP proxy with CONNECT (RFC 9110, section 9.3.6), for wss:// and ws:// (RFC 6455,
// section 4.1). net/http would ask the proxy for a ws:// URL with GET, which most proxies don't upgrade.
func (c *Client) dialTunnel(ctx context.Context, proxy *url.URL, addr string) (_ net.Conn, err error) {
	conn, err := c.dialNetwork(ctx, "tcp", proxyAddr(proxy))
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", proxy.Host, err)
	}
	raw := conn
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer func() {
		if stop(); err != nil {
			_ = raw.Close()
			err = contextError(ctx, err)
		}
	}()
	if proxy.Scheme == "https" {
		conf := &tls.Config{ServerName: proxy.Hostname()}
		if own := c.opts.TLSConfig; own != nil {
			conf.RootCAs = own.RootCAs
		}
		secure := tls.Client(conn, conf)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("proxy %s: %w", proxy.Host, err)
		}
		conn = secure
	}
	return connectThrough(conn, proxy, addr)
}

// maxProxyAnswer is the largest accepted answer to CONNECT, in bytes.
const maxProxyAnswer = 64 << 10

// connectThrough asks the proxy for a tunnel to addr.
func connectThrough(conn net.Conn, proxy *url.URL, addr string) (net.Conn, error) {
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if u := proxy.User; u != nil {
		password, _ := u.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)))
	}
	if err := req.Write(conn); err != nil {
		return nil, fmt.Errorf("proxy %s: %w", proxy.Host, err)
	}
	br := bufio.NewReader(io.LimitReader(conn, maxProxyAnswer))
	resp, err := http.ReadResponse(br, req)
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", proxy.Host, err)
	}
	if resp.StatusCode/100 != 2 {
		refused := newHandshakeError(resp)
		refused.Proxy = proxy.Host
		return nil, refused
	}
	return &tunnel{conn, br}, nil
}

// proxyAddr returns the proxy's address as host:port.
func proxyAddr(proxy *url.URL) string {
	if proxy.Port() != "" {
		return proxy.Host
	}
	port := "80"
	if proxy.Scheme == "https" {
		port = "443"
	}
	return net.JoinHostPort(proxy.Hostname(), port)
}

// tunnel is a connection through a proxy. Its first bytes may have been read together with the proxy's answer.
type tunnel struct {
	net.Conn
	br *bufio.Reader
}

func (t *tunnel) Read(p []byte) (int, error) {
	if t.br.Buffered() > 0 {
		return t.br.Read(p)
	}
	return t.Conn.Read(p)
}

// newHandshakeError returns the error for an answer that refuses the handshake or a tunnel.
func newHandshakeError(resp *http.Response) *HandshakeError {
	e := &HandshakeError{Status: resp.StatusCode, Server: resp.Header.Get("Server")}
	if resp.Body != nil {
		var body [200]byte
		n, _ := resp.Body.Read(body[:])
		e.Body = strings.TrimSpace(string(body[:n]))
	}
	return e
}
