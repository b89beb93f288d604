// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

func TestDequeueDoesNotHandOutExpiredJobs(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v", Expires(time.Now().Add(time.Minute)))
		time.Sleep(time.Hour)
		requireEmpty(t, q)
		all := deadLetters(t, q)
		require.Len(t, all, 1)
		require.Equal(t, ReasonExpired, all[0].Reason)
		requireStats(t, q, Stats{Dead: 1})
	})
}

// The process dies between storing that the job is done and the ack.
func TestDequeueDoesNotHandOutMovedJobs(t *testing.T) {
	bubble(t, Options{Lease: 10 * time.Second}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v", ID("x"), Retain(time.Hour))
		d := dequeue(t, q).d
		_, err := q.c.settle(t.Context(), d, settlement{verdict: completeJob}, time.Now(), func(context.Context, *delivery) error { return nil })
		require.NoError(t, err)
		time.Sleep(time.Minute)
		requireEmpty(t, q)
		requireStats(t, q, Stats{Done: 1})
	})
}

func TestDequeueBuriesJobsThatKeepKillingTheirProcess(t *testing.T) {
	bubble(t, Options{Lease: 10 * time.Second, MaxInterruptions: 2}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v", ID("x"))
		for i := range 2 {
			require.Equal(t, i, dequeue(t, q).Interruptions()) // and crash
			time.Sleep(time.Minute)
		}
		for range 8 {
			requireEmpty(t, q)
			time.Sleep(time.Minute)
		}
		all := deadLetters(t, q)
		require.Len(t, all, 1)
		require.Equal(t, ReasonInterrupted, all[0].Reason)
		requireStats(t, q, Stats{Dead: 1})
	})
}

func TestDequeueTellsADeletedQueueFromAnEmptyOne(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		require.NoError(t, q.Delete(t.Context()))
		_, err := q.Dequeue(ended())
		require.Error(t, err)
		require.NotErrorIs(t, err, ErrEmpty)
	})
}

func TestDequeueOnADeadConnectionEndsWithItsContext(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		link := e.Link()
		q := openOn(t, link.JetStream(), Options{})
		link.Break()
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := q.Dequeue(ctx)
		require.Error(t, err)
		require.Less(t, time.Since(began), 2*time.Second)
	})
}

// A lease counts from the sending of its pull. That a pull waits at the server
// for some time costs no large part of the lease.
func TestDequeueAfterAWaitGivesMostOfALease(t *testing.T) {
	bubble(t, Options{Lease: 10 * time.Second}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		var group sync.WaitGroup
		group.Go(func() {
			time.Sleep(2400 * time.Millisecond) // just before the pull expires
			enqueue(t, q, "v")
		})
		e := dequeue(t, q)
		time.Sleep(7 * time.Second)
		require.NoError(t, e.Complete(t.Context()))
		group.Wait()
	})
}

// A renewal is under way on a connection that is silent just then. Complete finds
// the entry not settled and settles it.
func TestCompleteDuringARenewalCompletes(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		link := e.Link()
		q := openOn(t, link.JetStream(), Options{Lease: 30 * time.Second})
		enqueue(t, q, "v")
		entry := dequeue(t, q)
		link.Cut()
		var group sync.WaitGroup
		group.Go(func() { entry.Renew(t.Context()) })
		time.Sleep(time.Second)
		time.AfterFunc(time.Second, link.Heal)
		require.NoError(t, entry.Complete(t.Context()))
		group.Wait()
		requireStats(t, q, Stats{})
	})
}

// With short leases the renewals of the worker meet the handlers' Complete at all
// moments; the race detector looks on.
func TestHandlersCompleteWhileTheWorkerRenews(t *testing.T) {
	bubble(t, Options{Lease: time.Second}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		for range 20 {
			enqueue(t, q, "v")
		}
		work(t, q, JobOptions{Concurrency: 20}, func(ctx context.Context, e *Entry[string]) error {
			time.Sleep(5 * time.Second)
			return e.Complete(ctx)
		})
		time.Sleep(time.Minute)
		requireStats(t, q, Stats{})
	})
}

func TestRenewDoesNotReviveALostLease(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		link := e.Link()
		q := openOn(t, link.JetStream(), Options{Lease: 10 * time.Second})
		renewed := make(chan error, 1)
		enqueue(t, q, "v")
		work(t, q, JobOptions{}, func(ctx context.Context, e *Entry[string]) error {
			<-ctx.Done()
			time.Sleep(5 * time.Second)
			select {
			case renewed <- e.Renew(context.Background()):
			default: // another attempt, after the outage
			}
			return nil
		})
		time.Sleep(time.Second)
		link.Cut()
		require.ErrorIs(t, <-renewed, ErrLeaseLost)
		link.Heal()
	})
}

// Complete tries on over an outage, but only as long as the job is its own: a
// later ack would take it away from the next holder.
func TestCompleteGivesUpWithTheLease(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		near := openOn(t, e.JetStream(), Options{Lease: 10 * time.Second})
		link := e.Link()
		far := openOn(t, link.JetStream(), Options{})
		enqueue(t, near, "v", ID("x"))
		entry := dequeue(t, far)
		link.Break()
		time.AfterFunc(20*time.Second, link.Heal)
		completed := make(chan error, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		go func() { completed <- entry.Complete(ctx) }()
		time.Sleep(11 * time.Second)
		holder := dequeue(t, near)
		require.Equal(t, 1, holder.Interruptions())
		require.ErrorIs(t, <-completed, ErrLeaseLost)
		requireStats(t, near, Stats{Running: 1})
	})
}
