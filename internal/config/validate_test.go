package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// problemsOf returns the problems in err, each cut to the length of the one at the same place in want if it begins so.
func problemsOf(t *testing.T, err error, want []string) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	var invalid *InvalidError
	if !errors.As(err, &invalid) {
		t.Fatalf("error %v of type %T, want an InvalidError", err, err)
	}
	var got []string
	for i, p := range invalid.Problems {
		text := p.String()
		if i < len(want) && strings.HasPrefix(text, want[i]) {
			text = want[i]
		}
		got = append(got, text)
	}
	return got
}

func TestBadFile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		content string
		want    []string // FILE stands for the path
	}{
		"unknown":           {"lisen: a:1", []string{`FILE:1: unknown setting "lisen"; did you mean listen?`}},
		"underscore":        {"\nmax_message_bytes: 1000", []string{`FILE:2: unknown setting "max_message_bytes"; did you mean max-message-bytes?`}},
		"far from any":      {"color: red", []string{`FILE:1: unknown setting "color"; see`}},
		"long":              {strings.Repeat("x", 50) + ": red", []string{`FILE:1: unknown setting; see`}},
		"help":              {"help: true", []string{`FILE:1: unknown setting "help"`}},
		"config":            {"config: other.yaml", []string{"FILE:1: a file can't name another one"}},
		"inline tokens":     {"node: a\ntokens: []", []string{"FILE:2: tokens have a file of their own"}},
		"repeated":          {"node: a\nnode: b", []string{"FILE:2: the key node is already on line 1"}},
		"no value":          {"node:", []string{"FILE:1: node: there is no value"}},
		"mapped":            {"node: {a: b}", []string{"FILE:1: node: the value must be a plain one"}},
		"list for one":      {"loops: [1]", []string{"FILE:1: loops: the value must be a plain one, such as 0"}},
		"map in list":       {"allowed-origins: [a: b]", []string{"FILE:1: allowed-origins: each item of the list must be plain text"}},
		"duration":          {"ping-interval: 30", []string{`FILE:1: ping-interval: "30" is not a duration; write a number with a unit, such as 30s`}},
		"size":              {"max-message-bytes: 32k", []string{`FILE:1: max-message-bytes: "32k" is not a size; write`}},
		"number":            {"loops: few", []string{`FILE:1: loops: "few" is not a whole number`}},
		"bool":              {"ready-without-broker: maybe", []string{`FILE:1: ready-without-broker: "maybe" is neither true nor false`}},
		"tab":               {"node: a\n\tb", []string{"FILE:2: not valid YAML: "}},
		"second document":   {"node: a\n---\nnode: b", []string{"FILE:2: a second YAML document"}},
		"scalar":            {"hello", []string{"FILE:1: the file must have one setting a line"}},
		"list":              {"- node: a", []string{"FILE:1: the file must have one setting a line"}},
		"bare star":         {"allowed-origins: *", []string{"FILE:1: not valid YAML: "}},
		"octal":             {"max-connections: 0100", []string{`FILE:1: max-connections: "0100" is not a whole number in decimal`}},
		"hex":               {"loops: 0x2\ndrain-rate: 1_0", []string{`FILE:1: loops: "0x2" is not a whole number`, `FILE:2: drain-rate: "1_0" is not a whole number`}},
		"octal size":        {"max-message-bytes: 010000", []string{`FILE:1: max-message-bytes: "010000" is not a size`}},
		"merged":            {"<<: {nod: a}", []string{`FILE:1: unknown setting "nod"`}},
		"merge of a word":   {"<<: a", []string{"FILE:1: a merge key (<<) must have a mapping"}},
		"list as key":       {"[a]: b", []string{"FILE:1: a key here is not a plain word"}},
		"semantic":          {"log-level: loud\nloops: -1", []string{"FILE:2: loops: -1 is out of range", `FILE:1: log-level: "loud" is not a level`}},
		"both kinds":        {"nod: a\nlog-level: loud", []string{`FILE:1: unknown setting "nod"; did you mean node?`, `FILE:2: log-level: "loud"`}},
		"too great a file":  {"# " + strings.Repeat("x", maxFileBytes), []string{"FILE: can't read the file with the settings: it has more than 1MiB"}},
		"token with spaces": {"token: a hush", []string{"FILE:1: token: the token has a space"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := writeFile(t, "hub.yaml", c.content)
			for i := range c.want {
				c.want[i] = strings.Replace(c.want[i], "FILE", path, 1)
			}
			_, err := parse(nil, "--config", path)
			if diff := cmp.Diff(c.want, problemsOf(t, err, c.want)); diff != "" {
				t.Errorf("problems by their beginnings (-want +got):\n%s", diff)
			}
			// The same by the command that checks a file, which may find more.
			_, err = CheckFile(path)
			checked := problemsOf(t, err, c.want)
			if diff := cmp.Diff(c.want, checked); diff != "" && name != "too great a file" {
				t.Errorf("CheckFile (-want +got):\n%s", diff)
			}
		})
	}
	for _, path := range []string{"/nonexistent/hub.yaml", t.TempDir()} {
		_, err := parse(nil, "--config", path)
		want := []string{path + ": can't read the file with the settings: "}
		if diff := cmp.Diff(want, problemsOf(t, err, want)); diff != "" {
			t.Errorf("problems (-want +got):\n%s", diff)
		}
	}
}

func TestBadEnvironment(t *testing.T) {
	t.Parallel()
	env := []string{
		"MASTERSOCKET_LOOPS=few", "MASTERSOCKET_WRITE_TIMEOUT=soon", "MASTERSOCKET_LOG_FORMAT=xml", "MASTERSOCKET_TOKEN=a hush",
	}
	_, err := parse(env, "--log-level=loud")
	want := []string{
		`MASTERSOCKET_LOOPS: "few" is not a whole number`,
		`MASTERSOCKET_WRITE_TIMEOUT: "soon" is not a duration`,
		"MASTERSOCKET_TOKEN: the token has a space",
		`MASTERSOCKET_LOG_FORMAT: "xml" is not a form`,
		`--log-level: "loud" is not a level; write debug, info, warn or error`,
	}
	if diff := cmp.Diff(want, problemsOf(t, err, want)); diff != "" {
		t.Errorf("problems by their beginnings (-want +got):\n%s", diff)
	}
	if strings.Contains(fmt.Sprint(err), "hush") {
		t.Errorf("the error repeats the token: %v", err)
	}
}

// TestBadFlags has values that kong's own types accept.
func TestBadFlags(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		flags string
		want  []string
	}{
		{"--listen=42069", []string{`--listen: "42069" is not an address; write host:port`}},
		{"--listen=:http", []string{`--listen: ":http" has no valid port`}},
		{"--listen=:65536", []string{`--listen: ":65536" has no valid port`}},
		{"--listen=:+80", []string{`--listen: ":+80" has no valid port`}},
		{"--listen=a/b:80", []string{`--listen: "a/b:80" has no valid host`}},
		{"--listen=::1:80", []string{`--listen: "::1:80" is not an address`}},
		{"--listen=off", []string{"--listen: the hub would have no address"}},
		{"--listen=off --tcp-listen=:1", nil},
		{"--listen=[::1]:80 --tcp-listen=localhost:80", nil},
		{"--listen=:0 --tcp-listen=:0 --admin-listen=:0", nil},
		{"--listen=:80 --tcp-listen=1.2.3.4:80", []string{`--tcp-listen: "1.2.3.4:80" is taken by listen (":80")`}},
		{"--listen=:42070", []string{`--admin-listen: "127.0.0.1:42070" is taken by listen`}},
		{"--enable=chat", []string{`--enable: "chat" is no service type: want one of echo, fleet, socketio, team`}},
		{"--enable=echo,echo", []string{`--enable: "echo" is named twice`}},
		{"--enable=echo,team", nil},
		{"--allowed-origins=app.example.com", []string{`--allowed-origins: "app.example.com": write scheme://host`}},
		{"--allowed-origins=https://a.b/,wss://a.b", []string{
			`--allowed-origins: "https://a.b/": an origin ends with its host and port`,
			`--allowed-origins: "wss://a.b": an origin is that of a page`,
		}},
		{"--allowed-origins=https://", []string{`--allowed-origins: "https://": write scheme://host[:port]`}},
		{"--allowed-origins=https://u@a.b", []string{`--allowed-origins: "https://u@a.b": write scheme://host[:port]`}},
		{"--allowed-origins=https://a.*.b", []string{`--allowed-origins: "https://a.*.b": write scheme://host[:port]`}},
		{"--allowed-origins=https://a:x", []string{`--allowed-origins: "https://a:x": write scheme://host[:port]`}},
		{"--allowed-origins=https://a:99999", []string{`--allowed-origins: "https://a:99999": write scheme://host[:port]`}},
		{"--allowed-hosts=https://hub.example.com", []string{`--allowed-hosts: "https://hub.example.com" is not a host name`}},
		{"--allowed-hosts=hub:80,*hub", []string{`--allowed-hosts: "hub:80" is not a host name`, `--allowed-hosts: "*hub" is not a host name`}},
		{"--allowed-hosts=hub,*.example.com,10.0.0.1", nil},
		{"--allowed-origins=*,null,https://*.a.b:81,http://[::1]:80", nil},
		{"--redis=localhost:6379", []string{"--redis: invalid Redis URL: it should begin with redis://"}},
		{"--redis=redis://h/notanumber", []string{"--redis: invalid Redis URL: the database is not a number"}},
		{"--redis=redis+cluster://h?sharded=maybe", []string{"--redis: invalid Redis URL: parameter sharded is neither true nor false"}},
		{"--redis=redis://u:hush%@a", []string{"--redis: invalid Redis URL: user or password: a percent sign"}},
		{"--redis=redis://u:h@/ush@h:6379", []string{"--redis: invalid Redis URL: "}},
		{"--redis=redis://h --max-message-bytes=9MiB --send-queue-bytes=16MiB", []string{"--max-message-bytes: 9MiB is too much with redis"}},
		{"--redis=redis://h --max-message-bytes=8MiB --send-queue-bytes=16MiB", nil},
		{"--max-message-bytes=9MiB --send-queue-bytes=16MiB", nil},
		{"--redis-username=u --redis-password=hush --cluster-secret-file=/f", []string{
			"--redis-username: it has no meaning without redis", "--redis-password: it has no meaning without redis",
			"--cluster-secret-file: it has no meaning without redis",
		}},
		{"--redis=redis://u:hush@h --redis-username=v --redis-password-file=/p", []string{
			"--redis-username: the URL in redis says the same", "--redis-password-file: the URL in redis says the same",
		}},
		{"--redis=redis://h --redis-password=hush --redis-password-file=/p", []string{"--redis-password-file: redis-password says the same"}},
		{"--redis=redis://h --redis-ca=/c --redis-cert=/a --redis-key=/b --redis-server-name=n", []string{
			"--redis-ca: it has no meaning without TLS", "--redis-cert: it has no meaning without TLS",
			"--redis-key: it has no meaning without TLS", "--redis-server-name: it has no meaning without TLS",
		}},
		{"--redis=rediss://h --redis-ca=/c --redis-cert=/a --redis-key=/b --redis-server-name=n", nil},
		{"--redis=rediss://h?skip_verify=1 --redis-ca=/c", []string{"--redis-ca: it has no meaning with skip_verify"}},
		{"--redis=rediss://h --redis-cert=/c", []string{"--redis-cert: redis-key is needed as well"}},
		{"--redis=rediss://h --redis-key=/c", []string{"--redis-key: redis-cert is needed as well"}},
		{"--advertise=http://a:1 --advertise-ca=/c", []string{
			"--advertise: it has no meaning without redis", "--advertise-ca: it has no meaning without redis",
		}},
		{"--redis=redis://h --advertise=http://[fd00::1]:42069 --advertise-ca=/c", nil},
		{"--redis=redis://h --advertise=10.1.2.3:42069", []string{`--advertise: "10.1.2.3:42069" is not the URL of a listener`}},
		{"--redis=redis://h --advertise=ws://a:1", []string{`--advertise: "ws://a:1" is not the URL of a listener`}},
		{"--redis=redis://h --advertise=http://a:1/x", []string{`--advertise: "http://a:1/x" is not the URL of a listener`}},
		{"--redis=redis://h --advertise=http://0.0.0.0:1", []string{`--advertise: "http://0.0.0.0:1" is no address that another instance can reach`}},
		{"--redis=rediss://h --redis-server-name=a/b", []string{`--redis-server-name: "a/b" is not a host name`}},
		{"--redis=redis://h --redis-sentinel-username=u --redis-sentinel-password-file=/p", []string{
			"--redis-sentinel-username: it has no meaning where redis names no Sentinels", "--redis-sentinel-password-file: it has no meaning where",
		}},
		{"--redis=redis+sentinel://h/m --redis-sentinel-username=u --redis-sentinel-password-file=/p", nil},
		{"--redis=redis+sentinel://h/m?sentinel_password=hush --redis-sentinel-password-file=/p", []string{"--redis-sentinel-password-file: the URL in redis says the same"}},
		{"--redis-prefix=", []string{`--redis-prefix: "" can't begin`}},
		{"--redis-prefix={ms}", []string{`--redis-prefix: "{ms}" can't begin`}},
		{"--node=", []string{`--node: "" is no name`}},
		{"--node=a\x1b", []string{`--node: "a\x1b" is no name`}},
		{"--loops=257", []string{"--loops: 257 is out of range; write a number from 0 to 256"}},
		{"--max-connections=-1", []string{"--max-connections: -1 is out of range"}},
		{"--max-message-bytes=255", []string{"--max-message-bytes: 255B is out of range; write a size from 256B to 64MiB"}},
		{"--max-message-bytes=65MiB", []string{"--max-message-bytes: 65MiB is out of range"}},
		{"--max-message-bytes=1MiB", []string{"--send-queue-bytes: 1MiB has no room for one message of max-message-bytes (1MiB); write 1025KiB or more"}},
		{"--max-message-bytes=1MiB --send-queue-bytes=1025KiB", nil},
		{"--ping-interval=0s", []string{"--ping-interval: 0s is out of range; write a duration from 10ms to 24h0m0s"}},
		{"--identify-timeout=25h", []string{"--identify-timeout: 25h0m0s is out of range"}},
		{"--write-timeout=-1s", []string{"--write-timeout: -1s is out of range"}},
		{"--tcp-gap=-1ms", []string{"--tcp-gap: -1ms is out of range; write a duration from 0s to 1s"}},
		{"--tcp-gap=1001ms", []string{"--tcp-gap: 1.001s is out of range"}},
		{"--send-queue-total=1000", []string{"--send-queue-total: 1KB is out of range"}},
		{"--send-queue-total=64MiB", nil},
		{"--trusted-proxies=10.0.0.0/8,fd00::/8,::1,127.0.0.1", nil},
		{"--trusted-proxies=10.0.0.0/33", []string{`--trusted-proxies: "10.0.0.0/33" is neither an address nor a network`}},
		{"--trusted-proxies=lb.example.com", []string{`--trusted-proxies: "lb.example.com" is neither an address nor a network`}},
		{"--max-groups=31", []string{"--max-groups: 31 is out of range"}},
		{"--max-connections-per-address=-1", []string{"--max-connections-per-address: -1 is out of range"}},
		{"--drain-timeout=0s", nil},
		{"--drain-rate=-1", []string{"--drain-rate: -1 is out of range; write a number from 0 to 1000000"}},
		{"--drain-rate=1000001", []string{"--drain-rate: 1000001 is out of range"}},
		{"--team-healthcheck=0s", []string{"--team-healthcheck: 0s is out of range; write a duration from 1s to 24h0m0s"}},
		{"--enable=fleet --fleet-file=/f", nil},
		{"--enable=fleet", []string{"--enable: fleet needs --fleet-file"}},
		{"--fleet-command-event=", []string{`--fleet-command-event: "" can't be the name of the event`}},
		{"--fleet-command-event=hello", []string{`--fleet-command-event: "hello" can't be the name of the event`}},
		{"--log-level=INFO", []string{`--log-level: "INFO" is not a level`}},
		{"--log-format=", []string{`--log-format: "" is not a form`}},
	} {
		t.Run(c.flags, func(t *testing.T) {
			t.Parallel()
			_, err := parse(nil, strings.Fields(c.flags)...)
			if diff := cmp.Diff(c.want, problemsOf(t, err, c.want)); diff != "" {
				t.Errorf("problems by their beginnings (-want +got):\n%s", diff)
			}
			if strings.Contains(fmt.Sprint(err), "hush") {
				t.Errorf("the error repeats the password: %v", err)
			}
		})
	}
}

func TestUnknownVariables(t *testing.T) {
	t.Parallel()
	s := mustParse(t, []string{
		"MASTERSOCKET_LISTN=:1", "MASTERSOCKET_COLOR=red", "MASTERSOCKET_NODE=n", "MASTERSOCKET_EMPTY=", "MASTERSOCKETS=1", "LISTEN=x",
		"MASTERSOCKET_URL=ws://127.0.0.1", // of the client commands
		// What Kubernetes sets for Services named mastersocket and mastersocket-admin.
		"MASTERSOCKET_SERVICE_HOST=10.0.0.1", "MASTERSOCKET_SERVICE_PORT=80", "MASTERSOCKET_SERVICE_PORT_WS=80",
		"MASTERSOCKET_PORT=tcp://10.0.0.1:80", "MASTERSOCKET_PORT_80_TCP=tcp://10.0.0.1:80", "MASTERSOCKET_PORT_80_TCP_PROTO=tcp",
		"MASTERSOCKET_PORT_80_TCP_PORT=80", "MASTERSOCKET_PORT_80_TCP_ADDR=10.0.0.1", "MASTERSOCKET_ADMIN_SERVICE_HOST=10.0.0.2",
		"MASTERSOCKET_ADMIN_PORT_81_UDP_ADDR=10.0.0.2", "MASTERSOCKET_ADMIN_SERVICE_PORT=81",
	})
	want := []string{
		"MASTERSOCKET_COLOR: no setting has this name, so the variable has no effect",
		"MASTERSOCKET_LISTN: no setting has this name, so the variable has no effect; did you mean MASTERSOCKET_LISTEN?",
	}
	if diff := cmp.Diff(want, s.Warnings()); diff != "" {
		t.Errorf("Warnings (-want +got):\n%s", diff)
	}
	// No setting may be taken for one of Kubernetes's.
	for _, name := range settingNames() {
		if foreign(envName(name)) {
			t.Errorf("%s looks like a variable of Kubernetes", envName(name))
		}
	}
}

func TestSuggest(t *testing.T) {
	t.Parallel()
	names := []string{"listen", "loops", "node"}
	for name, want := range map[string]string{
		"lisen": "listen", "listten": "listen", "nodes": "node", "lops": "loops", "xxxx": "", "": "",
	} {
		if got := suggest(name, names); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("suggest(%q) = %q, want %q", name, got, want)
		}
	}
	if !slices.IsSorted(names) {
		t.Error("suggest changed its list")
	}
}
