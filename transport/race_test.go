//go:build race

package transport

// raceEnabled: the race detector allocates, and makes sync.Pool forget at random.
const raceEnabled = true
