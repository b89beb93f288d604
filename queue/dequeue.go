// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// dequeue takes one job, or returns ErrEmpty when ctx ends first. A context that
// has ended already means one try.
func (c *core) dequeue(ctx context.Context) (*delivery, error) {
	once := ctx.Err() != nil
	t := &taker{c: c, event: make(chan struct{}, 1)}
	for p := range c.priorities {
		l := c.newLane(p)
		if err := l.listen(c.nc, &t.mu, t.receive); err != nil {
			return nil, err
		}
		t.lanes = append(t.lanes, l)
		defer func() { l.sub.Unsubscribe() }()
	}
	d, err := t.take(ctx, once)
	t.stop()
	if d != nil || err != nil {
		return d, err
	}
	if d := t.pop(); d != nil {
		return d, nil // it came just as ctx ended
	}
	if once {
		return nil, ErrEmpty
	}
	return nil, errors.Join(ErrEmpty, context.Cause(ctx))
}

// A taker takes a single job, by pulls for one message.
type taker struct {
	c     *core
	lanes []*lane
	event chan struct{} // something came

	mu  sync.Mutex // guards the rest, and the lanes
	got []*delivery
	err error
}

// take returns the first job that comes, or nil.
func (t *taker) take(ctx context.Context, once bool) (*delivery, error) {
	if once || len(t.lanes) > 1 {
		// By priority: what waits already.
		asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), oneTry)
		defer cancel()
		for _, l := range t.lanes {
			if d, err := t.wait(asking, 0, l); d != nil || err != nil {
				return d, err
			}
		}
		if once && asking.Err() != nil {
			return nil, errUnanswered
		}
		if once {
			return nil, nil
		}
	}
	return t.wait(ctx, t.c.pullExpiry(), t.lanes...)
}

// wait asks some lanes until a job comes or ctx ends; with no time to wait at
// the server, until all of them have said that they have none.
func (t *taker) wait(ctx context.Context, expires time.Duration, lanes ...*lane) (*delivery, error) {
	asked := false
	for {
		now := time.Now()
		next := t.c.pullExpiry()
		open := 0
		var asks []pullMsg
		for _, l := range lanes {
			t.mu.Lock()
			if l.pulls.overdue(now, t.c.pullExpiry()+2*time.Second) {
				l.giveUp()
			}
			stale := l.stale
			t.mu.Unlock()
			if stale {
				if err := t.c.listenAgain(l, &t.mu, t.receive); err != nil {
					return nil, err
				}
			}
		}
		t.mu.Lock()
		for _, l := range lanes {
			if wait := l.retryAt.Sub(now); wait > 0 {
				next = min(next, wait)
			} else if len(l.pulls.open) == 0 && (expires > 0 || !asked) {
				asks = append(asks, l.ask(now, 1, expires))
			}
			open += len(l.pulls.open)
		}
		t.mu.Unlock()
		if d := t.pop(); d != nil || t.failed() != nil {
			return d, t.failed()
		}
		if expires == 0 && asked && open == 0 {
			return nil, nil
		}
		asked = true
		for _, a := range asks {
			_ = t.c.nc.PublishRequest(a.subject, a.reply, a.body)
		}
		if !t.sleep(ctx, next) {
			return nil, nil
		}
	}
}

// sleep waits for something to come, and reports false when ctx ends first.
func (t *taker) sleep(ctx context.Context, most time.Duration) bool {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.event:
	case <-timer.C:
	}
	return true
}

func (t *taker) receive(l *lane, p *pulls, m *nats.Msg) {
	t.mu.Lock()
	if m.Reply == "" && p != l.pulls {
		// of a pull given up
	} else if m.Reply == "" {
		retryIn, err := l.status(m)
		if err != nil {
			t.err = err
		}
		if retryIn > 0 {
			l.retryAt = time.Now().Add(retryIn)
		}
	} else {
		d, err := t.c.newDelivery(m)
		if d.lease.confirmed = p.arrived(); err == nil {
			t.got = append(t.got, d)
		}
	}
	t.mu.Unlock()
	select {
	case t.event <- struct{}{}:
	default:
	}
}

func (t *taker) failed() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

func (t *taker) pop() (d *delivery) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.got) > 0 {
		d, t.got = t.got[0], t.got[1:]
	}
	return d
}

// stop ends the pulls that are open, and gives back what came beside the job
// that was wanted.
func (t *taker) stop() {
	t.mu.Lock()
	var open []*lane
	for _, l := range t.lanes {
		if len(l.pulls.open) > 0 {
			open = append(open, l)
		}
	}
	t.mu.Unlock()
	if t.c.nc.IsConnected() {
		closeLanes(open)
	}
	t.mu.Lock()
	var spare []*delivery
	if len(t.got) > 1 {
		spare, t.got = t.got[1:], t.got[:1]
	}
	t.mu.Unlock()
	for _, d := range spare {
		ctx, cancel := context.WithTimeout(context.Background(), settleGrace)
		_ = t.c.settleEntry(ctx, d, settlement{verdict: returnJob})
		cancel()
	}
}

// closeLanes ends subscriptions and waits, a few seconds at the most, until all
// that the server had sent by then has been received.
func closeLanes(lanes []*lane) {
	limit := time.NewTimer(settleGrace)
	defer limit.Stop()
	for _, l := range lanes {
		if l.sub.Drain() != nil {
			continue // the connection is closed
		}
		select {
		case <-l.closed:
		case <-limit.C:
			return
		}
	}
}
