package load

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"runtime"
)

// sources is how many loopback addresses the clients come from. Each has about 28,000 ports, and one that was used may be
// taken for a minute.
const sources = 1000

// dialer returns how client n connects: to a hub on a loopback address from a loopback address of its own, where the
// system has more than one.
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
