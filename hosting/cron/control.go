// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package cron

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jetjobs/jetjobs/internal/backoff"
	"github.com/jetjobs/jetjobs/lock"
	"github.com/jetjobs/jetjobs/queue"
)

var _ Control = (*Fleet)(nil)

// List returns all schedules of the namespace, by name: also those that no host
// registers any more, which have no Hosts and no Next. What can't be told of one is
// its Problem, and no error.
func (f *Fleet) List(ctx context.Context) ([]Status, error) {
	all, err := read(ctx, f.kv)
	if err != nil {
		return nil, fmt.Errorf("cron: list: %w", err)
	}
	list := []Status{}
	for _, s := range all {
		one, err := f.status(ctx, s)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("cron: list: %w", context.Cause(ctx))
		}
		if err != nil { // of this schedule alone
			f.forget(s.name)
			one.Problem = err.Error()
		}
		list = append(list, one)
	}
	return list, nil
}

func (f *Fleet) status(ctx context.Context, s schedule) (Status, error) {
	st := s.state
	status := Status{
		Name: s.name, Spec: st.Spec, Zone: st.Zone, Overlap: st.Overlap,
		Enabled: !st.Disabled, Why: st.Why, By: st.By, Since: st.Changed,
		Hosts: s.hosts(), Skipped: st.Skipped, LastSkip: st.LastSkip,
	}
	d, registered := s.definition()
	if registered {
		parsed, err := s.parsed(d)
		if err != nil {
			return status, err
		}
		status.Spec, status.Zone, status.Overlap = parsed.Spec(), parsed.Zone(), d.Overlap
		if st.Other != "" {
			status.Original = d.Spec
		}
		if !st.Disabled {
			status.Next = parsed.NextN(f.clock(), nextShown)
		}
	}
	if s.rev == 0 {
		return status, nil // just registered, nothing has run
	}
	q, err := f.look(ctx, s.name)
	if errors.Is(err, ErrNotFound) && !registered {
		return status, nil // somebody has deleted it, and with it the history
	}
	if err != nil {
		return status, err
	}
	stats, err := q.Stats(ctx)
	if err != nil {
		return status, err
	}
	status.Running = stats.Running
	status.Last, err = history(ctx, q, lastShown)
	return status, err
}

// History returns the last runs of a job that are over, the latest first: at most
// n, of those within FleetJobOptions.Retain. It can be read after the job was
// removed from the program.
func (f *Fleet) History(ctx context.Context, name string, n int) ([]Run, error) {
	_, err := f.find(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("cron: history of %q: %w", name, err)
	}
	q, err := f.look(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("cron: history of %q: %w", name, err)
	}
	runs, err := history(ctx, q, n)
	if err != nil {
		f.forget(name)
		return nil, fmt.Errorf("cron: history of %q: %w", name, err)
	}
	return runs, nil
}

func history(ctx context.Context, q *queue.Queue[tick], n int) (runs []Run, err error) {
	over := []queue.State{queue.Done, queue.Dead, queue.Cancelled}
	for i, err := range q.List(ctx, queue.Filter{States: over, Newest: true, Limit: n}) {
		if err != nil {
			return nil, err
		}
		runs = append(runs, runOf(i))
	}
	return runs, context.Cause(ctx)
}

// Leader tells which host plans the ticks; it is not Held if none does.
func (f *Fleet) Leader(ctx context.Context) (lock.Holder, error) { return f.leader.Leader(ctx) }

// Trigger runs a job now, once, on any host that registers it. It fails with
// ErrRunning while an occurrence is not over, if Overlap is Skip. Of several who
// trigger it in the same moment more than one may succeed: they run in turn.
func (f *Fleet) Trigger(ctx context.Context, name string) (*Handle, error) {
	h, err := f.trigger(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("cron: trigger %q: %w", name, err)
	}
	return h, nil
}

func (f *Fleet) trigger(ctx context.Context, name string) (*Handle, error) {
	s, err := f.find(ctx, name)
	if err != nil {
		return nil, err
	}
	d, ok := s.definition()
	if !ok {
		return nil, fmt.Errorf("no host registers it any more: %w", ErrNotFound)
	}
	q, err := f.look(ctx, name)
	if err != nil {
		return nil, err
	}
	if d.Overlap == Skip {
		stats, err := q.Stats(ctx)
		if err != nil {
			return nil, err
		}
		if stats.Waiting+stats.Running+stats.Later > 0 {
			return nil, ErrRunning
		}
	}
	r, err := q.Enqueue(ctx, tick{By: f.opts.Host},
		queue.ID(name+"!"+newID()), queue.MaxAttempts(d.Attempts), queue.Retain(d.Retain))
	if err != nil {
		return nil, err
	}
	return &Handle{ID: r.ID, wait: func(ctx context.Context) (Run, error) { return waitFor(ctx, q, r.ID) }}, nil
}

// Enable makes a schedule fire again for the whole fleet, from now on.
func (f *Fleet) Enable(ctx context.Context, name string) error {
	return f.change(ctx, "enable", name, func(_ schedule, st *state) error {
		if st.Disabled {
			st.Planned = time.Time{} // who leads sets it, by its own clock
		}
		st.Disabled, st.Why = false, ""
		return nil
	})
}

// Disable stops a schedule from firing for the whole fleet, until Enable, also
// over restarts. Occurrences that are not over go on.
func (f *Fleet) Disable(ctx context.Context, name, why string) error {
	return f.change(ctx, "disable", name, func(_ schedule, st *state) error {
		st.Disabled, st.Why = true, why
		return nil
	})
}

// Reschedule gives a job another expression for the whole fleet, also over
// restarts and changes of the program, until it is rescheduled to "".
func (f *Fleet) Reschedule(ctx context.Context, name, spec string) error {
	return f.change(ctx, "reschedule", name, func(s schedule, st *state) error {
		st.Other = spec
		if spec == "" {
			return nil
		}
		d, _ := s.definition()
		parsed, err := parse(spec, cmp.Or(d.Zone, st.Zone))
		st.Other = parsed.spec
		return err
	})
}

// change changes a state by compare-and-set. Who leads sees it at once.
func (f *Fleet) change(ctx context.Context, what, name string, do func(schedule, *state) error) error {
	for {
		s, err := f.find(ctx, name)
		if err == nil {
			st := s.state
			st.By, st.Changed = f.opts.Host, f.clock()
			if err = do(s, &st); err == nil {
				err = f.write(ctx, &s, st)
			}
		}
		if errors.Is(err, errMoved) && backoff.Sleep(ctx, 10*time.Millisecond) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cron: %s %q: %w", what, name, err)
		}
		f.log.Info("schedule changed: "+what, "job", name)
		return nil
	}
}

// find reads a schedule from the server.
func (f *Fleet) find(ctx context.Context, name string) (schedule, error) {
	all, err := read(ctx, f.kv)
	if err != nil {
		return schedule{}, err
	}
	for _, s := range all {
		if s.name == name && (s.rev != 0 || len(s.defs) > 0) {
			return s, nil
		}
	}
	return schedule{}, ErrNotFound
}
