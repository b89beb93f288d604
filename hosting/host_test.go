// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package hosting_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/hosting"
	"github.com/jetjobs/jetjobs/hosting/cron"
	"github.com/jetjobs/jetjobs/jobs"
	"github.com/jetjobs/jetjobs/queue"
)

func TestEverythingStartsInOrderAndStopsInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		h := quiet(hosting.Options{
			OnReady:    func(context.Context) error { j.add("ready"); return nil },
			OnStopping: func(reason error) { j.add("stopping: " + reason.Error()) },
		})
		slow := func(name string) func(context.Context) error {
			return func(context.Context) error {
				time.Sleep(time.Second)
				j.add(name)
				return nil
			}
		}
		service := func(name string) hosting.Service {
			return hosting.ServiceFunc(func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(time.Second) // whoever is stopped too early ends before it
				j.add(name + " ends")
				return nil
			})
		}
		h.AddService("one", service("one"))
		h.AddService("door", service("door"), hosting.AfterStartup())
		h.AddService("two", service("two"))
		h.AddStartup("warm", slow("warm"), hosting.AfterStartup())
		h.AddStartup("second", slow("second"), hosting.Priority(2))
		h.AddStartup("first", slow("first"), hosting.Priority(-1))
		h.AddJob(jobs.ErrFunc(func(ctx context.Context) error {
			j.add("job starts")
			<-ctx.Done()
			j.add("job ends: " + context.Cause(ctx).Error())
			return ctx.Err()
		}), jobs.Options{Name: "work"})

		ctx, stop := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("enough"))
		defer stop()
		require.NoError(t, h.Run(ctx))
		j.require(t, "first", "second", "job starts", "warm", "ready", "stopping: enough",
			"job ends: "+jobs.ErrShutdown.Error(), "door ends", "two ends", "one ends")
		require.Equal(t, hosting.Stopped, h.Status(t.Context()).State)
	})
}

func TestActionsOfOnePriorityRunTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := quiet(hosting.Options{})
		for _, name := range []string{"a", "b", "c"} {
			h.AddStartup(name, func(context.Context) error { time.Sleep(time.Second); return nil })
		}
		began := time.Now()
		ctx, stop := context.WithCancel(t.Context())
		h.AddStartup("last", func(context.Context) error { stop(); return nil }, hosting.Priority(1))
		require.NoError(t, h.Run(ctx))
		require.Equal(t, time.Second, time.Since(began))
		for _, a := range h.Status(t.Context()).Startup[:3] {
			require.Equal(t, "done", a.State)
			require.Equal(t, time.Second, a.Took)
		}
	})
}

func TestFailedActionStopsTheHostBeforeAnythingElseStarts(t *testing.T) {
	for name, action := range map[string]func(context.Context) error{
		"error": func(context.Context) error { return errTest },
		"panic": func(context.Context) error { panic(errTest) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var j journal
				h := quiet(hosting.Options{})
				h.AddStartup("beside", func(ctx context.Context) error {
					<-ctx.Done() // told of the failure
					return ctx.Err()
				})
				h.AddStartup("migrate", action)
				h.AddStartup("later", j.action("later"), hosting.Priority(1))
				h.AddService("never", j.service("never"))
				h.AddJob(jobs.ErrFunc(j.action("job")), jobs.Options{})
				err := h.Run(t.Context())
				require.ErrorIs(t, err, errTest)
				require.ErrorContains(t, err, `hosting: startup action "migrate"`)
				require.NotContains(t, err.Error(), "beside")
				j.require(t)
			})
		})
	}
}

func TestActionIsTriedAsOftenAsItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		h := quiet(hosting.Options{})
		ctx, stop := context.WithCancel(t.Context())
		h.AddStartup("flaky", func(context.Context) error {
			if tries++; tries < 3 {
				return errTest
			}
			stop()
			return nil
		}, hosting.Attempts(3))
		require.NoError(t, h.Run(ctx))
		require.Equal(t, 3, h.Status(t.Context()).Startup[0].Attempts)

		h = quiet(hosting.Options{})
		h.AddStartup("hopeless", func(context.Context) error { tries++; return errTest }, hosting.Attempts(2))
		require.ErrorIs(t, h.Run(t.Context()), errTest)
		require.Equal(t, 5, tries)
	})
}

func TestActionHasItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := quiet(hosting.Options{})
		h.AddStartup("slow", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, hosting.Timeout(time.Second))
		err := h.Run(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.EqualError(t, err, `hosting: startup action "slow": took longer than its Timeout 1s: context deadline exceeded`)
	})
}

func TestStopDuringStartupEndsTheAction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		h := quiet(hosting.Options{OnReady: func(context.Context) error { j.add("ready"); return nil }})
		h.AddStartup("long", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, hosting.Attempts(9))
		h.AddService("never", j.service("never"))
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		began := time.Now()
		require.NoError(t, h.Run(ctx))
		require.Equal(t, time.Second, time.Since(began))
		j.require(t)
	})
}

func TestFailedServiceStopsTheHostAndIsNamed(t *testing.T) {
	for name, fail := range map[string]func(){"error": func() {}, "panic": func() { panic(errTest) }} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var j journal
				h := quiet(hosting.Options{OnStopping: func(reason error) { j.add(reason.Error()) }})
				h.AddService("api", j.service("api"))
				h.AddService("poller", hosting.ServiceFunc(func(context.Context) error {
					time.Sleep(time.Second)
					fail()
					return errTest
				}))
				err := h.Run(t.Context())
				require.ErrorIs(t, err, errTest)
				require.ErrorContains(t, err, `hosting: service "poller": `)
				j.require(t, "api starts", err.Error(), "api ends")
				require.Equal(t, err.Error(), h.Status(t.Context()).Reason)
				require.Equal(t, "failed", h.Status(t.Context()).Services[1].State)
			})
		})
	}
}

func TestServiceIsRestartedWithGrowingWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var starts []time.Time
		h := quiet(hosting.Options{})
		h.AddService("poller", hosting.ServiceFunc(func(ctx context.Context) error {
			starts = append(starts, time.Now())
			if len(starts) == 6 { // a good while, then a new row begins
				time.Sleep(2 * time.Minute)
			}
			if len(starts) == 8 {
				<-ctx.Done()
				return ctx.Err()
			}
			return errTest
		}), hosting.RestartOnFailure())
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
		defer stop()
		require.NoError(t, h.Run(ctx))
		require.Len(t, starts, 8)
		for n := 1; n <= 5; n++ {
			want := 100 * time.Millisecond << (n - 1)
			require.InDelta(t, want, starts[n].Sub(starts[n-1]), 0.21*float64(want), n)
		}
		require.InDelta(t, 2*time.Minute+100*time.Millisecond, starts[6].Sub(starts[5]), float64(21*time.Millisecond))
		status := h.Status(t.Context()).Services[0]
		require.Equal(t, 7, status.Restarts)
		require.Equal(t, "stopped", status.State)
	})
}

func TestServiceThatHasDoneItsWorkStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := quiet(hosting.Options{})
		h.AddService("one-off", hosting.ServiceFunc(func(context.Context) error { return nil }))
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		began := time.Now()
		require.NoError(t, h.Run(ctx))
		require.Equal(t, time.Minute, time.Since(began))
		require.Equal(t, "ended", h.Status(t.Context()).Services[0].State)
	})
}

func TestJobsHaveTheGraceOfTheHost(t *testing.T) {
	for name, c := range map[string]struct{ host, job, want time.Duration }{
		"of the host": {7 * time.Second, 0, 7 * time.Second},
		"default":     {0, 0, 25 * time.Second},
		"its own":     {time.Second, 9 * time.Second, 9 * time.Second},
		"none":        {-1, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := quiet(hosting.Options{Grace: c.host})
				h.AddJob(jobs.ErrFunc(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }), jobs.Options{Grace: c.job})
				ctx, stop := context.WithTimeout(t.Context(), time.Second)
				defer stop()
				began := time.Now()
				require.NoError(t, h.Run(ctx))
				require.Equal(t, time.Second+c.want, time.Since(began))
			})
		})
	}
}

func TestHostStopsWhenEveryLimitedJobIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		h := quiet(hosting.Options{StopWhenIdle: true})
		h.AddJob(jobs.ErrFunc(j.action("a")), jobs.Options{Name: "a", IterationLimit: 2, Interval: time.Second})
		h.AddJob(jobs.ErrFunc(j.action("b")), jobs.Options{Name: "b", IterationLimit: 1, InitialDelay: 3 * time.Second})
		h.AddJob(jobs.ErrFunc(func(context.Context) error { return nil }), jobs.Options{Name: "for ever", Interval: time.Second})
		require.NoError(t, h.Run(t.Context()))
		j.require(t, "a", "a", "b")
		require.Equal(t, "every limited job has reached its limit", h.Status(t.Context()).Reason)
	})
}

func TestErrorOfOnReadyStopsTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		h := quiet(hosting.Options{OnReady: func(context.Context) error { return errTest }})
		h.AddService("api", j.service("api"))
		require.ErrorIs(t, h.Run(t.Context()), errTest)
		require.Equal(t, "api ends", j.lines[len(j.lines)-1])
	})
}

func TestRunReturnsThoughSomethingIgnoresItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		h := quiet(hosting.Options{Grace: 20 * time.Second})
		h.AddJob(jobs.ErrFunc(func(context.Context) error { <-release; return nil }), jobs.Options{Name: "deaf job"})
		h.AddService("deaf service", hosting.ServiceFunc(func(context.Context) error { <-release; return nil }))
		var j journal
		h.AddService("good", j.service("good"))
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		began := time.Now()
		err := h.Run(ctx)
		require.ErrorIs(t, err, hosting.ErrStuck)
		require.ErrorContains(t, err, `job "deaf job", service "deaf service"`)
		require.NotContains(t, err.Error(), "good")
		require.LessOrEqual(t, time.Since(began), time.Second+30*time.Second)
		require.Equal(t, hosting.ExitCut, hosting.ExitCode(err))
		j.require(t, "good starts", "good ends")
		close(release)
		synctest.Wait()
	})
}

func TestNothingStartsIfAnythingIsWrong(t *testing.T) {
	var j journal
	h := quiet(hosting.Options{StopWhenIdle: true})
	h.AddStartup("", j.action("action"))
	h.AddStartup("timed", j.action("action"), hosting.Timeout(0), hosting.Attempts(0))
	h.AddStartup("no function", nil)
	h.AddService("twice", j.service("one"))
	h.AddService("twice", j.service("two"))
	h.AddService("missing", nil)
	h.AddService("missing too", hosting.ServiceFunc(nil))
	h.AddService("missing as well", (*nobody)(nil))
	h.AddJob(nil, jobs.Options{Name: "nobody"})
	h.AddJob((*cron.Fleet)(nil), jobs.Options{Name: "no fleet"})
	h.AddQueue((*queue.Queue[string])(nil))
	h.AddJob(jobs.ErrFunc(j.action("job")), jobs.Options{Interval: -1})
	h.AddCheck("asks nobody", nil)
	h.AddReport("says nothing", nil)

	err := h.Run(t.Context())
	require.ErrorIs(t, err, hosting.ErrConfig)
	require.Equal(t, hosting.ExitConfig, hosting.ExitCode(err))
	for _, want := range []string{
		"a startup action has no name",
		`startup action "timed": Timeout is 0s: want more than zero`,
		`startup action "timed": Attempts is 0: want 1 or more`,
		`startup action "no function": the function is nil`,
		`two are added as service "twice"`,
		`service "missing" is nil`,
		`service "missing too" is nil`,
		`service "missing as well" is nil`,
		`job "nobody": jobs: job is nil`,
		`job "no fleet": jobs: job is nil`,
		`a queue to report is nil`,
		`job "job": jobs: Options.Interval is -1ns`,
		`check "asks nobody": the function is nil`,
		`report "says nothing": the function is nil`,
		"Options.StopWhenIdle is set, but no job has an IterationLimit",
	} {
		require.ErrorContains(t, err, want)
	}
	require.Len(t, strings.Split(err.Error(), "\n"), 15)
	require.Equal(t, err.Error(), h.Check().Error())
	j.require(t)
}

// nobody is a service by its pointer.
type nobody struct{ calls int }

func (n *nobody) Run(context.Context) error { n.calls++; return nil }

func TestNothingStartsIfTheContextHasEnded(t *testing.T) {
	var j journal
	h := quiet(hosting.Options{OnReady: j.action("ready")})
	h.AddStartup("migrate", j.action("migrate"))
	h.AddStartup("late", j.action("late"), hosting.AfterStartup())
	h.AddService("api", j.service("api"))
	h.AddJob(jobs.ErrFunc(j.action("job")), jobs.Options{})
	ctx, stop := context.WithCancel(t.Context())
	stop()
	require.NoError(t, h.Run(ctx))
	j.require(t)
	require.Equal(t, "waiting", h.Status(t.Context()).Startup[0].State)
}

func TestRunIsForOnce(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	h := quiet(hosting.Options{})
	require.NoError(t, h.Run(ctx))
	require.ErrorContains(t, h.Run(ctx), "make a new Host")
	require.PanicsWithValue(t, `hosting: service "late" is added after Run has begun: add it before`, func() {
		h.AddService("late", (&journal{}).service("late"))
	})
}

// causes can't be compared by ==.
type causes []string

func (c causes) Error() string { return strings.Join(c, ", ") }

func TestCauseOfTheCallerMayBeOfAnyType(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reason error
		h := quiet(hosting.Options{OnStopping: func(err error) { reason = err }})
		ctx, stop := context.WithCancelCause(t.Context())
		h.AddStartup("wait", func(ctx context.Context) error {
			stop(causes{"the end", "of the day"})
			return context.Cause(ctx)
		})
		require.NoError(t, h.Run(ctx))
		require.Equal(t, causes{"the end", "of the day"}, reason)
		require.Equal(t, "the end, of the day", h.Status(t.Context()).Reason)
	})
}
