package hub

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/opcodes"
)

// flood has a client send n messages of about a kilobyte to the group, as fast as it can, and closes done then.
func flood(p *rawPeer, group string, n int) (done chan struct{}) {
	message := maskedText(`{"op":0,"event":"flood","data":"` + strings.Repeat("x", 1000) + `","intent":{"target":"GROUP","identifier":"` + group + `"}}`)
	done = make(chan struct{})
	go func() {
		defer close(done)
		for range n {
			p.write(message)
		}
	}()
	return done
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// small makes the kernel keep little of what a client has not read.
func (p *rawPeer) small() *rawPeer {
	if err := unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 256<<10); err != nil {
		p.t.Fatal(err)
	}
	return p
}

// TestFloodWaitsForItsReceivers: a client that sends faster than its receivers take is slowed down to them, and none of them
// is disconnected.
func TestFloodWaitsForItsReceivers(t *testing.T) {
	t.Parallel()
	const messages, receivers = 20_000, 6
	for _, loops := range []int{1, 2, 3} {
		t.Run(fmt.Sprint(loops, " loops"), func(t *testing.T) {
			t.Parallel()
			h, url := startHub(t, memory.NewBus().Broker(), func(o *Options) {
				o.Transport.Loops, o.Transport.SendQueueBytes = loops, 256<<10
			})
			var reading sync.WaitGroup
			for range receivers {
				p := newRawPeer(t, url, "").small()
				reading.Go(func() {
					for n := range messages {
						p.readMessage()
						if n%40 == 0 {
							time.Sleep(time.Millisecond) // it takes less than the flood brings
						}
					}
				})
			}
			flooder := newRawPeerOf(t, url, "senders", "")
			<-flood(flooder, "load", messages)
			reading.Wait()
			s := h.Stats()
			if n := s.Disconnects[opcodes.SlowConsumer]; n > 0 {
				t.Errorf("%d receivers were disconnected", n)
			}
			t.Logf("held %d times", s.Held)
		})
	}
}

// TestStalledReceiverIsLeft: a receiver that takes nothing holds its sender for a second or two at most, and is
// disconnected. Another one gets all.
func TestStalledReceiverIsLeft(t *testing.T) {
	t.Parallel()
	const messages = 10_000
	for _, loops := range []int{1, 2} {
		t.Run(fmt.Sprint(loops, " loops"), func(t *testing.T) {
			t.Parallel()
			h, url := startHub(t, memory.NewBus().Broker(), func(o *Options) { o.Transport.Loops = loops })
			newRawPeer(t, url, "").small() // reads nothing
			var reading sync.WaitGroup
			p := newRawPeer(t, url, "").small()
			reading.Go(func() {
				for range messages + 1 {
					p.readMessage()
				}
			})
			done := flood(newRawPeerOf(t, url, "senders", ""), "load", messages)
			for h.Stats().Held == 0 && !isClosed(done) { // on a slow machine it stalls long before its queue is half full
				time.Sleep(time.Millisecond)
			}
			one := newRawPeerOf(t, url, "senders", "")
			<-flood(one, "load", 1)
			<-done
			reading.Wait()
			for deadline := time.Now().Add(time.Minute); h.Stats().Disconnects[opcodes.SlowConsumer] == 0; {
				if time.Now().After(deadline) {
					t.Fatal("the receiver that takes nothing is still there")
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
}
