package transport

// runChild does the work of a test's child process, if this is one.
func runChild() bool { return false }
