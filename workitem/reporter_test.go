// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package workitem

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/bus"
	"github.com/jetjobs/jetjobs/internal/natstest"
)

func TestProgressInATightLoopIsSentTenTimesASecond(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		tap := wire(t, e.Connect())
		id := enqueue(t, q, "a.csv")
		wait := watching(t, q, id)
		work(t, q, knows(func(_ context.Context, c *Context[load]) error {
			for n := range 100_000 { // 10 s
				c.Progress(n/1000, "row")
				time.Sleep(100 * time.Microsecond)
			}
			return nil
		}), JobOptions{})
		all := wait()
		end := all[len(all)-1]
		require.Equal(t, Completed, end.State)
		heard := tap.times()
		require.LessOrEqual(t, len(heard), 3+101, "queued, started, completed and ten a second")
		require.Greater(t, len(heard), 90)
		for i := 3; i < len(heard)-1; i++ {
			require.GreaterOrEqual(t, heard[i].Sub(heard[i-1]), reportEvery-time.Millisecond)
		}
		require.Greater(t, len(all), 90, "and watchers see them")
	})
}

func TestLatestProgressIsKeptButNotWrittenMoreThanOnceASecond(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		id := enqueue(t, q, "a.csv")
		work(t, q, knows(func(_ context.Context, c *Context[load]) error {
			for n := range 1040 { // 10.4 s
				c.Progress(n/20, "row")
				time.Sleep(10 * time.Millisecond)
			}
			time.Sleep(time.Minute)
			return nil
		}), JobOptions{})
		time.Sleep(5 * time.Second)
		require.InDelta(t, 25, latest(t, q, id).Percent, 6, "no older than a second")
		time.Sleep(10 * time.Second)
		require.Equal(t, 51, latest(t, q, id).Percent, "the last one is stored, though nothing follows")
		info, err := q.ledger.stream.Info(t.Context())
		require.NoError(t, err)
		require.LessOrEqual(t, info.State.LastSeq, uint64(2+12))
		require.EqualValues(t, 1, info.State.Msgs)
	})
}

func TestLastProgressIsSentThoughNothingFollows(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		id := enqueue(t, q, "a.csv")
		work(t, q, knows(func(_ context.Context, c *Context[load]) error {
			for n := range 90 {
				c.Progress(n, "row")
			}
			time.Sleep(time.Hour)
			return nil
		}), JobOptions{})
		began := time.Now()
		for s, err := range q.Watch(t.Context(), id) {
			require.NoError(t, err)
			if s.Percent == 89 {
				break
			}
		}
		require.Less(t, time.Since(began), 300*time.Millisecond)
	})
}

func TestPercentIsKeptBetween0And99(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		for given, want := range map[int]int{-5: 0, 0: 0, 99: 99, 100: 99, 1 << 40: 99} {
			id := enqueue(t, q, "a.csv")
			wait := watching(t, q, id)
			stop := work(t, q, knows(func(_ context.Context, c *Context[load]) error {
				c.Progress(given, strings.Repeat("x", 5000))
				time.Sleep(time.Second)
				return nil
			}), JobOptions{})
			all := wait()
			stop()
			require.Equal(t, want, all[2].Percent)
			require.Less(t, len(all[2].Message), 2060)
			require.Equal(t, 100, all[len(all)-1].Percent)
		}
	})
}

func TestReportRefusesWhatIsNoJSONOrTooLarge(t *testing.T) {
	c := &Context[load]{Value: load{"a.csv"}}
	require.ErrorContains(t, c.Report(1, "", func() {}), "unsupported type")
	require.ErrorContains(t, c.Report(1, "", strings.Repeat("x", 65<<10)), "at most 65536")
	require.NoError(t, c.Report(1, "", []int{1}))
}

func TestContextOfATestHasZeroValues(t *testing.T) {
	c := &Context[load]{Value: load{"a.csv"}}
	c.Progress(10, "goes nowhere")
	require.Zero(t, c.ID())
	require.Zero(t, c.Kind())
	require.Zero(t, c.Attempt())
	require.Zero(t, c.Fence())
	require.False(t, c.LastAttempt())
	require.Nil(t, c.Entry())
}

func TestProgressDoesNotWaitForAServerThatIsAway(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		id := enqueue(t, q, "a.csv")
		wait := watching(t, q, id)
		work(t, q, knows(func(_ context.Context, c *Context[load]) error {
			time.Sleep(time.Second)
			e.Stop()
			began := time.Now()
			for n := range 1000 {
				c.Progress(n/20, "row")
			}
			require.Zero(t, time.Since(began))
			time.Sleep(3 * time.Second)
			e.Begin()
			time.Sleep(5 * time.Second)
			return nil
		}), JobOptions{})
		all := wait()
		require.Equal(t, 49, all[len(all)-2].Percent, "it arrived after all")
		require.Equal(t, Completed, all[len(all)-1].State)
	})
}

func TestLastStatusWaitsForAServerThatIsAway(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		id := enqueue(t, q, "a.csv")
		wait := watching(t, q, id)
		runs := 0
		work(t, q, knows(func(_ context.Context, c *Context[load]) error {
			runs++
			time.Sleep(time.Second)
			go e.Restart(15 * time.Second)
			time.Sleep(time.Second)
			return nil
		}), JobOptions{})
		all := wait()
		require.Equal(t, Completed, all[len(all)-1].State)
		require.Equal(t, 1, runs)
		time.Sleep(time.Minute)
	})
}

func TestProgressGoesOverTheBusThatWasGiven(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		nc := e.Connect()
		b, err := bus.New(nc, bus.Options{})
		require.NoError(t, err)
		enqueue(t, q, "a.csv")
		h := knows(func(_ context.Context, c *Context[load]) error {
			for n := range 50 {
				c.Progress(n, "")
				time.Sleep(100 * time.Millisecond)
			}
			return nil
		})
		n, err := NewJob(q, h, b, JobOptions{}).RunUntilEmpty(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.Greater(t, nc.Stats().OutMsgs, uint64(40))
	})
}
