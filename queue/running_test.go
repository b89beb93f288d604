// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

// The server does not tell a job whose lease has ended from one that runs.
func TestCrashedJobIsRunningUntilItIsTakenAgain(t *testing.T) {
	bubble(t, Options{Lease: 10 * time.Second}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v", ID("x"))
		enqueue(t, q, "v", ID("y"))
		dequeue(t, q) // and never settle it
		dequeue(t, q)
		time.Sleep(time.Hour)
		i := get(t, q, "x")
		require.Equal(t, []any{Running, ""}, []any{i.State, i.Worker})
		requireStats(t, q, Stats{Running: 2})
		n, err := q.CancelAll(t.Context(), Filter{States: []State{Waiting}})
		require.NoError(t, err)
		require.Zero(t, n)
		n, err = q.CancelAll(t.Context(), Filter{IDPrefix: "x"})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		work(t, q, JobOptions{}, func(ctx context.Context, _ *Entry[string]) error { <-ctx.Done(); return nil })
		time.Sleep(time.Second)
		i = get(t, q, "y")
		require.Equal(t, Running, i.State)
		require.NotEmpty(t, i.Worker)
		requireStats(t, q, Stats{Running: 1})
	})
}

// Else it would wait for as long as it is quiet, for nothing.
func TestQuietWorkerEndsRunUntilEmpty(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		for range 3 {
			enqueue(t, q, "v")
		}
		began := time.Now()
		var n int
		var err error
		var group sync.WaitGroup
		group.Go(func() {
			n, err = NewJob(q, func(context.Context, *Entry[string]) error { time.Sleep(10 * time.Second); return nil }, JobOptions{}).RunUntilEmpty(t.Context())
		})
		time.Sleep(time.Second)
		all, asked := q.Workers(t.Context())
		require.NoError(t, asked)
		require.NoError(t, q.QuietWorker(t.Context(), all[0].ID))
		group.Wait()
		require.ErrorContains(t, err, "told to be quiet (QuietWorker) before the queue was empty")
		require.Equal(t, 1, n, "what it had is finished")
		require.Less(t, time.Since(began), 11*time.Second)
		requireStats(t, q, Stats{Waiting: 2})
		dequeue(t, q)
		dequeue(t, q)
	})
}

func TestAttemptsAreThoseThatWereStarted(t *testing.T) {
	bubble(t, Options{Retain: time.Hour}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v", ID("expired"), Expires(time.Now().Add(time.Second)))
		time.Sleep(2 * time.Second)
		enqueue(t, q, "v", ID("failed"))
		_, err := q.c.js.PublishMsg(t.Context(), &nats.Msg{
			Subject: q.c.names.subject(ready, 0, "malformed"), Data: []byte(`"v"`), Header: nats.Header{headerAttempt: {"x"}},
		})
		require.NoError(t, err)
		work(t, q, JobOptions{}, func(context.Context, *Entry[string]) error { return Permanent(errors.New("x")) })
		for id, want := range map[string]int{"expired": 0, "failed": 1, "malformed": 0} {
			_, err := Wait[string](t.Context(), q, id)
			failed, ok := errors.AsType[*FailedError](err)
			require.True(t, ok, err)
			require.Equal(t, want, failed.Attempts, id)
			letter, err := q.DeadLetters().Get(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, want, letter.Attempts, id)
		}
	})
}

func TestGetTellsSinceWhenAJobRuns(t *testing.T) {
	for name, start := range map[string]func(*testing.T, *Queue[string], Handler[string]) (stop func()){
		"worker": func(t *testing.T, q *Queue[string], h Handler[string]) func() { return work(t, q, JobOptions{}, h) },
		"one job": func(t *testing.T, q *Queue[string], h Handler[string]) func() {
			ended := make(chan struct{})
			go func() { NewJob(q, h, JobOptions{}).Run(t.Context()); close(ended) }()
			return func() { <-ended }
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
				enqueue(t, q, "v", ID("x"), Retain(time.Hour))
				time.Sleep(time.Hour)
				began := time.Now()
				stop := start(t, openOn(t, e.NewJetStream(), Options{}), func(ctx context.Context, _ *Entry[string]) error {
					time.Sleep(2 * time.Minute)
					return nil
				})
				time.Sleep(time.Minute)
				i := get(t, q, "x")
				require.Equal(t, Running, i.State)
				require.WithinDuration(t, began, i.Started, time.Second)
				require.WithinDuration(t, i.Enqueued, i.Since, time.Second)
				time.Sleep(2 * time.Minute)
				require.Zero(t, get(t, q, "x").Started)
				stop()
			})
		})
	}
}
