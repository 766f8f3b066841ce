package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFleets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bot.token"), []byte("secret one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "fleets.yaml")
	content := `
fleets:
  default:
  helium:
    token-file: bot.token
    vital-cogs: [modules.utilities, main]
    healthy-percentage: 99.5
    outdated: shutdown
    ready-timeout: 2m
    health-timeout: 5s
  argon: {token: secret two, outdated: standby}
`
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	s := mustParse(t, nil, "--enable=fleet", "--fleet-file="+path, "--token=0123456789abcdef0123456789abcdef")
	l, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	want := []Fleet{
		{Name: "default", HealthyPercentage: 100, ReadyTimeout: time.Minute, HealthTimeout: 30 * time.Second},
		{
			Name: "helium", Token: "secret one", VitalCogs: []string{"modules.utilities", "main"}, HealthyPercentage: 99.5,
			ShutDownOutdated: true, ReadyTimeout: 2 * time.Minute, HealthTimeout: 5 * time.Second,
		},
		{Name: "argon", Token: "secret two", HealthyPercentage: 100, ReadyTimeout: time.Minute, HealthTimeout: 30 * time.Second},
	}
	if diff := cmp.Diff(want, l.Fleets, cmp.Comparer(func(a, b Secret) bool { return a.Reveal() == b.Reveal() })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if warnings, err := CheckFile(path); err != nil || len(warnings) > 0 {
		t.Errorf("%v %v", warnings, err)
	}
	for _, name := range []string{path, filepath.Join(dir, "bot.token")} {
		if err := os.Chmod(name, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if warnings, err := CheckFile(path); err != nil || len(warnings) != 2 {
		t.Errorf("%v %v", warnings, err)
	}
}

func TestFleetsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		content string
		want    []string // beginnings of the problems, without the path
	}{
		"nothing":                                {"fleets:\n", []string{":1: fleets must have the names of the fleets as keys"}},
		"a list":                                 {"fleets: [a]\n", []string{":1: fleets must have the names of the fleets as keys"}},
		"another key":                            {"fleets: {a: }\nfleet: 1\n", []string{":2: unknown key fleet"}},
		"a bad name":                             {"fleets: {a.b: }\n", []string{":1: a.b is no name for a fleet"}},
		"a name twice":                           {"fleets:\n  a:\n  a:\n", []string{":3: the key a is already on line 2"}},
		"no keys":                                {"fleets: {a: 1}\n", []string{":1: the fleet a must have keys"}},
		"an unknown key":                         {"fleets:\n  a:\n    vital-cog: [x]\n", []string{":3: unknown key vital-cog; did you mean vital-cogs?"}},
		"two tokens":                             {"fleets: {a: {token: x, token-file: /dev/null}}\n", []string{":1: token-file: /dev/null: a fleet's token must be one line", ":1: the fleet a has both token and token-file"}},
		"no token file":                          {"fleets: {a: {token-file: /none/secret-name}}\n", []string{":1: token-file: can't read /none/secret-name"}},
		"an empty token":                         {"fleets: {a: {token: ''}}\n", []string{":1: token: a fleet's token must be one line"}},
		"a token of two lines":                   {"fleets: {a: {token: \"a\\nb\"}}\n", []string{":1: token: a fleet's token must be one line"}},
		"percentages":                            {"fleets: {a: {healthy-percentage: 0}, b: {healthy-percentage: 101}, c: {healthy-percentage: NaN}}\n", []string{":1: healthy-percentage must be", ":1: healthy-percentage must be", ":1: healthy-percentage must be"}},
		"outdated":                               {"fleets: {a: {outdated: true}}\n", []string{":1: outdated must be standby or shutdown"}},
		"timeouts":                               {"fleets: {a: {ready-timeout: 0s}, b: {health-timeout: 2h}, c: {health-timeout: 5}}\n", []string{":1: ready-timeout must be", ":1: health-timeout must be", ":1: health-timeout must be"}},
		"cogs":                                   {"fleets: {a: {vital-cogs: x}, b: {vital-cogs: [{}]}}\n", []string{":1: vital-cogs must be a list", ":1: each of vital-cogs must be a name"}},
		"a token in the place of something else": {"fleets: {a: {outdated: topsecret}}\n", []string{":1: outdated must be"}},
	} {
		path := writeFile(t, "fleets.yaml", c.content)
		_, err := CheckFile(path)
		var got []string
		if err != nil {
			got = strings.Split(strings.ReplaceAll(err.Error(), path, ""), "\n")
		}
		ok := len(got) == len(c.want)
		for i := range got {
			ok = ok && strings.HasPrefix(got[i], c.want[i])
		}
		if !ok || strings.Contains(strings.Join(got, ""), "topsecret") {
			t.Errorf("%s:\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}
