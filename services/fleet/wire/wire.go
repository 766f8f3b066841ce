// Package wire has what the hub and the agent of a fleet say to each other: events of the hub's own protocol.
//
// The hub sends a Task to one client of the fleet's group of agents. The agent answers in the group Words: that it works on the
// task, again and again, and then how the task ended.
package wire

import "time"

// Words is the group to which agents send.
const Words = "fleet"

// AgentGroup returns the group of a fleet's agent.
func AgentGroup(fleet string) string { return "fleet." + fleet + ".agent" }

// The events.
const (
	EventTask = "fleet.task" // to an agent: Task
	EventHere = "fleet.here" // of an agent: it takes tasks from now on
	EventBusy = "fleet.busy" // of an agent: it works on a task
	EventDone = "fleet.done" // of an agent: the task is over
)

// BusyInterval is the time between two words of an agent about a task that it works on.
const BusyInterval = 5 * time.Second

// What a Task asks for.
const (
	Spawn    = "spawn"    // start a process
	Rollback = "rollback" // set the program back
	Deploy   = "deploy"   // fetch the newest version of the program
	Revision = "revision" // say which revision is in place
)

// Task is what the hub asks an agent for.
type Task struct {
	Fleet    string `json:"fleet"`
	Task     string `json:"task"` // to be repeated in answers
	Do       string `json:"do"`
	Version  string `json:"version,omitempty"`  // of Rollback: the last version that passed a health check
	Revision string `json:"revision,omitempty"` // of Rollback: what was in place then
}

// Word is what an agent says.
type Word struct {
	Fleet    string `json:"fleet"`
	Task     string `json:"task,omitempty"`
	OK       bool   `json:"ok,omitempty"`
	Error    string `json:"error,omitempty"`
	Revision string `json:"revision,omitempty"` // of Revision
}
