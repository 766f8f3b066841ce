// Package rolltest tests that clients don't notice a restart: three processes of the built binary, a real redis-server
// and a real haproxy with the settings of deploy/compose, or with TLS passed through to the instances, each in its own
// network namespace, and clients of the SDK in one more. The instances are restarted one after the other, as an
// orchestrator does, while a history checker judges every message.
//
// The package has only tests. They print measurements in lines that begin with "figure:".
//
//	go test -v ./internal/rolltest                               some hundred clients, in less than a minute
//	MASTERSOCKET_SCALE=full go test -v -timeout 30m ./internal/rolltest -run RollingRestart
//	                                                             6,000 clients, 2,000 messages a second
//
// # Network namespaces
//
// The test program runs itself again in a network namespace with only a bridge, and makes the other namespaces from
// there, without names: they end with their last process, however the test ends. The machine's network is not touched.
// Without root the kernel must allow user namespaces. Where neither works the tests fail, unless [EnvWithout] skips
// them.
package rolltest

// EnvWithout is the environment variable that, if not empty, leaves out all tests that need network namespaces.
const EnvWithout = "MASTERSOCKET_TEST_NO_NAMESPACES"
