// Package auth turns the identity that a client proves, by a token or by a certificate, into what that client may do.
//
// A [Tokens] is an immutable table from the SHA-256 of a token to its [Grant]; a [Store] holds the table in force, which
// can be replaced while clients are connected. Tokens themselves are never kept: the table has their hashes only, and
// nothing in this package formats, logs or returns in an error a token, a hash, or a value of a file that might be one.
//
// The table also has rules, for clients whose token is not in it: what the claims of a token must be that an issuer signed
// ([Store.ByClaims]), or the names in a certificate that an authority signed ([Store.ByCertificate]). The caller of these
// has verified the signature; this package does not.
//
// # Concurrency
//
// Grants and Tokens never change after they are made and are shared by pointer. All methods of a Store may be called
// from any goroutine and none blocks.
//
// # Revocation
//
// A session keeps the *Grant that it got from [Store.Authenticate]. After each [Store.Replace] it asks [Store.Current]
// for the grant that the same token has now: another one, whose rights apply from then on, or none, in which case the
// session has to end. The token isn't needed for that, since a Grant remembers whose it is. A Grant by a rule remembers the
// name and the condition of its entry: it is revoked when no entry has both any more. An entry before its own that would
// match as well does not revoke it. If the entry has a placeholder now that the holder's values were not kept for, the grant
// is revoked, too.
package auth

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"slices"

	"github.com/mastersocket/mastersocket/intent"
)

// hash is the SHA-256 of a token.
type hash [sha256.Size]byte

// Grant is what the holder of one token, or a client that matches a rule, may do. It is immutable and shared by pointer.
// The zero Grant allows nothing.
type Grant struct {
	// Name tells operators whose token it is. It is no secret and need not be unique among the grants of a Tokens: an
	// entry with several hashes gives each its own Grant.
	Name string
	// Groups are the groups that the holder may join; none if empty.
	Groups intent.Patterns
	// Send are the messages that the holder may send; none if empty.
	Send intent.Permissions
	// Watch are the groups whose members the holder may see; none if empty.
	Watch intent.Patterns
	// Hold are the exclusive groups that the holder may hold; none if empty.
	Hold intent.Patterns
	// Recover are, of the groups with history that the holder may join, those of which it may get what was sent before. They
	// are all of them unless the tokens file says which.
	Recover        intent.Patterns
	limitsRecovery bool // the tokens file says so
	// Admin is what the holder may do by the admin API.
	Admin Admin
	// Rate is how many messages per second each connection that holds the token may send. 0 means unlimited.
	Rate float64
	// Burst is how many messages such a connection may send at once after a silence. It is at least 1 where Rate is not
	// 0, and 0 otherwise.
	Burst int
	// Total bounds all connections of a holder on one instance together.
	Total Total

	// token says whose grant it is: the token's hash, or for a rule that of its name and condition. Store.Current compares
	// it. No output shows it.
	token hash
	rule  rule // nil for the grant of a token

	// Of a rule whose rights have placeholders: the grant in the table has templates, and the grant of a holder, which has
	// patterns in their place, is derived from it.
	templates []template
	derived   *derived
}

// Admin is what the holder of a token may do by the admin API. The zero Admin allows nothing.
type Admin uint8

// What a token allows.
const (
	NoAdmin   Admin = iota // nothing
	AdminRead              // to look at everything
	AdminFull              // to look at everything and to change it
)

// Total bounds what all connections of a holder do together on one instance. 0 means unlimited.
type Total struct {
	Connections int
	Rate        float64 // messages per second, FENCEs included
	Bytes       float64 // bytes of messages per second
}

// MayJoin tells whether the holder may join the group. It does not allocate.
func (g *Grant) MayJoin(group string) bool {
	return g.Groups.Match([]byte(group))
}

// MayWatch tells whether the holder may see who is in the group. It does not allocate.
func (g *Grant) MayWatch(group string) bool {
	return g.Watch.Match([]byte(group))
}

// MayHold tells whether the holder may hold the exclusive group. It does not allocate.
func (g *Grant) MayHold(group string) bool {
	return g.Hold.Match([]byte(group))
}

// MayRecover tells whether the holder may get what was sent to the group before it joined. It does not allocate.
func (g *Grant) MayRecover(group string) bool {
	return g.MayJoin(group) && (!g.limitsRecovery || g.Recover.Match([]byte(group)))
}

// MaySend tells whether the holder may send a message to t with the given identifier: the group's name for Group and
// Any, empty for Any among all clients, ignored for Global and Direct. It does not allocate.
func (g *Grant) MaySend(t intent.Target, identifier []byte) bool {
	return g.Send.Allow(t, identifier)
}

// Format writes the grant's name, whatever the verb, so that no print of a Grant shows its hash.
func (g Grant) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "grant %q", g.Name)
}

// LogValue is the grant's name.
func (g Grant) LogValue() slog.Value {
	return slog.StringValue(g.Name)
}

// same tells whether both grants give the same rights under the same name.
func (g *Grant) same(o *Grant) bool {
	return g.Name == o.Name && g.Admin == o.Admin && g.Rate == o.Rate && g.Burst == o.Burst && g.Total == o.Total &&
		slices.Equal(g.Groups, o.Groups) && slices.Equal(g.Send, o.Send) &&
		slices.Equal(g.Watch, o.Watch) && slices.Equal(g.Hold, o.Hold) &&
		g.limitsRecovery == o.limitsRecovery && slices.Equal(g.Recover, o.Recover) &&
		slices.EqualFunc(g.templates, o.templates, template.equal)
}
