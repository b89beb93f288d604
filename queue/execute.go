// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jetjobs/jetjobs/internal/backoff"
	"github.com/jetjobs/jetjobs/internal/guard"
	"github.com/jetjobs/jetjobs/internal/tracing"
	"github.com/jetjobs/jetjobs/jobs"
)

// An executor runs deliveries, one after the other on each of its goroutines,
// and settles them by what the handler returned.
type executor struct {
	c       *core
	id      string // of the worker, see newWorkerID
	handle  func(context.Context, *delivery) error
	timeout time.Duration
	info    jobs.Info // what all runs have in common
	keeper  *keeper
	ack     func(context.Context, *delivery) error

	handlers context.Context // what the contexts of jobs stem from
	cut      func() bool     // the grace is over, and these contexts have ended
	settling context.Context // ends a little later: what must be told to the server
}

// quarantine is how long a job waits whose next interruption would make it dead,
// before it is run. Such jobs run one at a time in a process, and in this time
// the others are deferred: if one of them kills the process, it does not take
// with it those that were only its neighbours each time.
const quarantine = 200 * time.Millisecond

// execute runs d, which the keeper holds, and reports whether a handler had it
// to the end. It survives whatever the handler does, runtime.Goexit included:
// then it does not return, but its work is done.
func (x *executor) execute(d *delivery, slot *string, processed func(error)) {
	began := time.Now()
	s, err := x.c.checkTaken(d.ctx, d, began)
	if d.given > 1 {
		began = time.Now() // that has asked the server
	}
	switch {
	case d.ctx.Err() != nil, err != nil, !began.Before(x.c.leaseEnds(d)):
		x.unstarted(d, began)
		return
	case s != nil:
		x.settle(d, *s, began)
		return
	}
	if d.interruptions > 0 && d.interruptions == x.c.opts.MaxInterruptions-1 {
		if !x.c.lastChance.CompareAndSwap(false, true) {
			x.settle(d, settlement{verdict: deferJob, delay: time.Second + rand.N(time.Second)}, began)
			return
		}
		defer x.c.lastChance.Store(false)
		if !backoff.Sleep(d.ctx, quarantine) {
			x.unstarted(d, began)
			return
		}
	}
	ctx, cancel := x.context(d)
	d.run.ctx = ctx
	d.run.slot.Store(slot)
	if x.c.teller.watched() {
		x.c.teller.tell(Event{Type: EventStarted, ID: d.id, Attempt: d.attempt, Worker: x.id})
	}
	var asked settlement
	guard.Settle(func() error {
		err := x.handle(ctx, d)
		asked = settlementOf(err) // here, as it calls methods of the handler's error
		return err
	}, func(err error) {
		d.run.slot.Store(nil)
		if panicked, ok := err.(*guard.PanicError); ok {
			asked = settlement{verdict: retryJob, delay: -1, err: panicked}
		}
		s, ok := x.decide(ctx, d, asked)
		cancel()
		if !ok {
			x.drop(d)
			return
		}
		if became := x.settle(d, s, began); became != returnJob && became != cancelJob {
			processed(err)
		}
	})
}

// unstarted hands back a job whose context has ended before a handler had it, if it
// is still ours.
func (x *executor) unstarted(d *delivery, began time.Time) {
	if errors.Is(context.Cause(d.ctx), ErrLeaseLost) || !began.Before(x.c.leaseEnds(d)) { // the keeper's look is still to come
		x.drop(d)
		return
	}
	x.settle(d, settlement{verdict: returnJob}, began)
}

// context is the handler's.
func (x *executor) context(d *delivery) (context.Context, context.CancelFunc) {
	info := x.info
	info.ID, info.Number, info.Queue = d.id, d.attempt, x.c.names.queue
	ctx := jobs.NewContext(d.ctx, info, func() *slog.Logger { return x.c.log.With("id", d.id, "attempt", d.attempt) })
	if parent := d.header.get(tracing.Parent); parent != "" {
		ctx = tracing.Context(ctx, parent, d.header.get(tracing.State))
	}
	timeout := x.timeout
	if d.timeout > 0 {
		timeout = d.timeout
	}
	if timeout == 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, timeout, &timeoutError{timeout})
}

// decide says what is to become of a job for which its handler asked for s; not
// ok when it is no longer ours to decide.
func (x *executor) decide(ctx context.Context, d *delivery, s settlement) (_ settlement, ok bool) {
	if ctx.Err() == nil {
		return s, true
	}
	cause := context.Cause(ctx)
	if errors.Is(cause, ErrLeaseLost) {
		return s, false
	}
	if s.verdict != retryJob || s.delay >= 0 {
		return s, true // it has finished, or steered
	}
	if _, panicked := s.err.(*guard.PanicError); panicked {
		return s, true
	}
	if timeout, ok := cause.(*timeoutError); ok {
		if s.err != error(timeout) {
			s.err = fmt.Errorf("%w: %s", timeout, textOf(s.err))
		}
		return s, true
	}
	if d.ctx.Err() != nil {
		return settlement{verdict: returnJob}, true
	}
	return s, true
}

// settle settles d, for which s was asked, unless the handler has done so itself.
func (x *executor) settle(d *delivery, s settlement, began time.Time) (became verdict) {
	now := time.Now()
	d.run.took = now.Sub(began)
	x.keeper.remove(d)
	defer d.cancel(nil)
	s = d.unlessCancelled(s)
	if d.claim() != nil {
		return s.verdict
	}
	ctx := x.settling
	if x.cut() {
		// Late in a shutdown: what took so long gets its own time to be told.
		var done context.CancelFunc
		ctx, done = context.WithTimeout(context.WithoutCancel(ctx), settleGrace)
		defer done()
	}
	how, err := x.c.settle(ctx, d, s, now, x.ack)
	d.release(how, err)
	x.c.logSettled(d, s, how, d.run.took, err)
	if err == nil {
		x.c.teller.settled(d, s, how, x.id)
	}
	return s.verdict
}

// drop lets go of a delivery whose lease was lost.
func (x *executor) drop(d *delivery) {
	x.keeper.remove(d)
	d.cancel(nil)
	x.c.log.Warn("lease lost, another worker gets the job", "id", d.id, "attempt", d.attempt)
}

// logSettled logs single jobs at Debug, and above that what one may act on.
func (c *core) logSettled(d *delivery, s settlement, how string, took time.Duration, err error) {
	level := slog.LevelDebug
	switch {
	case err != nil, how == "dead":
		level = slog.LevelWarn
	case s.verdict == retryJob, s.verdict == cancelJob && s.err != nil:
		level = slog.LevelInfo
	}
	if !c.log.Enabled(context.Background(), level) {
		return
	}
	what := "job " + how
	if err != nil {
		what, s.err = "job not settled, another worker gets it when its lease has ended", err
	}
	args := []any{"id", d.id, "attempt", d.attempt, "took", took}
	if s.err != nil {
		args = append(args, "err", s.err)
	}
	c.log.Log(context.Background(), level, what, args...)
}
