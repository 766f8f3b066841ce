// Package importrules holds the rule that imports go downward: transport → hub → what serves it, and never back.
package importrules

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/mastersocket/mastersocket/"

// rules say, for each package of the product, which of its own module it may import. internal/ packages below are
// helpers that know nothing of the product.
var rules = map[string]struct {
	allowed []string
	why     string
}{
	"intent":                   {nil, "the vocabulary of everybody else"},
	"opcodes":                  {[]string{"intent"}, "the wire format knows targets, and neither sockets nor clients"},
	"auth":                     {[]string{"intent", "internal/yamldoc"}, "a grant is about intents; the tokens file is YAML"},
	"auth/oidc":                {[]string{"auth"}, "whose token is good is one question, what its holder may do another"},
	"internal/handshake":       {nil, "bytes in, bytes out: the server and the checker of settings share one parser"},
	"transport/internal/":      {nil, "frames and JSON streams are bytes in, bytes out; they know no socket"},
	"transport":                {[]string{"internal/handshake", "transport/internal/"}, "sockets know nothing of what messages mean, so that any service type can use them"},
	"broker":                   {nil, "instances exchange bytes, whatever the hub puts into them"},
	"broker/brokertest":        {[]string{"broker", "internal/eventually"}, "what every broker must do is told by the interface alone"},
	"broker/internal/":         {[]string{"broker", "broker/internal/"}, "what both brokers are made of knows neither"},
	"broker/memory":            {[]string{"broker", "broker/internal/"}, "one implementation knows nothing of the other"},
	"broker/redis":             {[]string{"broker", "broker/internal/", "broker/redis/resp", "internal/redisurl"}, "one implementation knows nothing of the other"},
	"broker/redis/resp":        {nil, "the protocol of Redis knows no messages"},
	"hub":                      {[]string{"intent", "opcodes", "auth", "transport", "broker", "hub/internal/", "internal/handshake"}, "the hub joins the parts, and knows no operator"},
	"hub/internal/":            {[]string{"broker", "transport"}, "parts of the hub that know neither its clients nor its groups"},
	"admin/console":            {nil, "pages for a browser are files; what they show comes from the API"},
	"admin":                    {[]string{"intent", "opcodes", "auth", "transport", "broker", "hub", "admin/console"}, "operators look at the hub, the hub not at them"},
	"client":                   {[]string{"intent", "opcodes", "client/internal/move"}, "the SDK must build wherever Go does, without the server"},
	"client/internal/move":     {nil, "a state machine without I/O knows no messages and no connections"},
	"sdk/":                     {[]string{"client", "internal/history"}, "the suite plays a hub by itself, so that it judges SDKs by the documents alone; the history checker knows no hub"},
	"examples/":                {[]string{"client"}, "an example uses what its readers can use"},
	"services/team/rtm":        {nil, "both ends of the team protocol share its frames, whatever is behind them"},
	"services/team/bridge":     {[]string{"client", "services/team/rtm"}, "the bridge is a client of the hub like any other, in a process of its own"},
	"services/team/rtmtest":    {[]string{"services/team/rtm", "internal/freeport"}, "the simulated server knows neither hub nor bridge"},
	"services/fleet/wire":      {nil, "the hub and the agent of a fleet share what they say to each other"},
	"services/fleet/lifecycle": {nil, "a state machine without I/O knows no messages and no connections"},
	"services/fleet/agent":     {[]string{"client", "services/fleet/wire"}, "the agent is a client of the hub like any other, in a process of its own"},
	"services/echo/wire":       {nil, "both ends of the echo protocol share its frames, whatever is behind them"},
	"services/echo/client":     {[]string{"services/echo/wire"}, "the client end knows nothing of the hub, and builds wherever Go does"},
	"services/echo/load":       {[]string{"services/echo/client", "services/echo/wire"}, "the load is a client like any other"},
	"internal/yamldoc":         {nil, "YAML documents are read alike for settings and tokens, and know neither"},
	"internal/redisurl":        {nil, "a URL is read by the checker of a configuration and by the broker, so it depends on neither"},
	"internal/":                {[]string{"intent", "auth", "auth/oidc", "opcodes"}, "helpers stay below the hub; hubtest alone is a client of it"},
	"services/":                {[]string{"intent", "opcodes", "auth", "transport", "broker", "hub", "services/"}, "a service type serves its own protocol through the hub"},
	"cmd/":                     {[]string{"intent", "opcodes", "auth", "auth/oidc", "transport", "broker", "broker/memory", "broker/redis", "hub", "admin", "client", "services/", "internal/"}, "the top"},
	"go-redis":                 {[]string{"broker/redis"}, "Redis is one way to connect instances, and only broker/redis knows it"},
	"go-oidc":                  {[]string{"auth/oidc", "internal/oidctest"}, "signed tokens are one way to prove who one is, and only auth/oidc knows it"},
	"huma":                     {[]string{"admin"}, "REST is for operators alone"},
	"prometheus":               {[]string{"admin", "services/team/bridge", "internal/metrics"}, "counting is everybody's, publishing the counts is for what listens to operators: admin, and the bridge, a process of its own"},
}

// leaves are helpers that any package may use.
var leaves = []string{"internal/attempts", "internal/ratelog", "internal/metrics", "internal/hosts"}

type listed struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// covers reports whether the pattern, a package or a folder that ends with a slash, stands for the package.
func covers(pattern, path string) bool {
	return path == pattern || strings.HasSuffix(pattern, "/") && strings.HasPrefix(path, pattern)
}

// ruleOf returns the key of the rules that a path within the module belongs to: of those that cover it the longest.
func ruleOf(path string) string {
	longest := ""
	for key := range rules {
		if covers(key, path) && len(key) > len(longest) {
			longest = key
		}
	}
	return longest
}

// allowed reports whether one of the patterns covers the package.
func allowed(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return covers(p, path) })
}

func TestImportsGoDownward(t *testing.T) {
	t.Parallel()
	checked := 0
	for _, p := range packages(t) {
		path := strings.TrimPrefix(p.ImportPath, module)
		key := ruleOf(path)
		if key == "" {
			t.Errorf("%s has no rule: which packages may it import, and why?", path)
			continue
		}
		for _, imported := range p.Imports {
			checked++
			switch own := strings.TrimPrefix(imported, module); {
			case strings.Contains(imported, "/redis/go-redis/") && !slices.Contains(rules["go-redis"].allowed, path):
				t.Errorf("%s imports go-redis: %s", path, rules["go-redis"].why)
			case (strings.Contains(imported, "/go-oidc/") || strings.Contains(imported, "/go-jose/")) && !slices.Contains(rules["go-oidc"].allowed, path):
				t.Errorf("%s imports go-oidc: %s", path, rules["go-oidc"].why)
			case strings.Contains(imported, "/prometheus/") && !slices.Contains(rules["prometheus"].allowed, path):
				t.Errorf("%s imports prometheus: %s", path, rules["prometheus"].why)
			case strings.Contains(imported, "/danielgtaylor/huma/") && !slices.Contains(rules["huma"].allowed, path):
				t.Errorf("%s imports huma: %s", path, rules["huma"].why)
			case own == imported, slices.Contains(leaves, own), strings.HasPrefix(path, "internal/") && strings.HasPrefix(own, "internal/"):
			case !allowed(rules[key].allowed, own):
				t.Errorf("%s imports %s: %s", path, own, rules[key].why)
			}
		}
	}
	if checked == 0 {
		t.Error("no import was checked")
	}
}

// TestHubCompilesNoRedis: what is built on the hub carries no client of Redis, unless it asks for broker/redis.
func TestHubCompilesNoRedis(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", module+"hub").Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.Lines(string(out)) {
		if strings.Contains(path, "redis") {
			t.Errorf("hub depends on %s", strings.TrimSpace(path))
		}
	}
}
