// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package hosting

import (
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jetjobs/jetjobs/internal/guard"
	"github.com/jetjobs/jetjobs/jobs"
)

// stopMargin is how long jobs have beyond their Grace, and then services, to
// return after their contexts have ended.
const stopMargin = 5 * time.Second

// StopMargin is how much longer than Grace stopping may take. Whatever kills the
// process, as the kubelet does, has to wait longer than both.
const StopMargin = 2 * stopMargin

var (
	// ErrCut is matched by the error of Run after a second signal.
	ErrCut = errors.New("hosting: cut short by a second signal")
	// ErrStuck is matched by the error of Run if something still ran 5 s after
	// its context had ended. Main ends the process then, as it must.
	ErrStuck = errors.New("hosting: something ignores the end of its context")

	errIdle = errors.New("every limited job has reached its limit")
)

// A run is one call of Run.
type run struct {
	*Host
	work    context.Context         // the caller's without its end
	running context.Context         // ends when the host is to stop, with the reason
	stop    context.CancelCauseFunc // ends it
	cut     context.Context         // ends at a second signal
	cutNow  context.CancelFunc

	watchers sync.WaitGroup // who wait for jobs and services
	started  []*service     // in that order
	handles  []*jobs.Handle // one for each job, nil if it was not started

	leaving sync.Mutex // guards the rest
	ordered time.Time  // when the host was seen to be asked to stop
	left    []string   // actions and hooks that ignore the end of their context
}

// Run starts everything, waits for a reason to stop, stops everything, and
// returns when all has ended. The reasons are: the end of ctx, SIGINT or SIGTERM,
// idleness (Options.StopWhenIdle), and the first failure of a startup action,
// a service or OnReady. If ctx has ended before, nothing is started.
//
// To stop, jobs are told to take nothing new and have Grace to finish, after
// which their contexts end with the cause jobs.ErrShutdown. When they have ended
// services are stopped one by one, the last added first. A second signal ends all
// contexts at once; a third one ends the process. What still runs 5 s after its
// context ended is named, logged with its stacks, and left behind.
//
// The error is nil after a stop that was asked for. Otherwise it names who failed
// and why, or matches ErrConfig, ErrCut or ErrStuck.
func (h *Host) Run(ctx context.Context) error {
	if err := h.begin(); err != nil {
		return err
	}
	defer h.enter(Stopped)

	r := &run{Host: h, work: context.WithoutCancel(ctx), handles: make([]*jobs.Handle, len(h.jobs))}
	r.running, r.stop = context.WithCancelCause(ctx)
	defer r.stop(nil)
	r.cut, r.cutNow = context.WithCancel(r.work)
	defer r.cutNow()
	defer r.listenForSignals()()
	closeListener, err := r.serve()
	if err != nil {
		return err
	}
	defer closeListener()

	began := time.Now()
	h.log.Info("starting", "host", h.opts.Name)
	if err := r.start(); err != nil {
		r.fail(err)
	} else if r.running.Err() == nil {
		h.enter(Ready)
		h.log.Info("ready", "host", h.opts.Name, "took", time.Since(began))
	}
	<-r.running.Done()
	return r.end()
}

// begin ends the time in which things are added.
func (h *Host) begin() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.checkLocked(); err != nil {
		return err
	}
	if h.state != Created {
		return errors.New("hosting: Run was called before: make a new Host")
	}
	h.state = Starting
	return nil
}

// start brings up both waves.
func (r *run) start() error {
	for _, late := range []bool{false, true} {
		if err := r.startUp(late); err != nil {
			return err
		}
		if r.running.Err() != nil {
			return nil
		}
		for _, s := range r.services {
			if s.late == late {
				r.startService(s)
			}
		}
		for i, j := range r.jobs {
			if j.late == late {
				r.startJob(i, j)
			}
		}
	}
	r.stopWhenIdle()
	if r.opts.OnReady != nil && r.running.Err() == nil {
		err := r.call(r.running, "hook", "OnReady", r.opts.OnReady)
		if err != nil && !errors.Is(err, ErrStuck) {
			return fmt.Errorf("hosting: OnReady: %w", err)
		}
	}
	return nil
}

func (r *run) startService(s *service) {
	r.started = append(r.started, s)
	s.done = make(chan struct{})
	ctx, stop := context.WithCancelCause(r.work)
	s.stop = func() { stop(jobs.ErrShutdown) }
	r.log.Info("service started", "service", s.name)
	r.watchers.Go(func() {
		defer close(s.done)
		defer stop(nil)
		if err := s.run(ctx); err != nil {
			r.fail(err)
		}
	})
}

func (r *run) startJob(i int, j *hostedJob) {
	handle := j.runner.Start(r.work)
	r.handles[i] = handle
	r.watchers.Go(func() {
		if err := handle.Wait(); err != nil {
			r.fail(fmt.Errorf("hosting: job %q: %w", j.name, err))
		}
	})
}

// stopWhenIdle waits for the limited jobs, if it is to.
func (r *run) stopWhenIdle() {
	if !r.opts.StopWhenIdle {
		return
	}
	r.watchers.Go(func() {
		for i, j := range r.jobs {
			if !j.limited || r.handles[i] == nil {
				continue
			}
			select {
			case <-r.handles[i].Done():
			case <-r.running.Done():
				return
			}
		}
		r.stop(errIdle)
	})
}

// end stops everything and returns what Run is to say.
func (r *run) end() error {
	reason := context.Cause(r.running)
	failed, _ := reason.(*failure)
	if failed != nil {
		reason = failed.error
	}
	r.mu.Lock()
	r.state, r.reason = Stopping, reason
	r.mu.Unlock()
	began := r.orderedAt()
	r.log.Info("stopping", "host", r.opts.Name, "reason", reason)
	if r.opts.OnStopping != nil {
		// What can go wrong, a panic and being stuck, is told by call.
		_ = r.call(r.running, "hook", "OnStopping", func(context.Context) error { r.opts.OnStopping(reason); return nil })
	}
	defer context.AfterFunc(r.cut, r.cutAll)()
	stuck := append(r.endJobs(), r.endServices()...)
	if len(stuck) == 0 {
		r.watchers.Wait()
	}
	stuck = append(stuck, r.left...)
	r.log.Info("stopped", "host", r.opts.Name, "took", time.Since(began))

	var errs []error
	if failed != nil {
		errs = append(errs, reason)
	}
	if r.cut.Err() != nil {
		errs = append(errs, ErrCut)
	}
	if len(stuck) > 0 {
		errs = append(errs, fmt.Errorf("%w: %s", ErrStuck, strings.Join(stuck, ", ")))
	}
	return errors.Join(errs...)
}

// A failure is a reason to stop that nobody wanted. The type tells, not a
// comparison: the cause of a caller's context may be one that can't be compared.
type failure struct{ error }

func (f *failure) Unwrap() error { return f.error }

// fail stops the host, unless it stops already.
func (r *run) fail(err error) { r.stop(&failure{err}) }

// cutAll ends all contexts.
func (r *run) cutAll() {
	for _, handle := range r.handles {
		if handle != nil {
			handle.Cut()
		}
	}
	for _, s := range r.started {
		s.stop()
	}
}

// limit returns a context that ends after d, or stopMargin after a cut.
func (r *run) limit(d time.Duration) (over context.Context, end func()) {
	over, cancel := context.WithTimeout(r.work, d)
	stop := context.AfterFunc(r.cut, func() { time.AfterFunc(stopMargin, cancel) })
	return over, func() { stop(); cancel() }
}

// endJobs stops the jobs and returns those that don't.
func (r *run) endJobs() (stuck []string) {
	var grace time.Duration
	for i, handle := range r.handles {
		if handle != nil {
			handle.Stop()
			grace = max(grace, r.jobs[i].grace)
		}
	}
	over, end := r.limit(grace + stopMargin - time.Since(r.orderedAt()))
	defer end()
	for i, handle := range r.handles {
		if handle == nil {
			continue
		}
		if !wait(handle.Done(), over) {
			stuck = append(stuck, r.stuck("job", r.jobs[i].name))
		}
	}
	return stuck
}

// endServices stops the services, the last added first, and returns those that
// don't. If they take long one after the other, the rest are stopped together.
func (r *run) endServices() (stuck []string) {
	over, end := r.limit(stopMargin * 3 / 5)
	defer end()
	for _, s := range slices.Backward(r.started) {
		s.stop()
		wait(s.done, over)
	}
	over, end = r.limit(stopMargin / 5)
	defer end()
	for _, s := range slices.Backward(r.started) {
		if !wait(s.done, over) {
			stuck = append(stuck, r.stuck("service", s.name))
		}
	}
	return stuck
}

// wait reports whether something is done before it is over.
func wait(done <-chan struct{}, over context.Context) bool {
	select {
	case <-done:
		return true
	case <-over.Done():
	}
	select { // when both are ready select takes any
	case <-done:
		return true
	default:
		return false
	}
}

// call calls an action or a hook. If it has not returned some seconds after ctx
// has ended it is left behind and named, and the error is ErrStuck.
func (r *run) call(ctx context.Context, kind, name string, f func(context.Context) error) error {
	end := make(chan error, 1)
	go guard.Settle(func() (err error) { // nobody can wait for it if it ignores ctx
		pprof.Do(ctx, pprof.Labels(kind, name), func(ctx context.Context) { err = f(ctx) })
		return err
	}, func(err error) {
		r.logPanic(kind, name, err) // here, so that it is known even if it was left behind
		end <- err
	})
	select {
	case err := <-end:
		return err
	case <-ctx.Done():
	}
	const patience = stopMargin * 4 / 5
	over := time.NewTimer(patience)
	defer over.Stop()
	if r.running.Err() != nil { // of what may take that time together
		over.Reset(max(patience/10, patience-time.Since(r.orderedAt())))
	}
	select {
	case err := <-end:
		return err
	case <-over.C:
	}
	stuck := r.stuck(kind, name)
	r.leaving.Lock()
	defer r.leaving.Unlock()
	r.left = append(r.left, stuck)
	return ErrStuck
}

// logPanic logs the stack of a panic, which its error leaves out.
func (h *Host) logPanic(kind, name string, err error) {
	if panicked, ok := errors.AsType[*guard.PanicError](err); ok {
		h.log.Error(kind+" panicked", kind, name, "err", err, "stack", string(panicked.Stack))
	}
}

// orderedAt is when the host, which is to stop, was seen to be.
func (r *run) orderedAt() time.Time {
	r.leaving.Lock()
	defer r.leaving.Unlock()
	if r.ordered.IsZero() {
		r.ordered = time.Now()
	}
	return r.ordered
}

// stuck tells of something that ignores the end of its context.
func (r *run) stuck(kind, name string) string {
	r.log.Error("left behind: it ignores the end of its context", kind, name, "stack", guard.Stacks(kind, name))
	return fmt.Sprintf("%s %q", kind, name)
}
