// Package fleet manages the life of bot processes over Socket.IO: which process of a fleet does the work, which ones stand
// by, when a new version takes over, and when one is spawned, rolled back or deployed.
//
// A bot is a client of package socketio in the main namespace. The package lifecycle decides; this one brings it the words of
// bots, carries out what it orders, and asks the fleet's agent to run programs: the hub itself runs none.
//
//	bot        the connection of one bot: its events become words
//	fleet      what this instance knows of a fleet and its bots
//	lead       the fleet's leader: words become orders
//	tasks      what the leader asks the agent for
//	report     what operators see and do
//	service    the service type, which joins them
//
// # Ownership
//
// A bot belongs to its loop. All else belongs to the first loop of the hub: fleets, leaders and tasks are used by its
// goroutine alone. Bots of other loops exchange words and orders with it by mail, whose order is kept.
package fleet
