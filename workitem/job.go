// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package workitem

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jetjobs/jetjobs/bus"
	"github.com/jetjobs/jetjobs/jobs"
	"github.com/jetjobs/jetjobs/queue"
)

// JobOptions say how items are worked on. The zero value is good.
type JobOptions struct {
	// Concurrency is how many handlers run at a time in this process. Default 1.
	Concurrency int

	// Timeout limits each attempt, unless the item was enqueued with its own.
	// Default: none; the lease is renewed as long as it takes.
	Timeout time.Duration

	// Wait is how long Run waits for an item. Default 30 s.
	Wait time.Duration

	// Grace is how long running handlers keep their context after they were
	// asked to stop. Default: that of the jobs.Runner, or 25 s without one;
	// negative: none.
	Grace time.Duration

	// UnknownFor is how long an item whose kind is not known here is left for
	// other workers, counted from the first of them that did not know it. Then it
	// has failed. Default: 24 h, enough for a rolling deployment.
	UnknownFor time.Duration
}

// A Job is a pool of handlers for the items of a queue. It is a jobs.Job, each Run
// of which works on one item, and a jobs.Continuous, which keeps Concurrency
// handlers busy. Its methods may be called concurrently, and several at a time.
type Job struct {
	q          *Queue
	handlers   *Handlers
	bus        *bus.Bus
	unknownFor time.Duration
	pool       *queue.Job[Envelope]
}

var _ jobs.Continuous = (*Job)(nil)

// NewJob makes a Job that has the work done by these handlers. Progress goes over
// b, which must have the queue's namespace; nil means a bus on the connection of
// the queue. NewJob panics if the options make no sense, as that is a mistake in
// the program.
func NewJob(q *Queue, handlers *Handlers, b *bus.Bus, opts JobOptions) *Job {
	if handlers == nil {
		panic(q.wrap("new job", errors.New("the handlers are nil")))
	}
	if opts.UnknownFor < 0 {
		panic(q.wrap("new job", fmt.Errorf("JobOptions.UnknownFor is %s: want zero for the default, or more", opts.UnknownFor)))
	}
	j := &Job{q: q, handlers: handlers, bus: q.bus, unknownFor: cmp.Or(opts.UnknownFor, 24*time.Hour)}
	if b != nil {
		j.bus = b.Space(space)
	}
	j.pool = queue.NewJob(q.jobs, j.handle, queue.JobOptions{
		Concurrency: opts.Concurrency, Timeout: opts.Timeout, Wait: opts.Wait, Grace: opts.Grace,
	})
	return j
}

// Name returns the name of the queue.
func (j *Job) Name() string { return j.q.Name() }

// Run works on one item, see queue.Job.Run.
func (j *Job) Run(ctx context.Context) jobs.Result { return j.pool.Run(ctx) }

// RunContinuous works until ctx ends, see queue.Job.RunContinuous.
func (j *Job) RunContinuous(ctx context.Context) error { return j.pool.RunContinuous(ctx) }

// RunUntilEmpty works until no item is waiting, see queue.Job.RunUntilEmpty. An
// item that waits for a lock, or for a worker that knows its kind, is not waiting
// but due later.
func (j *Job) RunUntilEmpty(ctx context.Context) (int, error) { return j.pool.RunUntilEmpty(ctx) }
