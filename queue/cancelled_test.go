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
