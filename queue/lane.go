// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A lane is one priority as a worker sees it: its subscription, its open pulls
// and the jobs that came and have not been started. The worker's mutex guards
// it.
type lane struct {
	priority int
	subject  string // of pull requests
	inbox    string // answers come to inbox.<number of the pull>
	sub      *nats.Subscription
	closed   chan struct{} // the subscription has handed over its last message
	stale    bool          // the pulls were given up: listen anew before the next
	deserted bool          // nobody answered the last pull: is the consumer still there?

	pulls   *pulls // those of inbox
	queue   []*delivery
	head    int       // of queue: what is before it has been taken
	backlog bool      // more were waiting at the server when the last one came
	retryAt time.Time // no pull before, after a refusal

	asked int // when draining: the worker's generation at the last pull
	empty int // the generation for which the server said that nothing waits
}

// pullExpiry is how long a pull waits at the server. A first lease counts from
// the sending of its pull, so it may take no large part of it.
func (c *core) pullExpiry() time.Duration {
	return min(max(c.lease/4, 500*time.Millisecond), 10*time.Second)
}

// openPulls is how many pulls of a lane may be open: one that is being served,
// and the next one under way, so that the server need not wait for it.
const openPulls = 2

// aMoment is how long the server looks for a job when it is asked not to wait:
// consumers are told of what was stored a little after its publisher is (2.15.2).
const aMoment = 100 * time.Millisecond

func (c *core) newLane(priority int) *lane {
	return &lane{
		priority: priority,
		subject:  c.api + "CONSUMER.MSG.NEXT." + c.names.stream + "." + c.names.worker(priority),
		pulls:    &pulls{},
		asked:    -1,
		empty:    -1,
	}
}

// listen subscribes to the answers, on an inbox of its own each time: what the
// server sent to an earlier one still counts from the pulls of then, however
// late it arrives. mu guards the lane.
func (l *lane) listen(nc *nats.Conn, mu *sync.Mutex, receive func(*lane, *pulls, *nats.Msg)) error {
	p, inbox, closed := &pulls{}, nc.NewInbox(), make(chan struct{})
	sub, err := nc.Subscribe(inbox+".*", func(m *nats.Msg) { receive(l, p, m) })
	if err != nil {
		return err
	}
	sub.SetClosedHandler(func(string) { close(closed) })
	if err := sub.SetPendingLimits(-1, -1); err != nil { // what comes was asked for
		return err
	}
	mu.Lock()
	old := l.sub
	l.pulls.reset()
	l.inbox, l.sub, l.closed, l.pulls, l.stale = inbox, sub, closed, p, false
	mu.Unlock()
	if old != nil {
		_ = old.Drain()
	}
	return nil
}

// listenAgain is listen for a lane whose pulls were given up. If nobody answered
// them it first looks whether the consumer is still there.
func (c *core) listenAgain(l *lane, mu *sync.Mutex, receive func(*lane, *pulls, *nats.Msg)) error {
	if l.deserted {
		l.deserted = false
		ctx, cancel := context.WithTimeout(context.Background(), oneTry)
		defer cancel()
		_, err := c.js.Consumer(ctx, c.names.stream, c.names.worker(l.priority))
		if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
			return errConsumerDeleted
		}
	}
	return l.listen(c.nc, mu, receive)
}

// giveUp forgets the pulls that are open.
func (l *lane) giveUp() {
	l.pulls.reset()
	l.stale = true
}

func (l *lane) push(d *delivery) {
	if l.head > 64 && l.head > len(l.queue)/2 {
		n := copy(l.queue, l.queue[l.head:])
		clear(l.queue[n:])
		l.queue, l.head = l.queue[:n], 0
	}
	l.queue = append(l.queue, d)
	l.backlog = d.pending > 0
}

func (l *lane) first() *delivery {
	if l.head == len(l.queue) {
		return nil
	}
	return l.queue[l.head]
}

func (l *lane) pop() *delivery {
	d := l.first()
	if d == nil {
		return nil
	}
	l.queue[l.head] = nil
	if l.head++; l.head == len(l.queue) {
		l.queue, l.head = l.queue[:0], 0
	}
	return d
}

// A pullMsg is a pull request to be sent.
type pullMsg struct {
	subject, reply string
	body           []byte
}

// ask notes a pull for n messages, which waits at the server for as long as it
// may, or with zero only a moment; the caller sends it.
func (l *lane) ask(now time.Time, n int, expires time.Duration) pullMsg {
	number := l.pulls.add(now, n)
	body := fmt.Appendf(nil, `{"batch":%d,"expires":%d}`, n, expires)
	if expires == 0 {
		body = fmt.Appendf(nil, `{"batch":%d,"no_wait":true,"expires":%d}`, n, aMoment)
	}
	return pullMsg{subject: l.subject, reply: l.inbox + "." + strconv.Itoa(number), body: body}
}

var errConsumerDeleted = errors.New("the queue was deleted on the server")

// busyRetry is how long to wait while MaxRunning jobs are running.
const busyRetry = 250 * time.Millisecond

// status understands an answer that is not a job. It returns how long to wait
// before the next pull, or that there is no point in one.
func (l *lane) status(m *nats.Msg) (retryIn time.Duration, err error) {
	number, _ := strconv.Atoi(strings.TrimPrefix(m.Subject, l.inbox+"."))
	unsent, err := strconv.Atoi(m.Header.Get("Nats-Pending-Messages"))
	if err != nil {
		unsent = -1
	}
	l.pulls.ended(number, unsent)
	text := m.Header.Get("Description")
	switch code := m.Header.Get("Status"); {
	case code == "404", code == "408": // nothing there; expired
		l.backlog = false
		return 0, nil
	case code == "409" && strings.Contains(text, "Consumer Deleted"):
		return 0, errConsumerDeleted
	case code == "409" && strings.Contains(text, "MaxAckPending"):
		return busyRetry, nil
	default:
		// The leader changed, the server shuts down or has no room for
		// another pull, or nobody answers (503). It is logged by who asked.
		l.giveUp()
		l.deserted = code == "503"
		return 500 * time.Millisecond, nil
	}
}
