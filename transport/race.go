//go:build race

package transport

// raceEnabled: the race detector watches system calls of package unix; in tests, it allocates, and makes sync.Pool forget
// at random.
const raceEnabled = true
