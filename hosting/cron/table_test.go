// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package cron

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/jobs"
)

var (
	errTest = errors.New("out of luck")
	silent  = slog.New(slog.DiscardHandler)
)

func newTable() *Table { return NewTable(TableOptions{Logger: silent}) }

// running runs a table; stop ends it and waits.
func running(t *testing.T, table *Table) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- table.RunContinuous(ctx) }()
	synctest.Wait()
	return func() {
		t.Helper()
		cancel()
		require.NoError(t, <-ended)
	}
}

func status(t *testing.T, c Control, name string) Status {
	t.Helper()
	all, err := c.List(t.Context())
	require.NoError(t, err)
	for _, s := range all {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no %q in %v", name, all)
	return Status{}
}

// takes is a job that takes so long, and counts its runs.
func takes(d time.Duration, runs *atomic.Int64) jobs.Job {
	return jobs.ErrFunc(func(ctx context.Context) error {
		runs.Add(1)
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
}

// Bubbles begin at midnight, 1 January 2000, UTC.
func TestJobRunsAtEachTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ticks []time.Time
		table := newTable()
		require.NoError(t, table.Add("*/10 * * * *", "tick", jobs.ErrFunc(func(ctx context.Context) error {
			info, _ := jobs.FromContext(ctx)
			require.Equal(t, "tick", info.Name)
			ticks = append(ticks, time.Now().UTC())
			return nil
		}), Options{}))
		stop := running(t, table)
		time.Sleep(35 * time.Minute)
		stop()
		begin := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
		require.Equal(t, []time.Time{begin.Add(10 * time.Minute), begin.Add(20 * time.Minute), begin.Add(30 * time.Minute)}, ticks)

		s := status(t, table, "tick")
		require.Equal(t, begin.Add(40*time.Minute), s.Next[0])
		require.Len(t, s.Next, 5)
		require.Len(t, s.Last, 3)
		require.Equal(t, begin.Add(30*time.Minute), s.Last[0].Planned)
		require.Equal(t, "succeeded", s.Last[0].Outcome)
		require.NotEmpty(t, s.Last[0].Host)
	})
}

func TestOverlapIsAsChosen(t *testing.T) {
	for overlap, want := range map[Overlap]struct{ started, most, skipped int }{
		Skip:  {2, 1, 4},
		"":    {2, 1, 4},
		Allow: {6, 3, 0},
		Queue: {3, 1, 2},
	} {
		t.Run(string(overlap), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var started, now, most atomic.Int64
				table := newTable()
				job := jobs.ErrFunc(func(context.Context) error {
					started.Add(1)
					most.Store(max(most.Load(), now.Add(1)))
					defer now.Add(-1)
					time.Sleep(149 * time.Second) // about two ticks and a half
					return nil
				})
				require.NoError(t, table.Add("* * * * *", "slow", job, Options{Overlap: overlap}))
				stop := running(t, table)
				time.Sleep(6*time.Minute + time.Second)
				require.EqualValues(t, want.started, started.Load())
				require.EqualValues(t, want.most, most.Load())
				require.Equal(t, want.skipped, status(t, table, "slow").Skipped)
				stop()
			})
		})
	}
}

func TestGraceOfTheRunnerReachesTheRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int64
		table := newTable()
		require.NoError(t, table.Add("* * * * *", "slow", takes(time.Hour, &runs), Options{}))
		runner, err := jobs.NewRunner(table, jobs.Options{Grace: 7 * time.Second, Logger: silent})
		require.NoError(t, err)
		h := runner.Start(t.Context())
		time.Sleep(90 * time.Second)
		began := time.Now()
		h.Stop()
		require.NoError(t, h.Wait())
		require.Equal(t, 7*time.Second, time.Since(began))
		require.Equal(t, "cancelled", status(t, table, "slow").Last[0].Outcome)

		h = runner.Start(t.Context()) // it may run again
		time.Sleep(90 * time.Second)
		began = time.Now()
		h.Cut()
		require.NoError(t, h.Wait())
		require.Zero(t, time.Since(began))
		require.EqualValues(t, 2, runs.Load())
	})
}

func TestTimeoutEndsARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int64
		table := newTable()
		require.NoError(t, table.Add("* * * * *", "slow", takes(time.Hour, &runs), Options{Timeout: 5 * time.Second}))
		stop := running(t, table)
		time.Sleep(70 * time.Second)
		last := status(t, table, "slow").Last[0]
		require.Equal(t, "failed", last.Outcome)
		require.Contains(t, last.Message, "took longer than its timeout 5s")
		require.Equal(t, 5*time.Second, last.Took)
		stop()
	})
}

func TestPanicIsAFailureWithItsStack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		table := NewTable(TableOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		require.NoError(t, table.Add("* * * * *", "bad", jobs.ErrFunc(func(context.Context) error { panic("boom") }), Options{}))
		stop := running(t, table)
		time.Sleep(130 * time.Second)
		stop()
		require.Len(t, status(t, table, "bad").Last, 2)
		require.Equal(t, "panic: boom", status(t, table, "bad").Last[0].Message)
		require.Contains(t, log.String(), "table_test.go")
	})
}

func TestJitterSpreadsTheRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newTable()
		later := map[time.Duration]bool{}
		require.NoError(t, table.Add("* * * * *", "spread", jobs.ErrFunc(func(context.Context) error {
			after := time.Since(time.Now().Truncate(time.Minute))
			require.Less(t, after, 30*time.Second)
			later[after] = true
			return nil
		}), Options{Jitter: 30 * time.Second}))
		stop := running(t, table)
		time.Sleep(20*time.Minute + 30*time.Second)
		stop()
		require.Len(t, later, 20)
	})
}

func TestRunAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int64
		table := newTable()
		require.NoError(t, table.Add("@daily", "now", takes(0, &runs), Options{RunAtStart: true}))
		stop := running(t, table)
		stop()
		require.EqualValues(t, 1, runs.Load())
	})
}

func TestTableIsControlledAtRunTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		var runs atomic.Int64
		table := newTable()
		require.NoError(t, table.Add("0 * * * *", "job", takes(time.Second, &runs), Options{}))
		_, err := table.Trigger(ctx, "job")
		require.ErrorContains(t, err, "the table does not run")
		stop := running(t, table)

		h, err := table.Trigger(ctx, "job")
		require.NoError(t, err)
		_, err = table.Trigger(ctx, "job")
		require.ErrorIs(t, err, ErrRunning)
		r, err := h.Wait(ctx)
		require.NoError(t, err)
		require.Equal(t, time.Second, r.Took)
		require.Equal(t, h.ID, r.ID)
		require.Zero(t, r.Planned)

		require.NoError(t, table.Disable(ctx, "job", "too expensive"))
		time.Sleep(150 * time.Minute)
		require.EqualValues(t, 1, runs.Load())
		s := status(t, table, "job")
		require.False(t, s.Enabled)
		require.Equal(t, "too expensive", s.Why)
		require.Empty(t, s.Next)
		_, err = table.Trigger(ctx, "job")
		require.NoError(t, err, "also while it is disabled")
		time.Sleep(2 * time.Second)

		require.NoError(t, table.Enable(ctx, "job"))
		time.Sleep(time.Minute)
		require.EqualValues(t, 2, runs.Load(), "what was due meanwhile is left out")

		require.ErrorContains(t, table.Reschedule(ctx, "job", "99 * * * *"), `minute "99"`)
		require.NoError(t, table.Reschedule(ctx, "job", "*/5 * * * *"))
		time.Sleep(10 * time.Minute)
		require.EqualValues(t, 4, runs.Load())
		require.Equal(t, "0 * * * *", status(t, table, "job").Original)
		require.NoError(t, table.Reschedule(ctx, "job", ""))
		require.Empty(t, status(t, table, "job").Original)

		require.NoError(t, table.Add("* * * * *", "added", takes(0, &runs), Options{}), "also while it runs")
		time.Sleep(time.Minute)
		require.Len(t, status(t, table, "added").Last, 1)

		for _, err := range []error{table.Enable(ctx, "x"), table.Disable(ctx, "x", ""), table.Reschedule(ctx, "x", "")} {
			require.ErrorIs(t, err, ErrNotFound)
		}
		require.ErrorContains(t, table.RunContinuous(ctx), "runs already")
		stop()
	})
}

func TestWrongEntriesAreRefused(t *testing.T) {
	table := newTable()
	err := table.Add("61 * * * *", "", nil, Options{Zone: "Nowhere", Overlap: "maybe", Jitter: -1, Timeout: -1})
	for _, want := range []string{
		"the name is empty", `minute "61" (position 1)`, `zone "Nowhere"`, `Options.Overlap is "maybe"`,
		"Options.Jitter is -1ns", "Options.Timeout is -1ns", "job is nil",
	} {
		require.ErrorContains(t, err, want)
	}
	require.NoError(t, table.Add("@daily", "a", jobs.ErrFunc(func(context.Context) error { return nil }), Options{}))
	require.ErrorContains(t, table.Add("@daily", "a", jobs.ErrFunc(func(context.Context) error { return nil }), Options{}), "the name is taken")
}

func TestSleepAndChangedClocksMakeNoStorm(t *testing.T) {
	hourly, err := Parse("0 * * * *", "")
	require.NoError(t, err)
	secondly, err := Parse("* * * * * *", "")
	require.NoError(t, err)
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		what            string
		s               Schedule
		last, now       time.Time
		due, next, from time.Duration // since noon; -1 for none
	}{
		{"nothing is due", hourly, noon, noon.Add(59 * time.Minute), -1, time.Hour, 0},
		{"due to the second", hourly, noon, noon.Add(time.Hour), time.Hour, 2 * time.Hour, time.Hour},
		{"slept for nine hours: one", hourly, noon, noon.Add(9*time.Hour + time.Minute), 9 * time.Hour, 10 * time.Hour, 9 * time.Hour},
		{"slept for ten days, each second: one", secondly, noon, noon.Add(240 * time.Hour), 240 * time.Hour, 240*time.Hour + time.Second, 240 * time.Hour},
		{"set back an hour: nothing comes again", hourly, noon.Add(time.Hour), noon.Add(time.Minute), -1, 2 * time.Hour, time.Hour},
		{"set back a day: it was wrong before", hourly, noon.Add(24 * time.Hour), noon.Add(time.Minute), -1, time.Hour, time.Minute},
	} {
		due, next, from := plan(c.s, c.last, c.now)
		if c.due < 0 {
			require.Zero(t, due, c.what)
		} else {
			require.Equal(t, noon.Add(c.due), due, c.what)
		}
		require.Equal(t, noon.Add(c.next), next, c.what)
		require.Equal(t, noon.Add(c.from), from, c.what)
	}
}
