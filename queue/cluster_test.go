// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/queue"
)

// A ledger compares what was stored with what was done, for each ID.
type ledger struct {
	mu      sync.Mutex
	stored  map[string]int // Enqueues that said they stored a job
	done    map[string]int // handlers that have completed one
	running map[string]int
	overlap int
}

func newLedger() *ledger {
	return &ledger{stored: map[string]int{}, done: map[string]int{}, running: map[string]int{}}
}

func (l *ledger) count(of map[string]int, id string, n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	of[id] += n
	return of[id]
}

// open is how many stored jobs have not been done.
func (l *ledger) open() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, stored := range l.stored {
		n += max(0, stored-l.done[id])
	}
	return n
}

// awaitWork waits until n more jobs are done.
func (l *ledger) awaitWork(t *testing.T, n int) {
	t.Helper()
	worked := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.done)
	}
	limit, goal := time.Now().Add(time.Minute), worked()+n
	for worked() < goal {
		require.True(t, time.Now().Before(limit), "no work is done")
		time.Sleep(10 * time.Millisecond)
	}
}

// handle fails, snoozes and completes at random.
func (l *ledger) handle(_ context.Context, e *queue.Entry[string]) error {
	if l.count(l.running, e.ID(), 1) > 1 {
		l.mu.Lock()
		l.overlap++
		l.mu.Unlock()
	}
	defer l.count(l.running, e.ID(), -1)
	time.Sleep(rand.N(3 * time.Millisecond))
	switch rand.N(6) {
	case 0:
		return queue.RetryAfter(rand.N(300*time.Millisecond), errors.New("x"))
	case 1:
		return queue.Snooze(rand.N(300 * time.Millisecond))
	}
	l.count(l.done, e.ID(), 1)
	return nil
}

// A few IDs are enqueued from every node, delayed and at once, while their
// schedules fire and their jobs are retried and snoozed: on three replicas each
// Enqueue that stored something is done exactly once, and no ID runs twice at
// a time.
func TestClusterKeepsIDsUnique(t *testing.T) {
	c := natstest.StartCluster(t, 3)
	lasts := 5 * time.Second
	if *long {
		lasts = 5 * time.Minute
	}
	l := newLedger()
	working, stop := context.WithCancel(t.Context())
	var workers, callers sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	for node := range 3 {
		q := openAt(t, c.JetStream(node), queue.Options{Replicas: 3, MaxAttempts: 1000})
		workers.Go(func() {
			if err := queue.NewJob(q, l.handle, queue.JobOptions{Concurrency: 4}).RunContinuous(working); err != nil {
				t.Error(err)
			}
		})
		for range 4 {
			callers.Go(func() {
				for ctx.Err() == nil {
					id := fmt.Sprint("id", rand.N(5))
					opts := []queue.EnqueueOption{queue.ID(id)}
					if rand.N(2) == 0 {
						opts = append(opts, queue.Delay(rand.N(500*time.Millisecond)))
					}
					r, err := q.Enqueue(t.Context(), "v", opts...)
					if err != nil {
						t.Error(err)
					} else if !r.Duplicate {
						l.count(l.stored, id, 1)
					}
					time.Sleep(rand.N(2 * time.Millisecond))
				}
			})
		}
	}
	callers.Wait()
	for limit := time.Now().Add(time.Minute); l.open() > 0; time.Sleep(10 * time.Millisecond) {
		require.True(t, time.Now().Before(limit), "%d jobs are not done: %+v %+v", l.open(), l.stored, l.done)
	}
	stop()
	workers.Wait()
	require.Equal(t, l.stored, l.done)
	require.Zero(t, l.overlap)
	t.Log("stored and done:", l.stored)
}

func TestClusterMayBeOpenedByManyAtOnce(t *testing.T) {
	c := natstest.StartCluster(t, 3)
	var openers sync.WaitGroup
	for node := range 9 {
		js := c.JetStream(node % 3)
		openers.Go(func() {
			if _, err := queue.Open[string](t.Context(), js, "q", quiet(queue.Options{Replicas: 3, Priorities: 2})); err != nil {
				t.Error(err)
			}
		})
	}
	openers.Wait()
}

// The leader of the stream steps down, and nodes stop, while jobs are enqueued
// and worked on.
func TestClusterLosesNothingWhenLeadersChange(t *testing.T) {
	c := natstest.StartCluster(t, 3)
	q := openAt(t, c.NewJetStream(), queue.Options{Replicas: 3, Lease: 5 * time.Second})
	l := newLedger()
	working, stop := context.WithCancel(t.Context())
	enqueuing, enough := context.WithCancel(t.Context())
	var workers, callers sync.WaitGroup
	for range 3 {
		own := openAt(t, c.NewJetStream(), queue.Options{})
		workers.Go(func() {
			job := queue.NewJob(own, func(_ context.Context, e *queue.Entry[string]) error {
				l.count(l.done, e.ID(), 1)
				return nil
			}, queue.JobOptions{Concurrency: 4})
			if err := job.RunContinuous(working); err != nil {
				t.Error(err)
			}
		})
		callers.Go(func() {
			for enqueuing.Err() == nil {
				r, err := own.Enqueue(t.Context(), "v")
				if err != nil {
					t.Error(err)
					return
				}
				l.count(l.stored, r.ID, 1)
			}
		})
	}
	rounds := 2
	if *long {
		rounds = 50
	}
	for range rounds {
		l.awaitWork(t, 200)
		c.StepDown("jobs_q_q")
		l.awaitWork(t, 200)
		leader := c.StreamLeader("jobs_q_q")
		c.Stop(leader)
		l.awaitWork(t, 200)
		c.Restart(leader)
	}
	enough()
	callers.Wait()
	for limit := time.Now().Add(time.Minute); l.open() > 0; time.Sleep(10 * time.Millisecond) {
		require.True(t, time.Now().Before(limit), "%d jobs are not done", l.open())
	}
	// Acks on their way when the leader changed are lost; those jobs run again.
	for limit := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		stats, err := q.Stats(t.Context())
		require.NoError(t, err)
		if stats.Waiting+stats.Running+stats.Dead+stats.Later == 0 {
			break
		}
		require.True(t, time.Now().Before(limit), "%+v", stats)
	}
	stop()
	workers.Wait()
	t.Logf("%d stored and done, %d rounds", len(l.stored), rounds)
}
