//go:build linux

package measure

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"

	"github.com/mastersocket/mastersocket/bench/load"
	"github.com/mastersocket/mastersocket/bench/servers"
)

// What a bare PUBLISH costs Redis, as a reference for RedisCPU.
const (
	// publishes is how many redis-benchmark sends.
	publishes = 20_000
	// envelope is what instances add to a delivered payload between them: a header of 84 bytes and the group's name.
	envelope = 84 + len("bench0000")
)

// barePublish returns the CPU time of a Redis of its own for a PUBLISH of the size of an instance's message to as many
// subscribers, in microseconds: from one connection, with inFlight on their way, by redis-benchmark.
func barePublish(subscribers, inFlight int) (us float64, err error) {
	redis, err := servers.StartRedis()
	if err != nil {
		return 0, err
	}
	defer redis.Stop()
	const channel = "{bench}:g:bench0000"
	for range subscribers {
		conn, err := net.Dial("tcp", redis.Site.Listen.String())
		if err != nil {
			return 0, fmt.Errorf("subscribing to Redis: %w", err)
		}
		defer conn.Close()
		if _, err := fmt.Fprintf(conn, "SUBSCRIBE %s\r\n", channel); err != nil {
			return 0, fmt.Errorf("subscribing to Redis: %w", err)
		}
		if _, err := io.ReadFull(conn, make([]byte, len("*3\r\n"))); err != nil {
			return 0, fmt.Errorf("subscribing to Redis: %w", err)
		}
		go func() { _, _ = io.Copy(io.Discard, conn) }()
	}
	message := strings.Repeat("x", load.Usual.Payload()+envelope)
	at := redis.Site.Listen
	cmd := exec.Command("redis-benchmark", "-h", at.Addr().String(), "-p", strconv.Itoa(int(at.Port())), "-q",
		"-n", strconv.Itoa(publishes), "-c", "1", "-P", strconv.Itoa(inFlight), "PUBLISH", channel, message)
	before, err1 := redis.CPU()
	out, err2 := cmd.CombinedOutput()
	after, err3 := redis.CPU()
	if err := errors.Join(err1, err2, err3); err != nil {
		return 0, fmt.Errorf("redis-benchmark: %w\n%s", err, out)
	}
	return (after - before).Seconds() * 1e6 / publishes, nil
}
