// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"slices"
	"sync"
	"time"
)

// An acker sends acks without waiting for each, which is twice as fast as
// waiting, and remembers them until a flush has shown that the server read
// them. After a reconnect it sends the others again, as long as the lease
// under which they were due has not ended.
type acker struct {
	c    *core
	wake chan struct{} // there is something to flush

	mu    sync.Mutex // guards the rest
	sent  []ack
	epoch uint64 // how often the connection had been made anew when all of sent was sent
}

type ack struct {
	reply string
	ends  time.Time
}

func newAcker(c *core) *acker {
	return &acker{c: c, wake: make(chan struct{}, 1), epoch: c.nc.Stats().Reconnects}
}

// flushEvery is how long acks wait for a flush that confirms many.
const flushEvery = 50 * time.Millisecond

// ack acknowledges d, which is in no keeper any more.
func (a *acker) ack(_ context.Context, d *delivery) error {
	a.mu.Lock()
	a.sent = append(a.sent, ack{d.reply, a.c.leaseEnds(d)})
	first := len(a.sent) == 1
	a.mu.Unlock()
	if first {
		a.poke()
	}
	if !a.c.nc.IsConnected() {
		return nil // sent after the reconnect, if that is in time
	}
	return a.c.nc.Publish(d.reply, ackPayload)
}

func (a *acker) poke() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// run flushes until ctx ends.
func (a *acker) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		}
		if !wait(ctx, flushEvery) {
			return
		}
		if !a.flush(ctx) {
			a.poke()
		}
	}
}

// finish flushes until every ack is confirmed or ctx ends.
func (a *acker) finish(ctx context.Context) {
	for !a.flush(ctx) && wait(ctx, flushEvery) {
	}
}

// flush waits until the server has read all acks that were sent before, and
// reports whether none is left. A connection made anew in the meantime may have
// lost them in its old socket: then they are sent again.
func (a *acker) flush(ctx context.Context) bool {
	a.mu.Lock()
	n := len(a.sent)
	a.mu.Unlock()
	if n == 0 {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, oneTry)
	defer cancel()
	err := a.c.nc.FlushWithContext(ctx)
	epoch := a.c.nc.Stats().Reconnects
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case err != nil:
	case epoch != a.epoch:
		a.epoch = epoch
		a.againLocked(time.Now())
	default:
		a.sent = append(a.sent[:0:0], a.sent[n:]...)
	}
	return len(a.sent) == 0
}

// againLocked sends every ack again that is still in time. Publishing only
// fills the connection's buffer, so it is done under the lock.
func (a *acker) againLocked(now time.Time) {
	a.sent = slices.DeleteFunc(a.sent, func(one ack) bool { return !now.Before(one.ends) })
	for _, one := range a.sent {
		_ = a.c.nc.Publish(one.reply, ackPayload) // if it fails, the next flush does too
	}
}

// wait waits, or reports false when ctx ends first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
