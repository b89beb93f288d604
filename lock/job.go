// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"context"
	"errors"
	"fmt"

	"github.com/jetjobs/jetjobs/jobs"
)

// A Job is a job of which at most one run goes on at a time, in all processes.
type Job struct {
	locker *Locker
	name   string
	job    jobs.Job
	opts   []Option
}

// NewJob returns job under the lock with this name: each run holds it. A run that
// finds it held by another is cancelled, and says by whom; a jobs.Runner then
// waits longer each time, or for its Interval. With the option Wait a run waits
// for the lock first. The job finds its fence by FenceFromContext.
//
// A run that loses its lock has failed, with ErrLost, whatever the job returns.
// If job is a jobs.Continuous, its single runs are what is locked.
//
// NewJob panics if job is nil, the name is empty or too long, or an option makes
// no sense.
func NewJob(locker *Locker, name string, job jobs.Job, opts ...Option) *Job {
	_, err := locker.c.opts.settings(0, opts)
	if err = errors.Join(err, checkName(locker.scope, name)); err != nil {
		panic(fmt.Sprintf("lock: NewJob: %v", err))
	}
	if job == nil {
		panic("lock: NewJob: the job is nil")
	}
	return &Job{locker: locker, name: name, job: job, opts: opts}
}

// Run runs the job if nobody else does.
func (j *Job) Run(ctx context.Context) jobs.Result {
	var result jobs.Result
	err := j.locker.TryDo(ctx, j.name, func(ctx context.Context, fence Fence) error {
		result = j.job.Run(context.WithValue(ctx, fenceKey{}, fence))
		return result.Err()
	}, j.opts...)
	switch {
	case errors.Is(err, ErrLost):
		return jobs.Failed(err)
	case errors.Is(err, ErrHeld):
		return jobs.CancelledWith(err.Error())
	case err != nil && result.Err() == nil: // not acquired
		return jobs.FromError(err)
	}
	return result
}

type fenceKey struct{}

// FenceFromContext returns the fence of the lock that a Job runs under, and
// whether ctx is that of such a run.
func FenceFromContext(ctx context.Context) (Fence, bool) {
	fence, ok := ctx.Value(fenceKey{}).(Fence)
	return fence, ok
}
