// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package jobs_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/jobs"
)

// script is a job whose runs end as the results say, the last of which repeats.
func script(starts *times, results ...jobs.Result) jobs.Func {
	return func(context.Context) jobs.Result {
		starts.add()
		return results[min(len(starts.list()), len(results))-1]
	}
}

func TestRetryMakesThreeAttemptsAndReturnsTheLastResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := newTimes()
		job := jobs.WithRetry(script(starts, jobs.FailedWith("one"), jobs.FailedWith("two"), jobs.Failed(io.EOF)), jobs.RetryOptions{})

		result := job.Run(t.Context())

		require.True(t, result.Failed())
		require.ErrorIs(t, result.Err(), io.EOF)
		require.Equal(t, "after 3 attempts: EOF", result.Message())
		gaps := starts.gaps()
		require.Len(t, gaps, 2)
		require.InEpsilon(t, time.Second, gaps[0], 0.1)
		require.InEpsilon(t, 2*time.Second, gaps[1], 0.1)
	})
}

func TestRetryWaitsAsItsOptionsSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := newTimes()
		opts := jobs.RetryOptions{Attempts: 6, Delay: time.Second, MaxDelay: 20 * time.Second, Multiplier: 3, Jitter: -1}

		jobs.WithRetry(script(starts, jobs.Failed(errBroken)), opts).Run(t.Context())

		s := time.Second
		require.Equal(t, []time.Duration{s, 3 * s, 9 * s, 20 * s, 20 * s}, starts.gaps())
	})
}

func TestRetryDelayMayBeLongerThanTheDefaultLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := newTimes()
		opts := jobs.RetryOptions{Attempts: 2, Delay: time.Hour, Jitter: -1}
		jobs.WithRetry(script(starts, jobs.Failed(errBroken)), opts).Run(t.Context())
		require.Equal(t, []time.Duration{time.Hour}, starts.gaps())
	})
}

func TestRetryEndsWithTheFirstThatDoesNotFail(t *testing.T) {
	for _, c := range []struct {
		results []jobs.Result
		want    string
	}{
		{[]jobs.Result{jobs.Succeeded()}, "succeeded"},
		{[]jobs.Result{jobs.SucceededWith("12 rows")}, "succeeded: 12 rows"},
		{[]jobs.Result{jobs.Failed(io.EOF), jobs.Succeeded()}, "succeeded: after 2 attempts"},
		{[]jobs.Result{jobs.Failed(io.EOF), jobs.SucceededWith("12 rows")}, "succeeded: after 2 attempts: 12 rows"},
		{[]jobs.Result{jobs.CancelledWith("busy")}, "cancelled: busy"},
		{[]jobs.Result{jobs.Failed(io.EOF), jobs.CancelledWith("busy")}, "cancelled: after 2 attempts: busy"},
	} {
		t.Run(c.want, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				starts := newTimes()
				result := jobs.WithRetry(script(starts, c.results...), jobs.RetryOptions{}).Run(t.Context())
				require.Equal(t, c.want, result.String())
				require.Len(t, starts.list(), len(c.results))
				if result.Cancelled() {
					require.ErrorIs(t, result.Err(), context.Canceled)
				}
			})
		})
	}
}

func TestRetryLeavesAloneWhatIsNotRetryable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := newTimes()
		job := jobs.WithRetry(script(starts, jobs.Failed(io.EOF), jobs.Failed(errBroken)), jobs.RetryOptions{
			Attempts:  9,
			Retryable: func(err error) bool { return errors.Is(err, io.EOF) },
		})
		require.Equal(t, "after 2 attempts: broken", job.Run(t.Context()).Message())
		require.Len(t, starts.list(), 2)
	})
}

func TestRetryCountsAPanicAsAFailure(t *testing.T) {
	for name, end := range map[string]func(){"panic": explode, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				attempts := 0
				job := jobs.WithRetry(jobs.Func(func(context.Context) jobs.Result {
					if attempts++; attempts < 3 {
						end()
					}
					return jobs.Succeeded()
				}), jobs.RetryOptions{Retryable: func(err error) bool {
					_, ok := errors.AsType[*jobs.PanicError](err)
					return ok
				}})
				require.Equal(t, "succeeded: after 3 attempts", job.Run(t.Context()).String())
			})
		})
	}
}

func TestRetryEndsAtOnceWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := newTimes()
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Minute)
		defer cancel()
		opts := jobs.RetryOptions{Delay: time.Hour, MaxDelay: time.Hour, Jitter: -1}

		result := jobs.WithRetry(script(starts, jobs.Failed(errBroken)), opts).Run(ctx)

		require.Equal(t, "failed: after 2 attempts: broken", result.String())
		require.Equal(t, 90*time.Minute, time.Since(starts.begin))
	})
}

func TestRetryEndsAtOnceWhenTheRunnerIsToStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := newTimes()
		job := jobs.WithRetry(script(starts, jobs.Failed(errBroken)), jobs.RetryOptions{Delay: 10 * time.Second})
		runner := newRunner(t, job, quiet(jobs.Options{}))

		runFor(t, runner, 5*time.Second)

		require.Equal(t, 5*time.Second, time.Since(starts.begin))
		require.Len(t, starts.list(), 1)
		require.Equal(t, 1, runner.Status().Runs)
	})
}

func TestRetryLogsTheAttemptsWhoseResultNobodySees(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLogbook()
		job := jobs.WithRetry(script(newTimes(), jobs.Failed(errBroken)), jobs.RetryOptions{})
		newRunner(t, job, jobs.Options{Name: "clean", Logger: log.logger()}).RunOnce(t.Context())

		lines := log.find("attempt failed")
		require.Len(t, lines, 2)
		require.Equal(t, "clean", lines[1].attrs["job"].String())
		require.EqualValues(t, 2, lines[1].attrs["attempt"].Int64())
		require.Equal(t, errBroken, lines[1].attrs["err"].Any())
	})
}
