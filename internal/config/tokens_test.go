package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mastersocket/mastersocket/auth"
)

func tokensYAML(name, token string) string {
	return fmt.Sprintf("tokens:\n- {name: %s, sha256: %s, groups: [a]}\n", name, auth.Hash(token))
}

// loadTokens reads the tokens of s alone.
func loadTokens(s Serve) (tokens *auth.Tokens, generated string, err error) {
	v, l := validation{s: &s}, new(Loaded)
	v.tokens()
	v.loadTokens(l)
	if err := v.err(); err != nil {
		return nil, "", err
	}
	return l.Tokens, l.Generated, nil
}

func TestLoadTokensGenerates(t *testing.T) {
	t.Parallel()
	tokens, generated, err := loadTokens(Serve{})
	if err != nil || auth.CheckToken(generated) != nil {
		t.Fatalf("LoadTokens = %q, %v, want a generated token", generated, err)
	}
	if g, ok := auth.NewStore(tokens).Authenticate(generated); !ok || g.Admin == auth.NoAdmin {
		t.Errorf("the generated token grants %v, %v, want everything", g, ok)
	}
	if _, other, _ := loadTokens(Serve{}); other == generated {
		t.Error("the same token was generated twice")
	}
}

func TestLoadTokens(t *testing.T) {
	t.Parallel()
	s := Serve{
		Token:      "flag",
		TokenFile:  writeFile(t, "token", "file\n"),
		TokensFile: writeFile(t, "tokens.yaml", tokensYAML("svc", "many")),
	}
	for name, c := range map[string]struct {
		serve Serve
		want  []string
	}{
		"token":       {Serve{Token: s.Token}, []string{"flag"}},
		"token-file":  {Serve{TokenFile: s.TokenFile}, []string{"file"}},
		"tokens-file": {Serve{TokensFile: s.TokensFile}, []string{"many"}},
		"all":         {s, []string{"flag", "file", "many"}},
		"CRLF":        {Serve{TokenFile: writeFile(t, "token", "dos\r\n")}, []string{"dos"}},
		"no newline":  {Serve{TokenFile: writeFile(t, "token", "bare")}, []string{"bare"}},
		"longest":     {Serve{TokenFile: writeFile(t, "token", strings.Repeat("x", auth.MaxTokenBytes)+"\r\n")}, []string{strings.Repeat("x", auth.MaxTokenBytes)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tokens, generated, err := loadTokens(c.serve)
			if err != nil || generated != "" || tokens.Len() != len(c.want) {
				t.Fatalf("LoadTokens = %v, %q, %v, want %d tokens", tokens, generated, err, len(c.want))
			}
			for _, token := range c.want {
				if _, ok := auth.NewStore(tokens).Authenticate(token); !ok {
					t.Errorf("the token %.10q is not in force", token)
				}
			}
		})
	}
}

func TestLoadTokensRefuses(t *testing.T) {
	t.Parallel()
	bad := writeFile(t, "tokens.yaml", "tokens:\n- name: a\n  token: hush\n  rate: x\n")
	empty := writeFile(t, "token", "\n")
	for name, c := range map[string]struct {
		serve Serve
		want  []string
	}{
		"token":          {Serve{Token: "hush hush"}, []string{"--token: the token has a space"}},
		"missing files":  {Serve{TokenFile: "/no/a", TokensFile: "/no/b"}, []string{"--token-file: can't read /no/a: no such file", "--tokens-file: can't read /no/b: no such file"}},
		"empty file":     {Serve{TokenFile: empty}, []string{"--token-file: " + empty + ": the token is empty; the file must hold one token"}},
		"folder":         {Serve{TokenFile: t.TempDir()}, []string{"--token-file: can't read "}},
		"two lines":      {Serve{TokenFile: writeFile(t, "token", "hush\nhush\n")}, []string{"--token-file: "}},
		"too long":       {Serve{TokenFile: writeFile(t, "token", strings.Repeat("hush", 2000))}, []string{"--token-file: can't read "}},
		"bad list":       {Serve{TokensFile: bad}, []string{bad + ":3: the token itself", bad + ":4: rate must be"}},
		"everything":     {Serve{TokenFile: empty, TokensFile: bad}, []string{"--token-file: ", bad + ":3: ", bad + ":4: "}},
		"twice":          {Serve{Token: "hush", TokenFile: writeFile(t, "token", "hush")}, []string{"--token-file: the same token is configured twice"}},
		"twice, in list": {Serve{Token: "hush", TokensFile: writeFile(t, "t.yaml", tokensYAML("svc", "hush"))}, []string{`--tokens-file: the same token is configured twice: as "shared" and as "svc"; remove one`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tokens, generated, err := loadTokens(c.serve)
			if tokens != nil || generated != "" {
				t.Errorf("LoadTokens = %v, %q", tokens, generated)
			}
			if diff := cmp.Diff(c.want, problemsOf(t, err, c.want)); diff != "" {
				t.Errorf("problems by their beginnings (-want +got):\n%s", diff)
			}
			if strings.Contains(fmt.Sprint(err), "hush") {
				t.Errorf("the error repeats a token: %v", err)
			}
		})
	}
}

// TestWeakTokens: a token that can be guessed is refused where other machines reach the hub, and warned about elsewhere.
func TestWeakTokens(t *testing.T) {
	t.Parallel()
	const refusal, warning = "needs 16 or more: mastersocket token new", "bits of it are random, fewer than 128: mastersocket token new"
	local := []string{"--listen=127.0.0.1:1", "--tls-listen=[::1]:2", "--tls-cert=/c", "--tls-key=/k", "--tcp-listen=localhost:3"}
	hex32 := strings.Repeat("0f", 16)
	for name, c := range map[string]struct {
		flags         []string
		refused, warn string
	}{
		"4 digits":             {[]string{"--token=7391"}, "--token: the token has 4 characters", ""},
		"4 digits in a file":   {[]string{"--token-file=" + writeFile(t, "token", "7391")}, "token-file: ", ""},
		"admin API alone":      {append(local, "--token=7391", "--admin-listen=:42070"), "--token: the token has 4", ""},
		"4 digits on loopback": {append(local, "--token=7391"), "", "--token: the token has 4 characters, so that at most 13"},
		"15 characters":        {[]string{"--token=abcdefghijklmno"}, "--token: the token has 15", ""},
		"16 characters":        {[]string{"--token=abcdefghijklmnop"}, "", "--token: the token has 16 characters, so that at most 75"},
		"31 digits of hex":     {[]string{"--token=" + hex32[1:]}, "", "--token: "},
		"32 digits of hex":     {[]string{"--token=" + hex32}, "", ""},
		"generated":            {[]string{"--token=" + auth.Generate()}, "", ""},
	} {
		v, l := validation{s: mustParse(t, nil, c.flags...)}, new(Loaded)
		v.tokens()
		v.loadTokens(l)
		if err := fmt.Sprint(v.err()); (v.err() != nil) != (c.refused != "") || c.refused != "" && (!strings.Contains(err, c.refused) || !strings.Contains(err, refusal)) {
			t.Errorf("%s: %v", name, err)
		}
		if (len(v.warnings) > 0) != (c.warn != "") || c.warn != "" && (!strings.HasPrefix(v.warnings[0], c.warn) || !strings.Contains(v.warnings[0], warning)) {
			t.Errorf("%s: warnings %q", name, v.warnings)
		}
	}
}

// TestMarkedToken: what an editor puts before the text of a file is no part of a token.
func TestMarkedToken(t *testing.T) {
	t.Parallel()
	_, _, err := loadTokens(Serve{TokenFile: writeFile(t, "token", byteOrderMark+auth.Generate())})
	if err == nil || !strings.Contains(err.Error(), "the token begins with a byte order mark; save its file as UTF-8 without one") {
		t.Errorf("got %v", err)
	}
}

func TestWarningsAboutSecrets(t *testing.T) {
	t.Parallel()
	open := func(content string) string {
		path := writeFile(t, "file", content)
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	token, settings := open("hush\n"), open("token: hush")
	for name, c := range map[string]struct {
		env   []string
		flags []string
		want  string
	}{
		"flag":          {nil, []string{"--token=hush"}, "--token: every user"},
		"environment":   {[]string{"MASTERSOCKET_TOKEN=hush"}, nil, ""},
		"private file":  {nil, []string{"--token-file", writeFile(t, "t", "hush")}, ""},
		"open file":     {nil, []string{"--token-file", token}, token + ": every user"},
		"missing file":  {nil, []string{"--token-file=/no"}, ""},
		"open settings": {nil, []string{"--config", settings}, settings + ": every user"},
		"overruled":     {[]string{"MASTERSOCKET_TOKEN=a"}, []string{"--config", settings}, ""},
		"no secret":     {nil, []string{"--config", open("node: a")}, ""},
		"redis":         {nil, []string{"--redis=redis://u:hush@h"}, "--redis: every user"},
		"bare redis":    {nil, []string{"--redis=redis://h"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := mustParse(t, c.env, c.flags...).Warnings()
			switch {
			case c.want == "" && len(got) != 0, c.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], c.want)):
				t.Errorf("Warnings = %q, want %q", got, c.want)
			case strings.Contains(strings.Join(got, ""), "hush"):
				t.Errorf("the warning repeats the secret: %q", got)
			}
		})
	}
}

func TestCheckFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tokens := write("tokens.yaml", tokensYAML("svc", "x"))
	bad := write("bad.yaml", "tokens:\n- name: a\n")
	hub := write("hub.yaml", "tokens-file: tokens.yaml\nmax-message-bytes: 64KiB\n")
	badHub := write("bad-hub.yaml", "nod: a\nloops: 999\ntokens-file: bad.yaml\ntoken-file: none\n")
	badToken := write("bad-token.yaml", "token: a b")
	inline := write("inline.yaml", "node: a\ntokens: []")
	for path, want := range map[string][]string{
		tokens: nil,
		hub:    nil,
		bad:    {bad + ":2: the entry has no sha256"},
		badHub: {
			badHub + `:1: unknown setting "nod"`, badHub + ":2: loops: 999", badHub + ":4: token-file: can't read " + dir + "/none",
			bad + ":2: the entry has no sha256",
		},
		badToken:   {badToken + ":1: token: the token has a space"},
		inline:     {inline + ":2: tokens have a file of their own"},
		dir + "/x": {dir + "/x: can't read the file: no such file"},
		dir:        {dir + ": can't read the file: is a directory"},
	} {
		_, err := CheckFile(path)
		if diff := cmp.Diff(want, problemsOf(t, err, want)); diff != "" {
			t.Errorf("CheckFile(%s) (-want +got):\n%s", filepath.Base(path), diff)
		}
	}
	empty := write("empty.yaml", "\n")
	if warnings, err := CheckFile(empty); err != nil || len(warnings) != 1 || !strings.HasPrefix(warnings[0], empty+": the file is empty") {
		t.Errorf("CheckFile of an empty file: %q, %v", warnings, err)
	}
}
