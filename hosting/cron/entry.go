// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package cron

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/jetjobs/jetjobs/jobs"
)

// An entry is a job of a Table.
type entry struct {
	table   *Table
	name    string
	opts    Options // with defaults
	job     jobs.Job
	changed chan struct{} // the loop has to look again

	mu       sync.Mutex // guards the rest; never held while the job runs
	schedule Schedule
	original Schedule
	enabled  bool
	why      string
	since    time.Time
	running  int
	waiting  []*run // for their turn
	skipped  int
	lastSkip time.Time
	last     []Run
}

// lookAgain is the longest wait of the loop: the clock on the wall may have been
// set, or the machine may have slept, of which a timer knows nothing.
const lookAgain = time.Minute

// loop starts a run at each tick, until the session ends.
func (e *entry) loop(s *session) {
	if e.opts.RunAtStart {
		e.start(s, newRun(time.Time{}))
	}
	last := wallNow()
	for {
		e.mu.Lock()
		schedule, enabled := e.schedule, e.enabled
		e.mu.Unlock()
		now := wallNow()
		due, next, from := plan(schedule, last, now)
		if last = from; !enabled {
			last, due, next = now, time.Time{}, time.Time{}
		}
		if !due.IsZero() {
			e.startLater(s, due)
		}
		wait := lookAgain
		if !next.IsZero() {
			wait = min(wait, next.Sub(now))
		}
		timer := time.NewTimer(wait)
		select {
		case <-s.ctx.Done():
			timer.Stop()
			return
		case <-e.changed:
			timer.Stop()
			last = wallNow() // changes count from now on
		case <-timer.C:
		}
	}
}

// wallNow is the time without the monotonic clock, which stands still while a
// machine sleeps.
func wallNow() time.Time { return time.Now().Round(0) }

// setBack is how far the clock may be set back without ticks coming again.
const setBack = 3 * time.Hour

// plan finds what is due: the latest tick after last and not after now, zero if
// there is none. However many there were while the process could not run, they
// are one. next is the first tick to come, and from what to count from then on. A
// clock that was set back by up to three hours repeats nothing; by more, it was
// wrong before, and counts from now.
func plan(s Schedule, last, now time.Time) (due, next, from time.Time) {
	if now.Before(last.Add(-setBack)) {
		last = now
	}
	from = last
	for n := 0; ; n++ {
		next = s.Next(from)
		if next.IsZero() || next.After(now) {
			return due, next, from
		}
		due, from = next, next
		if hourAgo := now.Add(-time.Hour); n > 10_000 && from.Before(hourAgo) {
			from = hourAgo // each second, and it slept for hours
		}
	}
}

// startLater starts the run of a tick after its jitter.
func (e *entry) startLater(s *session, tick time.Time) {
	if e.opts.Jitter <= 0 {
		e.start(s, newRun(tick))
		return
	}
	s.entries.Go(func() {
		timer := time.NewTimer(rand.N(e.opts.Jitter))
		defer timer.Stop()
		select {
		case <-s.ctx.Done():
		case <-timer.C:
			e.start(s, newRun(tick))
		}
	})
}

// A run is one run of a job, from its tick to its end.
type run struct {
	id    string
	tick  time.Time // zero if there was none
	ended chan struct{}
	told  Run // set before ended is closed
}

func newRun(tick time.Time) *run {
	return &run{id: newID(), tick: tick, ended: make(chan struct{})}
}

func (r *run) handle() *Handle {
	return &Handle{ID: r.id, wait: func(ctx context.Context) (Run, error) {
		select {
		case <-r.ended:
			return r.told, nil
		case <-ctx.Done():
			return Run{}, context.Cause(ctx)
		}
	}}
}

// start starts a run, now or after the one that goes on, as Overlap says, and
// reports whether it does. Of ticks at most one waits, the latest.
func (e *entry) start(s *session, r *run) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running > 0 {
		switch e.opts.Overlap {
		case Skip:
			if !r.tick.IsZero() {
				e.skipped++
				e.lastSkip = r.tick
				e.table.log.Debug("tick skipped: the job still runs", "job", e.name, "tick", r.tick)
			}
			return false
		case Queue:
			if !r.tick.IsZero() {
				before := len(e.waiting)
				e.waiting = slices.DeleteFunc(e.waiting, func(w *run) bool { return !w.tick.IsZero() })
				e.skipped += before - len(e.waiting)
			}
			e.waiting = append(e.waiting, r)
			return true
		}
	}
	e.running++
	s.entries.Go(func() { e.run(s, r) })
	return true
}

// run does a run, and then those that wait for their turn.
func (e *entry) run(s *session, r *run) {
	for r != nil {
		e.do(s, r)
		e.mu.Lock()
		r = nil
		if len(e.waiting) > 0 {
			r, e.waiting = e.waiting[0], e.waiting[1:]
		} else {
			e.running--
		}
		e.mu.Unlock()
	}
}

func (e *entry) do(s *session, r *run) {
	began := time.Now()
	result := s.runOnce(e)
	host, _ := os.Hostname()
	r.told = Run{
		ID: r.id, Planned: r.tick, Started: began, Took: time.Since(began), Attempt: 1,
		Outcome: result.Outcome().String(), Message: result.Message(), Host: host,
	}
	log := e.table.log.With("job", e.name, "run", r.id, "took", r.told.Took)
	switch {
	case result.Succeeded():
		log.Debug("job succeeded", "message", result.Message())
	case result.Cancelled() && s.ctx.Err() != nil:
		log.Info("job cancelled", "err", result.Err())
	default:
		if panicked, ok := errors.AsType[*jobs.PanicError](result.Err()); ok {
			log = log.With("stack", string(panicked.Stack))
		}
		log.Warn("job "+result.Outcome().String(), "err", result.Err())
	}
	e.mu.Lock()
	e.last = slices.Insert(e.last[:min(len(e.last), lastShown-1)], 0, r.told)
	e.mu.Unlock()
	close(r.ended)
}

func (e *entry) status(now time.Time) Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := Status{
		Name: e.name, Spec: e.schedule.Spec(), Zone: e.schedule.Zone(), Overlap: e.opts.Overlap,
		Enabled: e.enabled, Why: e.why, Since: e.since,
		Running: e.running, Skipped: e.skipped, LastSkip: e.lastSkip, Last: slices.Clone(e.last),
	}
	if s.Spec != e.original.Spec() {
		s.Original = e.original.Spec()
	}
	if e.enabled {
		s.Next = e.schedule.NextN(now, nextShown)
	}
	return s
}
