// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/jetjobs/jetjobs/internal/guard"
	"github.com/jetjobs/jetjobs/jobs"
)

// An executor runs deliveries, one after the other on each of its goroutines,
// and settles them by what the handler returned.
type executor struct {
	c       *core
	handle  func(context.Context, *delivery) error
	timeout time.Duration
	info    jobs.Info // what all runs have in common
	keeper  *keeper
	ack     func(context.Context, *delivery) error

	handlers context.Context // ends when the grace is over
	settling context.Context // ends a little later: what must be told to the server
}

// A run is a delivery's time in a handler.
type run struct {
	goroutine atomic.Int64    // that the handler is on, 0 before and after
	ctx       context.Context // the handler's; set before goroutine
	ended     time.Time       // when the keeper first saw the context ended; its alone
	reported  bool            // likewise
}

// stuckAfter is how long a handler may go on after its context has ended until
// it is reported.
const stuckAfter = 10 * time.Second

// quarantine is how long a job waits whose next interruption would make it dead,
// before it is run. Such jobs run one at a time in a process, and in this time
// the others are deferred: if one of them kills the process, it does not take
// with it those that were only its neighbours each time.
const quarantine = 200 * time.Millisecond

// execute runs d, which the keeper holds, and reports whether a handler had it
// to the end. It survives whatever the handler does, runtime.Goexit included:
// then it does not return, but its work is done.
func (x *executor) execute(d *delivery, goroutine int64, processed func(error)) {
	began := time.Now()
	s, err := x.c.checkTaken(d.ctx, d, began)
	switch {
	case errors.Is(context.Cause(d.ctx), ErrLeaseLost):
		x.drop(d)
		return
	case d.ctx.Err() != nil, err != nil:
		x.settle(d, settlement{verdict: returnJob}, 0)
		return
	case s != nil:
		x.settle(d, *s, 0)
		return
	}
	if d.interruptions > 0 && d.interruptions == x.c.opts.MaxInterruptions-1 {
		if !x.c.lastChance.CompareAndSwap(false, true) {
			x.settle(d, settlement{verdict: deferJob, delay: time.Second + rand.N(time.Second)}, 0)
			return
		}
		defer x.c.lastChance.Store(false)
		wait(d.ctx, quarantine)
	}
	ctx, cancel := x.context(d)
	d.run.ctx = ctx
	d.run.goroutine.Store(goroutine)
	guard.Settle(func() error { return x.handle(ctx, d) }, func(err error) {
		d.run.goroutine.Store(0)
		s, ok := x.decide(ctx, d, err)
		cancel()
		if !ok {
			x.drop(d)
			return
		}
		x.settle(d, s, time.Since(began))
		if s.verdict != returnJob {
			processed(err)
		}
	})
}

// context is the handler's.
func (x *executor) context(d *delivery) (context.Context, context.CancelFunc) {
	info := x.info
	info.ID, info.Number = d.id, d.attempt
	ctx := jobs.NewContext(d.ctx, info, func() *slog.Logger { return x.c.log.With("id", d.id, "attempt", d.attempt) })
	timeout := x.timeout
	if d.timeout > 0 {
		timeout = d.timeout
	}
	if timeout == 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, timeout, &timeoutError{timeout})
}

// decide says what is to become of a job whose handler has returned err; not ok
// when it is no longer ours to decide.
func (x *executor) decide(ctx context.Context, d *delivery, err error) (s settlement, ok bool) {
	cause := context.Cause(ctx)
	if errors.Is(cause, ErrLeaseLost) {
		return s, false
	}
	if s = settlementOf(err); s.verdict != retryJob || s.delay >= 0 {
		return s, true // it has finished, or steered
	}
	if _, panicked := errors.AsType[*guard.PanicError](err); panicked {
		return s, true
	}
	if timeout, ok := errors.AsType[*timeoutError](cause); ok {
		if !errors.Is(err, timeout) {
			s.err = fmt.Errorf("%w: %w", timeout, err)
		}
		return s, true
	}
	if d.ctx.Err() != nil {
		return settlement{verdict: returnJob}, true // or cancelled, see settle
	}
	return s, true
}

// settle settles d unless the handler has done so itself.
func (x *executor) settle(d *delivery, s settlement, took time.Duration) {
	x.keeper.remove(d)
	defer d.cancel(nil)
	if s.verdict == returnJob && errors.Is(context.Cause(d.ctx), ErrCancelled) {
		s.verdict = cancelJob
	}
	if d.claim() != nil {
		return
	}
	how, err := x.c.settle(x.settling, d, s, x.ack)
	d.release(how, err)
	x.c.logSettled(d, s, how, took, err)
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
	case s.verdict == retryJob:
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

// ignoresEnd reports, once, a handler that goes on long after its context has
// ended. Only the keeper calls it.
func (r *run) ignoresEnd(now time.Time) bool {
	if r.reported || r.goroutine.Load() == 0 || r.ctx.Err() == nil {
		return false
	}
	if r.ended.IsZero() {
		r.ended = now
	}
	r.reported = now.Sub(r.ended) >= stuckAfter
	return r.reported
}

// reportStuck says where a handler hangs. Its slot stays taken, and its lease
// is renewed unless it is lost, until it returns.
func (c *core) reportStuck(d *delivery) {
	c.log.Warn("handler ignores the end of its context and keeps its slot",
		"id", d.id, "attempt", d.attempt, "err", context.Cause(d.run.ctx), "stack", stackOf(d.run.goroutine.Load()))
}

// goroutineID is that of the caller, as stack traces print it.
func goroutineID() (id int64) {
	var buf [64]byte
	line := buf[:runtime.Stack(buf[:], false)]
	fmt.Sscanf(string(line), "goroutine %d ", &id)
	return id
}

// stackOf is where one goroutine stands; the runtime tells it only for all.
func stackOf(goroutine int64) string {
	buf := make([]byte, 4<<20)
	buf = buf[:runtime.Stack(buf, true)]
	for _, one := range bytes.Split(buf, []byte("\n\n")) {
		if bytes.HasPrefix(one, fmt.Appendf(nil, "goroutine %d ", goroutine)) {
			return string(one)
		}
	}
	return "unknown"
}
