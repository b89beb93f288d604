// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

func TestPauseHoldsEveryWorkerAndSurvivesARestart(t *testing.T) {
	bubble(t, Options{Priorities: 2}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		var done atomic.Int64
		work(t, q, JobOptions{}, func(context.Context, *Entry[string]) error { done.Add(1); return nil })
		until := time.Now().Add(time.Hour)
		require.NoError(t, q.Pause(t.Context(), until, "the mail server moves"))
		for p := range 2 {
			enqueue(t, q, "v", Priority(p))
			enqueue(t, q, "v", Priority(p), Delay(time.Minute))
		}
		time.Sleep(10 * time.Minute)
		e.Restart(time.Minute)
		time.Sleep(10 * time.Minute)
		s, err := q.Stats(t.Context())
		require.NoError(t, err)
		require.True(t, s.Paused)
		require.Equal(t, "the mail server moves", s.PauseReason)
		require.True(t, until.Equal(s.PausedUntil))
		require.Equal(t, 4, s.Waiting)
		requireEmpty(t, q)
		n, err := NewJob(q, func(context.Context, *Entry[string]) error { return nil }, JobOptions{}).RunUntilEmpty(t.Context())
		require.NoError(t, err)
		require.Zero(t, n, "RunUntilEmpty does not wait for the end of a pause")
		require.Zero(t, done.Load())
		time.Sleep(time.Until(until) + 20*time.Second)
		require.EqualValues(t, 4, done.Load(), "it ends by itself")
		s, err = q.Stats(t.Context())
		require.NoError(t, err)
		require.False(t, s.Paused)
		require.Empty(t, s.PauseReason)
	})
}

func TestResumeEndsAPauseWithoutEnd(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		require.NoError(t, q.Resume(t.Context()), "not paused")
		require.NoError(t, q.Pause(t.Context(), time.Time{}, ""))
		enqueue(t, q, "v")
		time.Sleep(24 * time.Hour)
		s, err := q.Stats(t.Context())
		require.NoError(t, err)
		require.True(t, s.Paused)
		require.Zero(t, s.PausedUntil)
		requireEmpty(t, q)
		require.NoError(t, q.Resume(t.Context()))
		dequeue(t, q)
	})
}

func TestPauseRefusesBadInput(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		require.ErrorContains(t, q.Pause(t.Context(), time.Now().Add(-1), ""), "which is past")
		require.ErrorContains(t, q.Pause(t.Context(), time.Time{}, "a\nb"), "more than one line")
		require.ErrorContains(t, q.Pause(t.Context(), time.Time{}, strings.Repeat("x", 1001)), "more than 1,000 bytes")
		require.ErrorContains(t, q.SetMaxRunning(t.Context(), -1), "n is -1: want")
	})
}

func TestMaxRunningHoldsOverAllWorkersAndChangesLive(t *testing.T) {
	bubble(t, Options{MaxRunning: 3}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		var running, most, done atomic.Int64
		handle := func(context.Context, *Entry[string]) error {
			n := running.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(time.Second)
			running.Add(-1)
			done.Add(1)
			return nil
		}
		for range 3 {
			work(t, openOn(t, e.NewJetStream(), Options{}), JobOptions{Concurrency: 5}, handle)
		}
		// Delayed and retried jobs hold no place.
		_, err := q.EnqueueMany(t.Context(), Items(make([]string, 50), Delay(time.Hour)))
		require.NoError(t, err)
		_, err = q.EnqueueMany(t.Context(), Items(make([]string, 300)))
		require.NoError(t, err)
		time.Sleep(30 * time.Second)
		require.EqualValues(t, 3, most.Load())
		require.GreaterOrEqual(t, done.Load(), int64(80))

		require.NoError(t, q.SetMaxRunning(t.Context(), 10))
		time.Sleep(10 * time.Second)
		require.EqualValues(t, 10, most.Load())
		s, err := q.Stats(t.Context())
		require.NoError(t, err)
		require.Equal(t, 10, s.MaxRunning)

		require.NoError(t, q.SetMaxRunning(t.Context(), 0))
		time.Sleep(10 * time.Second)
		require.EqualValues(t, 15, most.Load())
		openOn(t, e.JetStream(), Options{MaxRunning: 3}) // takes effect at creation only
		s, err = q.Stats(t.Context())
		require.NoError(t, err)
		require.Zero(t, s.MaxRunning)
	})
}

func TestStats(t *testing.T) {
	bubble(t, Options{Priorities: 2}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		s, err := q.Stats(t.Context())
		require.NoError(t, err)
		require.Equal(t, Stats{Created: s.Created}, s)
		require.WithinDuration(t, time.Now(), s.Created, time.Second)
		require.Zero(t, s.Lag())

		enqueue(t, q, "later", Delay(time.Hour))
		enqueue(t, q, "dead", ID("dead"))
		require.NoError(t, dequeue(t, q).Reject(t.Context(), errors.New("x")))
		enqueue(t, q, "done", Retain(24*time.Hour))
		require.NoError(t, dequeue(t, q).Complete(t.Context()))
		enqueue(t, q, "running")
		dequeue(t, q)
		oldest := time.Now()
		enqueue(t, q, "waiting", Priority(1))
		time.Sleep(10 * time.Second)
		enqueue(t, q, "waiting", Priority(0))
		s, err = q.Stats(t.Context())
		require.NoError(t, err)
		require.True(t, oldest.Equal(s.OldestWaiting), "%s %s", oldest, s.OldestWaiting)
		require.Equal(t, 10*time.Second, s.Lag().Truncate(time.Second))
		requireStats(t, q, Stats{Waiting: 2, Running: 1, Later: 1, Dead: 1, Done: 1})

		// What the counters count stays right while they are not asked.
		enqueue(t, q, "later", Delay(2*time.Hour), ID("y"))
		require.NoError(t, q.DeadLetters().Requeue(t.Context(), "dead"))
		requireStats(t, q, Stats{Waiting: 3, Running: 1, Later: 2, Done: 1})
		time.Sleep(30 * time.Hour)
		s, err = q.Stats(t.Context())
		require.NoError(t, err)
		require.Zero(t, s.Later+s.Done+s.Dead)
	})
}

func TestPurgeAndDelete(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		for i := range 10 {
			enqueue(t, q, "v", ID(fmt.Sprint(i)), Delay(time.Duration(i%2)*time.Hour))
		}
		require.NoError(t, dequeue(t, q).Reject(t.Context(), nil))
		require.NoError(t, q.Purge(t.Context()))
		requireStats(t, q, Stats{})
		require.False(t, enqueue(t, q, "v", ID("1")).Duplicate)
		time.Sleep(2 * time.Hour)
		requireStats(t, q, Stats{Waiting: 1})

		require.NoError(t, q.Delete(t.Context()))
		require.NoError(t, q.Delete(t.Context()), "gone already")
		q = openOn(t, e.JetStream(), Options{Priorities: 2})
		requireStats(t, q, Stats{})
	})
}

// Both are settings of the same consumers, and changing one keeps the other.
func TestSetMaxRunningKeepsAPause(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		require.NoError(t, q.Pause(t.Context(), time.Time{}, "r"))
		require.NoError(t, q.SetMaxRunning(t.Context(), 5))
		s, err := q.Stats(t.Context())
		require.NoError(t, err)
		require.True(t, s.Paused)
		require.Equal(t, "r", s.PauseReason)
		require.Equal(t, 5, s.MaxRunning)
		require.NoError(t, q.SetMaxRunning(t.Context(), 0))
		require.NoError(t, q.Pause(t.Context(), time.Now().Add(time.Hour), "r"))
		s, err = q.Stats(t.Context())
		require.NoError(t, err)
		require.True(t, s.Paused)
		require.Zero(t, s.MaxRunning)
	})
}
