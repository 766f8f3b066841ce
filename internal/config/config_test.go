package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
)

// writeFile puts a file with the given content into a folder of its own.
func writeFile(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// parse parses and checks flags with an environment of its own.
func parse(env []string, flags ...string) (*Serve, error) {
	s := &Serve{sources: sources{environ: func() []string { return env }}}
	if err := s.parse(flags...); err != nil {
		return s, err
	}
	return s, validate(s)
}

// mustParse parses flags with an environment of its own. Whether the settings go together is not checked.
func mustParse(t testing.TB, env []string, flags ...string) *Serve {
	t.Helper()
	s := &Serve{sources: sources{environ: func() []string { return env }}}
	if err := errors.Join(s.parse(flags...), s.problems.err()); err != nil {
		t.Fatalf("parse %q %q: %v", env, flags, err)
	}
	return s
}

// validate checks the settings without the files that they name.
func validate(s *Serve) error {
	v := validation{s: s, problems: slices.Clone(s.problems)}
	v.settings()
	v.loadOrigins(new(Loaded))
	v.loadProxies(new(Loaded))
	return v.err()
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	s := mustParse(t, nil)
	if s.Node == "" {
		t.Error("the instance has no name")
	}
	got := *s
	got.sources, got.Node = sources{}, ""
	want := Serve{
		Listen: ":42069", AdminListen: "127.0.0.1:42070", RedisPrefix: "ms", MaxMessageBytes: 32768, MaxGroups: 1024,
		PingInterval: 30 * time.Second, IdentifyTimeout: 10 * time.Second, HandshakeTimeout: 10 * time.Second,
		MessageTimeout: 30 * time.Second, SendQueueBytes: 1 << 20, PresenceMembers: 10_000, RequestMemory: 64 << 20,
		HTTPAPI: true, TCPGap: time.Millisecond, WriteTimeout: 30 * time.Second, DrainTimeout: 30 * time.Second, TeamHealthcheck: 30 * time.Second, FleetCommandEvent: "cmd", LogFormat: "text", LogLevel: "info",
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Serve{}, sources{})); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	if w := s.Warnings(); len(w) != 0 {
		t.Errorf("warnings about the defaults: %q", w)
	}
}

// settingValues has, for each setting, four values that are right and differ, and how to read the setting.
var settingValues = map[string]struct {
	values [3]string // for the file, the environment and the flag
	get    func(*Serve) any
	want   [3]any
}{
	"listen":              {[3]string{"a:1", "b:2", "c:3"}, func(s *Serve) any { return s.Listen }, [3]any{Address("a:1"), Address("b:2"), Address("c:3")}},
	"tcp-listen":          {[3]string{"a:1", "b:2", "c:3"}, func(s *Serve) any { return s.TCPListen }, [3]any{Address("a:1"), Address("b:2"), Address("c:3")}},
	"admin-listen":        {[3]string{"a:1", "off", "c:3"}, func(s *Serve) any { return s.AdminListen }, [3]any{Address("a:1"), Address(""), Address("c:3")}},
	"tls-listen":          {[3]string{"a:1", "off", "c:3"}, func(s *Serve) any { return s.TLSListen }, [3]any{Address("a:1"), Address(""), Address("c:3")}},
	"tls-cert":            {[3]string{"/a", "/b", "/c"}, func(s *Serve) any { return s.TLSCert }, [3]any{"/a", "/b", "/c"}},
	"tls-key":             {[3]string{"/a", "/b", "/c"}, func(s *Serve) any { return s.TLSKey }, [3]any{"/a", "/b", "/c"}},
	"tls-client-ca":       {[3]string{"/a", "/b", "/c"}, func(s *Serve) any { return s.TLSClientCA }, [3]any{"/a", "/b", "/c"}},
	"admin-tls":           {[3]string{"true", "false", "true"}, func(s *Serve) any { return s.AdminTLS }, [3]any{true, false, true}},
	"enable":              {[3]string{"team", "echo", "echo,team"}, func(s *Serve) any { return strings.Join(s.Enable, " ") }, [3]any{"team", "echo", "echo team"}},
	"fleet-file":          {[3]string{"/a", "/b", "/c"}, func(s *Serve) any { return s.FleetFile }, [3]any{"/a", "/b", "/c"}},
	"fleet-command-event": {[3]string{"a", "b", "c"}, func(s *Serve) any { return s.FleetCommandEvent }, [3]any{"a", "b", "c"}},
	"fleet-anonymous":     {[3]string{"true", "false", "true"}, func(s *Serve) any { return s.FleetAnonymous }, [3]any{true, false, true}},
	"team-anonymous":      {[3]string{"true", "false", "true"}, func(s *Serve) any { return s.TeamAnonymous }, [3]any{true, false, true}},
	"team-healthcheck":    {[3]string{"1s", "2s", "1m30s"}, func(s *Serve) any { return s.TeamHealthcheck }, [3]any{time.Second, 2 * time.Second, 90 * time.Second}},
	"allowed-hosts":       {[3]string{"'*'", "hub.a.b,10.0.0.1", "*.a.b"}, func(s *Serve) any { return strings.Join(s.AllowedHosts, " ") }, [3]any{"*", "hub.a.b 10.0.0.1", "*.a.b"}},
	"allowed-origins":     {[3]string{"'*'", "https://a.b,http://c.d:80", "https://*.e.f"}, func(s *Serve) any { return strings.Join(s.AllowedOrigins, " ") }, [3]any{"*", "https://a.b http://c.d:80", "https://*.e.f"}},
	"token":               {[3]string{"aa", "bb", "cc"}, func(s *Serve) any { return s.Token.Reveal() }, [3]any{"aa", "bb", "cc"}},
	"token-file":          {[3]string{"/a", "/b", "/c"}, func(s *Serve) any { return s.TokenFile }, [3]any{"/a", "/b", "/c"}},
	"tokens-file":         {[3]string{"/a", "b", "c"}, func(s *Serve) any { return s.TokensFile }, [3]any{"/a", "b", "c"}},
	"oidc-issuer":         {[3]string{"https://a", "https://b", "https://c"}, func(s *Serve) any { return s.OIDCIssuer }, [3]any{"https://a", "https://b", "https://c"}},
	"oidc-audience":       {[3]string{"a", "b,c", "d"}, func(s *Serve) any { return strings.Join(s.OIDCAudience, " ") }, [3]any{"a", "b c", "d"}},
	"issuers-file":        {[3]string{"/a", "/b", "/c"}, func(s *Serve) any { return s.IssuersFile }, [3]any{"/a", "/b", "/c"}},
	"oidc-jwks":           {[3]string{"/a", "https://b/keys", "/c"}, func(s *Serve) any { return s.OIDCJWKS }, [3]any{"/a", "https://b/keys", "/c"}},
	"oidc-ca":             {[3]string{"/a", "/b", "/c"}, func(s *Serve) any { return s.OIDCCA }, [3]any{"/a", "/b", "/c"}},
	"oidc-bearer-file":    {[3]string{"/a", "/b", "/c"}, func(s *Serve) any { return s.OIDCBearerFile }, [3]any{"/a", "/b", "/c"}},
	"redis":               {[3]string{"redis://a", "rediss://b:1", "unix:///c"}, func(s *Serve) any { return s.Redis.Reveal() }, [3]any{"redis://a", "rediss://b:1", "unix:///c"}},
	"redis-prefix":        {[3]string{"a", "b", "c"}, func(s *Serve) any { return s.RedisPrefix }, [3]any{"a", "b", "c"}},
	"history": {
		[3]string{`[{groups: "a", age: 1h}]`, `[{"groups":"b","age":"1h"}]`, `[{groups: c, age: 1h}]`}, func(s *Serve) any { return s.History },
		[3]any{`[{"age":"1h","groups":"a"}]`, `[{"groups":"b","age":"1h"}]`, `[{groups: c, age: 1h}]`},
	},
	"node":                        {[3]string{"a", "b", "c"}, func(s *Serve) any { return s.Node }, [3]any{"a", "b", "c"}},
	"http-api":                    {[3]string{"false", "true", "false"}, func(s *Serve) any { return s.HTTPAPI }, [3]any{false, true, false}},
	"ready-without-broker":        {[3]string{"true", "false", "true"}, func(s *Serve) any { return s.ReadyWithoutBroker }, [3]any{true, false, true}},
	"loops":                       {[3]string{"1", "2", "3"}, func(s *Serve) any { return s.Loops }, [3]any{1, 2, 3}},
	"max-connections":             {[3]string{"1", "2", "3"}, func(s *Serve) any { return s.MaxConnections }, [3]any{1, 2, 3}},
	"max-message-bytes":           {[3]string{"1000", "2KiB", "3 kb"}, func(s *Serve) any { return s.MaxMessageBytes }, [3]any{Size(1000), Size(2048), Size(3000)}},
	"max-groups":                  {[3]string{"32", "33", "34"}, func(s *Serve) any { return s.MaxGroups }, [3]any{32, 33, 34}},
	"max-connections-per-address": {[3]string{"1", "2", "3"}, func(s *Serve) any { return s.MaxConnectionsPerAddress }, [3]any{1, 2, 3}},
	"presence-members":            {[3]string{"1", "2", "3"}, func(s *Serve) any { return s.PresenceMembers }, [3]any{1, 2, 3}},
	"trusted-proxies":             {[3]string{"10.0.0.1", "10.0.0.0/8,::1", "fd00::/8"}, func(s *Serve) any { return strings.Join(s.TrustedProxies, " ") }, [3]any{"10.0.0.1", "10.0.0.0/8 ::1", "fd00::/8"}},
	"send-queue-total":            {[3]string{"2000000", "2MiB", "3GB"}, func(s *Serve) any { return s.SendQueueTotal }, [3]any{Size(2e6), Size(2 << 20), Size(3e9)}},
	"request-memory":              {[3]string{"2000000", "2MiB", "3MB"}, func(s *Serve) any { return s.RequestMemory }, [3]any{Size(2e6), Size(2 << 20), Size(3e6)}},
	"send-queue-bytes":            {[3]string{"2000000", "2MiB", "3MB"}, func(s *Serve) any { return s.SendQueueBytes }, [3]any{Size(2e6), Size(2 << 20), Size(3e6)}},
	"tcp-gap":                     {[3]string{"0s", "2ms", "1s"}, func(s *Serve) any { return s.TCPGap }, [3]any{time.Duration(0), 2 * time.Millisecond, time.Second}},
	"write-timeout":               {[3]string{"1s", "2m", "3h"}, func(s *Serve) any { return s.WriteTimeout }, [3]any{time.Second, 2 * time.Minute, 3 * time.Hour}},
	"handshake-timeout":           {[3]string{"1s", "2s", "3s"}, func(s *Serve) any { return s.HandshakeTimeout }, [3]any{time.Second, 2 * time.Second, 3 * time.Second}},
	"message-timeout":             {[3]string{"1s", "2s", "3s"}, func(s *Serve) any { return s.MessageTimeout }, [3]any{time.Second, 2 * time.Second, 3 * time.Second}},
	"identify-timeout":            {[3]string{"1s", "2s", "3s"}, func(s *Serve) any { return s.IdentifyTimeout }, [3]any{time.Second, 2 * time.Second, 3 * time.Second}},
	"ping-interval":               {[3]string{"1s", "2s", "1m30s"}, func(s *Serve) any { return s.PingInterval }, [3]any{time.Second, 2 * time.Second, 90 * time.Second}},
	"drain-timeout":               {[3]string{"0s", "2s", "3s"}, func(s *Serve) any { return s.DrainTimeout }, [3]any{time.Duration(0), 2 * time.Second, 3 * time.Second}},
	"drain-rate":                  {[3]string{"1", "20", "300"}, func(s *Serve) any { return s.DrainRate }, [3]any{1, 20, 300}},
	"log-format":                  {[3]string{"json", "text", "json"}, func(s *Serve) any { return s.LogFormat }, [3]any{"json", "text", "json"}},
	"log-level":                   {[3]string{"debug", "warn", "error"}, func(s *Serve) any { return s.LogLevel }, [3]any{"debug", "warn", "error"}},

	"redis-username":               {[3]string{"/a", "/b", "/c"}, func(s *Serve) any { return s.RedisUsername }, [3]any{"/a", "/b", "/c"}},
	"redis-username-file":          {[3]string{"/a", "/b", "/c"}, func(s *Serve) any { return s.RedisUsernameFile }, [3]any{"/a", "/b", "/c"}},
	"redis-password-file":          {[3]string{"/a", "/b", "/c"}, func(s *Serve) any { return s.RedisPasswordFile }, [3]any{"/a", "/b", "/c"}},
	"redis-sentinel-username":      {[3]string{"/a", "/b", "/c"}, func(s *Serve) any { return s.RedisSentinelUsername }, [3]any{"/a", "/b", "/c"}},
	"redis-sentinel-password-file": {[3]string{"/a", "/b", "/c"}, func(s *Serve) any { return s.RedisSentinelPasswordFile }, [3]any{"/a", "/b", "/c"}},
	"redis-ca":                     {[3]string{"/a", "/b", "/c"}, func(s *Serve) any { return s.RedisCA }, [3]any{"/a", "/b", "/c"}},
	"redis-cert":                   {[3]string{"/a", "/b", "/c"}, func(s *Serve) any { return s.RedisCert }, [3]any{"/a", "/b", "/c"}},
	"redis-key":                    {[3]string{"/a", "/b", "/c"}, func(s *Serve) any { return s.RedisKey }, [3]any{"/a", "/b", "/c"}},
	"redis-server-name":            {[3]string{"/a", "/b", "/c"}, func(s *Serve) any { return s.RedisServerName }, [3]any{"/a", "/b", "/c"}},
	"cluster-secret-file":          {[3]string{"/a", "/b", "/c"}, func(s *Serve) any { return s.ClusterSecretFile }, [3]any{"/a", "/b", "/c"}},
	"advertise":                    {[3]string{"http://a", "https://b:1", "http://c:2"}, func(s *Serve) any { return s.Advertise }, [3]any{"http://a", "https://b:1", "http://c:2"}},
	"advertise-ca":                 {[3]string{"/a", "/b", "/c"}, func(s *Serve) any { return s.AdvertiseCA }, [3]any{"/a", "/b", "/c"}},
	"redis-password":               {[3]string{"a", "b", "c"}, func(s *Serve) any { return s.RedisPassword.Reveal() }, [3]any{"a", "b", "c"}},
}

// TestPrecedence sets each setting in each combination of sources.
func TestPrecedence(t *testing.T) {
	t.Parallel()
	for _, name := range settingNames() {
		if _, ok := settingValues[name]; !ok {
			t.Errorf("the table lacks the setting %s", name)
		}
	}
	for name, c := range settingValues {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := writeFile(t, "hub.yaml", "\n"+name+": "+c.values[0]+"\n")
			file := []string{"--config=" + path}
			env := []string{envName(name) + "=" + c.values[1], "HOME=/", "MASTERSOCKET_NODE="}
			flag := "--" + name + "=" + c.values[2]
			for _, s := range []struct {
				source int
				origin string
				env    []string
				flags  []string
			}{
				{0, path + ":2", nil, file},
				{1, envName(name), env, nil},
				{1, envName(name), env, file},
				{2, "--" + name, nil, []string{flag}},
				{2, "--" + name, nil, append(file, flag)},
				{2, "--" + name, env, []string{flag}},
				{2, "--" + name, env, append(file, flag)},
			} {
				got := mustParse(t, s.env, s.flags...)
				if v := c.get(got); v != c.want[s.source] {
					t.Errorf("env %q, flags %q: %v, want %v", s.env, s.flags, v, c.want[s.source])
				}
				if origin := got.Origin(name); origin != s.origin {
					t.Errorf("env %q, flags %q: Origin = %q, want %q", s.env, s.flags, origin, s.origin)
				}
			}
			// A variable that is set but empty counts as not set.
			if v := c.get(mustParse(t, []string{envName(name) + "="}, file...)); v != c.want[0] {
				t.Errorf("with an empty variable: %v, want that of the file, %v", v, c.want[0])
			}
		})
	}
}

func TestConfigFileFromEnvironment(t *testing.T) {
	t.Parallel()
	one, two := writeFile(t, "one.yaml", "node: one"), writeFile(t, "two.yaml", "node: two")
	if s := mustParse(t, []string{"MASTERSOCKET_CONFIG=" + one}); s.Node != "one" || s.Config != one {
		t.Errorf("node %q of %q, want that of the file in the environment", s.Node, s.Config)
	}
	if s := mustParse(t, []string{"MASTERSOCKET_CONFIG=" + one}, "--config", two); s.Node != "two" || s.Config != two {
		t.Errorf("node %q of %q, want that of the file in the flag", s.Node, s.Config)
	}
}

func TestFileForms(t *testing.T) {
	t.Parallel()
	path := writeFile(t, "hub.yaml", `
# Lists and quotes are YAML's own.
allowed-origins:
  - https://app.example.com
  - "https://a,b.example.com"
max-message-bytes: 1KiB
token-file: secrets/token
tokens-file: /etc/tokens.yaml
tcp-listen: ""
admin-listen: off
`)
	s := mustParse(t, nil, "--config", path)
	want := []string{"https://app.example.com", "https://a,b.example.com"}
	if diff := cmp.Diff(want, s.AllowedOrigins); diff != "" {
		t.Errorf("allowed-origins (-want +got):\n%s", diff)
	}
	if want := filepath.Join(filepath.Dir(path), "secrets", "token"); s.TokenFile != want {
		t.Errorf("token-file = %q, want it beside the file: %q", s.TokenFile, want)
	}
	if s.TokensFile != "/etc/tokens.yaml" || s.TCPListen != "" || s.AdminListen != "" || s.MaxMessageBytes != 1024 {
		t.Errorf("tokens-file %q, tcp-listen %q, admin-listen %q, max-message-bytes %v",
			s.TokensFile, s.TCPListen, s.AdminListen, s.MaxMessageBytes)
	}
	for _, content := range []string{"", "# nothing\n", "---\n", "{}"} {
		mustParse(t, nil, "--config", writeFile(t, "empty.yaml", content))
	}
}

// TestInACommand parses a Serve the way a program has it: embedded in one of several commands, each with flags of its
// own.
func TestInACommand(t *testing.T) {
	t.Parallel()
	type serve struct {
		Serve `embed:""`
		Other string `default:"other"`
	}
	var cli struct {
		Verbose bool
		Serve   serve    `cmd:""`
		Pub     struct{} `cmd:""`
	}
	parser := kong.Must(&cli, kong.Exit(func(int) { t.Error("exit") }))
	cli.Serve.environ = func() []string {
		return []string{"MASTERSOCKET_OTHER=x", "MASTERSOCKET_VERBOSE=true", "MASTERSOCKET_NODE=n"}
	}
	if _, err := parser.Parse([]string{"serve", "--loops=2"}); err != nil {
		t.Fatal(err)
	}
	if cli.Serve.Node != "n" || cli.Serve.Loops != 2 || cli.Serve.Other != "other" || cli.Verbose {
		t.Errorf("parsed %+v", cli)
	}
	if w := cli.Serve.Warnings(); len(w) != 2 {
		t.Errorf("warnings %q, want one for each variable that is no setting", w)
	}
	// Another command doesn't care about the hub's settings.
	cli.Serve.environ = func() []string { return []string{"MASTERSOCKET_LOOPS=many"} }
	if _, err := parser.Parse([]string{"pub"}); err != nil {
		t.Errorf("pub: %v", err)
	}
	if _, err := parser.Parse([]string{"serve"}); err != nil {
		t.Errorf("serve: %v; what is wrong in the environment is an error of Load", err)
	}
	_, err := cli.Serve.Load()
	var invalid *InvalidError
	if !errors.As(err, &invalid) || len(invalid.Problems) != 1 || invalid.Problems[0].Where != "MASTERSOCKET_LOOPS" {
		t.Errorf("serve: %v, want an InvalidError about MASTERSOCKET_LOOPS", err)
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	path := writeFile(t, "hub.yaml", "node: file\nloops: 1\nmax-connections: 10\nlog-level: debug\n")
	env := []string{"MASTERSOCKET_MAX_CONNECTIONS=20"}
	s := mustParse(t, env, "--config", path, "--loops=3", "--token=hush", "--allowed-origins=https://team.example", "--ready-without-broker")
	if err := os.WriteFile(path, []byte("node: changed\nloops: 7\nmax-connections: 70\nallowed-origins: https://fleet.example"), 0o600); err != nil {
		t.Fatal(err)
	}
	fresh, err := s.Reload()
	if err != nil {
		t.Fatal(err)
	}
	if fresh.Node != "changed" || fresh.LogLevel != "info" {
		t.Errorf("node %q, log-level %q, want those of the changed file and of the default", fresh.Node, fresh.LogLevel)
	}
	if fresh.Loops != 3 || fresh.Token != "hush" || strings.Join(fresh.AllowedOrigins, ",") != "https://team.example" || !fresh.ReadyWithoutBroker {
		t.Errorf("loops %d, origins %v, ready %v: a flag lost against the file", fresh.Loops, fresh.AllowedOrigins, fresh.ReadyWithoutBroker)
	}
	if fresh.MaxConnections != 20 {
		t.Errorf("max-connections = %d, want that of the environment", fresh.MaxConnections)
	}
	if fresh.Config != path || fresh.Origin("loops") != "--loops" {
		t.Errorf("config %q, origin of loops %q", fresh.Config, fresh.Origin("loops"))
	}
	if s.Node != "file" || s.LogLevel != "debug" {
		t.Error("Reload changed the old settings")
	}

	if err := os.WriteFile(path, []byte("nod: x"), 0o600); err != nil {
		t.Fatal(err)
	}
	bad, err := fresh.Reload()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bad.Load(); err == nil || !strings.Contains(err.Error(), path+":1") {
		t.Errorf("Load after Reload of a bad file: %v, want its line", err)
	}
}
