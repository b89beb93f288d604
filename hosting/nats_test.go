// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package hosting_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/hosting"
	"github.com/jetjobs/jetjobs/hosting/cron"
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
		fleet, err := cron.OpenFleet(t.Context(), js, cron.FleetOptions{Logger: silent})
		require.NoError(t, err)

		before := js.Conn().NumSubscriptions()
		h := quiet(hosting.Options{Grace: 10 * time.Second})
		started, ticked := make(chan struct{}, 9), make(chan struct{}, 99)
		h.AddJob(queue.NewJob(q, func(ctx context.Context, _ *queue.Entry[string]) error {
			started <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		}, queue.JobOptions{Concurrency: 2}), jobs.Options{})
		h.AddDistributedCron(fleet, "* * * * * *", "each-second", jobs.ErrFunc(func(context.Context) error {
			ticked <- struct{}{}
			return nil
		}), cron.FleetJobOptions{})
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
		<-ticked
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

// What has to be told to a server that can't be reached does not keep a host.
func TestHostEndsWithoutAConnection(t *testing.T) {
	for _, grace := range []time.Duration{-1, 10 * time.Second} {
		t.Run(fmt.Sprint("grace ", grace), func(t *testing.T) {
			natstest.Run(t, func(t *testing.T, e *natstest.Env) {
				link := e.Link()
				js := link.JetStream()
				q, err := queue.Open[string](t.Context(), js, "emails", queue.Options{Logger: silent})
				require.NoError(t, err)
				_, err = q.Enqueue(t.Context(), "v")
				require.NoError(t, err)
				fleet, err := cron.OpenFleet(t.Context(), js, cron.FleetOptions{Logger: silent})
				require.NoError(t, err)
				wait := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
				h := quiet(hosting.Options{Grace: grace})
				started := make(chan struct{})
				h.AddJob(queue.NewJob(q, func(ctx context.Context, _ *queue.Entry[string]) error {
					close(started)
					return wait(ctx)
				}, queue.JobOptions{}), jobs.Options{})
				for n := range 20 {
					h.AddDistributedCron(fleet, "* * * * *", fmt.Sprint("job-", n), jobs.ErrFunc(wait), cron.FleetJobOptions{})
				}
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() { ended <- h.Run(ctx) }()
				<-started
				time.Sleep(61 * time.Second)
				link.Cut()
				time.Sleep(time.Second)
				stop()
				began := time.Now()
				require.NoError(t, <-ended)
				require.LessOrEqual(t, time.Since(began), max(grace, 0)+hosting.StopMargin)
				t.Log(time.Since(began))
				link.Break()
			})
		})
	}
}

func TestStartupWaitsForTheConnection(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		nc := e.Connect()
		require.NoError(t, hosting.AwaitConnected(nc)(t.Context()))
		e.Stop()
		time.Sleep(time.Second)
		h := quiet(hosting.Options{StopWhenIdle: true})
		h.AddJob(jobs.ErrFunc(func(context.Context) error { return nil }), jobs.Options{Name: "once", IterationLimit: 1})
		h.AddStartup("nats", hosting.AwaitConnected(nc))
		h.AddStartup("after", func(context.Context) error {
			require.True(t, nc.IsConnected())
			return nil
		}, hosting.Priority(1))
		time.AfterFunc(time.Minute, e.Begin)
		began := time.Now()
		require.NoError(t, h.Run(t.Context()))
		require.GreaterOrEqual(t, time.Since(began), time.Minute)

		nc.Close()
		require.ErrorIs(t, hosting.AwaitConnected(nc)(t.Context()), nats.ErrConnectionClosed)
	})
}
