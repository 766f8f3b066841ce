package redis

import (
	"github.com/mastersocket/mastersocket/broker"
)

// The kinds that brokers exchange among themselves. None is counted by pubSeq: each is harmless when it comes twice.
const (
	kindProbe     broker.Kind = 64 + iota // to the own node: a nonce that shows that the broker is there
	kindHello                             // to all: the sender's lease
	kindBye                               // to all: the sender leaves
	kindDelta                             // to all: changed member counts
	kindSync                              // asks for all member counts of an instance
	kindCounts                            // a part of the answer
	kindResume                            // asks for the messages published since a number
	kindResent                            // one of them, whole
	kindResumed                           // that was all of them
	kindQuery                             // a Gather's question
	kindAnswer                            // a part of its answer
	kindHere                              // answers a kindHello that asks: the sender's lease; since minor 1
	kindPositions                         // the sender's positions on channels that have fallen silent; since minor 1
	kindGrant                             // an exclusive group was granted to a client of the receiver; since minor 1
	kindNumbered                          // a message of a group with history, as the script publishes it: see numbered.go

	kindEnd // the first that this release doesn't know
)

// isData says whether k is delivered to the Handler.
func isData(k broker.Kind) bool { return k >= broker.KindGlobal && k <= broker.LastKind }

// isKnown says whether this release has a meaning for k.
func isKnown(k broker.Kind) bool { return isData(k) || k >= kindProbe && k < kindEnd }

// isToAll says whether k goes to the global channel.
func isToAll(k broker.Kind) bool { return k == broker.KindGlobal || k >= kindHello && k <= kindDelta }
