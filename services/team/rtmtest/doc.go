// Package rtmtest is a simulated server of the team protocol (see package rtm) with planned faults.
//
// It counts messages sent on open connections and requests for connections, for comparison with a client's counts. Its
// WebSockets use gobwas/ws on raw connections, unlike the code under test, so that it can break off within a frame. All
// methods may be called from any goroutine. All goroutines end with the test.
package rtmtest
