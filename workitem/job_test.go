// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package workitem

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/jobs"
	"github.com/jetjobs/jetjobs/queue"
)

var errDisk = errors.New("disk full")

func TestItemIsWorkedOnAndTellsOfIt(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		id := enqueue(t, q, "a.csv", queue.Property("by", "ada"))
		wait := watching(t, q, id)
		stop := work(t, q, knows(func(_ context.Context, c *Context[load]) error {
			require.Equal(t, "a.csv", c.Value.File)
			require.Equal(t, id, c.ID())
			require.Equal(t, "load", c.Kind())
			require.Equal(t, 1, c.Attempt())
			require.False(t, c.LastAttempt())
			require.Equal(t, "ada", c.Entry().Property("by"))
			time.Sleep(time.Second)
			require.NoError(t, c.Report(50, "half", map[string]int{"rows": 7}))
			time.Sleep(time.Second)
			return nil
		}), JobOptions{})
		all := wait()
		stop()
		require.Equal(t, []State{Queued, Started, Progress, Completed}, states(all))
		require.Zero(t, all[1].Percent, "0 is sent by the framework")
		require.Equal(t, 50, all[2].Percent)
		require.Equal(t, "half", all[2].Message)
		require.JSONEq(t, `{"rows":7}`, string(all[2].Data))
		end := all[len(all)-1]
		require.Equal(t, 100, end.Percent, "and so is 100")
		require.Equal(t, "half", end.Message, "what was reported last stays")
		require.Equal(t, 1, end.Attempt)
		require.Equal(t, 20, end.MaxAttempts)
		require.Equal(t, 2*time.Second, end.Updated.Sub(end.Started).Round(time.Second))
		require.False(t, end.Enqueued.IsZero())
	})
}

func TestFailedAttemptIsToldAndTriedAgain(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		id := enqueue(t, q, "a.csv")
		wait := watching(t, q, id)
		work(t, q, knows(func(_ context.Context, c *Context[load]) error {
			c.Progress(30, "reading")
			time.Sleep(time.Second)
			if c.Progress(40, "reading"); c.Attempt() == 1 {
				return errDisk
			}
			return nil
		}), JobOptions{})
		all := wait()
		require.Equal(t, []State{Queued, Started, Progress, Retrying, Started, Progress, Completed}, states(all))
		i := slices.IndexFunc(all, func(s Status) bool { return s.State == Retrying })
		require.Equal(t, "disk full", all[i].Error)
		require.Equal(t, 40, all[i].Percent, "what was reported last is sent with the end")
		require.Equal(t, "disk full", all[i+1].Error, "the next attempt still says why")
		require.Equal(t, 2, all[i+1].Attempt)
		require.Zero(t, all[i+1].Percent)
		require.Empty(t, all[len(all)-1].Error)
	})
}

func TestLastFailureIsFinal(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		for name, c := range map[string]struct {
			err  error
			opts []queue.EnqueueOption
		}{
			"attempts":  {errDisk, []queue.EnqueueOption{queue.MaxAttempts(1)}},
			"permanent": {queue.Permanent(errDisk), nil},
		} {
			id := enqueue(t, q, name, c.opts...)
			wait := watching(t, q, id)
			stop := work(t, q, knows(func(context.Context, *Context[load]) error { return c.err }), JobOptions{})
			all := wait()
			stop()
			require.Equal(t, []State{Queued, Started, Failed}, states(all), name)
			require.Equal(t, "disk full", all[2].Error)
			letter, err := q.Jobs().DeadLetters().Get(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, name, letter.Reason)
			require.Equal(t, "load", letter.Value.Kind)
		}
	})
}

func TestPanickingHandlerDisturbsNoOther(t *testing.T) {
	bubble(t, Options{Queue: queue.Options{MaxAttempts: 1}}, func(t *testing.T, e *natstest.Env, q *Queue) {
		ends := map[string]func() []Status{}
		for _, how := range []string{"panics", "exits", "fails", "works"} {
			ends[how] = watching(t, q, enqueue(t, q, how))
		}
		work(t, q, knows(func(_ context.Context, c *Context[load]) error {
			switch c.Value.File {
			case "panics":
				panic("boom")
			case "exits":
				runtime.Goexit()
			case "fails":
				return errDisk
			}
			time.Sleep(time.Minute)
			return nil
		}), JobOptions{Concurrency: 4})
		for how, wait := range ends {
			all := wait()
			end := all[len(all)-1]
			switch how {
			case "panics":
				require.Equal(t, "panic: boom", end.Error)
			case "exits":
				require.Contains(t, end.Error, "Goexit")
			case "fails":
				require.Equal(t, "disk full", end.Error)
			case "works":
				require.Equal(t, Completed, end.State)
			}
		}
	})
}

func TestSnoozedItemIsQueuedAgainWithoutAnAttempt(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		id, calls := enqueue(t, q, "a.csv"), 0
		wait := watching(t, q, id)
		work(t, q, knows(func(_ context.Context, c *Context[load]) error {
			require.Equal(t, 1, c.Attempt())
			if calls++; calls == 1 {
				return queue.Snooze(time.Hour)
			}
			return nil
		}), JobOptions{})
		all := wait()
		require.Equal(t, []State{Queued, Started, Queued, Started, Completed}, states(all))
		require.Equal(t, "snoozed for 1h0m0s", all[2].Message)
	})
}

func TestTimeoutIsAFailedAttempt(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		id := enqueue(t, q, "a.csv", queue.MaxAttempts(1))
		wait := watching(t, q, id)
		work(t, q, knows(func(ctx context.Context, c *Context[load]) error {
			<-ctx.Done()
			return ctx.Err()
		}), JobOptions{Timeout: time.Minute})
		all := wait()
		require.Equal(t, Failed, all[len(all)-1].State)
		require.Contains(t, all[len(all)-1].Error, "timed out after 1m0s")
	})
}

func TestStoppedWorkerHandsItsItemsBack(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		id := enqueue(t, q, "a.csv")
		stop := work(t, q, knows(func(ctx context.Context, c *Context[load]) error {
			<-ctx.Done()
			require.ErrorIs(t, context.Cause(ctx), jobs.ErrShutdown)
			return ctx.Err()
		}), JobOptions{Grace: time.Second})
		time.Sleep(time.Second)
		require.Equal(t, Started, latest(t, q, id).State)
		stop()
		s := latest(t, q, id)
		require.Equal(t, Queued, s.State)
		require.Contains(t, s.Message, "handed back")

		work(t, q, knows(func(_ context.Context, c *Context[load]) error {
			require.Equal(t, 1, c.Attempt())
			return nil
		}), JobOptions{})
		all := watch(t, q, id)
		require.Equal(t, Completed, all[len(all)-1].State)
	})
}

func TestRunWorksOnOneItemAndRunUntilEmptyOnAll(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		done := 0
		job := NewJob(q, knows(func(context.Context, *Context[load]) error { done++; return nil }), nil, JobOptions{})
		for range 5 {
			enqueue(t, q, "a.csv")
		}
		require.True(t, job.Run(t.Context()).Succeeded())
		require.Equal(t, 1, done)
		n, err := job.RunUntilEmpty(t.Context())
		require.NoError(t, err)
		require.Equal(t, 4, n)
		require.Equal(t, 5, done)
	})
}

func TestItemOfALostLeaseTellsNothingMore(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		q := open(t, e.JetStream(), Options{})
		link := e.Link()
		cut := open(t, link.JetStream(), Options{})
		id := enqueue(t, q, "a.csv")
		lost := make(chan struct{})
		stopCut := work(t, cut, knows(func(ctx context.Context, c *Context[load]) error {
			<-ctx.Done()
			require.ErrorIs(t, context.Cause(ctx), queue.ErrLeaseLost)
			<-lost // goes on although it should not, and reports
			for n := range 50 {
				c.Progress(n, "late")
				time.Sleep(100 * time.Millisecond)
			}
			return nil
		}), JobOptions{})
		time.Sleep(time.Second)
		require.Equal(t, Started, latest(t, q, id).State)
		link.Cut()
		time.Sleep(time.Minute)
		link.Heal()
		time.Sleep(time.Second)

		tap, wait := wire(t, e.Connect()), watching(t, q, id)
		work(t, q, knows(func(_ context.Context, c *Context[load]) error {
			close(lost)
			for range 20 {
				c.Progress(77, "on time")
				time.Sleep(time.Second)
			}
			return nil
		}), JobOptions{})
		all := wait()
		for _, s := range all {
			require.NotEqual(t, "late", s.Message)
		}
		stopCut()
		require.NotContains(t, tap.text(), "late")
		require.Contains(t, tap.text(), "on time")
		require.Equal(t, "on time", all[len(all)-1].Message)
		time.Sleep(time.Minute)
		require.Equal(t, Completed, latest(t, q, id).State)
	})
}

func TestHandlerThatReturnsAfterItsLeaseWasLostHasNotCompleted(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		q := open(t, e.JetStream(), Options{})
		link := e.Link()
		id := enqueue(t, q, "a.csv")
		stop := work(t, open(t, link.JetStream(), Options{}), knows(func(ctx context.Context, c *Context[load]) error {
			if c.Attempt() == 1 && c.Entry().Interruptions() == 0 {
				<-ctx.Done()
				time.Sleep(time.Minute)
				link.Heal()
				time.Sleep(time.Second)
			}
			return nil
		}), JobOptions{})
		time.Sleep(time.Second)
		tap := wire(t, e.Connect())
		link.Cut()
		time.Sleep(2 * time.Minute)
		stop()
		require.Equal(t, 1, strings.Count(tap.text(), `"state":"completed"`), "that of the second run only")
		require.Equal(t, 1, strings.Count(tap.text(), `"state":"started"`))
		require.Equal(t, Completed, latest(t, q, id).State)
	})
}
