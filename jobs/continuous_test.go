// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package jobs_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/jobs"
)

// loop is a Continuous job.
type loop struct {
	jobs.Func
	continuous func(ctx context.Context) error
}

func (l loop) RunContinuous(ctx context.Context) error { return l.continuous(ctx) }

func noRun(t *testing.T) jobs.Func {
	return func(context.Context) jobs.Result { t.Error("Run was called"); return jobs.Cancelled() }
}

func TestContinuousJobLoopsByItselfUntilTheStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		job := loop{noRun(t), func(ctx context.Context) error {
			<-ctx.Done()
			require.Equal(t, 5*time.Second, time.Since(begin), "must hear of the stop at once")
			info, _ := jobs.FromContext(ctx)
			time.Sleep(info.Grace)
			return nil
		}}
		runner := newRunner(t, job, quiet(jobs.Options{Grace: 20 * time.Second, Instances: 2}))

		runFor(t, runner, 5*time.Second)

		require.Equal(t, 25*time.Second, time.Since(begin))
		require.Equal(t, 2, runner.Status().Runs)
		require.True(t, runner.Status().Last[0].Result.Succeeded())
	})
}

func TestContinuousJobRunsOneByOneWhereOptionsNeedIt(t *testing.T) {
	for name, opts := range map[string]jobs.Options{
		"interval": {Interval: time.Second},
		"limit":    {IterationLimit: 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				job := loop{succeed, func(context.Context) error { t.Error("RunContinuous was called"); return errBroken }}
				runner := newRunner(t, job, quiet(opts))
				runFor(t, runner, 2500*time.Millisecond)
				require.Equal(t, 3, runner.Status().Runs)
				require.True(t, runner.RunOnce(t.Context()).Succeeded())
			})
		})
	}
}

func TestContinuousJobThatFailsIsCalledAgainAfterGrowingWaits(t *testing.T) {
	for name, end := range map[string]func() error{
		"error":            func() error { return errBroken },
		"panic":            func() error { panic("broken") },
		"returned unasked": func() error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				starts := newTimes()
				job := loop{noRun(t), func(context.Context) error { starts.add(); return end() }}
				runner := newRunner(t, job, quiet(jobs.Options{}))

				runFor(t, runner, 20*time.Second)

				gaps := starts.gaps()
				require.Greater(t, len(gaps), 5)
				for i := range gaps[1:] {
					require.Greater(t, gaps[i+1], gaps[i])
				}
				require.Equal(t, len(gaps)+1, runner.Status().Failed)
			})
		})
	}
}

func TestContinuousJobThatWentWellForAMinuteWaitsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []int
		calls := 0
		job := loop{noRun(t), func(ctx context.Context) error {
			if calls++; calls == 4 {
				time.Sleep(time.Minute)
			}
			return errBroken
		}}
		backoff := func(failures int) time.Duration { asked = append(asked, failures); return time.Second }

		runFor(t, newRunner(t, job, quiet(jobs.Options{Backoff: backoff})), 64500*time.Millisecond)

		require.Equal(t, []int{1, 2, 3, 1, 2}, asked)
	})
}

func TestContinuousJobThatDoesNotEndIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLogbook()
		job := loop{noRun(t), func(context.Context) error { ignorant(); return nil }}
		begin := time.Now()

		runFor(t, newRunner(t, job, jobs.Options{Logger: log.logger()}), time.Second)

		lines := log.find("job ignores the end of its context; still waiting for it")
		require.Len(t, lines, 1)
		require.Equal(t, begin.Add(36*time.Second), lines[0].at)
		require.Equal(t, time.Hour, time.Since(begin))
	})
}
