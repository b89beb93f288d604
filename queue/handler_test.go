// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/jobs"
)

func TestPanicInBackoffIsLoggedAndTheDefaultIsUsed(t *testing.T) {
	var log logBuffer
	opts := Options{Logger: log.logger(), Backoff: func(int) time.Duration { panic("boom") }}
	bubble(t, opts, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v")
		runs := 0
		stop := work(t, q, JobOptions{}, func(context.Context, *Entry[string]) error {
			if runs++; runs < 3 {
				return errors.New("x")
			}
			return nil
		})
		time.Sleep(time.Minute)
		stop()
		require.Equal(t, 3, runs)
		require.Equal(t, 2, log.count("level=WARN", "Options.Backoff panicked, the default is used", "boom"))
		requireStats(t, q, Stats{})
	})
}

// A typedNil is the classic mistake: an error that is not nil around a pointer
// that is.
type typedNil struct{ text string }

func (e *typedNil) Error() string { return e.text }

func TestErrorWhoseMethodPanicsIsAFailure(t *testing.T) {
	bubble(t, Options{MaxAttempts: 2}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v")
		runs := 0
		stop := work(t, q, JobOptions{}, func(context.Context, *Entry[string]) error {
			runs++
			var e *typedNil
			return e
		})
		time.Sleep(time.Minute)
		stop()
		require.Equal(t, 2, runs)
		all := deadLetters(t, q)
		require.Len(t, all, 1)
		require.Equal(t, ReasonAttempts, all[0].Reason)
		require.Equal(t, "an error of type *queue.typedNil whose Error method panics", all[0].Error)
	})
}

// Expires is about the start, and a snoozed job was started in time.
func TestSnoozedJobDoesNotExpire(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v", Expires(time.Now().Add(time.Minute)))
		runs := 0
		stop := work(t, q, JobOptions{}, func(context.Context, *Entry[string]) error {
			if runs++; runs == 1 {
				return Snooze(2 * time.Minute)
			}
			return nil
		})
		time.Sleep(time.Hour)
		stop()
		require.Equal(t, 2, runs)
		requireStats(t, q, Stats{})
	})
}

// The handler can't be interrupted, and finishes long after everyone has been
// asked to end. What it did counts nevertheless.
func TestWorkFinishedAfterRunsContextEndedCounts(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r := NewJob(q, func(context.Context, *Entry[string]) error {
			time.Sleep(10 * time.Second)
			return nil
		}, JobOptions{}).Run(ctx)
		require.Equal(t, "succeeded", r.String())
		requireStats(t, q, Stats{})
	})
}

// The same of a worker, for a job whose result has to be stored too.
func TestRetainedWorkFinishedAfterTheGraceCounts(t *testing.T) {
	bubble(t, Options{Retain: time.Hour}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v")
		stop := work(t, q, JobOptions{Grace: time.Second}, func(context.Context, *Entry[string]) error {
			time.Sleep(20 * time.Second)
			return nil
		})
		time.Sleep(time.Second)
		stop()
		requireStats(t, q, Stats{Done: 1})
	})
}

func TestHandlerThatSettledItsJobStillLearnsOfTheShutdown(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v")
		settled, cause := make(chan struct{}), error(nil)
		stop := work(t, q, JobOptions{Grace: time.Second}, func(ctx context.Context, e *Entry[string]) error {
			require.NoError(t, e.Complete(ctx))
			close(settled)
			<-ctx.Done()
			cause = context.Cause(ctx)
			return cause
		})
		<-settled
		time.Sleep(time.Hour) // its lease is nobody's business any more
		stop()
		require.ErrorIs(t, cause, jobs.ErrShutdown)
		requireStats(t, q, Stats{})
	})
}
