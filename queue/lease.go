// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// A lease is what a delivery knows of its time. The server accepts acks and
// renewals from anybody who once had a message (2.15.2), so the local monotonic
// clock alone decides: it ends Lease − margin after the *sending* of the last
// renewal that was confirmed. For a first lease that is the sending of the pull
// that brought the message: the server can't have begun to count before.
type lease struct {
	mu        sync.Mutex // guards confirmed
	confirmed time.Time  // when the last renewal that was confirmed was sent

	// The rest is guarded by the keeper's mutex.
	renewing   bool
	lost       bool
	released   bool      // no longer renewed: its handler has settled it, and goes on
	prev, next *delivery // in the keeper's list
}

// since is when the lease began to run, here.
func (l *lease) since() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.confirmed
}

func (l *lease) renewed(sent time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.confirmed = sent
}

// margin is how much earlier than at the server a lease ends here, for clocks
// that run differently and messages under way.
func (c *core) margin() time.Duration { return c.lease / 10 }

func (c *core) leaseEnds(d *delivery) time.Time {
	return d.lease.since().Add(c.lease - c.margin())
}

// renew asks for another lease and waits until the server confirms it. A
// renewal that was not confirmed is none.
func (c *core) renew(ctx context.Context, d *delivery) (sent time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, min(oneTry, c.lease/5))
	defer cancel()
	sent = time.Now()
	_, err = c.nc.RequestWithContext(ctx, d.reply, progressPayload)
	return sent, err
}

// A keeper renews the leases of the deliveries that it holds, and cancels those
// whose lease has ended. While it holds none it sleeps.
type keeper struct {
	c    *core
	wake chan struct{} // the list is no longer empty

	mu   sync.Mutex // guards the list and the leases in it
	list delivery   // its ring: list.lease.next is the first
	held int

	doomed map[uint64]time.Time // messages of cancelled jobs that were not here, by sequence
	swept  time.Time            // when the old ones of these were last thrown out
	over   error                // why every context has ended, nil as long as they go on
}

func newKeeper(c *core) *keeper {
	k := &keeper{c: c, wake: make(chan struct{}, 1), doomed: map[uint64]time.Time{}}
	k.list.lease.prev, k.list.lease.next = &k.list, &k.list
	return k
}

func (k *keeper) add(d *delivery) {
	d.keeper = k
	k.mu.Lock()
	last := k.list.lease.prev
	d.lease.prev, d.lease.next = last, &k.list
	last.lease.next, k.list.lease.prev = d, d
	k.held++
	first := k.held == 1
	end := k.over
	if _, doomed := k.doomed[d.seq]; doomed {
		d.cancelled.Store(true)
		end = ErrCancelled
	}
	k.mu.Unlock()
	if end != nil {
		d.cancel(end)
	}
	if first {
		select {
		case k.wake <- struct{}{}:
		default:
		}
	}
}

// release ends the renewals of a delivery that stays in the list, or with false
// begins them again.
func (k *keeper) release(d *delivery, released bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d.lease.released = released
}

func (k *keeper) remove(d *delivery) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if d.lease.next == nil {
		return
	}
	d.lease.prev.lease.next, d.lease.next.lease.prev = d.lease.next, d.lease.prev
	d.lease.prev, d.lease.next = nil, nil
	k.held--
}

// cut ends the contexts of all deliveries, also of those still to come. They
// have no parent that could: to be one of a thousand children costs each job a
// third of its context.
func (k *keeper) cut(cause error) {
	k.mu.Lock()
	k.over = cause
	var held []*delivery
	for d := k.list.lease.next; d != &k.list; d = d.lease.next {
		held = append(held, d)
	}
	k.mu.Unlock()
	for _, d := range held {
		d.cancel(cause)
	}
}

func (k *keeper) isCut() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.over != nil
}

// run keeps leases until ctx ends.
func (k *keeper) run(ctx context.Context) {
	var renewals sync.WaitGroup
	defer renewals.Wait()
	tick := time.NewTicker(k.c.lease / 15)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		due, lost, stuck := k.look(time.Now())
		for _, d := range lost {
			d.cancel(ErrLeaseLost)
		}
		for _, d := range due {
			renewals.Go(func() { k.renew(ctx, d) })
		}
		for _, d := range stuck {
			k.c.reportStuck(d)
		}
		if !k.idle() {
			continue
		}
		tick.Stop()
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
			tick.Reset(k.c.lease / 15)
		}
	}
}

func (k *keeper) idle() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.held == 0
}

// look finds the leases to renew, a third of their time after the last renewal,
// those that end before the next look, and the handlers that ignore the end of
// their context.
func (k *keeper) look(now time.Time) (due, lost, stuck []*delivery) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for d := k.list.lease.next; d != &k.list; d = d.lease.next {
		switch {
		case d.lease.lost, d.lease.released:
		case !now.Add(k.c.lease / 15).Before(k.c.leaseEnds(d)):
			d.lease.lost = true
			lost = append(lost, d)
		case !d.lease.renewing && now.Sub(d.lease.since()) >= k.c.lease/3:
			d.lease.renewing = true
			due = append(due, d)
		}
		if d.run.ignoresEnd(now) {
			stuck = append(stuck, d)
		}
	}
	return due, lost, stuck
}

func (k *keeper) renew(ctx context.Context, d *delivery) {
	// Not in look: nats.go's lock may be held as long as a socket is stalled.
	// A renewal kept by the client until later would renew somebody else's lease.
	sent, err := time.Time{}, nats.ErrDisconnected
	if k.c.nc.IsConnected() {
		sent, err = k.c.renew(ctx, d)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if d.lease.next == nil {
		return // removed: the lease is no longer this keeper's
	}
	d.lease.renewing = false
	if err == nil {
		d.lease.renewed(sent)
	}
}
