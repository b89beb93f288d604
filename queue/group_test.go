// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

// groups makes a queue believe that a publish takes long, so that callers who
// come together are grouped.
func groups(q *Queue[string]) *Queue[string] {
	q.c.group.single.Store(int64(100 * time.Millisecond))
	return q
}

// together calls enqueue by so many at once, and reports what it says of each.
func together(q *Queue[string], callers int, value func(i int) string, t *testing.T) (failed map[int]error) {
	var mu sync.Mutex
	failed = map[int]error{}
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() {
			r, err := q.Enqueue(t.Context(), value(i))
			if err == nil && (r.ID == "" || r.Duplicate) {
				err = fmt.Errorf("got %+v", r)
			}
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed[i] = err
			}
		})
	}
	group.Wait()
	return failed
}

func TestGroupedJobsAreStoredOnceEach(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		groups(q)
		const callers = 2500 // more than fit into one batch
		require.Empty(t, together(q, callers, func(i int) string { return fmt.Sprint(i) }, t))
		requireStats(t, q, Stats{Waiting: callers})

		seen := map[string]int{}
		var mu sync.Mutex
		stop := work(t, q, JobOptions{Concurrency: 10}, func(_ context.Context, e *Entry[string]) error {
			mu.Lock()
			defer mu.Unlock()
			seen[e.Value]++
			return nil
		})
		time.Sleep(time.Second)
		stop()
		require.Len(t, seen, callers)
		for v, n := range seen {
			require.Equal(t, 1, n, v)
		}
	})
}

func TestGroupWithALostAnswerMakesOneJobOfEach(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		near := openOn(t, e.JetStream(), Options{})
		link := e.Link()
		far := groups(openOn(t, link.JetStream(), Options{}))
		var once sync.Once
		committed := make(chan struct{})
		_, err := e.Connect().Subscribe(far.c.names.all(), func(m *nats.Msg) {
			if m.Header.Get("Nats-Batch-Commit") != "" {
				once.Do(func() {
					link.CutReplies() // the batch arrives, its answer does not
					close(committed)
				})
			}
		})
		require.NoError(t, err)
		time.Sleep(time.Second) // fake; the server knows of it
		var group sync.WaitGroup
		group.Go(func() {
			if failed := together(far, 200, func(int) string { return "v" }, t); len(failed) > 0 {
				t.Error(failed)
			}
		})
		<-committed
		link.Break()
		time.Sleep(time.Second)
		link.Heal()
		group.Wait()
		requireStats(t, near, Stats{Waiting: 200})
	})
}

func TestManyCallersMakeABatch(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		groups(q)
		var batched atomic.Int64
		_, err := e.Connect().Subscribe(q.c.names.all(), func(m *nats.Msg) {
			if m.Header.Get("Nats-Batch-Id") != "" {
				batched.Add(1)
			}
		})
		require.NoError(t, err)
		time.Sleep(time.Second) // fake; the server knows
		require.Empty(t, together(q, 100, func(int) string { return "v" }, t))
		time.Sleep(time.Second)
		require.Greater(t, batched.Load(), int64(10), "how many come together is up to the scheduler")
	})
}

func TestOneBadJobOfAGroupHarmsNoOther(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		groups(q)
		stream, err := e.JetStream().Stream(t.Context(), q.c.names.stream)
		require.NoError(t, err)
		config := stream.CachedInfo().Config
		config.MaxMsgSize = 1000
		_, err = e.JetStream().UpdateStream(t.Context(), config)
		require.NoError(t, err)

		failed := together(q, 100, func(i int) string {
			if i == 42 {
				return strings.Repeat("x", 2000)
			}
			return "small"
		}, t)
		require.Len(t, failed, 1)
		require.ErrorContains(t, failed[42], "message size exceeds maximum allowed")
		requireStats(t, q, Stats{Waiting: 99})
	})
}

func TestCallerOfAGroupLeavesWhenItsContextEnds(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		link := e.Link()
		q := groups(openOn(t, link.JetStream(), Options{}))
		link.CutReplies()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() {
				if _, err := q.Enqueue(ctx, "v"); err == nil {
					t.Error("stored, as far as it can know")
				}
			})
		}
		group.Wait()
		require.Equal(t, 100*time.Millisecond, time.Since(began))
	})
}

// What a publish takes is measured also while batches are sent: a time in which
// the machine was busy does not make every later enqueue slow.
func TestGroupingEndsWhenPublishesAreFastAgain(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		groups(q)
		began := time.Now()
		for rounds := 0; q.c.group.pays(100); rounds++ {
			require.Less(t, rounds, 1000)
			require.Empty(t, together(q, 100, func(int) string { return "v" }, t))
			time.Sleep(100 * time.Millisecond)
		}
		require.GreaterOrEqual(t, time.Since(began), firstProbe, "not before it was looked at")
	})
}

func TestBatchMustPay(t *testing.T) {
	g := func(single, batch time.Duration) *grouper {
		var g grouper
		g.single.Store(int64(single))
		g.batch.Store(int64(batch))
		return &g
	}
	require.False(t, g(0, 0).pays(1_000_000), "nothing is known yet")
	require.False(t, g(10*time.Microsecond, 0).pays(512), "lazy sync")
	require.True(t, g(230*time.Microsecond, 0).pays(64), "sync always")
	require.False(t, g(230*time.Microsecond, 0).pays(20))
	require.False(t, g(230*time.Microsecond, 20*time.Millisecond).pays(64), "batches turned out to be slow")

	var smoothed atomic.Int64
	learn(&smoothed, time.Second)
	require.EqualValues(t, time.Second, smoothed.Load(), "the first one counts in full")
	for range 1000 {
		learn(&smoothed, time.Millisecond)
	}
	require.InDelta(t, int64(time.Millisecond), smoothed.Load(), float64(time.Microsecond))
	for range 64 {
		learn(&smoothed, time.Minute)
	}
	require.Less(t, smoothed.Load(), int64(8*time.Millisecond), "a moment in which nothing went on")
}
