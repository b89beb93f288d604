// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package jobs

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/jetjobs/jetjobs/internal/guard"
)

// A Runner runs a job as its Options say. All its methods may be called concurrently, and again
// after they returned; each call of Run, RunOnce and Start has its own instances, and Status tells
// of all of them.
type Runner struct {
	build   func(instance int) (Job, error)
	opts    Options // with defaults; immutable after NewRunner returns
	history history
}

// NewRunner returns a Runner of job, which all instances share. The error names everything that is
// wrong with opts.
func NewRunner(job Job, opts Options) (*Runner, error) {
	var missing error
	if isNil(job) {
		missing = errors.New("jobs: job is nil: want a Job")
	}
	return newRunner(func(int) (Job, error) { return job, nil }, opts, missing)
}

// NewRunnerFunc returns a Runner whose instances each have a job of their own, made by factory when
// Run, RunOnce or Start begins; instance counts from 0. Calls of Run make their jobs one after the
// other. A factory that fails, panics or returns nil costs that instance only: the others run.
func NewRunnerFunc(factory func(instance int) (Job, error), opts Options) (*Runner, error) {
	var missing error
	if factory == nil {
		missing = errors.New("jobs: factory is nil: want a function that returns a Job")
	}
	return newRunner(factory, opts, missing)
}

func newRunner(build func(int) (Job, error), opts Options, missing error) (*Runner, error) {
	if err := errors.Join(missing, opts.check()); err != nil {
		return nil, err
	}
	return &Runner{build: build, opts: opts.withDefaults()}, nil
}

// Run runs the job again and again until ctx ends, by cancellation or by deadline, or every instance
// has reached its limit. It returns when everything it started has ended. If ctx has ended before,
// it runs nothing.
//
// The error is nil, except if instances could not be built, which it names; results of runs are no
// errors of Run. If no instance could be built it returns at once, otherwise it warns and goes on with
// the others.
func (r *Runner) Run(ctx context.Context) error { return r.run(ctx, nil) }

// run is Run whose Grace ends when cut is closed.
func (r *Runner) run(ctx context.Context, cut <-chan struct{}) error {
	if ctx.Err() != nil {
		return nil
	}
	instances, err := r.newInstances(r.opts.Instances)
	if len(instances) == 0 {
		return err
	}
	log := r.opts.logger().With("job", r.opts.Name)
	if err != nil {
		// Returned as well, but that may be days from now.
		log.Warn("job runs with fewer instances", "instances", len(instances), "err", err)
	}
	log.Info("job started", "instances", len(instances))
	newSession(ctx, r, instances, cut).run((*instance).loop)
	log.Info("job stopped")
	return err
}

// RunOnce runs the job once, now, and returns the result, which it does not log. It takes no notice
// of Interval, InitialDelay, IterationLimit and Instances; Grace holds as it does for Run, and within
// another run, whose context ctx is, ends with that one's (Info.Cut). If ctx has ended before, it runs nothing and the result is cancelled. If the factory could not build the job,
// the result is failed.
func (r *Runner) RunOnce(ctx context.Context) Result {
	if ctx.Err() != nil {
		return CancelledWith(fmt.Sprintf("not run: %v", context.Cause(ctx)))
	}
	instances, err := r.newInstances(1)
	if err != nil {
		return Failed(err)
	}
	var result Result
	outer, _ := FromContext(ctx)
	newSession(ctx, r, instances, outer.Cut).run(func(in *instance, s *session) { result = in.once(s) })
	return result
}

// Start calls Run in the background.
func (r *Runner) Start(ctx context.Context) *Handle {
	ctx, stop := context.WithCancel(ctx)
	cut := make(chan struct{})
	h := &Handle{stop: stop, cut: sync.OnceFunc(func() { close(cut) }), done: make(chan struct{})}
	go func() { // Wait and Done are how its owner waits for it
		defer close(h.done)
		defer stop()
		h.err = r.run(ctx, cut)
	}()
	return h
}

// newInstances builds instances 0 to n−1 and returns those that could be built, and why the others
// could not.
func (r *Runner) newInstances(n int) ([]*instance, error) {
	var instances []*instance
	var failed []error
	for index := range n {
		job, err := r.newJob(index)
		if err != nil {
			failed = append(failed, fmt.Errorf("jobs: %q: instance %d not built: %w", r.opts.Name, index, err))
			continue
		}
		instances = append(instances, &instance{job: job, index: index})
	}
	return instances, errors.Join(failed...)
}

func (r *Runner) newJob(index int) (job Job, err error) {
	err = guard.Call(func() (err error) {
		job, err = r.build(index)
		return err
	})
	if err == nil && isNil(job) {
		err = errors.New("the factory returned neither a job nor an error")
	}
	return job, err
}

// A Handle is a Runner running in the background.
type Handle struct {
	stop context.CancelFunc
	cut  func()
	done chan struct{}
	err  error // set before done is closed
}

// Stop asks the runner to stop, as the end of its context does, and returns at once. It may be
// called more than once.
func (h *Handle) Stop() { h.stop() }

// Cut is Stop without the Grace, or the rest of it: the contexts of the runs in progress end now, with
// the cause ErrShutdown. It returns at once and may be called more than once.
func (h *Handle) Cut() {
	h.cut()
	h.stop()
}

// Wait returns what Run returned, when it has. It may be called by many, and more than once.
func (h *Handle) Wait() error {
	<-h.done
	return h.err
}

// Done returns a channel that is closed when Wait no longer waits.
func (h *Handle) Done() <-chan struct{} { return h.done }
