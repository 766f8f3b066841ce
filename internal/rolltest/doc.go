// Package rolltest tests that nobody notices a restart: three processes of the built binary, a real redis-server and a
// real haproxy with the settings of deploy/compose, or with ones that pass TLS through to the instances, each in a
// network namespace of its own, and clients of the SDK in one more. The instances are restarted one after the other, as
// an orchestrator would do it, while a history checker looks at every message.
//
// There is nothing here but tests. They print what they measured in lines that begin with "figure:".
//
//	go test -v ./internal/rolltest                               some hundred clients, in less than a minute
//	MASTERSOCKET_SCALE=full go test -v -timeout 30m ./internal/rolltest -run RollingRestart
//	                                                             6,000 clients, 2,000 messages a second
//
// # Network namespaces
//
// The test program runs itself again in a network namespace that has a bridge and nothing else, and makes from there the
// others, without names: they end with their last process, however the test ends. The network of the machine is not
// touched. Who is not root needs a kernel that allows user namespaces. Where neither works the tests fail, unless
// [EnvWithout] says to leave them out.
package rolltest

const (
	// EnvScale is the environment variable that chooses between quick tests (the default) and full ones ("full").
	EnvScale = "MASTERSOCKET_SCALE"
	// EnvWithout is the environment variable that, if not empty, leaves out all tests that need network namespaces.
	EnvWithout = "MASTERSOCKET_TEST_NO_NAMESPACES"
)
