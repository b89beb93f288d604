// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package jobs_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/jobs"
)

type keyOfTest struct{}

// obedient works until its context ends, for an hour at most.
func obedient(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(time.Hour):
		return nil
	}
}

func TestRunInProgressKeepsItsContextForGrace(t *testing.T) {
	for name, c := range map[string]struct{ grace, want time.Duration }{
		"default": {0, 25 * time.Second},
		"given":   {7 * time.Second, 7 * time.Second},
		"none":    {-1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin, runs := time.Now(), 0
				ctx, stop := context.WithTimeout(context.WithValue(t.Context(), keyOfTest{}, "kept"), 5*time.Second)
				defer stop()
				runner := newRunner(t, jobs.ErrFunc(func(ctx context.Context) error {
					runs++
					info, _ := jobs.FromContext(ctx)
					require.Equal(t, c.want, info.Grace)
					_, hasDeadline := ctx.Deadline()
					require.False(t, hasDeadline)

					<-info.Stopping
					require.Equal(t, 5*time.Second, time.Since(begin))
					<-ctx.Done()
					require.Equal(t, 5*time.Second+c.want, time.Since(begin))
					require.Equal(t, jobs.ErrShutdown, context.Cause(ctx))
					require.Equal(t, "kept", ctx.Value(keyOfTest{}))
					time.Sleep(time.Second)
					return ctx.Err()
				}), quiet(jobs.Options{Grace: c.grace}))

				require.NoError(t, runner.Run(ctx))

				require.Equal(t, 6*time.Second+c.want, time.Since(begin), "Run returned before its run")
				require.Equal(t, 1, runs)
				require.Zero(t, runner.Status().Failed)
				require.Equal(t, 1, runner.Status().Cancelled, "a failed assertion in the job")
			})
		})
	}
}

func TestRunThatEndsWithinGraceIsNotCutAndHasNoSuccessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		runner := newRunner(t, jobs.ErrFunc(func(ctx context.Context) error {
			time.Sleep(20 * time.Second)
			return ctx.Err()
		}), quiet(jobs.Options{Instances: 2}))

		runFor(t, runner, 5*time.Second)

		require.Equal(t, 20*time.Second, time.Since(begin))
		require.Equal(t, 2, runner.Status().Runs)
		require.True(t, runner.Status().Last[0].Result.Succeeded())
	})
}

func TestResultAtTheStopIsCountedAndLogged(t *testing.T) {
	for name, c := range map[string]struct {
		result            jobs.Result
		message           string
		level             slog.Level
		failed, cancelled int
	}{
		"success":      {jobs.SucceededWith("12 rows"), "job succeeded", slog.LevelInfo, 0, 0},
		"failure":      {jobs.Failed(errBroken), "job failed", slog.LevelWarn, 1, 0},
		"interruption": {jobs.FromError(jobs.ErrShutdown), "job cancelled", slog.LevelInfo, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := newLogbook()
				job := jobs.Func(func(ctx context.Context) jobs.Result { <-ctx.Done(); return c.result })
				runner := newRunner(t, job, jobs.Options{Logger: log.logger()})

				runFor(t, runner, time.Second)

				status := runner.Status()
				require.Equal(t, []int{1, c.failed, c.cancelled}, []int{status.Runs, status.Failed, status.Cancelled})
				require.Equal(t, c.result, status.Last[0].Result)
				lines := log.find(c.message)
				require.Len(t, lines, 1)
				require.Equal(t, c.level, lines[0].level)
			})
		})
	}
}

func TestRunThatIgnoresItsContextIsReportedOnceAndAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLogbook()
		begin := time.Now()
		runner := newRunner(t, jobs.ErrFunc(func(ctx context.Context) error {
			switch info, _ := jobs.FromContext(ctx); info.Instance {
			case 0:
				return obedient(ctx)
			case 1:
				ignorant()
			case 2:
				defiant()
			}
			return nil
		}), jobs.Options{Name: "deaf", Instances: 3, Logger: log.logger()})

		runFor(t, runner, time.Second)

		require.Equal(t, 2*time.Hour, time.Since(begin), "Run did not wait")
		lines := log.find("job ignores the end of its context; still waiting for it")
		require.Len(t, lines, 2, "one line for each of the two")
		for i, function := range []string{"jobs_test.ignorant", "jobs_test.defiant"} {
			stack := lines[i].attrs["stack"].String()
			require.Contains(t, stack, function)
			require.Equal(t, 1, strings.Count(stack, "# labels:"), "the goroutine of another run")
			require.Equal(t, slog.LevelWarn, lines[i].level)
			require.Equal(t, begin.Add(36*time.Second), lines[i].at)
			require.Equal(t, "deaf", lines[i].attrs["job"].String())
			require.Equal(t, runner.Status().Last[1-i].ID, lines[i].attrs["run"].String())
		}
	})
}

//go:noinline
func ignorant() { time.Sleep(time.Hour) }

//go:noinline
func defiant() { time.Sleep(2 * time.Hour) }

func TestRunThatEndsSoonAfterItsContextIsNotReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLogbook()
		runner := newRunner(t, jobs.ErrFunc(func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(9 * time.Second)
			return nil
		}), jobs.Options{Logger: log.logger()})

		runFor(t, runner, time.Second)
		time.Sleep(time.Hour)

		require.Empty(t, log.find("job ignores the end of its context; still waiting for it"))
	})
}

func TestContextOfARunEndsWithTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var leftBehind context.Context
		job := jobs.Func(func(ctx context.Context) jobs.Result {
			if leftBehind != nil {
				require.ErrorIs(t, leftBehind.Err(), context.Canceled)
			}
			leftBehind = ctx
			return jobs.Succeeded()
		})
		runner := newRunner(t, job, quiet(jobs.Options{IterationLimit: 2}))

		require.NoError(t, runner.Run(t.Context()))
		require.Zero(t, runner.Status().Failed)
	})
}

func TestRunOnceRunsNowAndOnceWhateverTheOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLogbook()
		begin := time.Now()
		runner := newRunner(t, jobs.Func(func(context.Context) jobs.Result { return jobs.SucceededWith("12 rows") }),
			jobs.Options{Interval: time.Hour, InitialDelay: time.Hour, IterationLimit: 5, Instances: 3, Logger: log.logger()})

		require.Equal(t, jobs.SucceededWith("12 rows"), runner.RunOnce(t.Context()))

		require.Zero(t, time.Since(begin))
		require.Equal(t, 1, runner.Status().Runs)
		require.Empty(t, log.pages.lines, "returned and logged")
	})
}

func TestRunOnceGivesGraceToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()

		result := newRunner(t, jobs.ErrFunc(obedient), quiet(jobs.Options{})).RunOnce(ctx)

		require.True(t, result.Cancelled())
		require.Equal(t, jobs.ErrShutdown, result.Err())
		require.Equal(t, 26*time.Second, time.Since(begin))
	})
}

func TestRunOncePanicIsAFailedResult(t *testing.T) {
	for _, name := range []string{"panic", "Goexit"} {
		result := newRunner(t, notSucceeding[name], quiet(jobs.Options{})).RunOnce(t.Context())
		require.True(t, result.Failed())
		var panicked *jobs.PanicError
		require.ErrorAs(t, result.Err(), &panicked)
		require.Contains(t, string(panicked.Stack), "jobs_test")
	}
}

func TestHandleStopsItsRunnerAndNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		runner := newRunner(t, jobs.ErrFunc(obedient), quiet(jobs.Options{Grace: time.Minute}))
		ctx, cancel := context.WithCancel(t.Context())
		first, second := runner.Start(ctx), runner.Start(ctx)
		synctest.Wait()
		require.Equal(t, 2, runner.Status().Running)

		first.Stop()
		first.Stop()
		select {
		case <-first.Done():
			t.Error("Stop waited or cut the run")
		default:
		}
		require.NoError(t, first.Wait())
		require.NoError(t, first.Wait())
		<-first.Done()
		require.Equal(t, time.Minute, time.Since(begin))
		require.Equal(t, 1, runner.Status().Running)

		cancel()
		require.NoError(t, second.Wait())
		require.Equal(t, 2*time.Minute, time.Since(begin))
	})
}

func TestHandleTellsOfTheEndByLimitAndOfErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limited := newRunner(t, jobs.Func(succeed), quiet(jobs.Options{IterationLimit: 1})).Start(t.Context())
		<-limited.Done()
		require.NoError(t, limited.Wait())
		limited.Stop()

		broken, err := jobs.NewRunnerFunc(func(int) (jobs.Job, error) { return nil, errBroken }, quiet(jobs.Options{}))
		require.NoError(t, err)
		require.ErrorIs(t, broken.Start(t.Context()).Wait(), errBroken)
	})
}

func TestCutEndsTheGraceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runner := newRunner(t, jobs.ErrFunc(obedient), quiet(jobs.Options{Grace: time.Minute}))
		begin := time.Now()
		h := runner.Start(t.Context())
		time.Sleep(time.Second)
		h.Stop()
		time.Sleep(time.Second)
		h.Cut()
		h.Cut() // again does no harm
		require.NoError(t, h.Wait())
		require.Equal(t, 2*time.Second, time.Since(begin))
		require.ErrorIs(t, runner.Status().Last[0].Result.Err(), jobs.ErrShutdown)
	})
}
