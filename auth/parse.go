package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/internal/yamldoc"
)

const (
	maxNameBytes = 128
	// maxRate is far beyond what a connection can carry; more is a slip.
	maxRate = 1e9
	// maxTotal is the same for all connections of a holder, in messages or bytes.
	maxTotal = 1e12
)

// ParseTokens reads a tokens file:
//
//	tokens:
//	  - name: billing          # whose token it is, for operators; required, unique
//	    sha256: 9f86d0…        # 64 hexadecimal digits as Hash returns them, or a list of several while tokens rotate
//	    claims: {sub: "a:*"}   # or, instead of sha256, what the claims of a signed token must be; see Store.ByClaims
//	    certificate: {cn: a}   # or, instead of both, the names in a client certificate; see Store.ByCertificate
//	    groups: ["billing.*"]  # see intent.ParsePattern; what is omitted may not be joined
//	    send: ["GROUP:audit"]  # see intent.ParsePermission; what is omitted may not be sent
//	    watch: ["billing.*"]   # groups whose members it may see; omitted: none
//	    hold: ["scheduler"]    # exclusive groups that it may hold; omitted: none
//	    recover: ["billing.*"] # groups of which it may get earlier messages; omitted: all that it may join
//	    admin: false           # true: may use the admin API; read: may look at everything with it, and change nothing
//	    rate: 100              # messages per second for each connection; omitted or 0: unlimited
//	    burst: 200             # how many of them at once after a silence; omitted: as many as rate
//	    total_connections: 50  # on one instance, of one holder; as the next two: omitted or 0: unlimited
//	    total_rate: 1000       # messages per second of all these connections together, FENCEs included
//	    total_bytes: 1000000   # bytes of messages per second of all these connections together
//
// A pattern of groups, send, watch, hold and recover may have placeholders for what the holder's own token or certificate says:
// user.{claim:sub} in an entry with claims, {cert:cn} and {cert:san} in one with certificate. A dot or the pattern's end
// follows each. One whose value is no plain segment of a group's name matches nothing; see [Grant.Unusable].
//
// Nothing is granted that isn't written: without groups and send a token may join no group and send nothing, and ["*"]
// grants all of them. A list of one may be written without brackets. An entry has exactly one of sha256, claims and
// certificate. Of those entries whose claims or names match a client, the first in the file counts: put the particular
// ones before the general.
//
// What would not do what its author meant is an error: unknown and repeated keys, repeated names and hashes,
// malformed patterns, a token in place of its hash, an entry that no client could use, a file without any token. The error
// joins (as [errors.Join] does) one [FileError] for each thing wrong, and repeats no value that might be a token. The
// result is then nil: a file is taken as a whole or not at all.
func ParseTokens(file []byte) (*Tokens, error) {
	root, err := document(file)
	if err != nil {
		return nil, err
	}
	p := parser{names: make(map[string]int), hashes: make(map[hash]int)}
	p.root(root)
	if err := p.err(); err != nil {
		return nil, err
	}
	return newTokens(p.grants), nil
}

// parser is the state of one ParseTokens.
type parser struct {
	problems
	names  map[string]int // the line on which each name stands
	hashes map[hash]int   // and each hash
	grants []*Grant
}

func (p *parser) root(n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		p.addf(n, "the file must have the key tokens with a list of tokens under it")
		return
	}
	var list *yaml.Node
	p.fields(n, func(key string, at, value *yaml.Node) {
		if key != "tokens" {
			p.addf(at, "unknown key %s; a tokens file has one key, tokens", keyName(key))
			return
		}
		list = value
	})
	switch {
	case list == nil:
		p.addf(n, "the key tokens is missing; put the list of tokens under it")
	case list.Kind != yaml.SequenceNode:
		p.addf(list, "tokens must be a list; begin each entry with a dash, as in - name: billing")
	case len(list.Content) == 0:
		p.addf(list, "the list has no token, so no client could connect; add one")
	default:
		for _, item := range list.Content {
			p.entry(item)
		}
	}
}

// entry is one item of the list, as far as it has been read.
type entry struct {
	grant  Grant
	hashes []hash
	rule   rule       // of an entry without hashes; nil for others, and for one that is wrong
	burst  *yaml.Node // where burst stands, if it does
	claims *yaml.Node // the first placeholder for a claim
	names  *yaml.Node // the first placeholder for a name in a certificate
	seen   map[string]bool
}

func (p *parser) entry(item *yaml.Node) {
	n := yamldoc.Resolve(item)
	if n.Kind != yaml.MappingNode {
		p.addf(item, "an entry must have keys such as name and sha256")
		return
	}
	e := entry{seen: make(map[string]bool)}
	before := len(p.problems)
	p.fields(n, func(key string, at, value *yaml.Node) {
		e.seen[key] = true
		p.field(&e, key, at, value)
	})
	p.finish(&e, item, before)
	if e.rule != nil {
		e.grant.rule, e.grant.token = e.rule, identityOf(e.grant.Name, e.rule)
		p.grants = append(p.grants, &e.grant)
		return
	}
	for _, h := range e.hashes {
		g := e.grant
		g.token = h
		p.grants = append(p.grants, &g)
	}
}

func (p *parser) field(e *entry, key string, at, value *yaml.Node) {
	switch key {
	case "name":
		e.grant.Name = p.name(value)
	case "sha256":
		e.hashes = p.sha256(value)
	case "claims":
		e.rule = p.claims(value)
	case "certificate":
		e.rule = p.certificate(value)
	case "groups":
		e.grant.Groups = p.groups(e, rightGroups, key, value)
	case "watch":
		e.grant.Watch = p.groups(e, rightWatch, key, value)
	case "hold":
		e.grant.Hold = p.groups(e, rightHold, key, value)
	case "recover":
		e.grant.Recover, e.grant.limitsRecovery = p.groups(e, rightRecover, key, value), true
	case "send":
		e.grant.Send = p.send(e, value)
	case "admin":
		e.grant.Admin = p.admin(value)
	case "rate":
		e.grant.Rate = p.rate(value)
	case "burst":
		e.grant.Burst, e.burst = p.burst(value), value
	case "total_connections":
		e.grant.Total.Connections = int(p.total(value, key, "a whole number of connections", whole))
	case "total_rate":
		e.grant.Total.Rate = p.total(value, key, "a number of messages per second", decimal)
	case "total_bytes":
		e.grant.Total.Bytes = p.total(value, key, "a number of bytes per second", decimal)
	case "token", "secret", "password":
		p.addf(at, "the token itself does not belong into this file; "+
			"write sha256: and what mastersocket token hash makes of it")
	default:
		p.addf(at, "unknown key %s; an entry has name, sha256 (or claims, or certificate), "+
			"groups, send, watch, hold, recover, admin, rate, burst, total_connections, total_rate and total_bytes", keyName(key))
	}
}

// finish checks the entry as a whole. before is the number of problems before it: whether a client can use the entry is
// checked only if the entry itself has none.
func (p *parser) finish(e *entry, at *yaml.Node, before int) {
	if !e.seen["name"] {
		p.addf(at, "the entry has no name; add one that tells whose token it is")
	}
	switch conditions := countTrue(e.seen["sha256"], e.seen["claims"], e.seen["certificate"]); {
	case conditions > 1:
		p.addf(at, "an entry has exactly one of sha256, claims and certificate; write an entry for each")
	case conditions == 0 && !e.seen["token"]:
		p.addf(at, "the entry has no sha256, claims or certificate; add what mastersocket token hash makes of its token, "+
			"or what the claims of a signed token, or the names in a client certificate, must be")
	}
	if e.claims != nil && !e.seen["claims"] {
		p.addf(e.claims, "{claim:…} needs a signed token; only an entry with claims may have it")
	}
	if e.names != nil && !e.seen["certificate"] {
		p.addf(e.names, "{cert:…} needs a client certificate; only an entry with certificate may have it")
	}
	if len(p.problems) > before {
		return
	}
	useful := len(e.grant.Groups) > 0 || len(e.grant.Send) > 0 ||
		slices.ContainsFunc(e.grant.templates, func(t template) bool { return t.right == rightGroups || t.right == rightSend })
	switch g := &e.grant; {
	case !useful && g.Admin == NoAdmin:
		p.addf(at, "no client could use this token: it may join no group, send nothing, and has no admin rights; "+
			`add groups, such as groups: ["*"] for every one, send for what is sent by HTTP alone, or admin: true`)
	case e.burst != nil && g.Rate == 0:
		p.addf(e.burst, "burst has no meaning without rate; add rate or remove burst")
	case e.burst != nil && g.Burst < 1:
		p.addf(e.burst, "with a burst of 0 no message would ever pass; write 1 or more")
	case e.burst == nil && g.Rate > 0:
		g.Burst = int(math.Ceil(g.Rate))
	}
}

func (p *parser) name(n *yaml.Node) string {
	if !yamldoc.IsText(n) || n.Value == "" || len(n.Value) > maxNameBytes || !utf8.ValidString(n.Value) ||
		strings.ContainsFunc(n.Value, unicode.IsControl) {
		p.addf(n, "name must be 1 to %d bytes of text without control characters", maxNameBytes)
		return ""
	}
	if strings.HasPrefix(n.Value, TokenPrefix) {
		p.addf(n, "name looks like a token; names are shown to operators, so write one that is no secret")
		return ""
	}
	if line, ok := p.names[n.Value]; ok {
		p.addf(n, "the name %q is already on line %d; give each entry its own, "+
			"and several sha256 to one entry whose token rotates", n.Value, line)
	} else {
		p.names[n.Value] = n.Line
	}
	return n.Value
}

func (p *parser) sha256(n *yaml.Node) []hash {
	const what = "64 hexadecimal digits as mastersocket token hash prints them"
	texts := p.texts("sha256", n, what)
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		p.addf(n, "sha256 has no hash; add what mastersocket token hash makes of the token")
	}
	var hashes []hash
	for _, text := range texts {
		var h hash
		if b, err := hex.DecodeString(text.Value); err != nil || copy(h[:], b) != len(h) || len(b) != len(h) {
			p.addf(text, "sha256 must be %s; a token itself does not belong here", what)
			continue
		}
		if h == sha256.Sum256(nil) || h == sha256.Sum256([]byte("\n")) {
			p.addf(text, "this is the hash of an empty token; hash the token that clients will send")
			continue
		}
		if line, ok := p.hashes[h]; ok {
			p.addf(text, "the same sha256 is already on line %d; a token can have one entry only", line)
			continue
		}
		p.hashes[h] = text.Line
		hashes = append(hashes, h)
	}
	return hashes
}

func (p *parser) groups(e *entry, r right, key string, n *yaml.Node) intent.Patterns {
	var patterns intent.Patterns
	for _, text := range p.texts(key, n, `group names and patterns, such as "billing" and "billing.*"`) {
		if hasPlaceholder(text.Value) {
			p.template(e, text, r, intent.None, text.Value)
			continue
		}
		pattern, err := intent.ParsePattern(text.Value)
		if err != nil {
			p.addf(text, `%v; write a group name, a prefix with a star, such as "billing.*", or "*" for every group`, err)
			continue
		}
		patterns = append(patterns, pattern)
	}
	return patterns
}

// template reads a pattern with placeholders in one of the rights, that of a permission for target.
func (p *parser) template(e *entry, at *yaml.Node, r right, target intent.Target, pattern string) {
	t, err := parseTemplate(pattern)
	if err != nil {
		p.addf(at, `%v; write placeholders such as {claim:sub} as whole parts of a name, as in "user.{claim:sub}"`, err)
		return
	}
	for _, part := range t.parts {
		switch {
		case part.value.claim && e.claims == nil:
			e.claims = at
		case !part.value.claim && e.names == nil:
			e.names = at
		}
	}
	t.right, t.target = r, target
	e.grant.templates = append(e.grant.templates, t)
}

func (p *parser) send(e *entry, n *yaml.Node) intent.Permissions {
	var permissions intent.Permissions
	for _, text := range p.texts("send", n, `permissions, such as "GLOBAL", "GROUP:billing.*", "DIRECT" and "ANY:workers"`) {
		if hasPlaceholder(text.Value) {
			name, pattern, _ := strings.Cut(text.Value, ":")
			target, ok := intent.ParseTarget([]byte(name))
			if !ok || target != intent.Group && target != intent.Any {
				p.addf(text, `only GROUP and ANY take a placeholder, as in "GROUP:user.{claim:sub}"`)
				continue
			}
			p.template(e, text, rightSend, target, pattern)
			continue
		}
		permission, err := intent.ParsePermission(text.Value)
		if err != nil {
			p.addf(text, `%v; write "GLOBAL", "GROUP:<pattern>", "DIRECT", "ANY:<pattern>", or "*" for all`, err)
			continue
		}
		permissions = append(permissions, permission)
	}
	return permissions
}

func (p *parser) admin(n *yaml.Node) Admin {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!bool" {
		if admin, err := strconv.ParseBool(n.Value); err == nil {
			if admin {
				return AdminFull
			}
			return NoAdmin
		}
	}
	if n.Kind == yaml.ScalarNode && n.Value == "read" {
		return AdminRead
	}
	p.addf(n, "admin must be true, read or false")
	return NoAdmin
}

// whole is a number that every reader understands in the same way: 0100 is 64 to some.
var whole = regexp.MustCompile(`^(0|[1-9][0-9]*)$`)

// decimal is whole, or a fraction.
var decimal = regexp.MustCompile(`^(0|[1-9][0-9]*)([.][0-9]+)?(e[0-9]+)?$`)

func (p *parser) rate(n *yaml.Node) float64 {
	if yamldoc.IsText(n) && decimal.MatchString(n.Value) {
		if rate, err := strconv.ParseFloat(n.Value, 64); err == nil && rate <= maxRate {
			return rate
		}
	}
	p.addf(n, "rate must be a number of messages per second in decimal, such as 100 or 0.5; 0 means unlimited")
	return 0
}

// total parses a bound of all connections of a holder.
func (p *parser) total(n *yaml.Node, key, what string, form *regexp.Regexp) float64 {
	if yamldoc.IsText(n) && form.MatchString(n.Value) {
		if v, err := strconv.ParseFloat(n.Value, 64); err == nil && v <= maxTotal {
			return v
		}
	}
	p.addf(n, "%s must be %s in decimal, such as 1000; 0 means unlimited", key, what)
	return 0
}

func (p *parser) burst(n *yaml.Node) int {
	if yamldoc.IsText(n) && decimal.MatchString(n.Value) {
		burst, err := strconv.Atoi(n.Value)
		if err == nil && burst <= maxRate {
			return burst
		}
		if errors.Is(err, strconv.ErrRange) {
			p.addf(n, "burst is too great")
			return 0
		}
	}
	p.addf(n, "burst must be a whole number of messages in decimal, such as 200")
	return 0
}
