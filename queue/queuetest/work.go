// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queuetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jetjobs/jetjobs/queue"
)

// An Outcome is what became of a job that was run once.
type Outcome[T any] struct {
	// Info is the job afterwards: Done with its Result, Later with Reason and Due, Dead
	// with Reason and Error, or Cancelled. It is Waiting if it was handed back.
	Info queue.Info[T]
	// Err is what the handler returned; a panic is a *jobs.PanicError.
	Err error
}

// Work enqueues a value and runs handler on it once, through the real executor:
// with its lease, timeout, retries and what handlers return. Nothing else may be
// waiting in the queue.
func Work[T any](t testing.TB, q *queue.Queue[T], handler queue.Handler[T], value T, opts ...queue.EnqueueOption) Outcome[T] {
	t.Helper()
	if s := stats(t, q); s.Waiting > 0 {
		t.Fatalf("queue %q has %d jobs waiting, and Work would run one of these: use Drain, or an empty queue", q.Name(), s.Waiting)
	}
	// Kept for a while, so that its end can be told; if the caller says how long,
	// that counts.
	r, err := q.Enqueue(t.Context(), value, append(opts[:len(opts):len(opts)], queue.Retain(time.Hour))...)
	if err != nil {
		r, err = q.Enqueue(t.Context(), value, opts...)
	}
	if err != nil {
		t.Fatalf("enqueue: %v", err)
	}
	if r.Duplicate {
		t.Fatalf("queue %q has job %q already, which is %s: Work would not run it", q.Name(), r.ID, r.State)
	}
	ran := false
	result := queue.NewJob(q, func(ctx context.Context, e *queue.Entry[T]) error {
		ran = true
		return handler(ctx, e)
	}, queue.JobOptions{Wait: 10 * time.Second}).Run(t.Context())
	info, err := q.Get(t.Context(), r.ID)
	if err == nil && !ran && !info.State.Over() {
		t.Fatalf("queue %q has not handed out job %q within 10s, which is %s: is it delayed, or the queue paused?", q.Name(), r.ID, info.State)
	}
	if err != nil {
		t.Fatalf("the job has left no trace, %s: %v", result, err)
	}
	return Outcome[T]{Info: info, Err: result.Err()}
}

// Drained is what Drain has done.
type Drained struct {
	Runs      int           // of the handler
	Completed int           // of them
	Dead      int           // jobs that are dead now and were not before
	Took      time.Duration // in fake time
}

// What is too much for a queue that is ever to be empty.
const (
	mostRuns       = 1_000   // of one job
	mostRunsOfAll  = 100_000 // of all jobs together
	mostIdleRounds = 1_000   // one after the other in which nothing ran
)

// A tally counts what Drain's handler does.
type tally struct {
	mu              sync.Mutex // guards the rest
	runs, completed int
	of              map[string]int // runs, by job
	forEver         string         // the job that has run too often
}

// add counts a run, unless there were too many.
func (c *tally) add(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runs++
	if c.of[id]++; c.of[id] > mostRuns || c.runs > mostRunsOfAll {
		c.forEver = id
	}
	return c.forEver == ""
}

func (c *tally) complete() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.completed++
}

// Drain runs handler on all there is until nothing is waiting or due later: with
// all retries, snoozes and delays, which pass in fake time. It works inside of Run
// only. Jobs that go round for ever, as by a snooze without an end, fail the test.
func Drain[T any](t testing.TB, q *queue.Queue[T], handler queue.Handler[T]) Drained {
	t.Helper()
	// A bubble begins in the year 2000.
	if time.Now().Year() >= 2020 {
		t.Fatalf("Drain is called in real time, where it would wait for every delay: call it inside of queuetest.Run")
	}
	began, dead := time.Now(), stats(t, q).Dead
	c := &tally{of: map[string]int{}}
	counted := func(ctx context.Context, e *queue.Entry[T]) error {
		if !c.add(e.ID()) {
			return queue.Permanent(errors.New("queuetest: too many runs"))
		}
		err := handler(ctx, e)
		if err == nil {
			c.complete()
		}
		return err
	}
	work := queue.NewJob(q, counted, queue.JobOptions{Concurrency: 4})
	for idle := 0; ; idle++ {
		before := c.runs
		if _, err := work.RunUntilEmpty(t.Context()); err != nil {
			t.Fatalf("drain: %v", err)
		}
		if c.forEver != "" {
			t.Fatalf("queue %q is not empty after %d runs and %s, %d of them of job %q: does a handler snooze or enqueue for ever?",
				q.Name(), c.runs, time.Since(began), c.of[c.forEver], c.forEver)
		}
		if c.runs > before {
			idle = 0
		}
		if idle == mostIdleRounds {
			t.Fatalf("queue %q is not empty, and has given nothing for %d rounds: is it paused, or does somebody else hold its jobs?", q.Name(), idle)
		}
		due, more := nextDue(t, q)
		if !more {
			break
		}
		time.Sleep(max(time.Until(due), 0) + 10*time.Millisecond)
	}
	return Drained{Runs: c.runs, Completed: c.completed, Dead: stats(t, q).Dead - dead, Took: time.Since(began)}
}

// nextDue is when there is something to run again; more is false if there never
// will be.
func nextDue[T any](t testing.TB, q *queue.Queue[T]) (due time.Time, more bool) {
	t.Helper()
	for _, i := range unfinished(t, q) {
		at := i.Due
		if i.State != queue.Later {
			at = time.Now().Add(time.Second) // taken by somebody else, or just now due
		}
		if !more || at.Before(due) {
			due, more = at, true
		}
	}
	return due, more
}

func stats[T any](t testing.TB, q *queue.Queue[T]) queue.Stats {
	t.Helper()
	s, err := q.Stats(t.Context())
	if err != nil {
		t.Fatalf("stats of queue %q: %v", q.Name(), err)
	}
	return s
}
