// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package cron

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetjobs/jetjobs/internal/backoff"
	"github.com/jetjobs/jetjobs/lock"
	"github.com/jetjobs/jetjobs/queue"
)

const (
	// lateBy is how late a tick may be planned before it counts as missed: longer
	// than any change of leader takes.
	lateBy = time.Minute
	// mostMissed is how many missed ticks RunAll makes up for at once.
	mostMissed = 1000
	// pruneEvery is how often dead occurrences are looked for that are older
	// than Retain.
	pruneEvery = time.Hour
)

// retries is the wait after planning, or working, has failed.
var retries = backoff.Exponential{First: 200 * time.Millisecond, Max: 2 * time.Second, Factor: 2, Jitter: 0.2}

// lead plans ticks until ctx ends. Nothing depends on there being one leader
// only: a tick is enqueued under an ID that the queue has once, and what was
// planned is written down by compare-and-set.
func (f *Fleet) lead(ctx context.Context, _ lock.Fence) error {
	f.log.Info("leads the fleet's schedules", "host", f.opts.Host)
	prune := time.NewTicker(pruneEvery)
	defer prune.Stop()
	var planners sync.WaitGroup
	defer planners.Wait()
	planned := map[string]bool{}
	for {
		all, changed := f.view.all()
		for _, s := range all {
			if !planned[s.name] {
				planned[s.name] = true
				planners.Go(func() { f.keepPlanning(ctx, s.name) })
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-prune.C:
			planners.Go(func() { f.pruneAll(ctx, all) })
		}
	}
}

// keepPlanning plans the ticks of one schedule until ctx ends. If that fails it
// is said once, and holds up no other schedule.
func (f *Fleet) keepPlanning(ctx context.Context, name string) {
	failures := 0
	for {
		s := f.view.get(name)
		next, err := f.plan(ctx, s)
		wait := lookAgain
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errMoved):
			wait = retries.First
		case err != nil:
			failures++
			if wait = retries.Delay(failures, rand.Float64); failures == 1 {
				f.log.Warn("tick not planned; it is tried again", "job", name, "err", err)
			}
			f.forget(name)
		case failures > 0:
			f.log.Info("ticks are planned again", "job", name, "failures", failures)
			failures = 0
		}
		if err == nil && !next.IsZero() {
			wait = min(wait, max(0, next.Sub(f.clock())))
		}
		again := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-s.changed:
		case <-again.C:
		}
		again.Stop()
	}
}

// errMoved says that another write to a state came first.
var errMoved = errors.New("the state was changed by another process")

// plan plans what is due of a schedule, and returns when its next tick is, zero
// for never.
func (f *Fleet) plan(ctx context.Context, s schedule) (next time.Time, err error) {
	d, ok := s.definition()
	if !ok {
		return next, nil // no host registers it any more
	}
	parsed, err := s.parsed(d)
	if err != nil {
		return next, err
	}
	q, err := f.queue(ctx, s.name, d)
	if err != nil {
		return next, err
	}
	if err := f.finish(ctx, &s, d, q); err != nil { // what another leader has begun
		return next, err
	}
	now := f.clock()
	if err := f.adopt(ctx, &s, d, parsed, q, now); err != nil {
		return next, err
	}
	if err := f.finish(ctx, &s, d, q); err != nil { // RunAtStart
		return next, err
	}
	if s.state.Disabled {
		return next, nil
	}
	ticks, next := dueTicks(parsed, s.state.Planned, now, d.Missed, d.Window)
	for _, t := range ticks {
		if err := f.planTick(ctx, &s, d, q, t); err != nil {
			return next, err
		}
	}
	return next, nil
}

// finish enqueues the intent, if there is one.
func (f *Fleet) finish(ctx context.Context, s *schedule, d definition, q *queue.Queue[tick]) error {
	if s.state.Intent.IsZero() {
		return nil
	}
	return f.enqueue(ctx, s, d, q, s.state.Intent)
}

// adopt makes the state that of the schedule as it is defined now. A new or
// changed one counts from now: what it would have done before was not due. What
// was due as it was before, and is late because nobody led, is planned first.
func (f *Fleet) adopt(ctx context.Context, s *schedule, d definition, parsed Schedule, q *queue.Queue[tick], now time.Time) error {
	same := s.state.Spec == parsed.Spec() && s.state.Zone == parsed.Zone()
	from := s.from(now)
	if s.rev != 0 && same && s.state.Overlap == d.Overlap && from.Equal(s.state.Planned) {
		return nil
	}
	if before, err := parse(s.state.Spec, s.state.Zone); err == nil && s.rev != 0 && !same && !s.state.Disabled {
		late, _ := dueTicks(before, from, now, RunNone, d.Window)
		for _, t := range late {
			if err := f.planTick(ctx, s, d, q, t); err != nil {
				return err
			}
		}
	}
	st := s.state
	if s.rev != 0 && st.Overlap != d.Overlap {
		if err := q.SetMaxRunning(ctx, maxRunning(d.Overlap)); err != nil {
			return err
		}
	}
	st.Planned = from
	if !same {
		st.Planned = now
	}
	if s.rev == 0 && d.RunAtStart {
		st.Intent = now.Truncate(time.Second)
	}
	st.Spec, st.Zone, st.Overlap = parsed.Spec(), parsed.Zone(), d.Overlap
	f.log.Info("schedule", "job", s.name, "spec", parsed.String(), "from", st.Planned)
	return f.write(ctx, s, st)
}

// from is the moment after which ticks are due. One that was enabled counts from
// when that was written, by the server's clock or the leader's: that of who wrote it
// may be wrong. One that is planned far ahead was so by a clock that was wrong.
func (s schedule) from(now time.Time) time.Time {
	switch p := s.state.Planned; {
	case p.IsZero() && s.at.Before(now):
		return s.at
	case p.IsZero(), now.Before(p.Add(-setBack)):
		return now
	default:
		return p
	}
}

// planTick settles a tick: it is enqueued, or left out because of its overlap.
func (f *Fleet) planTick(ctx context.Context, s *schedule, d definition, q *queue.Queue[tick], t time.Time) error {
	if d.Overlap == Skip {
		stats, err := q.Stats(ctx)
		if err != nil {
			return err
		}
		if stats.Waiting+stats.Running+stats.Later > 0 {
			st := s.state
			st.Planned, st.LastSkip = t, t
			st.Skipped++
			f.log.Info("tick skipped: an occurrence is not over", "job", s.name, "tick", t)
			return f.write(ctx, s, st)
		}
	}
	st := s.state
	st.Intent = t
	if err := f.write(ctx, s, st); err != nil {
		return err
	}
	return f.enqueue(ctx, s, d, q, t)
}

// enqueue enqueues the tick that is the intent. If it is there already nothing
// happens.
func (f *Fleet) enqueue(ctx context.Context, s *schedule, d definition, q *queue.Queue[tick], t time.Time) error {
	opts := []queue.EnqueueOption{queue.ID(tickID(s.name, t)), queue.MaxAttempts(d.Attempts), queue.Retain(d.Retain)}
	if d.Jitter > 0 {
		opts = append(opts, queue.Delay(rand.N(d.Jitter)))
	}
	_, err := q.Enqueue(ctx, tick{Planned: t.UTC(), By: f.opts.Host}, opts...)
	if err != nil {
		return err
	}
	st := s.state
	st.Intent = time.Time{}
	if t.After(st.Planned) {
		st.Planned = t
	}
	return f.write(ctx, s, st)
}

// write changes the state, unless somebody has changed it since s was read.
func (f *Fleet) write(ctx context.Context, s *schedule, st state) error {
	data, err := json.Marshal(st)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var rev uint64
	if s.rev == 0 {
		rev, err = f.kv.Create(ctx, stateKey+s.name, data)
	} else {
		rev, err = f.kv.Update(ctx, stateKey+s.name, data, s.rev)
	}
	if moved(err) {
		return errMoved
	}
	if err != nil {
		return fmt.Errorf("write the state: %w", err)
	}
	s.state, s.rev, s.at = st, rev, f.clock()
	f.view.wrote(*s)
	return nil
}

// moved recognises a compare-and-set that came too late, also on a replicated
// bucket while another write is in flight.
func moved(err error) bool {
	if errors.Is(err, jetstream.ErrKeyExists) {
		return true
	}
	apiErr, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (apiErr.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || apiErr.ErrorCode == 10164)
}

// dueTicks returns the ticks after planned that are to be planned at now, in
// order, and the first one to come. Of those that are later than lateBy it takes
// what missed and window allow.
func dueTicks(s Schedule, planned, now time.Time, missed Missed, window time.Duration) (ticks []time.Time, next time.Time) {
	var old []time.Time
	from := planned
	if oldest := now.Add(-max(window, lateBy) - time.Nanosecond); from.Before(oldest) {
		from = oldest // what is due at oldest itself is within the window
	}
	for next = s.Next(from); !next.IsZero() && !next.After(now); next = s.Next(next) {
		if now.Sub(next) <= lateBy {
			ticks = append(ticks, next)
			continue
		}
		old = append(old, next)
		if len(old) >= 2*mostMissed {
			old = append(old[:0], old[mostMissed:]...)
		}
	}
	switch missed {
	case RunNone:
		old = nil
	case RunOnce:
		old = old[max(0, len(old)-1):]
	case RunAll:
		old = old[max(0, len(old)-mostMissed):]
	}
	return append(old, ticks...), next
}

// pruneAll removes dead occurrences that are older than the history is kept. The
// server removes the others by itself.
func (f *Fleet) pruneAll(ctx context.Context, all []schedule) {
	for _, s := range all {
		d, ok := s.definition()
		if !ok {
			continue
		}
		q, err := f.queue(ctx, s.name, d)
		if err == nil {
			oldest := f.clock().Add(-d.Retain)
			_, err = q.DeadLetters().DeleteFunc(ctx, func(l queue.DeadLetter[tick]) bool { return l.Died.Before(oldest) })
		}
		if err != nil && ctx.Err() == nil {
			f.log.Warn("old failures not removed", "job", s.name, "err", err)
		}
	}
}
