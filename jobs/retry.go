// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jetjobs/jetjobs/internal/backoff"
)

// RetryOptions say how WithRetry retries. The zero value makes three attempts, one and then two
// seconds apart.
type RetryOptions struct {
	// Attempts is how often the job is tried, the first time included. Default 3.
	Attempts int

	// Delay is the wait after the first attempt. Default 1 s.
	Delay time.Duration

	// MaxDelay limits the wait, before jitter. Default 1 min, or Delay if that is longer.
	MaxDelay time.Duration

	// Multiplier is by how much each wait is longer than the one before. Default 2; 1 makes all
	// waits the same.
	Multiplier float64

	// Jitter is the part of each wait by which it may be longer or shorter, up to 1. Default 0.1,
	// that is 10 %; negative: none.
	Jitter float64

	// Retryable reports whether a failure with this error may be gone the next time. The error of
	// a panic is a *PanicError. Default nil: every failure is retried.
	Retryable func(error) bool
}

// WithRetry returns a job that runs job again, within the same run, when it fails. A panic is a
// failure. A cancelled result is not, and is returned as it is.
//
// The result is that of the last attempt; if there were several, it says how many. There is no
// further attempt once ctx has ended or the Runner was asked to stop, and the wait for one ends at
// once. The job that WithRetry returns is not Continuous, even if job is.
//
// WithRetry panics if job is nil or the options make no sense, because both are mistakes in the
// program: call it where the program is put together.
func WithRetry(job Job, opts RetryOptions) Job {
	var missing error
	if isNil(job) {
		missing = errors.New("jobs: WithRetry: job is nil: want a Job")
	}
	if err := errors.Join(missing, opts.check()); err != nil {
		panic(err)
	}
	opts = opts.withDefaults()
	return &retry{
		job:  job,
		opts: opts,
		wait: backoff.Exponential{First: opts.Delay, Max: opts.MaxDelay, Factor: opts.Multiplier, Jitter: opts.Jitter},
	}
}

func (o RetryOptions) check() error {
	var multiplier, jitter error
	if o.Multiplier != 0 && !(o.Multiplier >= 1) {
		multiplier = fmt.Errorf("jobs: RetryOptions.Multiplier is %v: want 1 or more; zero means 2", o.Multiplier)
	}
	if !(o.Jitter <= 1) {
		jitter = fmt.Errorf("jobs: RetryOptions.Jitter is %v: want 1 or less; zero means 0.1, negative none", o.Jitter)
	}
	return errors.Join(
		notNegative("RetryOptions.Attempts", o.Attempts, "zero means 3"),
		notNegative("RetryOptions.Delay", o.Delay, "zero means 1s"),
		notNegative("RetryOptions.MaxDelay", o.MaxDelay, "zero means 1m"),
		multiplier,
		jitter,
	)
}

func (o RetryOptions) withDefaults() RetryOptions {
	o.Attempts = cmp.Or(o.Attempts, 3)
	o.Delay = cmp.Or(o.Delay, time.Second)
	o.MaxDelay = cmp.Or(o.MaxDelay, max(time.Minute, o.Delay))
	o.Multiplier = cmp.Or(o.Multiplier, 2)
	o.Jitter = cmp.Or(o.Jitter, 0.1)
	if o.Retryable == nil {
		o.Retryable = func(error) bool { return true }
	}
	return o
}

type retry struct {
	job  Job
	opts RetryOptions
	wait backoff.Exponential
}

// Run makes attempts until one does not fail, the last is made, or there is no sense in another.
func (r *retry) Run(ctx context.Context) Result {
	info, _ := FromContext(ctx)
	for attempt := 1; ; attempt++ {
		result := call(ctx, r.job.Run)
		if !result.Failed() || attempt >= r.opts.Attempts || !r.opts.Retryable(result.Err()) {
			return result.after(attempt)
		}
		delay := r.wait.Delay(attempt, rand.Float64)
		Logger(ctx).DebugContext(ctx, "attempt failed", "attempt", attempt, "err", result.Err())
		if !pause(ctx.Done(), info.Stopping, delay) {
			return result.after(attempt)
		}
	}
}
