// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package workitem

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jetjobs/jetjobs/internal/guard"
	"github.com/jetjobs/jetjobs/queue"
)

// A run is an item in the hands of this process.
type run struct {
	job   *Job
	entry *queue.Entry[Envelope]

	aside    bool      // it was put aside before its handler was called
	fence    uint64    // of its lock
	reporter *reporter // from just before the handler is called
}

// handle is the handler of the queue's jobs.
func (j *Job) handle(ctx context.Context, e *queue.Entry[Envelope]) (err error) {
	r := &run{job: j, entry: e}
	guard.Settle(func() error { return r.work(ctx) }, func(failure error) { err = r.end(ctx, failure) })
	return err
}

// work has the item's handler called, under its lock.
func (r *run) work(ctx context.Context) error {
	e := r.entry.Value
	kind := r.job.handlers.find(e.Kind)
	if kind == nil || e.newer() {
		return r.unknown(ctx)
	}
	value, err := kind.decode(e.Data, r.job.q.codec)
	if err != nil {
		return fmt.Errorf("decode the value of kind %q: %w", e.Kind, err)
	}
	held, key, err := kind.lock.do(ctx, value, func(locked context.Context, fence uint64) error {
		r.fence = fence
		r.reporter = newReporter(ctx, r.job.bus, r.job.q.ledger, r.started())
		return kind.handle(locked, r, value)
	})
	if !held {
		return r.locked(ctx, key, err)
	}
	return err
}

// end tells what became of a run, and returns what the queue is to do.
func (r *run) end(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	_, panicked := errors.AsType[*guard.PanicError](err)
	tooLate := timedOut(cause)
	switch {
	case errors.Is(cause, queue.ErrLeaseLost):
		r.drop() // whoever has the item now tells
		return err
	case err == nil:
		r.tell(ctx, func(s *Status) { s.State, s.Percent, s.Error = Completed, 100, "" })
		return nil
	case r.entry.Cancelled():
		r.tell(ctx, func(s *Status) { s.State = Cancelled })
		return err // whatever it is: a cancelled job ends
	case r.aside:
		return err
	case cause != nil && !tooLate && !panicked:
		r.tell(ctx, func(s *Status) { s.State, s.Message = Queued, "handed back: its worker stops" })
		return err
	case tooLate && !errors.Is(err, cause):
		err = fmt.Errorf("%w: %w", cause, err)
	}
	how, failure := r.settle(ctx, err)
	if failure != nil {
		r.drop()
		return err // the queue tries again, within the lease
	}
	r.tell(ctx, func(s *Status) { s.become(how, err) })
	return err
}

// timedOut tells the end of an attempt's Timeout from that of the caller's
// deadline.
func timedOut(cause error) bool {
	return cause != context.DeadlineExceeded && errors.Is(cause, context.DeadlineExceeded)
}

// settle settles a failed attempt here and not by returning, because only the
// queue knows whether it is retried, put aside or dead: its answer to a second
// settlement says.
func (r *run) settle(ctx context.Context, err error) (how string, failure error) {
	ctx, cancel := lasting(ctx)
	defer cancel()
	if failure := r.entry.Abandon(ctx, err); failure != nil {
		return "", failure
	}
	settled, ok := errors.AsType[*queue.SettledError](r.entry.Abandon(ctx, nil))
	if !ok {
		return "", errors.New("the entry is not settled")
	}
	return settled.How, nil
}

// become is what a settlement makes of a status.
func (s *Status) become(how string, err error) {
	switch how {
	case "dead":
		s.State, s.Error = Failed, shorten(err.Error())
	case "retrying":
		s.State, s.Error = Retrying, shorten(err.Error())
	case "cancelled": // in this moment
		s.State = Cancelled
	default:
		s.State, s.Message = Queued, shorten(err.Error())
	}
}

// drop ends the run without a word.
func (r *run) drop() {
	if r.reporter != nil {
		r.reporter.close()
	}
}

// tell writes the last status of the run, which is the latest one changed.
func (r *run) tell(ctx context.Context, change func(*Status)) {
	s, p := r.started(), (*pen)(nil)
	if r.reporter != nil {
		s, p = r.reporter.close(), r.reporter.pen
	} else {
		p = r.job.q.ledger.pen(s.ID, nil)
	}
	change(&s)
	ctx, cancel := lasting(ctx)
	defer cancel()
	r.told(p.write(ctx, record{Status: s}))
}

// told logs what could not be told.
func (r *run) told(err error) {
	if err != nil && !errors.Is(err, errBarred) {
		r.job.q.log.Warn("status not stored", "id", r.entry.ID(), "kind", r.entry.Value.Kind, "err", err)
	}
}

// started is the first status of the run.
func (r *run) started() Status {
	s := r.status()
	s.State, s.Started = Started, now()
	return s
}

// status is what is known before the run.
func (r *run) status() Status {
	e := r.entry
	enqueued := e.Value.Enqueued
	if enqueued.IsZero() {
		enqueued = e.Enqueued().UTC()
	}
	return Status{
		Queue: r.job.q.Name(), ID: e.ID(), Kind: e.Value.Kind, State: Queued,
		Attempt: e.Attempt(), MaxAttempts: e.MaxAttempts(), Error: e.LastError(), Enqueued: enqueued,
	}
}

// unknown puts aside an item that another worker may know, or gives it up when
// none of them did for long enough. The time of the first is in its status.
func (r *run) unknown(ctx context.Context) error {
	e, q := r.entry.Value, r.job.q
	why := fmt.Sprintf("kind %q is not known to the worker that had it", e.Kind)
	if e.newer() {
		why = fmt.Sprintf("the item has version %d and the worker that had it understands %d: upgrade it", e.Version, envelopeVersion)
	}
	s := r.status()
	p := q.ledger.pen(s.ID, nil)
	last, err := p.place(ctx)
	if err != nil {
		return r.putAside(unknownPause(0, r.job.unknownFor))
	}
	since := last.Unknown
	if since.IsZero() || !last.Enqueued.Equal(s.Enqueued) {
		since = now()
		q.log.Warn("item left for another worker: "+why, "id", s.ID, "kind", e.Kind)
	}
	waited := time.Since(since)
	if waited >= r.job.unknownFor {
		return queue.Permanent(fmt.Errorf("%s, nor to any other for %s (JobOptions.UnknownFor)", why, r.job.unknownFor))
	}
	s.Message = why + "; it is left for another"
	r.told(p.writeOnce(ctx, record{Status: s, Unknown: since}))
	return r.putAside(unknownPause(waited, r.job.unknownFor))
}

// unknownPause is how long an item waits for another worker: at first a second, so
// that one that knows it finds it soon, and up to a minute while none does.
func unknownPause(waited, limit time.Duration) time.Duration {
	return min(max(waited/4, time.Second), time.Minute, max(limit-waited, time.Millisecond))
}

// locked puts aside an item whose lock another holds, and says so once for each
// holder.
func (r *run) locked(ctx context.Context, key string, why error) error {
	s := r.status()
	s.Message = shorten(fmt.Sprintf("waits for the lock %q: %v", key, why))
	p := r.job.q.ledger.pen(s.ID, nil)
	last, err := p.place(ctx)
	if err == nil && (last.State != Queued || last.Message != s.Message) {
		r.told(p.writeOnce(ctx, record{Status: s}))
	}
	return r.putAside(lockPause())
}

func (r *run) putAside(d time.Duration) error {
	r.aside = true
	return queue.Snooze(d)
}
