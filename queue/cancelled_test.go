// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

// requireCancelledRunning cancels "x", which runs.
func requireCancelledRunning(t *testing.T, q *Queue[string]) {
	t.Helper()
	was, err := q.Cancel(t.Context(), "x")
	require.NoError(t, err)
	require.Equal(t, Running, was)
}

func TestCancelledJobEndsHoweverItsHandlerSteers(t *testing.T) {
	for name, end := range map[string]func(context.Context, *Entry[string]) error{
		"plain":       func(ctx context.Context, _ *Entry[string]) error { return ctx.Err() },
		"retry after": func(ctx context.Context, _ *Entry[string]) error { return RetryAfter(time.Minute, ctx.Err()) },
		"snooze":      func(context.Context, *Entry[string]) error { return Snooze(time.Minute) },
		"permanent":   func(ctx context.Context, _ *Entry[string]) error { return Permanent(ctx.Err()) },
		"panic":       func(ctx context.Context, _ *Entry[string]) error { panic(ctx.Err()) },
		"abandon": func(ctx context.Context, e *Entry[string]) error {
			return e.Abandon(context.WithoutCancel(ctx), ctx.Err())
		},
		"hand back": func(ctx context.Context, e *Entry[string]) error { return e.Abandon(context.WithoutCancel(ctx), nil) },
		"reject": func(ctx context.Context, e *Entry[string]) error {
			return e.Reject(context.WithoutCancel(ctx), ctx.Err())
		},
		"last attempt": func(ctx context.Context, _ *Entry[string]) error { return errors.New("x") },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{Retain: time.Hour}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
				runs := 0
				stop := work(t, q, JobOptions{}, func(ctx context.Context, e *Entry[string]) error {
					runs++
					<-ctx.Done()
					return end(ctx, e)
				})
				attempts := 5
				if name == "last attempt" {
					attempts = 1
				}
				enqueue(t, q, "v", ID("x"), MaxAttempts(attempts))
				time.Sleep(time.Second)
				requireCancelledRunning(t, q)
				time.Sleep(time.Second)
				require.Equal(t, Cancelled, get(t, q, "x").State)
				time.Sleep(10 * time.Minute)
				stop()
				require.Equal(t, 1, runs)
				requireStats(t, q, Stats{Done: 1})
			})
		})
	}
}

func TestPanicOfACancelledHandlerIsLogged(t *testing.T) {
	var log logBuffer
	bubble(t, Options{Logger: log.logger()}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		stop := work(t, q, JobOptions{}, func(ctx context.Context, _ *Entry[string]) error {
			<-ctx.Done()
			panic("boom")
		})
		enqueue(t, q, "v", ID("x"))
		time.Sleep(time.Second)
		requireCancelledRunning(t, q)
		time.Sleep(time.Second)
		stop()
		require.Equal(t, 1, log.count("job cancelled", "boom"))
	})
}

// The context of the job has ended before, by its timeout; the handler still cleans up.
func TestCancelCountsAfterTheTimeout(t *testing.T) {
	for name, end := range map[string]func(context.Context, *Entry[string]) error{
		"returns": func(ctx context.Context, _ *Entry[string]) error { return ctx.Err() },
		"abandons": func(ctx context.Context, e *Entry[string]) error {
			return e.Abandon(context.WithoutCancel(ctx), ctx.Err())
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{Retain: time.Hour}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
				runs := 0
				stop := work(t, q, JobOptions{Timeout: 2 * time.Second}, func(ctx context.Context, e *Entry[string]) error {
					runs++
					<-ctx.Done()
					require.ErrorIs(t, context.Cause(ctx), context.DeadlineExceeded)
					time.Sleep(5 * time.Second)
					return end(ctx, e)
				})
				enqueue(t, q, "v", ID("x"))
				time.Sleep(4 * time.Second)
				requireCancelledRunning(t, q)
				time.Sleep(10 * time.Minute)
				stop()
				require.Equal(t, Cancelled, get(t, q, "x").State)
				require.Equal(t, 1, runs)
			})
		})
	}
}

// The same by the end of the grace of a worker that stops.
func TestCancelCountsWhileTheWorkerStops(t *testing.T) {
	for name, start := range map[string]func(*testing.T, *Queue[string], Handler[string]) (stop func()){
		"worker": func(t *testing.T, q *Queue[string], h Handler[string]) func() {
			return work(t, q, JobOptions{Grace: time.Second}, h)
		},
		"one job": func(t *testing.T, q *Queue[string], h Handler[string]) func() {
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { NewJob(q, h, JobOptions{}).Run(ctx); close(ended) }()
			return func() { time.Sleep(time.Second); cancel(); <-ended }
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{Retain: time.Hour}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
				stop := start(t, q, func(ctx context.Context, _ *Entry[string]) error {
					<-ctx.Done()
					time.Sleep(2 * time.Second)
					return ctx.Err()
				})
				enqueue(t, q, "v", ID("x"))
				time.Sleep(time.Second)
				var was State
				var err error
				var group sync.WaitGroup
				group.Go(func() {
					time.Sleep(2 * time.Second)
					was, err = q.Cancel(t.Context(), "x")
				})
				stop()
				group.Wait()
				require.NoError(t, err)
				require.Equal(t, Running, was)
				requireEmpty(t, q)
				require.Equal(t, Cancelled, get(t, q, "x").State)
			})
		})
	}
}

// The word that a job is cancelled may come before the job does.
func TestCancelCountsBeforeTheJobArrives(t *testing.T) {
	k := newKeeper(&core{lease: time.Minute})
	require.False(t, k.cancel(7, time.Now()))
	k.over = errors.New("the worker stops")
	d := &delivery{seq: 7, cancel: func(error) {}}
	k.add(d)
	require.Equal(t, cancelJob, d.unlessCancelled(settlement{verdict: returnJob}).verdict)
	require.Equal(t, completeJob, d.unlessCancelled(settlement{verdict: completeJob}).verdict)
}

// A job before its last interruption waits for a moment, in the worker, before it is
// started.
func TestJobCancelledInItsQuarantineIsNotStarted(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, q *Queue[string], stop func()){
		"cancelled": func(t *testing.T, q *Queue[string], _ func()) { requireCancelledRunning(t, q) },
		"shutdown":  func(_ *testing.T, _ *Queue[string], stop func()) { stop() },
	} {
		t.Run(name, func(t *testing.T) {
			opts := Options{Lease: 10 * time.Second, MaxInterruptions: 2, Retain: time.Hour}
			bubble(t, opts, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
				enqueue(t, q, "v", ID("x"))
				dequeue(t, q) // and never settle it
				time.Sleep(time.Minute)
				runs := 0
				stop := work(t, q, JobOptions{Grace: -1}, func(context.Context, *Entry[string]) error { runs++; return nil })
				time.Sleep(quarantine / 2)
				end(t, q, stop)
				time.Sleep(quarantine)
				stop()
				require.Zero(t, runs)
				i := get(t, q, "x")
				if name == "cancelled" {
					require.Equal(t, Cancelled, i.State)
				} else {
					require.Equal(t, []any{Waiting, 1}, []any{i.State, i.Interruptions})
				}
			})
		})
	}
}

// Nobody has the job, which can't be known without a wait for those who may.
func TestCancelOfAJobThatNobodyHoldsAsksOnce(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v", ID("x"))
		dequeue(t, q)
		work(t, openOn(t, e.NewJetStream(), Options{}), JobOptions{}, func(context.Context, *Entry[string]) error { return nil })
		time.Sleep(time.Second)
		began := time.Now()
		was, err := q.Cancel(t.Context(), "x")
		require.NoError(t, err)
		require.Equal(t, Waiting, was)
		require.LessOrEqual(t, time.Since(began), 70*time.Millisecond)
	})
}
