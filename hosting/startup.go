// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package hosting

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/jetjobs/jetjobs/internal/backoff"
	"github.com/jetjobs/jetjobs/jobs"
)

// An action is something to do before services and jobs begin.
type action struct {
	name     string
	run      func(ctx context.Context) error
	priority int
	timeout  time.Duration
	timed    bool // Timeout was given
	attempts int
	late     bool // in the second wave

	mu     sync.Mutex // guards the rest
	status ActionStatus
}

// startUp does the actions of a wave, those of equal priority together.
func (r *run) startUp(late bool) error {
	var wave []*action
	for _, a := range r.actions {
		if a.late == late {
			wave = append(wave, a)
		}
	}
	slices.SortStableFunc(wave, func(a, b *action) int { return cmp.Compare(a.priority, b.priority) })
	for len(wave) > 0 && r.running.Err() == nil {
		n := 1
		for n < len(wave) && wave[n].priority == wave[0].priority {
			n++
		}
		if err := r.doTogether(wave[:n]); err != nil {
			return err
		}
		wave = wave[n:]
	}
	return nil
}

// doTogether does actions at the same time. The first failure ends the contexts
// of the others.
func (r *run) doTogether(actions []*action) error {
	ctx, cancel := context.WithCancelCause(r.running)
	defer cancel(nil)
	errs := make([]error, len(actions))
	var group sync.WaitGroup
	for i, a := range actions {
		group.Go(func() {
			if errs[i] = r.do(ctx, a); errs[i] != nil {
				cancel(errs[i])
			}
		})
	}
	group.Wait()
	if r.running.Err() != nil {
		return nil // nobody has failed: the host is to stop
	}
	return errors.Join(errs...)
}

// do tries an action until it succeeds, as often as it may.
func (r *run) do(ctx context.Context, a *action) error {
	began := time.Now()
	for try := 1; ; try++ {
		a.set(ActionStatus{State: "running", Attempts: try, Started: began})
		err, stuck := r.try(ctx, a)
		took := time.Since(began)
		if err == nil {
			a.set(ActionStatus{State: "done", Attempts: try, Started: began, Took: took})
			r.log.Info("startup action done", "action", a.name, "took", took)
			return nil
		}
		a.set(ActionStatus{State: "failed", Attempts: try, Started: began, Took: took, Error: err.Error()})
		if ctx.Err() != nil && (stuck || errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))) {
			return nil // another one failed, or the host is to stop
		}
		if try == a.attempts || stuck {
			return fmt.Errorf("hosting: startup action %q: %w", a.name, err)
		}
		r.log.Warn("startup action failed; it is tried again", "action", a.name, "attempt", try, "err", err)
		if !backoff.Sleep(ctx, restarts.Delay(try, rand.Float64)) {
			return nil
		}
	}
}

// try tries an action once. If it is stuck it goes on, and can't be tried again.
func (r *run) try(ctx context.Context, a *action) (err error, stuck bool) {
	ctx, cancel := context.WithCancel(ctx)
	if a.timed {
		ctx, cancel = context.WithTimeoutCause(ctx, a.timeout, fmt.Errorf("took longer than its Timeout %s: %w", a.timeout, context.DeadlineExceeded))
	}
	defer cancel()
	err = r.call(ctx, "action", a.name, a.run)
	stuck = errors.Is(err, ErrStuck)
	if cause := context.Cause(ctx); cause != nil && (stuck || errors.Is(err, context.DeadlineExceeded)) {
		err = cause
	}
	return err, stuck
}

func (a *action) set(s ActionStatus) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s.Name, s.Priority = a.name, a.priority
	a.status = s
}

func (a *action) snapshot() ActionStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.status.State == "" {
		return ActionStatus{Name: a.name, Priority: a.priority, State: "waiting"}
	}
	return a.status
}

// A hostedJob is a job and how it runs.
type hostedJob struct {
	name    string
	runner  *jobs.Runner
	grace   time.Duration
	limited bool // it has an IterationLimit
	late    bool // in the second wave
}
