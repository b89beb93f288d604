// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/jetjobs/jetjobs/internal/backoff"
)

// An acker sends acks from a goroutine of its own, many at a time, without
// waiting for each; that is twice as fast as waiting. It remembers them until a
// flush has shown that the server read them. Those that a connection may have
// lost are sent again after the reconnect, as long as the lease under which they
// were due has not ended.
type acker struct {
	c    *core
	wake chan struct{} // there is something to send

	mu         sync.Mutex // guards due
	due, spare []ack      // to be sent

	// The rest belongs to the goroutine of run, and after it to finish.
	sent  []ack  // and not confirmed
	epoch uint64 // how often the connection had been made anew when all of sent was sent
}

type ack struct {
	reply string
	ends  time.Time // of the lease
}

func newAcker(c *core) *acker {
	return &acker{c: c, wake: make(chan struct{}, 1), epoch: c.nc.Stats().Reconnects}
}

// flushEvery is how long acks wait for a flush that confirms many.
const flushEvery = 50 * time.Millisecond

// ack acknowledges d, which is in no keeper any more.
func (a *acker) ack(_ context.Context, d *delivery) error {
	a.mu.Lock()
	a.due = append(a.due, ack{d.reply, a.c.leaseEnds(d)})
	first := len(a.due) == 1
	a.mu.Unlock()
	if first {
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// run sends and confirms until ctx ends.
func (a *acker) run(ctx context.Context) {
	confirm := time.NewTimer(flushEvery)
	defer confirm.Stop()
	confirm.Stop()
	waiting := false // for confirm
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
			a.send()
		case <-confirm.C:
			waiting = false
			a.flush(ctx)
		}
		if !waiting && len(a.sent) > 0 {
			waiting = true
			confirm.Reset(flushEvery)
		}
	}
}

// finish sends and confirms the last acks, after run, until ctx ends.
func (a *acker) finish(ctx context.Context) {
	a.send()
	for !a.c.nc.IsClosed() && !a.flush(ctx) && backoff.Sleep(ctx, flushEvery) {
	}
}

// send sends what is due. Without a connection it only counts as sent: the flush
// after the reconnect finds that out.
func (a *acker) send() {
	a.mu.Lock()
	due := a.due
	a.due, a.spare = a.spare[:0], nil
	a.mu.Unlock()
	now := time.Now() // a flush may have taken its time
	due = slices.DeleteFunc(due, func(one ack) bool { return !now.Before(one.ends) })
	if a.c.nc.IsConnected() {
		a.publish(due)
	}
	a.sent = append(a.sent, due...)
	a.mu.Lock()
	a.spare = due
	a.mu.Unlock()
}

// publish only fills the connection's buffer. If it fails, the next flush does.
func (a *acker) publish(acks []ack) {
	for _, one := range acks {
		_ = a.c.nc.Publish(one.reply, ackPayload)
	}
}

// flush waits until the server has read all acks that were sent, and reports
// whether it has. A connection made anew in the meantime may have lost them in
// its old socket: then those that are still in time are sent again.
func (a *acker) flush(ctx context.Context) bool {
	if len(a.sent) == 0 {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, oneTry)
	defer cancel()
	if a.c.nc.FlushWithContext(ctx) != nil {
		return false
	}
	if epoch := a.c.nc.Stats().Reconnects; epoch != a.epoch {
		a.epoch = epoch
		now := time.Now()
		a.sent = slices.DeleteFunc(a.sent, func(one ack) bool { return !now.Before(one.ends) })
		a.publish(a.sent)
		return false
	}
	a.sent = a.sent[:0]
	return true
}
