package config

import (
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mastersocket/mastersocket/internal/handshake"
	"github.com/mastersocket/mastersocket/internal/hosts"
)

// Bounds of the settings.
const (
	minMessageBytes = 256 // less has no room for an IDENTIFY
	maxMessageBytes = 64 << 20
	maxQueueBytes   = 1 << 30
	maxQueueTotal   = 1 << 40
	// envelopeBytes is more than the hub ever adds to a message: an id, the sender, and the frame's header.
	envelopeBytes  = 1 << 10
	maxLoops       = 256
	maxConnections = 1 << 24
	maxGroups      = 1 << 16
	// maxPresenceMembers bounds the memory of one watched group: some hundred bytes for each member on each instance.
	maxPresenceMembers = 1_000_000
	// minRequestMemory has room for some requests of every client.
	minRequestMemory = 1 << 20
	maxDrainRate     = 1e6
	minDuration      = 10 * time.Millisecond
	maxTCPGap        = time.Second
	maxDuration      = 24 * time.Hour
	maxNameBytes     = 128
	maxAdvertised    = 255 // bytes
)

var (
	redisPrefix = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,64}$`)
	hostSyntax  = regexp.MustCompile(`^[A-Za-z0-9_.-]*$`)
)

// settings checks all settings, and no file that they name.
func (v *validation) settings() {
	v.listeners()
	v.serviceTypes()
	v.fleets()
	v.hosts()
	v.tokens()
	v.tls()
	v.oidc()
	v.cluster()
	v.limits()
	v.logging()
}

// validation gathers what is wrong with s.
type validation struct {
	problems
	s        *Serve
	warnings []string
}

// serviceTypes checks the names of service types.
func (v *validation) serviceTypes() {
	seen := make(map[string]bool)
	for _, name := range v.s.Enable {
		switch {
		case !slices.Contains(serviceTypeNames(), name):
			v.addf("enable", "%q is no service type: want one of %s", name, strings.Join(serviceTypeNames(), ", "))
		case seen[name]:
			v.addf("enable", "%q is named twice", name)
		}
		seen[name] = true
	}
}

// addf adds a problem of the setting, at the place it comes from.
func (v *validation) addf(setting, format string, args ...any) {
	where, what := v.s.place(setting)
	v.problems.addf(where, what+format, args...)
}

// place returns where a setting comes from, and what has to precede a text about it there: in a file the name.
func (s *Serve) place(setting string) (where, what string) {
	where = s.origins[setting]
	switch {
	case where == "":
		where = "--" + setting
	case where != "--"+setting && where != envName(setting):
		what = setting + ": "
	}
	return where, what
}

// Place returns how an error names the setting: the flag (--listen), the environment variable (MASTERSOCKET_LISTEN), or
// the file with the line and the setting's name (hub.yaml:3: listen).
func (s *Serve) Place(setting string) string {
	where, what := s.place(setting)
	return strings.TrimSuffix(where+": "+what, ": ")
}

// Origin returns where a setting, given by the name of its flag, comes from: the flag (--listen), the environment
// variable (MASTERSOCKET_LISTEN), the file and the line (hub.yaml:3), or "default".
func (s *Serve) Origin(setting string) string {
	if where := s.origins[setting]; where != "" {
		return where
	}
	return "default"
}

func (v *validation) listeners() {
	listeners := []struct {
		setting string
		address Address
	}{{"listen", v.s.Listen}, {"tcp-listen", v.s.TCPListen}, {"tls-listen", v.s.TLSListen}, {"admin-listen", v.s.AdminListen}}
	if v.s.Listen == "" && v.s.TCPListen == "" && v.s.TLSListen == "" {
		v.addf("listen", "the hub would have no address for clients; write one, such as :42069")
	}
	for i, l := range listeners {
		if l.address == "" {
			continue
		}
		if wrong := checkAddress(string(l.address)); wrong != "" {
			v.addf(l.setting, "%q %s", l.address, wrong)
			continue
		}
		for _, other := range listeners[:i] {
			if overlap(string(l.address), string(other.address)) {
				v.addf(l.setting, "%q is taken by %s (%q); choose another port", l.address, other.setting, other.address)
			}
		}
	}
}

// checkAddress returns what is wrong with an address to listen at, or nothing.
func checkAddress(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "is not an address; write host:port, such as :42069, 127.0.0.1:42069 or [::1]:42069"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return "has no valid port; write a number from 0 to 65535, where 0 takes any free one"
	}
	if !hostSyntax.MatchString(host) && !strings.Contains(host, ":") {
		return "has no valid host; write a name, an IP address, or nothing for every interface"
	}
	return ""
}

// onLoopback reports whether no other machine can reach a listener that takes tokens.
func (s *Serve) onLoopback() bool {
	for _, address := range []Address{s.Listen, s.TCPListen, s.TLSListen, s.AdminListen} {
		if address != "" && !isLoopback(string(address)) {
			return false
		}
	}
	return true
}

// isLoopback reports whether host:port is an address of this machine that no other machine can reach.
func isLoopback(hostport string) bool {
	host, _, _ := net.SplitHostPort(hostport)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// overlap tells whether two addresses can't both be listened at.
func overlap(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && portA == portB && portA != "0" && (hostA == hostB || hostA == "" || hostB == "")
}

// loadProxies reads the addresses of proxies.
func (v *validation) loadProxies(l *Loaded) {
	for _, entry := range v.s.TrustedProxies {
		p, err := netip.ParsePrefix(entry)
		if err != nil {
			addr, err := netip.ParseAddr(entry)
			if err != nil {
				v.addf("trusted-proxies", "%q is neither an address nor a network; write 10.1.2.3 or 10.0.0.0/8", entry)
				continue
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		l.Proxies = append(l.Proxies, p.Masked())
	}
}

// loadOrigins reads which pages may connect.
func (v *validation) loadOrigins(l *Loaded) {
	for _, origin := range v.s.AllowedOrigins {
		if _, err := handshake.ParseOrigins([]string{origin}); err != nil {
			v.addf("allowed-origins", "%v", err)
		}
	}
	l.Origins, _ = handshake.ParseOrigins(v.s.AllowedOrigins) // the error is one of those above
}

func (v *validation) hosts() {
	for _, host := range v.s.AllowedHosts {
		if err := hosts.Check(host); err != nil {
			v.addf("allowed-hosts", "%v", err)
		}
	}
}

func (v *validation) cluster() {
	v.redis()
	if !redisPrefix.MatchString(v.s.RedisPrefix) {
		v.addf("redis-prefix", "%q can't begin the name of a channel; write 1 to 64 letters, digits, or any of _ . : -",
			v.s.RedisPrefix)
	}
	if wrong := checkName(v.s.Node); wrong != "" {
		v.addf("node", "%q %s", v.s.Node, wrong)
	}
	v.advertise()
}

// advertise checks the address that the other instances are told.
func (v *validation) advertise() {
	s := v.s
	for _, f := range []struct{ setting, value string }{{"advertise", s.Advertise}, {"advertise-ca", s.AdvertiseCA}} {
		v.unless(f.value == "" || s.Redis != "", f.setting, "it has no meaning without redis, where the other instances are; write where Redis is, or remove it")
	}
	if s.Advertise == "" {
		return
	}
	u, err := url.Parse(s.Advertise)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.String() != u.Scheme+"://"+u.Host || len(s.Advertise) > maxAdvertised {
		v.addf("advertise", "%q is not the URL of a listener; write http://10.1.2.3:42069 or https://hub-0.example.com:42443, without a path", s.Advertise)
		return
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && ip.IsUnspecified() {
		v.addf("advertise", "%q is no address that another instance can reach; write this machine's", s.Advertise)
	}
}

// checkName returns what is wrong with the name of an instance, or nothing.
func checkName(name string) string {
	if name == "" || len(name) > maxNameBytes || !utf8.ValidString(name) ||
		strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "is no name for an instance; write 1 to 128 bytes of printable text"
	}
	return ""
}

func (v *validation) limits() {
	v.between("loops", int64(v.s.Loops), 0, maxLoops)
	v.between("max-groups", int64(v.s.MaxGroups), 32, maxGroups)
	v.between("max-connections", int64(v.s.MaxConnections), 0, maxConnections)
	v.size("max-message-bytes", v.s.MaxMessageBytes, minMessageBytes, maxMessageBytes)
	v.between("presence-members", int64(v.s.PresenceMembers), 1, maxPresenceMembers)
	v.size("request-memory", v.s.RequestMemory, minRequestMemory, maxQueueTotal)
	v.between("max-connections-per-address", int64(v.s.MaxConnectionsPerAddress), 0, maxConnections)
	if v.s.SendQueueTotal != 0 {
		v.size("send-queue-total", v.s.SendQueueTotal, v.s.SendQueueBytes, maxQueueTotal)
	}
	v.size("send-queue-bytes", v.s.SendQueueBytes, minMessageBytes+envelopeBytes, maxQueueBytes)
	if least := v.s.MaxMessageBytes + envelopeBytes; v.s.SendQueueBytes < least && v.s.MaxMessageBytes <= maxMessageBytes {
		v.addf("send-queue-bytes", "%v has no room for one message of max-message-bytes (%v); write %v or more",
			v.s.SendQueueBytes, v.s.MaxMessageBytes, least)
	}
	if v.s.TCPGap < 0 || v.s.TCPGap > maxTCPGap {
		v.addf("tcp-gap", "%v is out of range; write a duration from 0s to %v", v.s.TCPGap, maxTCPGap)
	}
	v.duration("write-timeout", v.s.WriteTimeout, minDuration)
	v.duration("identify-timeout", v.s.IdentifyTimeout, minDuration)
	v.duration("handshake-timeout", v.s.HandshakeTimeout, minDuration)
	v.duration("message-timeout", v.s.MessageTimeout, minDuration)
	v.duration("ping-interval", v.s.PingInterval, minDuration)
	v.duration("drain-timeout", v.s.DrainTimeout, 0)
	v.between("drain-rate", int64(v.s.DrainRate), 0, maxDrainRate)
	v.duration("team-healthcheck", v.s.TeamHealthcheck, time.Second)
}

func (v *validation) between(setting string, n, least, most int64) {
	if n < least || n > most {
		v.addf(setting, "%d is out of range; write a number from %d to %d", n, least, most)
	}
}

func (v *validation) size(setting string, n, least, most Size) {
	if n < least || n > most {
		v.addf(setting, "%v is out of range; write a size from %v to %v", n, least, most)
	}
}

func (v *validation) duration(setting string, d, least time.Duration) {
	if d < least || d > maxDuration {
		v.addf(setting, "%v is out of range; write a duration from %v to %v", d, least, maxDuration)
	}
}

func (v *validation) logging() {
	if v.s.LogFormat != "text" && v.s.LogFormat != "json" {
		v.addf("log-format", "%q is not a form of log lines; write text or json", v.s.LogFormat)
	}
	if v.s.LogLevel != levelName(v.s.Level()) {
		v.addf("log-level", "%q is not a level; write debug, info, warn or error", v.s.LogLevel)
	}
}

// levelName is the level in the way of --log-level.
func levelName(level slog.Level) string { return strings.ToLower(level.String()) }
