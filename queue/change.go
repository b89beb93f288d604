// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetjobs/jetjobs/internal/backoff"
	"github.com/jetjobs/jetjobs/internal/wirename"
)

// CancelAll cancels the jobs that a filter accepts, as Cancel does, and returns
// how many. What is enqueued while it goes on is left alone. It refuses an empty
// filter unless Filter.All is set.
//
// Filter.States are those of List, so Waiting alone leaves out what a worker has
// taken and not started, and what a crashed one has left, which is Running until it
// is taken again. Who wants to be rid of jobs gives no States, or both.
func (q *Queue[T]) CancelAll(ctx context.Context, f Filter) (int, error) {
	n, err := q.cancelAll(ctx, f)
	return n, q.c.wrap("cancel all", err)
}

func (q *Queue[T]) cancelAll(ctx context.Context, f Filter) (n int, err error) {
	if err := f.checkChange(); err != nil {
		return 0, err
	}
	for _, s := range f.States {
		if s.Over() {
			return 0, fmt.Errorf("State %s: want Waiting, Running or Later: a job that is over can't be cancelled", s)
		}
	}
	if len(f.States) == 0 {
		f.States = []State{Waiting, Running, Later}
	}
	var failed error
	err = q.list(ctx, f, func(i Info[T]) bool {
		one, cancel := q.c.bound(ctx)
		_, failed = q.c.cancel(one, i.ID)
		cancel()
		if failed == nil {
			n++
		}
		if errors.Is(failed, ErrNotFound) {
			failed = nil // over in the meantime
		}
		return failed == nil
	})
	return n, errors.Join(failed, err, context.Cause(ctx))
}

// RunNow makes a Later job wait to be run at once. Attempts and everything else
// stay. If the job comes due at the same moment it still runs once, and it is no error
// if it is over by then. The error is ErrNotFound, or a *StateError for a job that is
// not Later.
func (q *Queue[T]) RunNow(ctx context.Context, id string) error {
	return q.c.wrap("run now", q.c.replan(ctx, id, time.Time{}))
}

// Reschedule makes a Later job due at another time; one that is past means now.
// Attempts and everything else stay. The error is ErrNotFound, or a *StateError for a
// job that is not Later. A time at which the job would have expired (Expires) is
// refused.
func (q *Queue[T]) Reschedule(ctx context.Context, id string, at time.Time) error {
	var err error
	if at.IsZero() || at.After(endOfTime) {
		err = fmt.Errorf("the time is %s: want one before the year 2262", at.Format(time.RFC3339))
	} else {
		err = q.c.replan(ctx, id, at)
	}
	return q.c.wrap("reschedule", err)
}

// replan moves a later job to another time, zero for now, by compare-and-set
// against the schedule: if that fires first there is nothing more to do.
func (c *core) replan(ctx context.Context, id string, at time.Time) error {
	if err := checkID(id); err != nil {
		return err
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	token := wirename.Encode(id)
	ran := false // it may have been made to run, by its schedule or by a try whose answer was lost
	for try := 0; ; try++ {
		found, err := c.findAtRest(ctx, token)
		if err != nil {
			return err
		}
		ran = ran || found.fired
		last := found.last
		if last == nil || !c.isLater(last) {
			return c.notLater(ctx, id, found, ran && !at.After(time.Now()))
		}
		_, priority, _, _ := c.names.parse(last.Subject)
		h, err := last.header()
		if err != nil {
			return err
		}
		if about, _ := h.understand(last.Time); about.mayExpire() && at.After(about.expires) {
			return fmt.Errorf("the time is %s, after the job expires at %s: want an earlier one, or Cancel it and enqueue it anew with another Expires",
				at.Format(time.RFC3339Nano), about.expires.Format(time.RFC3339Nano))
		}
		err = c.publish(ctx, c.replanned(last, h, priority, token, at))
		if err == nil || !errors.Is(err, errMoved) && !errors.Is(err, errUnanswered) {
			return err
		}
		ran = ran || errors.Is(err, errUnanswered)
		if !pause(ctx, try) {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// notLater says what it means to replan that a job is not Later; nothing, if it was to
// run at once and may have been made to.
func (c *core) notLater(ctx context.Context, id string, found finding, ran bool) error {
	last := found.last
	switch {
	case last == nil && ran:
		return nil // and it is over
	case last == nil:
		return fmt.Errorf("job %q: %w", id, ErrNotFound)
	}
	word, priority, _, _ := c.names.parse(last.Subject)
	h, err := last.header()
	if err != nil {
		return err
	}
	state := stateOf(word, h)
	if ran && state != Cancelled {
		return nil
	}
	if state == Waiting {
		state, _, _ = c.running(ctx, priority, last.Seq, askWithin(found.took)) // Waiting also if that can't be told
	}
	return &StateError{ID: id, State: state}
}

func (c *core) isLater(m *stored) bool {
	word, _, _, _ := c.names.parse(m.Subject)
	return word == later
}

// A finding is what stands of a job when no schedule of it is firing.
type finding struct {
	last  *stored       // the last message about it, nil if there is none
	took  time.Duration // to ask for it
	fired bool          // it was Later, and its schedule has fired while it was waited for
}

// findAtRest finds a job. If its schedule may be firing in this very moment, it waits
// until it has, or until it is clear that it does not: the server takes a message from
// its schedule to its target in two steps, and what is written about the job in between
// does not hold it up (2.15.2).
func (c *core) findAtRest(ctx context.Context, token string) (f finding, err error) {
	for {
		began := time.Now()
		f.last, err = c.findPatiently(ctx, token)
		f.took = time.Since(began)
		if err != nil || f.last == nil || !c.mayFire(f.last, time.Now()) {
			return f, err
		}
		f.fired = true // unless it turns out to be stuck: then it is Later still
		if !backoff.Sleep(ctx, fireMargin/10) {
			return f, context.Cause(ctx)
		}
	}
}

const (
	// fireMargin is how far the server's clock may be from this one.
	fireMargin = 50 * time.Millisecond
	// stuckFor is how late a schedule may be; one that has not fired by then is stuck.
	stuckFor = time.Second
)

// mayFire reports whether a message is a schedule that is due about now.
func (c *core) mayFire(m *stored, now time.Time) bool {
	if !c.isLater(m) {
		return false
	}
	h, err := m.header()
	if err != nil {
		return false
	}
	about, _ := h.understand(m.Time)
	return now.After(about.due.Add(-fireMargin)) && now.Before(about.due.Add(stuckFor))
}

// replanned is a later job with another time.
func (c *core) replanned(last *stored, h header, priority int, token string, at time.Time) *nats.Msg {
	kept := h.own()
	if kept.get(headerEnqueued) == "" {
		kept.setTime(headerEnqueued, last.Time)
	}
	m := &nats.Msg{Subject: c.names.subject(ready, priority, token), Header: nats.Header(kept), Data: last.Data}
	if at.IsZero() {
		kept.setTime(headerDue, time.Now())
		purge(m, last.Subject)
	} else {
		m.Subject = last.Subject
		delete(kept, headerReason)
		c.schedule(m, priority, token, at)
	}
	c.expect(m, token, last.Seq)
	return m
}

// EnqueueCopy enqueues a corrected copy of a job that is Waiting, Running, Later
// or Dead: payloads never change, so this is the way to mend one. edit changes the value; nil
// leaves it. The copy has a new ID, unless opts give one, its first attempt, and
// Info.CopyOf; priority, limits, correlation ID and properties are those of the
// job, where opts don't say otherwise. The job itself stays: Cancel or delete it.
//
// The error is ErrNotFound, or a *StateError for a job that is Done or Cancelled,
// whose payload is gone.
func (q *Queue[T]) EnqueueCopy(ctx context.Context, id string, edit func(*T) error, opts ...EnqueueOption) (Receipt, error) {
	r, err := q.enqueueCopy(ctx, id, edit, opts)
	return r, q.c.wrap("enqueue a copy", err)
}

func (q *Queue[T]) enqueueCopy(ctx context.Context, id string, edit func(*T) error, opts []EnqueueOption) (Receipt, error) {
	if err := checkID(id); err != nil {
		return Receipt{}, err
	}
	ctx, cancel := q.c.bound(ctx)
	defer cancel()
	last, err := q.c.findPatiently(ctx, wirename.Encode(id))
	if err != nil {
		return Receipt{}, err
	}
	if last == nil {
		return Receipt{}, fmt.Errorf("job %q: %w", id, ErrNotFound)
	}
	h, err := last.header()
	if err != nil {
		return Receipt{}, err
	}
	old := q.info(last.Subject, last.Seq, h, last.Data, last.Time)
	if old.State == Done || old.State == Cancelled {
		return Receipt{}, &StateError{ID: id, State: old.State}
	}
	about, _ := h.understand(last.Time)
	opts = append(opts[:len(opts):len(opts)], copyOf(id, about, old.Priority))
	data := old.Payload
	if edit != nil {
		if old.Undecodable != nil {
			return Receipt{}, old.Undecodable
		}
		if err := edit(&old.Value); err != nil {
			return Receipt{}, err
		}
		if data, err = q.encode(old.Value); err != nil {
			return Receipt{}, err
		}
	}
	return q.through(ctx, old.Value, opts, func(ctx context.Context, opts []EnqueueOption) (Receipt, error) {
		return q.c.enqueue(ctx, data, opts)
	})
}

// copyOf sets what a copy has of the job, where no option did.
func copyOf(id string, about meta, priority int) EnqueueOption {
	return enqueueOption(func(s *spec) {
		s.copyOf = id
		if !s.has("Priority") {
			s.priority = priority
		}
		if !s.has("MaxAttempts") {
			s.maxAttempts = about.maxAttempts
		}
		if !s.has("Timeout") {
			s.timeout = about.timeout
		}
		if !s.has("Retain") {
			s.retain = about.retain
		}
		if !s.has("CorrelationID") {
			s.correlation = about.correlation
		}
		for k, v := range about.properties {
			if _, given := s.properties[k]; !given {
				if s.properties == nil {
					s.properties = map[string]string{}
				}
				s.properties[k] = v
			}
		}
	})
}
