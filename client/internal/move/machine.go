package move

import "time"

// Side is one of the two connections.
type Side uint8

// The connections. Without a move there is only the old one.
const (
	Old Side = iota
	New
)

// String returns the side's name.
func (s Side) String() string {
	if s == New {
		return "new"
	}
	return "old"
}

// Phase is the progress of a move.
type Phase uint8

// The phases, in their order.
const (
	Single    Phase = iota // there is one connection, which sends
	Opening                // the new connection has not identified yet
	Joining                // waits until everything that the new connection is too late for has arrived on the old one
	Stopping               // waits until the old connection has stopped sending
	Switching              // nothing is sent until everything sent on the old connection is published
	Lingering              // the new connection sends; the old one stays for the answers that are due on it
	Clearing               // waits until everything on its way to the old connection has arrived
	Leaving                // the old connection is read to its end
	Merging                // one of the connections has ended; the held messages are handed out
)

// String returns the phase's name.
func (p Phase) String() string {
	names := [...]string{"Single", "Opening", "Joining", "Stopping", "Switching", "Lingering", "Clearing", "Leaving", "Merging"}
	if int(p) < len(names) {
		return names[p]
	}
	return "unknown"
}

// Kind is the kind of an [Action].
type Kind uint8

// The actions.
const (
	SendFence    Kind = iota // write a FENCE to the other connection; see [Machine.FenceSent]
	StopSending              // send nothing more on this connection, then call [Machine.Stopped]
	StartSending             // send on this connection, and on no other
	Leave                    // write DISCONNECT on this connection and nothing more
	End                      // cut this connection, which does not do what it should
	Doubt                    // log that no FENCE arrived on this connection: messages may be lost or out of order
)

// String returns the kind's name.
func (k Kind) String() string {
	names := [...]string{"SendFence", "StopSending", "StartSending", "Leave", "End", "Doubt"}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

// Action is what the owner of a Machine must do.
type Action struct {
	Kind  Kind
	Side  Side
	After time.Duration // how long the phase had lasted
}

// Message is a message as a Machine sees it.
type Message struct {
	Key    uint64 // of a message to many: the same for all its copies, and not 0; see [Machine.NeedsKey]
	Sender string
	ToMany bool // it arrives on both connections
	Size   int  // in bytes
	Value  any  // the owner's
}

// Verdict is what becomes of a message that arrived.
type Verdict uint8

// The verdicts.
const (
	Deliver Verdict = iota // hand it out at once
	Hold                   // [Machine.Next] returns it
	Drop                   // a copy was handed out
)

// The timeouts of a move, in the time that [Machine.Tick] counts.
const (
	// FenceTimeout is how long a move waits for a FENCE before it goes on without.
	FenceTimeout = 10 * time.Second
	// HurryTime replaces FenceTimeout once the old connection should have been left. As long as that connection lives, waiting
	// avoids a loss.
	HurryTime = 200 * time.Millisecond
	// SettleTime is how long the old connection lingers at least: for clients that still address its id, and until other
	// instances no longer draw it for an ANY.
	SettleTime = 500 * time.Millisecond
	// ClearTimeout is how long a move waits for the FENCE that shows that nothing is on its way to the old connection.
	ClearTimeout = time.Second
	// LeaveTimeout is how long the hub may take to end the old connection after DISCONNECT.
	LeaveTimeout = 5 * time.Second
)

// Conditions are what the owner knows of the old connection.
type Conditions struct {
	Due    bool // answers are due on it
	Hurry  bool // it should have been left
	Silent bool // it was silent for LeaveTimeout
}

// Machine is the state of what a client receives, and of its move. The zero value is a Machine without a move.
type Machine struct {
	phase      Phase
	now        time.Duration // the sum of all ticks
	since      time.Duration // when the phase began; Switching keeps that of Stopping
	paused     time.Duration // how long nothing was sent in the last move
	conditions Conditions
	actions    []Action
	dropped    []Message // see Dropped

	plain    bool // the new instance does not support FENCE
	joined   bool // everything that the new connection is too late for has arrived on the old one
	switched bool // everything sent on the old connection is published
	cut      bool // the owner was told to end the old connection

	recording bool // messages to many are remembered, because a move is near
	recent    recent
	drops     copies // expected on the only connection, or on the old one
	merge
}

// Phase returns the phase.
func (m *Machine) Phase() Phase { return m.phase }

// Paused returns how long nothing was sent in the last move.
func (m *Machine) Paused() time.Duration { return m.paused }

// Actions returns the actions since its last call, in their order. The slice is valid until the next input.
func (m *Machine) Actions() []Action {
	all := m.actions
	m.actions = m.actions[:0]
	return all
}

func (m *Machine) act(kind Kind, side Side) {
	m.actions = append(m.actions, Action{kind, side, m.now - m.since})
}

// Record makes the Machine remember messages that are handed out, so that their copies on a new connection are recognized.
func (m *Machine) Record() { m.recording, m.recent = true, recent{} }

// StopRecording ends Record.
func (m *Machine) StopRecording() { m.recording, m.recent = false, recent{} }

// Begin begins a move. The owner calls it before the new connection identifies: from then on there may be messages to the new
// one alone, which must precede later messages of the same sender to both. The phase must be Single.
func (m *Machine) Begin() {
	m.merge = merge{}
	for key := range m.recent.all() {
		m.dropsNew.add(key, 0)
	}
	m.plain, m.joined, m.switched, m.cut, m.paused = false, false, false, false, 0
	m.conditions = Conditions{}
	m.enter(Opening)
}

// Identified reports that the new connection has identified.
func (m *Machine) Identified() {
	if m.phase != Opening {
		return
	}
	m.impatient = m.impatient && m.plain
	m.enter(Joining)
	m.advance()
}

// IdentifiedPlain is Identified for an instance that does not support FENCE.
func (m *Machine) IdentifiedPlain() {
	m.plain = true
	m.Identified()
}

// Stopped reports that the old connection has stopped sending.
func (m *Machine) Stopped() {
	if m.phase == Stopping {
		m.phase = Switching
		m.advance()
	}
}

// Observe reports what the owner knows of the old connection.
func (m *Machine) Observe(c Conditions) {
	m.conditions = c
	m.advance()
}

// Tick reports that time has passed. The owner leaves out times in which its process was paused, because what arrived in the
// meantime is unread.
func (m *Machine) Tick(elapsed time.Duration) {
	m.now += elapsed
	m.advance()
}

// Ended reports the end of a connection. It returns true if messages may be lost: the old connection ended before everything
// had arrived on it. Next then returns mark, if it is not nil, as the value of a message behind those of the old connection.
func (m *Machine) Ended(side Side, mark any) (lost bool) {
	if m.phase == Single || m.sides[side].ended {
		return false
	}
	m.sides[side].ended = true
	switch {
	case side == New && m.phase >= Stopping && m.phase < Leaving:
		m.act(StartSending, Old)
	case side == Old && m.phase < Lingering:
		m.act(StartSending, New)
		lost = !m.joined
	}
	if lost && mark != nil {
		m.sides[Old].push(held{Message: Message{Value: mark}, mark: true})
	}
	m.phase = Merging
	return lost
}

func (m *Machine) enter(p Phase) { m.phase, m.since = p, m.now }

// advance enters the next phase if its condition is met without a FENCE, and asks for FENCEs.
func (m *Machine) advance() {
	m.step()
	m.wantFences()
}

func (m *Machine) step() {
	here := m.now - m.since
	switch m.phase {
	case Joining:
		if m.late() {
			m.act(Doubt, Old)
			m.stop()
		}
	case Stopping:
		if m.overdue() && !m.cut {
			m.cut = true
			m.act(End, Old)
		}
	case Switching:
		if m.late() {
			m.act(Doubt, New)
			m.changeOver()
		}
	case Lingering:
		if !m.conditions.Due && here >= SettleTime || m.conditions.Hurry {
			m.enter(Clearing)
		}
	case Clearing:
		if here >= ClearTimeout || m.conditions.Hurry {
			m.leave()
		}
	case Leaving:
		if here >= LeaveTimeout && m.conditions.Silent && !m.cut {
			m.cut = true
			m.act(End, Old)
		}
	}
}

// late reports whether to wait for a FENCE no longer.
func (m *Machine) late() bool { return m.plain || m.overdue() }

// overdue reports whether the phase has lasted too long.
func (m *Machine) overdue() bool {
	here := m.now - m.since
	return here >= FenceTimeout || m.conditions.Hurry && here >= HurryTime
}

func (m *Machine) stop() {
	m.enter(Stopping)
	m.act(StopSending, Old)
}

func (m *Machine) changeOver() {
	m.paused = m.now - m.since
	m.enter(Lingering)
	m.act(StartSending, New)
}

func (m *Machine) leave() {
	m.enter(Leaving)
	m.act(Leave, Old)
}
