// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package hosting_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/hosting"
	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/jobs"
	"github.com/jetjobs/jetjobs/lock"
	"github.com/jetjobs/jetjobs/queue"
)

// A bubble fails if a goroutine is left.
func TestNothingIsLeftAndUnfinishedJobsCostNoAttempt(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		js := e.NewJetStream()
		q, err := queue.Open[string](t.Context(), js, "emails", queue.Options{Lease: time.Hour, MaxAttempts: 2, Logger: silent})
		require.NoError(t, err)
		for range 5 {
			_, err := q.Enqueue(t.Context(), "v")
			require.NoError(t, err)
		}
		locks, err := lock.Open(t.Context(), js, lock.Options{})
		require.NoError(t, err)

		before := js.Conn().NumSubscriptions()
		h := quiet(hosting.Options{Grace: 10 * time.Second})
		started := make(chan struct{}, 9)
		h.AddJob(queue.NewJob(q, func(ctx context.Context, _ *queue.Entry[string]) error {
			started <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		}, queue.JobOptions{Concurrency: 2}), jobs.Options{})
		h.AddService("leader", hosting.ServiceFunc(func(ctx context.Context) error {
			return locks.Do(ctx, "leader", func(ctx context.Context, _ lock.Fence) error {
				<-ctx.Done()
				return nil
			})
		}))
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- h.Run(ctx) }()
		<-started
		<-started
		stop()
		began := time.Now()
		require.NoError(t, <-ended)
		require.WithinDuration(t, began.Add(10*time.Second), time.Now(), time.Second)

		require.Equal(t, before, js.Conn().NumSubscriptions())
		other, err := lock.Open(t.Context(), e.JetStream(), lock.Options{})
		require.NoError(t, err)
		require.NoError(t, other.TryDo(t.Context(), "leader", func(context.Context, lock.Fence) error { return nil }))

		attempts := make(chan int, 9)
		_, err = queue.NewJob(q, func(_ context.Context, e *queue.Entry[string]) error {
			attempts <- e.Attempt()
			return nil
		}, queue.JobOptions{}).RunUntilEmpty(t.Context())
		require.NoError(t, err)
		for range 5 {
			require.Equal(t, 1, <-attempts)
		}
	})
}
