package redis

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/redis/resp"
	"github.com/mastersocket/mastersocket/internal/redisurl"
)

// names are the channels, keys and commands of one hub.
type names struct {
	channels string // what every channel begins with
	keys     string // what every key begins with

	publish, subscribe, unsubscribe string
	subscribers                     string // the PUBSUB subcommand that counts subscribers

	signer *signer // of what is published; nil for none
}

// newNames makes the names of the hub with prefix. Channels know no databases, so that of another than the first is
// told apart by name. In a cluster one hash tag puts all of a hub's channels and keys into one slot: one node carries
// them, and so everything stays in order.
func newNames(prefix string, u redisurl.URL) *names {
	n := &names{publish: "PUBLISH", subscribe: "SUBSCRIBE", unsubscribe: "UNSUBSCRIBE", subscribers: "NUMSUB"}
	if u.Kind == redisurl.Cluster && !strings.Contains(prefix, "{") {
		prefix = "{" + prefix + "}"
	}
	if u.Sharded {
		n.publish, n.subscribe, n.unsubscribe, n.subscribers = "SPUBLISH", "SSUBSCRIBE", "SUNSUBSCRIBE", "SHARDNUMSUB"
	}
	n.keys, n.channels = prefix+":", prefix+":"
	if u.DB != 0 {
		n.channels = prefix + "@" + strconv.Itoa(u.DB) + ":"
	}
	return n
}

const (
	globalSuffix = "global"
	groupSuffix  = "group:"
	nodeSuffix   = "node:"
)

func (n *names) global() string                   { return n.channels + globalSuffix }
func (n *names) leaseKey(id broker.NodeID) string { return n.keys + "lease:" + nodeHex(id) }
func (n *names) nodesKey() string                 { return n.keys + "nodes" }
func (n *names) holdRoot() string                 { return n.keys + "hold:" }

// The keys of a group with history. The length tells a group from the id behind it.
func (n *names) historyState(group string) string  { return n.keys + "history:state:" + group }
func (n *names) historyStream(group string) string { return n.keys + "history:stream:" + group }
func (n *names) historyOnce(group, id string) string {
	return n.keys + "history:once:" + strconv.Itoa(len(group)) + ":" + group + ":" + id
}

func (n *names) suffix(channel []byte) string { return strings.TrimPrefix(string(channel), n.channels) }

func nodeHex(id broker.NodeID) string { return fmt.Sprintf("%08x", uint32(id)) }

func parseNodeHex(s string) (broker.NodeID, bool) {
	id, err := strconv.ParseUint(s, 16, 32)
	return broker.NodeID(id), err == nil && id != 0 && len(s) == 8
}

// channelLen and appendChannel name the channel that f goes to, without garbage.
func (n *names) channelLen(f *frame) int {
	switch {
	case isToAll(f.Kind):
		return len(n.channels) + len(globalSuffix)
	case f.Kind == broker.KindGroup:
		return len(n.channels) + len(groupSuffix) + len(f.Group)
	}
	return len(n.channels) + len(nodeSuffix) + 8
}

func (n *names) appendChannel(dst []byte, f *frame) []byte {
	dst = append(dst, n.channels...)
	switch {
	case isToAll(f.Kind):
		return append(dst, globalSuffix...)
	case f.Kind == broker.KindGroup:
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
	return len("*3\r\n$10\r\nSPUBLISH\r\n$1000\r\n\r\n$1000000000\r\n\r\n") + n.channelLen(f) + frameLen(f, n.signer)
}

// appendCommand appends the command that publishes f, and says where in it f's wire form begins.
func (n *names) appendCommand(dst []byte, f *frame) (command []byte, at int, err error) {
	dst = resp.AppendBulkHeader(append(dst, "*3\r\n"...), len(n.publish))
	dst = append(append(dst, n.publish...), "\r\n"...)
	dst = n.appendChannel(resp.AppendBulkHeader(dst, n.channelLen(f)), f)
	dst = resp.AppendBulkHeader(append(dst, "\r\n"...), frameLen(f, n.signer))
	at = len(dst)
	if dst, err = appendFrame(dst, f, n.signer); err != nil {
		return nil, 0, err
	}
	return append(dst, "\r\n"...), at, nil
}
