package broker

import "time"

// Stats is a snapshot of a Broker's counters, which only grow, and gauges.
type Stats struct {
	Published  uint64 // messages that Publish accepted
	Received   uint64 // messages delivered to the Handler
	Duplicates uint64 // messages that arrived again after a broken connection, and were dropped
	Recovered  uint64 // messages missed on a broken connection, and sent again by their publisher
	Missed     uint64 // messages of other instances for this one that were lost on the way
	Unresumed  uint64 // publishers that didn't send in time what this instance missed on a broken connection

	// Bytes on the broker's channels that were ignored, by cause.
	Foreign      uint64 // not a message of this hub
	OtherVersion uint64 // another major version, or a kind that a later release added
	Corrupt      uint64 // a wrong checksum or length
	Forged       uint64 // without the signature of the cluster

	// Published messages that were refused or lost, by cause.
	RefusedFull    uint64 // no room in the bounded buffer (ErrUnavailable)
	RefusedExpired uint64 // waited too long for the broker (ErrUnavailable)
	RefusedUnknown uint64 // sent, and the connection broke for so long that the outcome stays unknown (ErrUnknown)
	RefusedBroker  uint64 // the broker answered with an error
	RefusedClosed  uint64 // still waiting when the Broker was closed (ErrClosed)

	// Of groups with history.
	Appended        uint64 // messages that Append accepted and that have a number now
	Repeated        uint64 // messages that were not appended: their Once was known
	AppendsRefused  uint64 // messages that were refused: no room, too late, or by the broker (ErrUnavailable, ErrRefused)
	AppendsUnknown  uint64 // messages that may have been appended (ErrUnknown)
	Filled          uint64 // numbered messages that this instance had missed, and read
	GapsTrimmed     uint64 // calls of Gap, by reason
	GapsEpoch       uint64
	GapsUnavailable uint64
	PagesRead       uint64 // pages that were read from the broker
	PagesShared     uint64 // pages that were read before

	Reconnects       uint64        // connections made after the first
	BufferedMessages int           // messages published and not taken by the broker yet
	BufferedBytes    int           // the memory of those
	RecentBytes      int           // the memory of messages kept for instances that missed them
	InboxBytes       int           // the memory of messages received and not delivered yet
	ProbeRTT         time.Duration // the last round trip through the broker; zero before the first
	LostNodes        uint64        // other instances whose lease ended without a goodbye
	GatherMissing    uint64        // answers that no Gather got
}

// StatsSource is implemented by every Broker of this module.
type StatsSource interface {
	// Stats may be called at any time, by any goroutine.
	Stats() Stats
}
