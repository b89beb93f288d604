// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/jobs"
)

func succeed(context.Context) jobs.Result { return jobs.Succeeded() }

func TestSuccessfulRunsFollowEachOtherAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := newTimes()
		job := jobs.Func(func(context.Context) jobs.Result { starts.add(); return jobs.Succeeded() })

		require.NoError(t, newRunner(t, job, quiet(jobs.Options{IterationLimit: 3})).Run(t.Context()))

		require.Equal(t, []time.Duration{0, 0, 0}, starts.list())
	})
}

func TestIntervalIsFromTheEndToTheNextStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := newTimes()
		job := jobs.Func(func(context.Context) jobs.Result {
			starts.add()
			time.Sleep(3 * time.Second)
			return jobs.Succeeded()
		})

		runFor(t, newRunner(t, job, quiet(jobs.Options{Interval: 10 * time.Second})), 30*time.Second)

		require.Equal(t, []time.Duration{0, 13 * time.Second, 26 * time.Second}, starts.list())
	})
}

func TestLimitCountsForEachInstanceAndNothingWaitsAfterTheLastRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := newTimes()
		job := jobs.Func(func(context.Context) jobs.Result { starts.add(); return jobs.Succeeded() })
		runner := newRunner(t, job, quiet(jobs.Options{Interval: time.Hour, IterationLimit: 2, Instances: 3}))

		require.NoError(t, runner.Run(t.Context()))

		require.Equal(t, []time.Duration{0, 0, 0, time.Hour, time.Hour, time.Hour}, starts.list())
		require.Equal(t, time.Hour, time.Since(starts.begin))
	})
}

func TestLimitCountsFailedRunsAndNothingWaitsAfterTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := newTimes()
		job := jobs.Func(func(context.Context) jobs.Result { starts.add(); return jobs.Failed(errBroken) })
		hourly := func(int) time.Duration { return time.Hour }

		require.NoError(t, newRunner(t, job, quiet(jobs.Options{IterationLimit: 2, Backoff: hourly})).Run(t.Context()))

		require.Equal(t, []time.Duration{0, time.Hour}, starts.list())
		require.Equal(t, time.Hour, time.Since(starts.begin))
	})
}

func TestInitialDelayComesOnceForEachInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := newTimes()
		job := jobs.Func(func(context.Context) jobs.Result { starts.add(); return jobs.Succeeded() })
		opts := jobs.Options{InitialDelay: time.Minute, Interval: time.Second, IterationLimit: 2, Instances: 2}

		require.NoError(t, newRunner(t, job, quiet(opts)).Run(t.Context()))

		minute, later := time.Minute, time.Minute+time.Second
		require.Equal(t, []time.Duration{minute, minute, later, later}, starts.list())
	})
}

func TestInstancesRunAtTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		job := jobs.Func(func(context.Context) jobs.Result { time.Sleep(time.Minute); return jobs.Succeeded() })

		require.NoError(t, newRunner(t, job, quiet(jobs.Options{Instances: 4, IterationLimit: 1})).Run(t.Context()))

		require.Equal(t, time.Minute, time.Since(begin))
	})
}

func TestEveryWaitEndsAtOnceWithTheContext(t *testing.T) {
	for name, opts := range map[string]jobs.Options{
		"initial delay": {InitialDelay: time.Hour},
		"interval":      {Interval: time.Hour},
		"backoff":       {Backoff: func(int) time.Duration { return math.MaxInt64 }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				job := jobs.Func(func(context.Context) jobs.Result {
					if opts.Backoff != nil {
						return jobs.Failed(errBroken)
					}
					return jobs.Succeeded()
				})
				runFor(t, newRunner(t, job, quiet(opts)), time.Second)
				require.Equal(t, time.Second, time.Since(begin))
			})
		})
	}
}

func TestEndedContextRunsNothing(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errBroken)
	runner, err := jobs.NewRunnerFunc(func(int) (jobs.Job, error) {
		t.Error("built a job")
		return nil, errBroken
	}, quiet(jobs.Options{Instances: 3}))
	require.NoError(t, err)

	require.NoError(t, runner.Run(ctx))
	require.NoError(t, runner.Start(ctx).Wait())

	result := runner.RunOnce(ctx)
	require.True(t, result.Cancelled())
	require.Equal(t, "not run: broken", result.Message())
	require.Zero(t, runner.Status().Runs)
}

// notSucceeding are all the ways not to succeed.
var notSucceeding = map[string]jobs.Job{
	"failed":           jobs.Func(func(context.Context) jobs.Result { return jobs.Failed(errBroken) }),
	"failed, no error": jobs.Func(func(context.Context) jobs.Result { return jobs.FailedWith("broken") }),
	"cancelled":        jobs.Func(func(context.Context) jobs.Result { return jobs.CancelledWith("busy") }),
	"panic":            jobs.Func(func(context.Context) jobs.Result { panic("broken") }),
	"Goexit":           jobs.Func(func(context.Context) jobs.Result { runtime.Goexit(); return jobs.Succeeded() }),
}

func TestWaitAfterRunsThatDidNotSucceedGrowsToAMinute(t *testing.T) {
	for name, job := range notSucceeding {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				starts := newTimes()
				watched := jobs.Func(func(ctx context.Context) jobs.Result { starts.add(); return job.Run(ctx) })

				runFor(t, newRunner(t, watched, quiet(jobs.Options{})), time.Hour)

				gaps := starts.gaps()
				require.Greater(t, len(gaps), 40)
				want := 100 * time.Millisecond
				for i, gap := range gaps {
					require.InEpsilon(t, want, gap, 0.2, "wait after failure %d", i+1)
					want = min(2*want, time.Minute)
				}
			})
		})
	}
}

func TestWaitsOfInstancesDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := newTimes()
		job := jobs.Func(func(context.Context) jobs.Result { starts.add(); return jobs.Failed(errBroken) })

		runFor(t, newRunner(t, job, quiet(jobs.Options{Instances: 8})), 10*time.Minute)

		distinct := make(map[time.Duration]bool)
		for _, at := range starts.list()[8:] {
			distinct[at] = true
		}
		require.Greater(t, len(distinct), 100, "instances wait in step")
	})
}

func TestSuccessStartsTheWaitsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []int
		results := []jobs.Result{
			jobs.Failed(errBroken), jobs.Cancelled(), jobs.Failed(errBroken), jobs.Succeeded(), jobs.Failed(errBroken), jobs.Succeeded(),
		}
		run := 0
		job := jobs.Func(func(context.Context) jobs.Result { run++; return results[run-1] })
		backoff := func(failures int) time.Duration { asked = append(asked, failures); return time.Second }

		require.NoError(t, newRunner(t, job, quiet(jobs.Options{IterationLimit: 6, Backoff: backoff})).Run(t.Context()))

		require.Equal(t, []int{1, 2, 3, 1}, asked)
	})
}

func TestNoBackoffMakesItSpin(t *testing.T) {
	for name, backoff := range map[string]func(int) time.Duration{
		"zero":     func(int) time.Duration { return 0 },
		"negative": func(int) time.Duration { return -time.Hour },
		"tiny":     func(int) time.Duration { return 1 },
		"panics":   func(int) time.Duration { panic("no idea") },
		"Goexit":   func(int) time.Duration { runtime.Goexit(); return 0 },
	} {
		for outcome, job := range notSucceeding {
			t.Run(name+"/"+outcome, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					runner := newRunner(t, job, quiet(jobs.Options{Backoff: backoff}))
					runFor(t, runner, time.Second)
					require.LessOrEqual(t, runner.Status().Runs, 101)
					require.Greater(t, runner.Status().Runs, 1)
				})
			})
		}
	}
}

func TestLongerOfIntervalAndBackoffCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := newTimes()
		job := jobs.Func(func(context.Context) jobs.Result { starts.add(); return jobs.Failed(errBroken) })
		minutes := func(failures int) time.Duration { return time.Duration(failures) * time.Minute }
		opts := jobs.Options{Interval: 150 * time.Second, IterationLimit: 5, Backoff: minutes}

		require.NoError(t, newRunner(t, job, quiet(opts)).Run(t.Context()))

		require.Equal(t, []time.Duration{150 * time.Second, 150 * time.Second, 3 * time.Minute, 4 * time.Minute}, starts.gaps())
	})
}

func TestPanicIsAFailureWithAStackAndTheRunnerGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLogbook()
		job := jobs.Func(func(ctx context.Context) jobs.Result {
			if info, _ := jobs.FromContext(ctx); info.Number == 1 {
				explode()
			}
			return jobs.Succeeded()
		})
		runner := newRunner(t, job, jobs.Options{Name: "fuse", IterationLimit: 2, Logger: log.logger()})

		require.NoError(t, runner.Run(t.Context()))

		status := runner.Status()
		require.Equal(t, []int{2, 1}, []int{status.Runs, status.Failed})
		panicked, ok := errors.AsType[*jobs.PanicError](status.Last[1].Result.Err())
		require.True(t, ok)
		require.Equal(t, io.ErrUnexpectedEOF, panicked.Value)
		require.ErrorIs(t, status.Last[1].Result.Err(), io.ErrUnexpectedEOF)

		lines := log.find("job failed")
		require.Len(t, lines, 1)
		require.Contains(t, lines[0].attrs["stack"].String(), "jobs_test.explode")
	})
}

//go:noinline
func explode() { panic(io.ErrUnexpectedEOF) }

func TestPanicOfOneInstanceLeavesTheOthersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var healthy atomic.Int64
		job := jobs.Func(func(ctx context.Context) jobs.Result {
			if info, _ := jobs.FromContext(ctx); info.Instance == 1 {
				panic("broken")
			}
			healthy.Add(1)
			return jobs.Succeeded()
		})

		runFor(t, newRunner(t, job, quiet(jobs.Options{Instances: 3, Interval: time.Second})), 9500*time.Millisecond)

		require.EqualValues(t, 20, healthy.Load())
	})
}

func TestEachInstanceHasItsOwnJobFromTheFactory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := make([]int, 3) // one element for each job: a shared job would be a race
		runner, err := jobs.NewRunnerFunc(func(instance int) (jobs.Job, error) {
			return jobs.Func(func(ctx context.Context) jobs.Result {
				info, _ := jobs.FromContext(ctx)
				require.Equal(t, instance, info.Instance)
				runs[instance]++
				return jobs.Succeeded()
			}), nil
		}, quiet(jobs.Options{Instances: 3, IterationLimit: 2}))
		require.NoError(t, err)

		require.NoError(t, runner.Run(t.Context()))

		require.Equal(t, []int{2, 2, 2}, runs)
		require.Zero(t, runner.Status().Failed)
	})
}

func TestInstanceThatCannotBeBuiltIsNamedAndTheOthersRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLogbook()
		begin := time.Now()
		runner, err := jobs.NewRunnerFunc(func(instance int) (jobs.Job, error) {
			switch instance {
			case 1:
				return nil, errBroken
			case 2:
				panic("no shard")
			case 3:
				return nil, nil
			case 4:
				return jobs.Func(nil), nil
			case 5:
				runtime.Goexit()
			}
			return jobs.Func(succeed), nil
		}, jobs.Options{Name: "sync", Instances: 7, Interval: time.Second, Logger: log.logger()})
		require.NoError(t, err)

		ctx, cancel := context.WithTimeout(t.Context(), 9500*time.Millisecond)
		defer cancel()
		err = runner.Run(ctx)

		require.ErrorIs(t, err, errBroken)
		require.ErrorContains(t, err, `jobs: "sync": instance 1 not built: broken`)
		require.ErrorContains(t, err, `jobs: "sync": instance 2 not built: panic: no shard`)
		for _, instance := range []int{3, 4} {
			require.ErrorContains(t, err, fmt.Sprintf(`jobs: "sync": instance %d not built: the factory returned`, instance))
		}
		require.ErrorContains(t, err, `jobs: "sync": instance 5 not built: ended its goroutine`)
		require.Equal(t, 9500*time.Millisecond, time.Since(begin))
		require.Equal(t, 20, runner.Status().Runs, "runs of instances 0 and 6")
		lines := log.find("job runs with fewer instances")
		require.Len(t, lines, 1)
		require.Equal(t, begin, lines[0].at)
	})
}

func TestNoInstanceBuiltEndsRunAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLogbook()
		runner, err := jobs.NewRunnerFunc(func(int) (jobs.Job, error) { return nil, errBroken },
			jobs.Options{Name: "sync", Instances: 2, Logger: log.logger()})
		require.NoError(t, err)
		want := "jobs: \"sync\": instance 0 not built: broken\njobs: \"sync\": instance 1 not built: broken"

		require.EqualError(t, runner.Run(t.Context()), want)

		result := runner.RunOnce(t.Context())
		require.True(t, result.Failed())
		require.EqualError(t, result.Err(), "jobs: \"sync\": instance 0 not built: broken")
		require.Empty(t, log.pages.lines, "returned and logged")
	})
}

func TestLogSaysWhatAnOperatorNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLogbook()
		results := []jobs.Result{jobs.Succeeded(), jobs.SucceededWith("12 rows"), jobs.Failed(errBroken), jobs.CancelledWith("busy")}
		job := jobs.Func(func(ctx context.Context) jobs.Result {
			info, _ := jobs.FromContext(ctx)
			time.Sleep(time.Second)
			return results[info.Number-1]
		})
		runner := newRunner(t, job, jobs.Options{Name: "clean", IterationLimit: 4, Logger: log.logger()})

		require.NoError(t, runner.Run(t.Context()))

		var got []string
		for _, line := range log.pages.lines {
			got = append(got, fmt.Sprint(line.level, " ", line.message))
			require.Equal(t, "clean", line.attrs["job"].String())
		}
		require.Equal(t, []string{
			"INFO job started", "DEBUG job succeeded", "INFO job succeeded", "WARN job failed", "WARN job cancelled", "INFO job stopped",
		}, got)
		for i, line := range log.pages.lines[1:5] {
			require.Equal(t, runner.Status().Last[3-i].ID, line.attrs["run"].String())
			require.Equal(t, time.Second, line.attrs["took"].Duration())
		}
		require.Equal(t, "12 rows", log.pages.lines[2].attrs["message"].String())
		require.Equal(t, errBroken, log.pages.lines[3].attrs["err"].Any())
		require.ErrorContains(t, log.pages.lines[4].attrs["err"].Any().(error), "busy")
	})
}
