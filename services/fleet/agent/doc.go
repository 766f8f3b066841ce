// Package agent runs the programs that a fleet asks for: it spawns bots, rolls the program of the bots back, deploys it, and says
// which revision of it is in place. It is a client of the hub, and runs where the bots do.
//
//	agent      the connection to the hub: tasks in, words out
//	run        one program at a time, with a timeout and bounded output
//	process    process groups, which differ between systems
//
// Three goroutines run beside the client's own: one carries out tasks, one tells the hub that a task is under way, and one waits
// for each spawned bot, which outlives the agent.
package agent
