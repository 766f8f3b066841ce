// Package rtmtest is a simulated server of the team protocol (see package rtm), with a plan of what it does wrong.
//
// It counts by itself what it sent on open connections and when it was asked for connections, for tests to compare with
// what a client says. Its WebSockets are those of gobwas/ws on raw connections, another implementation than the one
// that it tests, so that it can break off in the middle of a frame. All methods may be called from any goroutine. Every
// goroutine ends with the test.
package rtmtest
