//go:build linux && !race

package hubtest

const raceEnabled = false
