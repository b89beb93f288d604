// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package workitem

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/jetjobs/jetjobs/bus"
	"github.com/jetjobs/jetjobs/queue"
)

const (
	// reportEvery is the least time between two reports of one item.
	reportEvery = 100 * time.Millisecond
	// storeEvery is the least time between two that are stored; those in between
	// go only to whoever listens.
	storeEvery = time.Second
	// A run's last status is tried for endWithin, or endWithinAfter the end of its
	// context.
	endWithin      = 30 * time.Second
	endWithinAfter = 3 * time.Second
)

// A reporter tells of one run of an item. The handler only leaves what it reports
// in latest; one goroutine sends it, and end waits for that.
type reporter struct {
	run    context.Context // when its lease is lost nothing more is sent
	bus    *bus.Bus
	topic  bus.Topic[bus.Raw]
	pen    *pen          // the sender's, then end's
	poke   chan struct{} // there is something new
	stop   chan struct{}
	sender sync.WaitGroup

	mu     sync.Mutex // guards the rest; never held while sending
	latest Status
	fresh  bool // it was not sent, and the sender knows
	closed bool
}

// newReporter begins to tell of a run with its first status.
func newReporter(ctx context.Context, b *bus.Bus, l *ledger, first Status) *reporter {
	r := &reporter{
		run: ctx, bus: b, topic: l.names.topic(first.ID), pen: l.pen(first.ID, nil),
		poke: make(chan struct{}, 1), stop: make(chan struct{}), latest: first,
	}
	r.sender.Go(func() { r.send(first) })
	return r
}

// report takes the place of what was reported before and not sent yet.
func (r *reporter) report(percent int, message string, data json.RawMessage) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	r.latest.State, r.latest.Percent = Progress, min(max(percent, 0), 99)
	r.latest.Message, r.latest.Data = message, data
	known := r.fresh
	r.fresh = true
	r.mu.Unlock()
	if known {
		return
	}
	select {
	case r.poke <- struct{}{}:
	default:
	}
}

// take is what is to be sent now.
func (r *reporter) take() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fresh = false
	return r.latest
}

// send stores the first status and then sends what is new, at most once every
// reportEvery. Once every storeEvery it is stored, which publishes it too.
func (r *reporter) send(first Status) {
	stored, unstored := time.Now(), !r.store(first)
	again := time.NewTimer(storeEvery) // to store what was only published
	defer again.Stop()
	gap := time.NewTimer(0)
	defer gap.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-r.poke:
		case <-again.C:
			if !unstored {
				continue
			}
		}
		if r.stopped() {
			return // the last status tells it all
		}
		if s := r.take(); time.Since(stored) < storeEvery {
			r.publish(s)
			unstored = true
		} else {
			stored, unstored = time.Now(), !r.store(s)
		}
		again.Reset(time.Until(stored.Add(storeEvery)))
		gap.Reset(reportEvery)
		select {
		case <-r.stop:
			return
		case <-gap.C:
		}
	}
}

func (r *reporter) stopped() bool {
	select {
	case <-r.stop:
		return true
	default:
		return false
	}
}

// store stores a status, or else publishes it to those who listen.
func (r *reporter) store(s Status) bool {
	if r.lost() {
		return false
	}
	err := r.pen.writeOnce(context.WithoutCancel(r.run), record{Status: s})
	if err != nil && !errors.Is(err, errBarred) {
		r.publish(s)
	}
	return err == nil
}

// publish sends a status to those who listen, unless the run has no turn yet, by
// which they would know it from those of other runs.
func (r *reporter) publish(s Status) {
	if r.lost() || !r.pen.wrote || r.pen.barred {
		return
	}
	if data, err := r.pen.next(record{Status: s}).encode(); err == nil {
		// What can't be published now is told by the next one, or by the ledger.
		_ = r.topic.Publish(context.WithoutCancel(r.run), r.bus, data)
	}
}

func (r *reporter) lost() bool { return errors.Is(context.Cause(r.run), queue.ErrLeaseLost) }

// close ends the sender, and returns the last that was reported. What is reported
// later goes nowhere.
func (r *reporter) close() Status {
	r.mu.Lock()
	closed := r.closed
	r.closed = true
	r.mu.Unlock()
	if !closed {
		close(r.stop)
	}
	r.sender.Wait()
	return r.latest
}

// lasting is a context for what is to be done after a run whose own is ctx.
func lasting(ctx context.Context) (context.Context, context.CancelFunc) {
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), endWithin)
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(endWithinAfter, cancel) })
	return after, func() { stop(); cancel() }
}
