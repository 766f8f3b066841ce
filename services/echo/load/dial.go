package load

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"runtime"
)

// sources is the number of loopback addresses that clients use. Each address has about 28,000 ports, and a used port
// stays unavailable for a minute.
const sources = 1000

// dialer returns the dial function of client n. For a hub on a loopback address, clients use their own loopback
// addresses if the system has more than one.
func dialer(rawURL string, n int) func(ctx context.Context, network, addr string) (net.Conn, error) {
	d := &net.Dialer{}
	if runtime.GOOS == "linux" && onLoopback(rawURL) {
		i := n % sources
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, byte(1+i/250), byte(1+i%250))}
	}
	return d.DialContext
}

// onLoopback reports whether the URL names an IPv4 loopback address.
func onLoopback(rawURL string) bool {
	u, err := url.Parse(rawURL)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.Is4() && ip.IsLoopback()
}
