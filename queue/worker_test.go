// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/jobs"
)

func TestHandlersSteerByWhatTheyReturn(t *testing.T) {
	fixed := Options{Backoff: func(attempt int) time.Duration { return time.Duration(attempt) * 10 * time.Second }}
	for name, c := range map[string]struct {
		first error         // what the first call returns
		again time.Duration // when the second comes, 0 for never
		which int           // attempt the second is
		end   Stats
	}{
		"nil":            {nil, 0, 0, Stats{}},
		"error":          {errors.New("x"), 10 * time.Second, 2, Stats{}},
		"retry after":    {fmt.Errorf("wrapped: %w", RetryAfter(time.Minute, errors.New("x"))), time.Minute, 2, Stats{}},
		"retry now":      {RetryAfter(0, errors.New("x")), 250 * time.Millisecond, 2, Stats{}},
		"snooze":         {Snooze(time.Hour), time.Hour, 1, Stats{}},
		"negative":       {Snooze(-time.Hour), 250 * time.Millisecond, 1, Stats{}},
		"very far":       {Snooze(1<<63 - 1), 0, 0, Stats{Later: 1}},
		"permanent":      {Permanent(errors.New("x")), 0, 0, Stats{Dead: 1}},
		"permanent, nil": {Permanent(nil), 0, 0, Stats{Dead: 1}},
		"cancelled":      {context.Canceled, 10 * time.Second, 2, Stats{}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, fixed, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
				began, calls, again, which := time.Now(), 0, time.Duration(0), 0
				stop := work(t, q, JobOptions{}, func(_ context.Context, e *Entry[string]) error {
					if calls++; calls == 1 {
						return c.first
					}
					again, which = time.Since(began), e.Attempt()
					return nil
				})
				enqueue(t, q, "v", ID("x"))
				time.Sleep(2 * time.Hour)
				stop()
				require.GreaterOrEqual(t, again, c.again)
				require.Less(t, again, c.again+500*time.Millisecond)
				require.Equal(t, c.which, which)
				requireStats(t, q, c.end)
			})
		})
	}
}

func TestLastFailedAttemptMakesTheJobDead(t *testing.T) {
	var logs logBuffer
	bubble(t, Options{MaxAttempts: 3, Logger: logs.logger()}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		var attempts []string
		stop := work(t, q, JobOptions{}, func(_ context.Context, e *Entry[string]) error {
			attempts = append(attempts, fmt.Sprintf("%s %d %t %s", e.Value, e.Attempt(), e.LastAttempt(), e.LastError()))
			return fmt.Errorf("failure\nnumber %d", e.Attempt())
		})
		began := time.Now()
		enqueue(t, q, "v", ID("x"), Property("k", "v"), CorrelationID("c"))
		enqueue(t, q, "once", MaxAttempts(1))
		time.Sleep(time.Hour)
		stop()
		require.Equal(t, []string{"v 1 false ", "once 1 true ", "v 2 false failure\nnumber 1", "v 3 true failure\nnumber 2"}, attempts)
		all := deadLetters(t, q)
		require.Len(t, all, 2)
		l := all[1]
		require.WithinDuration(t, began.Add(3*time.Second), l.Died, 2*time.Second, "after 1 s and 2 s")
		l.Died = time.Time{}
		require.True(t, began.Equal(l.Enqueued))
		l.Enqueued = time.Time{}
		require.Equal(t, DeadLetter[string]{
			ID: "x", Value: "v", Payload: []byte(`"v"`), Error: "failure\nnumber 3", Reason: ReasonAttempts, Attempts: 3,
			CorrelationID: "c", Properties: map[string]string{"k": "v"},
		}, l)
		require.Equal(t, 2, logs.count("level=WARN", "job dead", "queue=q"))
	})
}

func TestPanicIsAFailureWithItsStack(t *testing.T) {
	for name, broken := range map[string]func(){
		"panic":  func() { panic("boom") },
		"goexit": runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{MaxAttempts: 2}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
				var calls, good atomic.Int64
				work(t, q, JobOptions{Concurrency: 2}, func(_ context.Context, e *Entry[string]) error {
					if e.Value == "bad" {
						calls.Add(1)
						broken()
					}
					good.Add(1)
					return nil
				})
				for range 10 {
					enqueue(t, q, "bad")
					enqueue(t, q, "good")
				}
				time.Sleep(time.Minute)
				require.EqualValues(t, 20, calls.Load())
				require.EqualValues(t, 10, good.Load())
				require.Len(t, deadLetters(t, q), 10)
			})
		})
	}
}

func TestAllSlotsAreKeptBusy(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		began := time.Now()
		var running, most, done atomic.Int64
		work(t, q, JobOptions{Concurrency: 8}, func(context.Context, *Entry[string]) error {
			most.Store(max(most.Load(), running.Add(1)))
			time.Sleep(time.Second)
			running.Add(-1)
			if done.Add(1) == 80 {
				took := time.Since(began)
				if took > 10*time.Second+100*time.Millisecond {
					t.Errorf("80 jobs of a second on 8 slots took %s", took)
				}
			}
			return nil
		})
		_, err := q.EnqueueMany(t.Context(), Items(make([]string, 80)))
		require.NoError(t, err)
		time.Sleep(time.Minute)
		require.EqualValues(t, 80, done.Load())
		require.EqualValues(t, 8, most.Load())
	})
}

func TestNoJobWaitsBehindALongOneWhileAnotherWorkerIsIdle(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		var mu sync.Mutex
		var stuck time.Time // both slots of the first worker have long jobs
		waits := map[string]time.Duration{}
		long, interrupted := 0, 0
		handle := func(_ context.Context, e *Entry[string]) error {
			mu.Lock()
			if waits[e.ID()] = 0; !stuck.IsZero() {
				waits[e.ID()] = time.Since(stuck)
			}
			interrupted += e.Interruptions()
			if e.Value == "long" {
				if long++; long == 2 {
					stuck = time.Now()
				}
			}
			mu.Unlock()
			if e.Value == "long" {
				time.Sleep(time.Hour)
			}
			time.Sleep(100 * time.Microsecond)
			return nil
		}
		// Short ones first, so that the first worker holds many in advance.
		for _, batch := range [][]string{make([]string, 1000), {"long", "long"}, make([]string, 200)} {
			_, err := q.EnqueueMany(t.Context(), Items(batch))
			require.NoError(t, err)
		}
		stop := work(t, q, JobOptions{Concurrency: 2}, handle)
		for {
			time.Sleep(time.Millisecond)
			mu.Lock()
			both := long == 2
			mu.Unlock()
			if both {
				break
			}
		}
		work(t, openOn(t, e.NewJetStream(), Options{}), JobOptions{Concurrency: 20}, handle)
		time.Sleep(10 * time.Second)
		mu.Lock()
		require.Len(t, waits, 1202, "all are done but the long ones run")
		require.Zero(t, interrupted)
		handedBack := 0
		for id, wait := range waits {
			require.LessOrEqual(t, wait, 100*time.Millisecond, id)
			if wait > 50*time.Millisecond {
				handedBack++
			}
		}
		require.Greater(t, handedBack, 10, "the first worker held some in advance")
		mu.Unlock()
		time.Sleep(time.Hour)
		stop()
	})
}

func TestPriorityGoesFirst(t *testing.T) {
	bubble(t, Options{Priorities: 3}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		for i := range 30 {
			enqueue(t, q, "", Priority(2-i%3))
		}
		var order []int
		n, err := NewJob(q, func(_ context.Context, e *Entry[string]) error {
			order = append(order, e.Priority())
			time.Sleep(time.Second)
			return nil
		}, JobOptions{}).RunUntilEmpty(t.Context())
		require.NoError(t, err)
		require.Equal(t, 30, n)
		// The lanes are asked at once: a lower priority may get in once, before
		// the backlog of the higher is known.
		inversions := 0
		for i := 1; i < len(order); i++ {
			if order[i] < order[i-1] {
				inversions++
			}
		}
		require.LessOrEqual(t, inversions, 2, "%v", order)

		enqueue(t, q, "", Priority(2))
		enqueue(t, q, "", Priority(0))
		e, err := q.Dequeue(ended())
		require.NoError(t, err)
		require.Equal(t, 0, e.Priority())
	})
}

func TestRunUntilEmpty(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		began := time.Now()
		nested := false
		job := NewJob(q, func(ctx context.Context, e *Entry[string]) error {
			switch e.Value {
			case "fail":
				return RetryAfter(time.Hour, errors.New("x"))
			case "nest":
				if !nested {
					nested = true
					for range 20 {
						enqueue(t, q, "nested")
					}
				}
				time.Sleep(time.Second)
			}
			return nil
		}, JobOptions{Concurrency: 4})
		n, err := job.RunUntilEmpty(t.Context())
		require.NoError(t, err)
		require.Zero(t, n)
		require.LessOrEqual(t, time.Since(began), 2*aMoment, "an empty queue returns at once")

		enqueue(t, q, "fail")
		enqueue(t, q, "nest")
		enqueue(t, q, "later", Delay(time.Hour))
		taken := dequeue(t, q) // runs elsewhere: "fail"
		n, err = job.RunUntilEmpty(t.Context())
		require.NoError(t, err)
		require.Equal(t, 21, n, "what is enqueued meanwhile counts, what is later or elsewhere does not")
		require.NoError(t, taken.Abandon(t.Context(), nil))
		n, err = job.RunUntilEmpty(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, n)
		requireStats(t, q, Stats{Later: 2})
	})
}

func TestRunWorksOnOneJob(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		job := NewJob(q, func(ctx context.Context, e *Entry[string]) error {
			info, ok := jobs.FromContext(ctx)
			require.True(t, ok)
			require.Equal(t, e.ID(), info.ID)
			require.Equal(t, e.Attempt(), info.Number)
			if e.Value == "bad" {
				return errors.New("bad")
			}
			return nil
		}, JobOptions{Wait: time.Minute})
		began := time.Now()
		r := job.Run(t.Context())
		require.True(t, r.Succeeded())
		require.Equal(t, "no job was waiting", r.Message())
		require.Equal(t, time.Minute, time.Since(began).Truncate(time.Second))
		require.True(t, job.Run(ended()).Cancelled())
		enqueue(t, q, "good")
		enqueue(t, q, "bad")
		require.True(t, job.Run(t.Context()).Succeeded())
		require.True(t, job.Run(t.Context()).Failed())
		requireStats(t, q, Stats{Later: 1})

		// A jobs.Runner with a limit runs it one by one, without it continuously.
		_, err := q.EnqueueMany(t.Context(), Items(make([]string, 5)))
		require.NoError(t, err)
		runner, err := jobs.NewRunner(job, jobs.Options{IterationLimit: 2})
		require.NoError(t, err)
		require.NoError(t, runner.Run(t.Context()))
		requireStats(t, q, Stats{Waiting: 3 + 0, Later: 1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		runner, err = jobs.NewRunner(job, jobs.Options{})
		require.NoError(t, err)
		require.NoError(t, runner.Run(ctx))
		requireStats(t, q, Stats{Later: 1})
	})
}

func TestCutHandsRunningJobsBackAtOnce(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v")
		causes := make(chan error, 1)
		job := NewJob(q, func(ctx context.Context, _ *Entry[string]) error {
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return ctx.Err()
		}, JobOptions{Grace: time.Hour})
		runner, err := jobs.NewRunner(job, jobs.Options{})
		require.NoError(t, err)
		h := runner.Start(t.Context())
		time.Sleep(time.Second)
		h.Stop()
		time.Sleep(time.Second)
		began := time.Now()
		h.Cut()
		require.NoError(t, h.Wait())
		require.Less(t, time.Since(began), time.Second)
		require.Equal(t, jobs.ErrShutdown, <-causes)
		requireStats(t, q, Stats{Waiting: 1})
	})
}

func TestShutdownLetsHandlersFinishWithinGrace(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		finished := false
		stop := work(t, q, JobOptions{Grace: 10 * time.Second}, func(ctx context.Context, _ *Entry[string]) error {
			info, _ := jobs.FromContext(ctx)
			<-info.Stopping
			time.Sleep(9 * time.Second)
			finished = ctx.Err() == nil
			return nil
		})
		enqueue(t, q, "v")
		time.Sleep(time.Minute)
		began := time.Now()
		stop()
		require.True(t, finished)
		require.Less(t, time.Since(began), 9500*time.Millisecond)
		requireStats(t, q, Stats{})
	})
}

func TestShutdownHandsUnfinishedJobsBackAtOnceAndNothingCounts(t *testing.T) {
	bubble(t, Options{MaxAttempts: 1}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		for range 5 { // more often than MaxAttempts
			var causes []error
			stop := work(t, q, JobOptions{Grace: time.Second}, func(ctx context.Context, e *Entry[string]) error {
				<-ctx.Done()
				causes = append(causes, context.Cause(ctx))
				return fmt.Errorf("interrupted: %w", ctx.Err())
			})
			enqueue(t, q, "v")
			time.Sleep(time.Minute)
			began := time.Now()
			stop()
			require.WithinDuration(t, began.Add(time.Second), time.Now(), 100*time.Millisecond)
			require.Equal(t, []error{jobs.ErrShutdown}, causes)
			e, err := q.Dequeue(ended())
			require.NoError(t, err, "it can be taken at once, not after its lease")
			require.Equal(t, 1, e.Attempt())
			require.Zero(t, e.Interruptions())
			require.NoError(t, e.Complete(t.Context()))
			for {
				e, err := q.Dequeue(ended())
				if err != nil {
					break
				}
				require.Zero(t, e.Interruptions())
				require.NoError(t, e.Abandon(t.Context(), nil))
				break
			}
		}
	})
}

func TestShutdownHandsBackWhatItHeldInAdvance(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		n := 0
		hang := make(chan struct{})
		stop := work(t, q, JobOptions{Concurrency: 1, Grace: -1}, func(ctx context.Context, _ *Entry[string]) error {
			if n++; n == 300 {
				close(hang)
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		_, err := q.EnqueueMany(t.Context(), Items(make([]string, 1500)))
		require.NoError(t, err)
		<-hang
		stop()
		time.Sleep(time.Second) // for the server to work off the acks that it has read
		requireStats(t, q, Stats{Waiting: 1201})
		for range 1201 {
			e, err := q.Dequeue(ended())
			require.NoError(t, err)
			require.Zero(t, e.Interruptions())
			require.NoError(t, e.Complete(t.Context()))
		}
		requireEmpty(t, q)
	})
}

func TestTimeoutEndsTheAttempt(t *testing.T) {
	bubble(t, Options{MaxAttempts: 1}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		took := map[string]time.Duration{}
		stop := work(t, q, JobOptions{Timeout: time.Minute}, func(ctx context.Context, e *Entry[string]) error {
			began := time.Now()
			<-ctx.Done()
			took[e.ID()] = time.Since(began)
			require.ErrorIs(t, context.Cause(ctx), context.DeadlineExceeded)
			if e.ID() == "late success" {
				return nil
			}
			return ctx.Err()
		})
		enqueue(t, q, "v", ID("worker's"))
		enqueue(t, q, "v", ID("own"), Timeout(time.Second))
		enqueue(t, q, "v", ID("late success"), Timeout(time.Second))
		time.Sleep(time.Hour)
		stop()
		require.Equal(t, map[string]time.Duration{"worker's": time.Minute, "own": time.Second, "late success": time.Second}, took)
		all := deadLetters(t, q)
		require.Len(t, all, 2)
		require.Equal(t, "timed out after 1m0s: context deadline exceeded", all[0].Error)
		require.Equal(t, ReasonAttempts, all[0].Reason)
	})
}

func TestExpiredJobIsNotStarted(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "old", ID("old"), Expires(time.Now().Add(time.Minute)))
		enqueue(t, q, "retried", ID("retried"), Expires(time.Now().Add(5*time.Minute)))
		time.Sleep(2 * time.Minute)
		calls := 0
		stop := work(t, q, JobOptions{}, func(_ context.Context, e *Entry[string]) error {
			require.Equal(t, "retried", e.Value)
			if calls++; calls == 1 {
				return RetryAfter(time.Hour, errors.New("x")) // it was started in time
			}
			return nil
		})
		time.Sleep(2 * time.Hour)
		stop()
		require.Equal(t, 2, calls)
		all := deadLetters(t, q)
		require.Len(t, all, 1)
		require.Equal(t, ReasonExpired, all[0].Reason)
		require.Contains(t, all[0].Error, "not started before it expired at 2000-01-01T00:01:00")
	})
}

func TestResultIsRetained(t *testing.T) {
	bubble(t, Options{Retain: time.Hour}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		stop := work(t, q, JobOptions{}, func(_ context.Context, e *Entry[string]) error {
			return e.SetResult(map[string]int{"rows": 7})
		})
		enqueue(t, q, "v", ID("x"))
		enqueue(t, q, "v", ID("y"), Retain(1500*time.Millisecond))
		time.Sleep(1900 * time.Millisecond) // rounded up to 2 s
		requireStats(t, q, Stats{Done: 2})
		m, err := q.c.find(t.Context(), "x")
		require.NoError(t, err)
		require.Equal(t, `{"rows":7}`, string(m.Data))
		time.Sleep(time.Second)
		requireStats(t, q, Stats{Done: 1})
		time.Sleep(time.Hour)
		requireStats(t, q, Stats{})
		stop()
	})
}

func TestHandlerThatIgnoresItsContextIsReportedWithItsStack(t *testing.T) {
	var logs logBuffer
	bubble(t, Options{Logger: logs.logger()}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		stop := work(t, q, JobOptions{Timeout: time.Second}, func(ctx context.Context, e *Entry[string]) error {
			time.Sleep(10 * time.Minute)
			return nil
		})
		enqueue(t, q, "v", ID("x"))
		time.Sleep(5 * time.Minute)
		require.Equal(t, 1, logs.count("level=WARN", "handler ignores the end of its context", "id=x", "TestHandlerThatIgnoresItsContext"))
		requireStats(t, q, Stats{Running: 1})
		requireEmpty(t, q)
		time.Sleep(6 * time.Minute)
		requireStats(t, q, Stats{})
		stop()
	})
}

func TestLogsAreOfTheRun(t *testing.T) {
	var logs logBuffer
	bubble(t, Options{Logger: logs.logger()}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		work(t, q, JobOptions{}, func(ctx context.Context, e *Entry[string]) error {
			jobs.Logger(ctx).Info("hello from the handler")
			return nil
		})
		enqueue(t, q, "v", ID("x"))
		time.Sleep(time.Second)
		require.Equal(t, 1, logs.count("hello from the handler", "queue=q", "id=x", "attempt=1"))
		require.Equal(t, 1, logs.count("level=DEBUG", "job completed", "id=x"))
	})
}

func TestNewJobPanicsForMistakesInTheProgram(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		require.Panics(t, func() { NewJob(q, nil, JobOptions{}) })
		handle := func(context.Context, *Entry[string]) error { return nil }
		for _, o := range []JobOptions{{Concurrency: -1}, {Timeout: -1}, {Wait: -1}} {
			require.Panics(t, func() { NewJob(q, handle, o) })
		}
	})
}
