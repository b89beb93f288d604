// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/queue"
)

func TestMain(m *testing.M) {
	natstest.Main(m, map[string]func([]string){"worker": workerProgram})
}

// workerProgram is a process that works on the queue "q" of the server at
// args[0] until it gets SIGTERM. A job "wait" takes until its context ends, any
// other no time. It tells what it does, one line each.
func workerProgram(args []string) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fail := func(err error) {
		if err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
	}
	nc, err := nats.Connect(args[0], nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	fail(err)
	js, err := jetstream.New(nc)
	fail(err)
	q, err := queue.Open[string](ctx, js, "q", quiet(queue.Options{}))
	fail(err)
	job := queue.NewJob(q, func(ctx context.Context, e *queue.Entry[string]) error {
		fmt.Println("start", e.Value, e.Attempt(), e.Interruptions())
		if e.Value == "wait" {
			<-ctx.Done()
			fmt.Println("told:", context.Cause(ctx))
			return ctx.Err()
		}
		fmt.Println("done", e.Value)
		return nil
	}, queue.JobOptions{Concurrency: 4, Grace: 100 * time.Millisecond})
	fail(job.RunContinuous(ctx))
	fmt.Println("stopped")
}

func openAt(t *testing.T, js jetstream.JetStream, opts queue.Options) *queue.Queue[string] {
	t.Helper()
	q, err := queue.Open[string](t.Context(), js, "q", quiet(opts))
	require.NoError(t, err)
	return q
}

func put(t *testing.T, q *queue.Queue[string], value string, opts ...queue.EnqueueOption) {
	t.Helper()
	_, err := q.Enqueue(t.Context(), value, opts...)
	require.NoError(t, err)
}

// take waits for a job, up to a minute.
func take(t *testing.T, q *queue.Queue[string]) *queue.Entry[string] {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	e, err := q.Dequeue(ctx)
	require.NoError(t, err)
	return e
}

func TestJobOfAKilledProcessGoesToAnother(t *testing.T) {
	s := natstest.StartProcess(t)
	q := openAt(t, s.JetStream(), queue.Options{Lease: 2 * time.Second})
	worker := natstest.Spawn(t, "worker", s.URL())
	put(t, q, "wait")
	worker.WaitFor(t, "start wait 1 0")
	worker.Kill()
	e := take(t, q)
	require.Equal(t, 1, e.Attempt())
	require.Equal(t, 1, e.Interruptions())
	require.NoError(t, e.Complete(t.Context()))
}

func TestProcessHandsBackAtOnceWhenAskedToStop(t *testing.T) {
	s := natstest.StartProcess(t)
	q := openAt(t, s.JetStream(), queue.Options{Lease: time.Hour})
	worker := natstest.Spawn(t, "worker", s.URL())
	put(t, q, "wait")
	worker.WaitFor(t, "start wait 1 0")
	worker.Interrupt()
	worker.WaitFor(t, "told: jobs: shutting down")
	worker.WaitFor(t, "stopped")
	require.Zero(t, worker.Wait())
	e := take(t, q) // the lease would keep it for an hour
	require.Equal(t, 1, e.Attempt())
	require.Zero(t, e.Interruptions())
	require.NoError(t, e.Complete(t.Context()))
}

// The machine may be busy: the best of some tries counts.
func TestCancelReachesAnotherProcessWithin100ms(t *testing.T) {
	s := natstest.StartProcess(t)
	q := openAt(t, s.JetStream(), queue.Options{})
	worker := natstest.Spawn(t, "worker", s.URL())
	best := time.Hour
	for n := range 5 {
		id := fmt.Sprint(n)
		put(t, q, "wait", queue.ID(id), queue.Retain(time.Hour))
		worker.WaitFor(t, "start wait 1 0")
		began := time.Now()
		was, err := q.Cancel(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, queue.Running, was)
		worker.WaitFor(t, "told: the job was cancelled")
		best = min(best, time.Since(began))
		_, err = queue.Wait[int](t.Context(), q, id)
		require.ErrorIs(t, err, queue.ErrCancelled)
	}
	require.Less(t, best, 100*time.Millisecond)
}

func TestKilledProcessIsNoWorkerAnyMore(t *testing.T) {
	s := natstest.StartProcess(t)
	q := openAt(t, s.JetStream(), queue.Options{})
	worker := natstest.Spawn(t, "worker", s.URL())
	put(t, q, "wait")
	worker.WaitFor(t, "start wait 1 0")
	all, err := q.Workers(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	events, err := q.Watch(ctx)
	require.NoError(t, err)
	var killed time.Time
	for e := range events {
		require.Equal(t, all[0].ID, e.Worker)
		if e.Type == queue.EventWorkerDown {
			break
		}
		require.Equal(t, queue.EventWorkerUp, e.Type)
		worker.Kill()
		killed = time.Now()
		left, err := q.Workers(ctx)
		require.NoError(t, err)
		require.Empty(t, left, "it does not answer")
	}
	require.Less(t, time.Since(killed), 6*time.Second)
}

func TestPausedProcessIsToldThatItsLeaseIsLost(t *testing.T) {
	s := natstest.StartProcess(t)
	q := openAt(t, s.JetStream(), queue.Options{Lease: 2 * time.Second})
	worker := natstest.Spawn(t, "worker", s.URL())
	put(t, q, "wait", queue.ID("x"))
	worker.WaitFor(t, "start wait 1 0")
	worker.Pause()
	e := take(t, q)
	require.Equal(t, 1, e.Interruptions())
	worker.Resume()
	worker.WaitFor(t, "told: the lease on the job was lost")
	require.NoError(t, e.Abandon(t.Context(), queue.Snooze(time.Hour)), "the late holder has changed nothing")
	for limit := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		stats, err := q.Stats(t.Context())
		require.NoError(t, err)
		if stats.Later == 1 && stats.Dead+stats.Running+stats.Waiting == 0 {
			break
		}
		require.True(t, time.Now().Before(limit), "%+v", stats)
	}
}

// The server is killed again and again while jobs are enqueued and worked on:
// whatever Enqueue said is stored is done at least once.
func TestNothingIsLostWhenTheServerIsKilled(t *testing.T) {
	kills := 3
	if *long {
		kills = 100
	}
	s := natstest.StartProcess(t)
	openAt(t, s.JetStream(), queue.Options{Lease: 5 * time.Second})
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var mu sync.Mutex
	stored, done := map[string]bool{}, map[string]int{}
	for range 4 {
		own := openAt(t, s.JetStream(), queue.Options{})
		group.Go(func() {
			for ctx.Err() == nil {
				r, err := own.Enqueue(ctx, "v")
				if err == nil {
					mu.Lock()
					stored[r.ID] = true
					mu.Unlock()
				}
			}
		})
	}
	working, stopWorking := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	for range 2 {
		own := openAt(t, s.JetStream(), queue.Options{})
		workers.Go(func() {
			job := queue.NewJob(own, func(_ context.Context, e *queue.Entry[string]) error {
				mu.Lock()
				defer mu.Unlock()
				done[e.ID()]++
				return nil
			}, queue.JobOptions{Concurrency: 8})
			if err := job.RunContinuous(working); err != nil {
				t.Error(err)
			}
		})
	}
	progress := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(done)
	}
	waitFor := func(what string, cond func() bool) {
		t.Helper()
		for limit := time.Now().Add(time.Minute); !cond(); time.Sleep(10 * time.Millisecond) {
			require.True(t, time.Now().Before(limit), what)
		}
	}
	for range kills {
		from := progress()
		waitFor("progress", func() bool { return progress() > from+500 })
		s.Kill()
		s.Restart()
	}
	from := progress()
	waitFor("progress after the last kill", func() bool { return progress() > from+500 })
	cancel()
	group.Wait()
	missing := func() (ids []string) {
		mu.Lock()
		defer mu.Unlock()
		for id := range stored {
			if done[id] == 0 {
				ids = append(ids, id)
			}
		}
		return ids
	}
	waitFor("all that was stored to be done", func() bool { return len(missing()) == 0 })
	stopWorking()
	workers.Wait()
	twice := 0
	for _, n := range done {
		if n > 1 {
			twice++
		}
	}
	t.Logf("%d stored, %d done, %d of them more than once, %d kills", len(stored), len(done), twice, kills)
}
