// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetjobs/jetjobs/jobs"
)

// A Handler does the work of one job. What it returns says what becomes of it:
//
//   - nil: the job is done;
//   - an error: the attempt has failed; the job is tried again after a backoff,
//     or is dead after its last attempt;
//   - RetryAfter, Snooze, Permanent: as they say.
//
// A panic is an error with its stack. A handler that returns an error because
// the worker shuts down has not failed: its job goes back at once and nothing
// counts. A job that was cancelled meanwhile ends as cancelled, unless it returns nil.
//
// The context ends with a cause (context.Cause) that says why: ErrLeaseLost,
// ErrCancelled, a timeout (which is a context.DeadlineExceeded) or
// jobs.ErrShutdown. It carries
// jobs.Info and a logger, see jobs.Logger.
type Handler[T any] func(ctx context.Context, e *Entry[T]) error

// JobOptions say how jobs are worked on. The zero value is good.
type JobOptions struct {
	// Concurrency is how many handlers run at a time in this process. Default 1.
	Concurrency int

	// Timeout limits each attempt, unless the job was enqueued with its own.
	// Default: none; the lease is renewed as long as it takes.
	Timeout time.Duration

	// Wait is how long Run waits for a job. Default 30 s.
	Wait time.Duration

	// Grace is how long running handlers keep their context after they were
	// asked to stop. Default: that of the jobs.Runner, or 25 s without one;
	// negative: none.
	Grace time.Duration
}

func (o JobOptions) check() error {
	var errs []error
	if o.Concurrency < 0 || o.Concurrency > maxConcurrency {
		errs = append(errs, fmt.Errorf("JobOptions.Concurrency is %d: want 1 to %d, or zero for 1", o.Concurrency, maxConcurrency))
	}
	if o.Timeout < 0 {
		errs = append(errs, fmt.Errorf("JobOptions.Timeout is %s: want zero for none, or more", o.Timeout))
	}
	if o.Wait < 0 {
		errs = append(errs, fmt.Errorf("JobOptions.Wait is %s: want zero for the default, or more", o.Wait))
	}
	return errors.Join(errs...)
}

const maxConcurrency = 100_000

// A Job works on the jobs of a queue. It is a jobs.Job, each Run of which works
// on one of them, and a jobs.Continuous, which keeps Concurrency handlers busy.
// Its methods may be called concurrently, and several at a time.
type Job[T any] struct {
	q      *Queue[T]
	handle Handler[T]
	opts   JobOptions
}

// NewJob makes a Job that has its work done by handle. It panics if handle is
// nil or the options make no sense, as these are mistakes in the program.
func NewJob[T any](q *Queue[T], handle Handler[T], opts JobOptions) *Job[T] {
	if err := opts.check(); err != nil {
		panic(q.c.wrap("new job", err))
	}
	if handle == nil {
		panic(q.c.wrap("new job", errors.New("the handler is nil")))
	}
	return &Job[T]{q, handle, opts}
}

// Name returns the name of the queue.
func (j *Job[T]) Name() string { return j.q.Name() }

var (
	_ jobs.Continuous = (*Job[any])(nil)
	_ jobs.Job        = (*Job[any])(nil)
)

// Run takes one job, waiting up to JobOptions.Wait for it, and works on it. The
// result is the handler's; without a job it has succeeded and says so. A ctx
// that ends while the handler runs ends the handler's, and the job goes back.
func (j *Job[T]) Run(ctx context.Context) jobs.Result {
	waiting, cancel := context.WithTimeout(ctx, cmp.Or(j.opts.Wait, 30*time.Second))
	defer cancel()
	d, err := j.q.c.dequeue(waiting)
	switch {
	case errors.Is(err, ErrEmpty) && ctx.Err() != nil:
		return jobs.Cancelled()
	case errors.Is(err, ErrEmpty):
		return jobs.SucceededWith("no job was waiting")
	case err != nil:
		return jobs.Failed(j.q.c.wrap("run", err))
	}
	return j.runOne(ctx, d)
}

// runOne works on a job that was taken.
func (j *Job[T]) runOne(ctx context.Context, d *delivery) jobs.Result {
	c := j.q.c
	x := j.executor(ctx)
	x.keeper, x.ack = newKeeper(c), c.ackNow
	settling, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	x.settling, x.cut = settling, func() bool { return ctx.Err() != nil }
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(settleGrace, cancel) })
	defer stop()

	var helpers sync.WaitGroup
	defer helpers.Wait()
	helping, stopHelpers := context.WithCancel(context.WithoutCancel(ctx))
	defer stopHelpers()
	helpers.Go(func() { x.keeper.run(helping) })

	d.arrived = time.Now()
	d.ctx, d.cancel = context.WithCancelCause(ctx)
	x.keeper.add(d)
	if control, err := c.listenForControl(x.keeper, x.id, func(string, *nats.Msg) {}); err == nil {
		defer control.Unsubscribe()
	}
	result := jobs.CancelledWith(fmt.Sprintf("job %q was not worked on to its end", d.id))
	done := make(chan struct{})
	go func() { // a goroutine of its own: the handler may end it
		defer close(done)
		x.execute(d, newSlot(), func(err error) { result = jobs.FromError(err) })
	}()
	<-done
	return result
}

// RunUntilEmpty works, with JobOptions.Concurrency, until no job is waiting and
// all that it took are done, and returns how many handlers have had to their
// end. It does not wait for jobs that run elsewhere, are due later, or are held
// back by a pause or by MaxRunning, and returns within a moment (0.1 s) from an empty
// queue. It ends early, without an error, when ctx ends, or by StopWorker. One that is
// told to be quiet, by QuietWorker, finishes what it has and ends with an error that
// says so.
func (j *Job[T]) RunUntilEmpty(ctx context.Context) (int, error) {
	n, err := j.work(ctx, true)
	return n, j.q.c.wrap("run until empty", err)
}

// RunContinuous works, with JobOptions.Concurrency, until ctx ends. Then it
// takes nothing more, lets running handlers finish within the grace, ends their
// contexts with the cause jobs.ErrShutdown, and hands back at once what is not
// finished. It returns when all this is done; the error is nil unless it had to
// end by itself, because the connection was closed or the queue deleted. A lost
// connection is none: it goes on after the reconnect.
func (j *Job[T]) RunContinuous(ctx context.Context) error {
	_, err := j.work(ctx, false)
	return j.q.c.wrap("work", err)
}

func (j *Job[T]) work(ctx context.Context, drain bool) (int, error) {
	w := &worker{
		executor:    j.executor(ctx),
		concurrency: cmp.Or(j.opts.Concurrency, 1),
		drain:       drain,
	}
	w.grace, w.pace.slots = w.info.Grace, w.concurrency
	j.q.c.log.Info("working", "concurrency", w.concurrency)
	n, err := w.run(ctx)
	if err == nil && !drain && ctx.Err() == nil { // by StopWorker
		j.q.c.log.Info("stopped by another process", "worker", w.id, "done", n)
		<-ctx.Done()
	}
	j.q.c.log.Info("stopped working", "done", n)
	return n, err
}

// executor knows what all runs of the job have in common.
func (j *Job[T]) executor(ctx context.Context) executor {
	info, hosted := jobs.FromContext(ctx)
	if !hosted {
		info = jobs.Info{Name: j.q.Name(), Grace: 25 * time.Second}
	}
	if j.opts.Grace != 0 {
		info.Grace = max(0, j.opts.Grace)
	}
	return executor{
		c:       j.q.c,
		id:      newWorkerID(),
		timeout: j.opts.Timeout,
		info:    info,
		handle: func(ctx context.Context, d *delivery) error {
			e, err := j.q.entry(d)
			if err != nil {
				return err
			}
			if len(j.q.c.opts.Middleware) == 0 {
				return j.handle(ctx, e)
			}
			return j.q.c.throughWork(ctx, e, func(ctx context.Context) error { return j.handle(ctx, e) })
		},
	}
}
