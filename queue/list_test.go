// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

// heapInUse is what this process holds, after a collection.
func heapInUse() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// Whatever the order, and wherever the jobs looked for stand among others, a list
// holds no more than some pages.
func TestListOfManyJobsHoldsSomePagesOnly(t *testing.T) {
	s := natstest.StartProcess(t)
	q := openOn(t, s.JetStream(), Options{Priorities: 2})
	const n = 10_000 // of each state: the later ones first
	payload := strings.Repeat("x", 2000)
	for _, opts := range [][]EnqueueOption{{Delay(100 * time.Hour)}, nil} {
		values := make([]string, n)
		for i := range values {
			values[i] = payload
		}
		_, err := q.EnqueueMany(t.Context(), Items(values, opts...))
		require.NoError(t, err)
	}
	before, err := q.Stats(t.Context())
	require.NoError(t, err)
	for _, f := range []Filter{
		{States: []State{Later}, Newest: true}, // behind all of the others
		{States: []State{Later}},
		{States: []State{Waiting}},
		{Newest: true},
	} {
		want := n
		if len(f.States) == 0 {
			want = 2 * n
		}
		began := time.Now()
		base, most, got, last := heapInUse(), 0, 0, uint64(0)
		for i, err := range q.List(t.Context(), f) {
			require.NoError(t, err)
			if got++; got%5_000 == 1 {
				most = max(most, heapInUse()-base)
			}
			if got > 1 && f.Newest != (i.seq < last) {
				t.Fatalf("%d comes after %d", i.seq, last)
			}
			last = i.seq
		}
		t.Logf("%+v: %s, %d kB", f, time.Since(began), most>>10)
		require.Equal(t, want, got, "%+v", f)
		require.Less(t, most, 8<<20, "%+v", f)
	}
	after, err := q.Stats(t.Context())
	require.NoError(t, err)
	require.Equal(t, before, after, "no consumer was touched")
}

// Who looks at each job for longer than a request may take sees all the same.
func TestListWaitsForItsReader(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		const n = 600
		_, err := q.EnqueueMany(t.Context(), Items(make([]string, n)))
		require.NoError(t, err)
		for _, newest := range []bool{false, true} {
			got := 0
			for _, err := range q.List(t.Context(), Filter{Newest: newest}) {
				require.NoError(t, err)
				if got++; got%100 == 0 {
					time.Sleep(time.Hour)
				}
			}
			require.Equal(t, n, got)
		}
	})
}

// An answer that a broken connection has lost is asked for again, also by who has
// much time.
func TestListOutlivesABrokenConnection(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		near := openOn(t, e.JetStream(), Options{})
		link := e.Link()
		far := openOn(t, link.JetStream(), Options{})
		const n = 2000
		_, err := near.EnqueueMany(t.Context(), Items(make([]string, n)))
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		began, got := time.Now(), 0
		for _, err := range far.List(ctx, Filter{}) {
			require.NoError(t, err)
			if got++; got == 250 { // the next page is asked for
				link.CutReplies()
				time.AfterFunc(time.Second, func() { link.Break(); link.Heal() })
			}
		}
		require.Equal(t, n, got)
		require.Less(t, time.Since(began), 10*time.Second)
		link.Cut()
		for _, err = range near.List(ctx, Filter{}) { // another connection
			require.NoError(t, err)
		}
		began = time.Now()
		for _, err = range far.List(t.Context(), Filter{}) {
		}
		require.Error(t, err)
		require.LessOrEqual(t, time.Since(began), 31*time.Second, "Options.Timeout")
		link.Heal()
	})
}

// A list made while workers and callers move jobs shows none that never was, and
// ends.
func TestListOfAQueueThatMoves(t *testing.T) {
	bubble(t, Options{Retain: time.Hour}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		const n = 2000
		work(t, openOn(t, e.NewJetStream(), Options{Retain: time.Hour}), JobOptions{Concurrency: 8}, func(context.Context, *Entry[string]) error {
			time.Sleep(time.Millisecond)
			return nil
		})
		_, err := q.EnqueueMany(t.Context(), Items(make([]string, n)))
		require.NoError(t, err)
		for _, newest := range []bool{false, true} {
			var seen atomic.Int64
			for i, err := range q.List(t.Context(), Filter{Newest: newest}) {
				require.NoError(t, err)
				require.NotEmpty(t, i.ID)
				require.NoError(t, i.Undecodable)
				seen.Add(1)
				if seen.Load()%50 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
			require.LessOrEqual(t, seen.Load(), int64(2*n))
		}
		time.Sleep(time.Minute)
		done := map[string]bool{}
		for i, err := range q.List(t.Context(), Filter{States: []State{Done}}) {
			require.NoError(t, err)
			done[i.ID] = true
		}
		require.Len(t, done, n, "after it all")
	})
}

// A job without a property is none whose property is empty, least of all when the
// filter says what to cancel.
func TestFilterByAnEmptyPropertyWantsItToBeThere(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v", ID("none"))
		enqueue(t, q, "v", ID("acme"), Property("tenant", "acme"))
		enqueue(t, q, "v", ID("empty"), Property("tenant", ""))
		empty := Filter{Properties: map[string]string{"tenant": ""}}
		var listed []string
		for i, err := range q.List(t.Context(), empty) {
			require.NoError(t, err)
			listed = append(listed, i.ID)
		}
		require.Equal(t, []string{"empty"}, listed)
		n, err := q.CancelAll(t.Context(), empty)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		for _, id := range []string{"none", "acme"} {
			require.Equal(t, Waiting, get(t, q, id).State)
		}
		n, err = q.CancelAll(t.Context(), Filter{Properties: map[string]string{"tenant": "acme"}})
		require.NoError(t, err)
		require.Equal(t, 1, n)
	})
}
