package broker

import (
	"fmt"
	"strconv"
	"strings"
)

// The kinds that brokers exchange among themselves. None is counted by pubSeq: each is harmless when it comes twice.
const (
	kindProbe   Kind = 64 + iota // to the own node: a nonce that shows that the broker is there
	kindHello                    // to all: the sender's lease
	kindBye                      // to all: the sender leaves
	kindDelta                    // to all: changed member counts
	kindSync                     // asks for all member counts of an instance
	kindCounts                   // a part of the answer
	kindResume                   // asks for the messages published since a number
	kindResent                   // one of them, whole
	kindResumed                  // that was all of them
	kindQuery                    // a Gather's question
	kindAnswer                   // a part of its answer

	kindEnd // the first that this release doesn't know
)

// isData says whether k is delivered to the Handler.
func (k Kind) isData() bool { return k >= KindGlobal && k <= KindReturned }

// isKnown says whether this release has a meaning for k.
func (k Kind) isKnown() bool { return k.isData() || k >= kindProbe && k < kindEnd }

// toAll says whether k goes to the global channel.
func (k Kind) toAll() bool { return k == KindGlobal || k >= kindHello && k <= kindDelta }

// names are the channels, keys and commands of one hub.
type names struct {
	channels string // what every channel begins with
	keys     string // what every key begins with

	publish, subscribe, unsubscribe string
	subscribers                     string // the PUBSUB subcommand that counts subscribers
}

// newNames makes the names of the hub with prefix. Channels know no databases, so that of another than the first is
// told apart by name. In a cluster one hash tag puts all of a hub's channels and keys into one slot: one node carries
// them, and so everything stays in order.
func newNames(prefix string, t *target) *names {
	n := &names{publish: "PUBLISH", subscribe: "SUBSCRIBE", unsubscribe: "UNSUBSCRIBE", subscribers: "NUMSUB"}
	if t.kind == targetCluster && !strings.Contains(prefix, "{") {
		prefix = "{" + prefix + "}"
	}
	if t.kind == targetCluster && t.sharded {
		n.publish, n.subscribe, n.unsubscribe, n.subscribers = "SPUBLISH", "SSUBSCRIBE", "SUNSUBSCRIBE", "SHARDNUMSUB"
	}
	n.keys, n.channels = prefix+":", prefix+":"
	if t.db != 0 {
		n.channels = prefix + "@" + strconv.Itoa(t.db) + ":"
	}
	return n
}

const (
	globalSuffix = "global"
	groupSuffix  = "group:"
	nodeSuffix   = "node:"
)

func (n *names) global() string               { return n.channels + globalSuffix }
func (n *names) node(id NodeID) string        { return n.channels + nodeSuffix + nodeHex(id) }
func (n *names) lease(id NodeID) string       { return n.keys + "lease:" + nodeHex(id) }
func (n *names) nodes() string                { return n.keys + "nodes" }
func (n *names) suffix(channel []byte) string { return strings.TrimPrefix(string(channel), n.channels) }

func nodeHex(id NodeID) string { return fmt.Sprintf("%08x", uint32(id)) }

func parseNodeHex(s string) (NodeID, bool) {
	id, err := strconv.ParseUint(s, 16, 32)
	return NodeID(id), err == nil && id != 0 && len(s) == 8
}

// channelLen and appendChannel name the channel that f goes to, without garbage.
func (n *names) channelLen(f *frame) int {
	switch {
	case f.Kind.toAll():
		return len(n.channels) + len(globalSuffix)
	case f.Kind == KindGroup:
		return len(n.channels) + len(groupSuffix) + len(f.Group)
	}
	return len(n.channels) + len(nodeSuffix) + 8
}

func (n *names) appendChannel(dst []byte, f *frame) []byte {
	dst = append(dst, n.channels...)
	switch {
	case f.Kind.toAll():
		return append(dst, globalSuffix...)
	case f.Kind == KindGroup:
		return append(append(dst, groupSuffix...), f.Group...)
	}
	dst = append(dst, nodeSuffix...)
	for shift := 28; shift >= 0; shift -= 4 {
		dst = append(dst, "0123456789abcdef"[f.To>>shift&0xF])
	}
	return dst
}

// commandLen bounds the length of f's publishing command.
func (n *names) commandLen(f *frame) int {
	return len("*3\r\n$10\r\nSPUBLISH\r\n$1000\r\n\r\n$1000000000\r\n\r\n") + n.channelLen(f) + frameLen(f)
}

// appendCommand appends the command that publishes f, and says where in it f's wire form begins.
func (n *names) appendCommand(dst []byte, f *frame) (command []byte, at int, err error) {
	dst = appendBulkHeader(append(dst, "*3\r\n"...), len(n.publish))
	dst = append(append(dst, n.publish...), "\r\n"...)
	dst = n.appendChannel(appendBulkHeader(dst, n.channelLen(f)), f)
	dst = appendBulkHeader(append(dst, "\r\n"...), frameLen(f))
	at = len(dst)
	if dst, err = appendFrame(dst, f); err != nil {
		return nil, 0, err
	}
	return append(dst, "\r\n"...), at, nil
}

func appendBulkHeader(dst []byte, n int) []byte {
	return append(strconv.AppendInt(append(dst, '$'), int64(n), 10), "\r\n"...)
}

// appendCommandOf appends any command.
func appendCommandOf(dst []byte, name string, args []string) []byte {
	dst = append(strconv.AppendInt(append(dst, '*'), int64(1+len(args)), 10), "\r\n"...)
	dst = append(append(appendBulkHeader(dst, len(name)), name...), "\r\n"...)
	for _, a := range args {
		dst = append(append(appendBulkHeader(dst, len(a)), a...), "\r\n"...)
	}
	return dst
}
