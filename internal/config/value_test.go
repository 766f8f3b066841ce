package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

func TestSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Size{
		"0": 0, "1": 1, "32768": 32768, "7B": 7, "7 b": 7, "32KiB": 32768, "32 kib": 32768, "32Ki": 32768, "1KB": 1000,
		"1MiB": 1 << 20, "1Mi": 1 << 20, "2mb": 2e6, "1GiB": 1 << 30, "3GB": 3e9, "9223372036854775807": math.MaxInt64,
	} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("Size of %q = %d, %v, want %d", text, s, err, want)
		}
	}
	for _, text := range []string{
		"", " ", "KiB", "-1", "+1", "1.5MiB", "1e3", "0x10", "1k", "1m", "1TB", "1 K iB", "9223372036854775808",
		"9007199254740992KiB", "1_000", "010", "00KiB",
	} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err == nil || s != 0 {
			t.Errorf("Size of %q = %d, %v, want an error", text, s, err)
		}
	}
	for size, want := range map[Size]string{0: "0B", 1: "1B", 1000: "1KB", 1024: "1KiB", 32769: "32769B", 3 << 20: "3MiB", 1 << 40: "1024GiB"} {
		var again Size
		if got := size.String(); got != want {
			t.Errorf("Size(%d).String() = %q, want %q", size, got, want)
		} else if err := again.UnmarshalText([]byte(got)); err != nil || again != size {
			t.Errorf("%q read back: %d, %v", got, again, err)
		}
	}
}

// TestSecretsAreHidden prints a Serve with secrets from each source in every usual way, its help and its errors.
func TestSecretsAreHidden(t *testing.T) {
	t.Parallel()
	path := writeFile(t, "hub.yaml", "token: hush\nredis: redis://u:hush@h\n")
	env := []string{"MASTERSOCKET_TOKEN=hush", "MASTERSOCKET_REDIS=redis://u:hush@h"}
	var out bytes.Buffer
	for _, s := range []*Serve{
		mustParse(t, nil, "--token=hush", "--redis=redis://u:hush@h"),
		mustParse(t, env), mustParse(t, nil, "--config", path),
	} {
		if s.Token.Reveal() != "hush" || !strings.Contains(s.Redis.Reveal(), "hush") {
			t.Fatal("the secrets did not arrive")
		}
		s.environ = nil
		for _, v := range []any{s, *s, s.Token, &s.Token, []Secret{s.Redis}} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
				fmt.Fprintf(&out, verb+"\n", v)
			}
			slog.New(slog.NewTextHandler(&out, nil)).Info("", "v", v)
			slog.New(slog.NewJSONHandler(&out, nil)).Info("", "v", v)
			if b, err := json.Marshal(v); err != nil {
				t.Error(err)
			} else {
				out.Write(b)
			}
		}
		fmt.Fprintln(&out, s.Warnings())
		s.Token += " "
		fmt.Fprintln(&out, validate(s))
		parser := kong.Must(s, kong.Writers(&out, &out), kong.Exit(func(int) {}))
		_, _ = parser.Parse([]string{"--help"})
	}
	for _, secret := range []string{"hush", fmt.Sprintf("%x", "hush")} {
		if i := strings.Index(out.String(), secret); i >= 0 {
			t.Errorf("a secret is printed: %.200q", out.String()[max(i-100, 0):])
		}
	}
	if !strings.Contains(out.String(), hidden) {
		t.Error("nothing tells that there is a secret")
	}
	if s := fmt.Sprint(Secret("")); s != "" {
		t.Errorf("the empty secret prints as %q", s)
	}
}

func TestLevel(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError, "loud": slog.LevelInfo,
	} {
		if got := (&Serve{LogLevel: name}).Level(); got != want {
			t.Errorf("Level of %q = %v, want %v", name, got, want)
		}
	}
}

// TestHelp holds the help against what a newcomer needs: each flag has a text, in a group.
func TestHelp(t *testing.T) {
	t.Parallel()
	for _, flag := range kong.Must(new(Serve), kong.NoDefaultHelp()).Model.Flags {
		if flag.Help == "" || !strings.HasSuffix(flag.Help, ".") {
			t.Errorf("--%s: the help %q is no sentence", flag.Name, flag.Help)
		}
		if flag.Group == nil {
			t.Errorf("--%s is in no group", flag.Name)
		}
		if len(flag.Envs) != 0 {
			t.Errorf("--%s has an env tag, which would overrule nothing in the right order", flag.Name)
		}
	}
}
