// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

func get(t *testing.T, q *Queue[string], id string) Info[string] {
	t.Helper()
	info, err := q.Get(t.Context(), id)
	require.NoError(t, err)
	return info
}

func TestGetTellsEveryState(t *testing.T) {
	bubble(t, Options{Priorities: 2, MaxAttempts: 3, Backoff: func(int) time.Duration { return time.Hour }}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		began := time.Now()
		enqueue(t, q, "v", ID("waiting"), Priority(1), CorrelationID("c"), Property("tenant", "a"), MaxAttempts(7),
			Timeout(time.Minute), Expires(began.Add(time.Hour)), Retain(90*time.Second))
		i := get(t, q, "waiting")
		require.Equal(t, []time.Duration{time.Minute, 90 * time.Second}, []time.Duration{i.Timeout, i.Retain})
		require.True(t, began.Add(time.Hour).Equal(i.Expires))
		require.Equal(t, Waiting, i.State)
		require.Equal(t, "v", i.Value)
		require.Equal(t, []byte(`"v"`), i.Payload)
		require.NoError(t, i.Undecodable)
		require.Equal(t, 1, i.Attempt)
		require.Equal(t, 7, i.MaxAttempts)
		require.Equal(t, 1, i.Priority)
		require.Equal(t, "c", i.CorrelationID)
		require.Equal(t, map[string]string{"tenant": "a"}, i.Properties)
		require.WithinDuration(t, began, i.Enqueued, time.Second)
		require.Empty(t, i.Worker)

		enqueue(t, q, "v", ID("delayed"), Delay(time.Hour))
		i = get(t, q, "delayed")
		require.Equal(t, Later, i.State)
		require.Equal(t, ReasonDelayed, i.Reason)
		require.WithinDuration(t, began.Add(time.Hour), i.Due, time.Second)
		require.Equal(t, 3, i.MaxAttempts)
		require.Zero(t, i.Retain)

		for _, id := range []string{"snoozed", "retrying", "dead", "done", "running"} {
			enqueue(t, q, "v", ID(id), Retain(time.Hour), Priority(0))
		}
		stop := work(t, q, JobOptions{Concurrency: 10}, func(ctx context.Context, e *Entry[string]) error {
			switch e.ID() {
			case "snoozed":
				return Snooze(time.Hour)
			case "retrying":
				return errors.New("first try")
			case "dead":
				return Permanent(errors.New("never"))
			case "done":
				return e.SetResult(map[string]int{"n": 42})
			case "running":
				<-ctx.Done()
			}
			return ctx.Err()
		})
		time.Sleep(time.Minute)
		i = get(t, q, "snoozed")
		require.Equal(t, []any{Later, ReasonSnoozed, 1}, []any{i.State, i.Reason, i.Attempt})
		i = get(t, q, "retrying")
		require.Equal(t, []any{Later, ReasonRetrying, 2, "first try"}, []any{i.State, i.Reason, i.Attempt, i.Error})
		i = get(t, q, "dead")
		require.Equal(t, []any{Dead, ReasonPermanent, 1, "never"}, []any{i.State, i.Reason, i.Attempt, i.Error})
		require.Equal(t, "v", i.Value)
		i = get(t, q, "done")
		require.Equal(t, []any{Done, "", ""}, []any{i.State, i.Reason, i.Value})
		var result map[string]int
		require.NoError(t, i.DecodeResult(&result))
		require.Equal(t, 42, result["n"])
		require.ErrorIs(t, get(t, q, "dead").DecodeResult(&result), ErrNotFound)
		i = get(t, q, "running")
		require.Equal(t, Running, i.State)
		require.Equal(t, time.Hour, i.Retain)
		require.Contains(t, i.Worker, host())
		_, err := q.Cancel(t.Context(), "running")
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.Equal(t, Cancelled, get(t, q, "running").State)
		stop()

		time.Sleep(2 * time.Minute)
		for _, id := range []string{"never was", "waiting"} { // was run, and is no longer retained
			_, err := q.Get(t.Context(), id)
			require.ErrorIs(t, err, ErrNotFound, id)
		}
		_, err = q.Get(t.Context(), "")
		require.ErrorContains(t, err, "ID is empty: want that of a job")
	})
}

func TestGetTellsBufferedAndLostJobs(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v", ID("taken"))
		dequeue(t, q) // and never settled, as after a crash
		i := get(t, q, "taken")
		require.Equal(t, Running, i.State)
		require.Empty(t, i.Worker, "nobody answers")

		enqueue(t, q, "v", ID("never delivered"))
		began := time.Now()
		require.Equal(t, Waiting, get(t, q, "never delivered").State)
		require.Less(t, time.Since(began), askFor, "nobody has to be asked")
	})
}

func TestListFiltersOrdersAndLimits(t *testing.T) {
	bubble(t, Options{Priorities: 2, Retain: time.Hour}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		list := func(f Filter) (ids []string) {
			for i, err := range q.List(t.Context(), f) {
				require.NoError(t, err)
				ids = append(ids, i.ID)
			}
			return ids
		}
		require.Empty(t, list(Filter{}))
		require.Empty(t, list(Filter{Newest: true}))
		enqueue(t, q, "v", ID("dead"), MaxAttempts(1))
		enqueue(t, q, "v", ID("done"), CorrelationID("c"))
		_, err := NewJob(q, func(_ context.Context, e *Entry[string]) error {
			if e.ID() == "dead" {
				return errors.New("disk full")
			}
			return nil
		}, JobOptions{}).RunUntilEmpty(t.Context())
		require.NoError(t, err)
		enqueue(t, q, "v", ID("running"), Priority(1))
		dequeue(t, q)
		enqueue(t, q, "v", ID("gone"), Delay(time.Hour))
		_, err = q.Cancel(t.Context(), "gone")
		require.NoError(t, err)
		time.Sleep(time.Hour / 2)
		half := time.Now()
		enqueue(t, q, "v", ID("later"), Delay(time.Hour), Property("tenant", "a"))
		for n := range 3 {
			enqueue(t, q, "v", ID(fmt.Sprint("waiting-", n)), Priority(n%2))
		}

		all := []string{"dead", "done", "running", "gone", "later", "waiting-0", "waiting-1", "waiting-2"}
		require.Equal(t, all, list(Filter{}))
		for _, c := range []struct {
			f    Filter
			want []string
		}{
			{Filter{States: []State{Waiting}}, []string{"waiting-0", "waiting-1", "waiting-2"}},
			{Filter{States: []State{Running}}, []string{"running"}},
			{Filter{States: []State{Later}}, []string{"later"}},
			{Filter{States: []State{Dead}}, []string{"dead"}},
			{Filter{States: []State{Done}}, []string{"done"}},
			{Filter{States: []State{Cancelled}}, []string{"gone"}},
			{Filter{States: []State{Dead, Running}}, []string{"dead", "running"}},
			{Filter{IDPrefix: "waiting-"}, []string{"waiting-0", "waiting-1", "waiting-2"}},
			{Filter{IDPrefix: "waiting-", Limit: 2}, []string{"waiting-0", "waiting-1"}},
			{Filter{CorrelationID: "c"}, []string{"done"}},
			{Filter{Properties: map[string]string{"tenant": "a"}}, []string{"later"}},
			{Filter{Properties: map[string]string{"tenant": "b"}}, nil},
			{Filter{Error: "full"}, []string{"dead"}},
			{Filter{EnqueuedBefore: half}, []string{"dead", "done", "running", "gone"}},
			{Filter{EnqueuedAfter: half, States: []State{Waiting}}, []string{"waiting-0", "waiting-1", "waiting-2"}},
		} {
			require.Equal(t, c.want, list(c.f), "%+v", c.f)
			if c.f.Limit > 0 {
				continue
			}
			c.f.Newest = true
			slices.Reverse(c.want)
			require.Equal(t, c.want, list(c.f), "%+v", c.f)
		}
		require.Equal(t, []string{"waiting-2"}, list(Filter{Newest: true, Limit: 1}))

		for _, f := range []Filter{{Limit: -1}, {States: []State{"ready"}}, {EnqueuedAfter: half, EnqueuedBefore: half}} {
			for _, err := range q.List(t.Context(), f) {
				require.Error(t, err)
			}
		}
		for range q.List(ended(), Filter{}) {
			t.Error("an ended context lists nothing")
		}
	})
}

func TestListPagesThroughGapsInBothOrders(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		const n = 3000
		items := Items(make([]string, n), Delay(time.Hour))
		for i := range items {
			items[i].Options = []EnqueueOption{ID(fmt.Sprintf("%05d", i)), Delay(time.Hour)}
			if i%1000 < 700 { // gaps, and many of another state
				items[i].Options = items[i].Options[:1]
			}
		}
		_, err := q.EnqueueMany(t.Context(), items)
		require.NoError(t, err)
		_, err = q.CancelAll(t.Context(), Filter{IDPrefix: "01"})
		require.NoError(t, err)
		for _, state := range []State{Waiting, Later} {
			var up, down []string
			for i, err := range q.List(t.Context(), Filter{States: []State{state}}) {
				require.NoError(t, err)
				up = append(up, i.ID)
			}
			for i, err := range q.List(t.Context(), Filter{States: []State{state}, Newest: true}) {
				require.NoError(t, err)
				down = append(down, i.ID)
			}
			require.True(t, slices.IsSorted(up))
			require.Len(t, up, map[State]int{Waiting: 1400, Later: 600}[state])
			slices.Reverse(down)
			require.Equal(t, up, down)
		}
	})
}

func TestCancelAllCancelsWhatTheFilterAccepts(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		_, err := q.CancelAll(t.Context(), Filter{})
		require.ErrorContains(t, err, "set Filter.All if every job is meant")
		_, err = q.CancelAll(t.Context(), Filter{States: []State{Done}})
		require.ErrorContains(t, err, "State done: want Waiting, Running or Later")

		var cancelled atomic.Int64
		work(t, q, JobOptions{}, func(ctx context.Context, _ *Entry[string]) error {
			<-ctx.Done()
			if errors.Is(context.Cause(ctx), ErrCancelled) {
				cancelled.Add(1)
			}
			return ctx.Err()
		})
		enqueue(t, q, "v", ID("a-running"))
		time.Sleep(time.Second)
		for n := range 10 {
			enqueue(t, q, "v", ID(fmt.Sprint("a-", n)), Delay(time.Hour))
			enqueue(t, q, "v", ID(fmt.Sprint("b-", n)), Delay(time.Hour))
		}
		n, err := q.CancelAll(t.Context(), Filter{IDPrefix: "a-"})
		require.NoError(t, err)
		require.Equal(t, 11, n)
		time.Sleep(time.Second)
		require.EqualValues(t, 1, cancelled.Load())
		requireStats(t, q, Stats{Later: 10})
		n, err = q.CancelAll(t.Context(), Filter{All: true})
		require.NoError(t, err)
		require.Equal(t, 10, n)
		n, err = q.CancelAll(t.Context(), Filter{IDPrefix: "nobody"})
		require.NoError(t, err)
		require.Zero(t, n)
	})
}

// times are the moments at which something happened.
type times struct {
	mu sync.Mutex
	at []time.Time
}

// add returns how many there are now.
func (l *times) add() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = append(l.at, time.Now())
	return len(l.at)
}

func (l *times) all() []time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.at)
}

func TestRunNowAndRescheduleKeepTheJobAsItIs(t *testing.T) {
	bubble(t, Options{Priorities: 2, Backoff: func(int) time.Duration { return time.Hour }}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v", ID("x"), Priority(1), Property("tenant", "a"))
		var began times
		work(t, q, JobOptions{}, func(_ context.Context, e *Entry[string]) error {
			require.Equal(t, "a", e.Property("tenant"))
			require.Equal(t, 1, e.Priority())
			require.Equal(t, began.add(), e.Attempt())
			if e.Attempt() < 3 {
				return errors.New("again")
			}
			return nil
		})
		time.Sleep(time.Minute)
		enqueued := get(t, q, "x").Enqueued
		require.NoError(t, q.RunNow(t.Context(), "x"))
		time.Sleep(time.Second)
		require.Len(t, began.all(), 2)
		require.Equal(t, enqueued, get(t, q, "x").Enqueued)

		at := time.Now().Add(2 * time.Hour)
		require.NoError(t, q.Reschedule(t.Context(), "x", at))
		i := get(t, q, "x")
		require.True(t, at.Equal(i.Due))
		require.Equal(t, 3, i.Attempt)
		time.Sleep(90 * time.Minute)
		require.Len(t, began.all(), 2, "not at its first time")
		time.Sleep(31 * time.Minute)
		require.Len(t, began.all(), 3)
		require.WithinDuration(t, at, began.all()[2], 600*time.Millisecond)
		requireStats(t, q, Stats{})

		require.ErrorIs(t, q.RunNow(t.Context(), "x"), ErrNotFound)
		require.ErrorIs(t, q.Reschedule(t.Context(), "x", at), ErrNotFound)
		require.ErrorContains(t, q.Reschedule(t.Context(), "x", time.Time{}), "want one before the year 2262")
	})
}

func TestRescheduleToThePastMeansNow(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v", Delay(time.Hour), ID("x"))
		require.NoError(t, q.Reschedule(t.Context(), "x", time.Now().Add(-time.Hour)))
		began := time.Now()
		dequeue(t, q)
		require.Less(t, time.Since(began), time.Second)
	})
}

func TestChangesToAJobInAWrongStateSaySo(t *testing.T) {
	bubble(t, Options{Retain: time.Hour}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v", ID("done"))
		_, err := NewJob(q, func(context.Context, *Entry[string]) error { return nil }, JobOptions{}).RunUntilEmpty(t.Context())
		require.NoError(t, err)
		enqueue(t, q, "v", ID("running"))
		dequeue(t, q)
		enqueue(t, q, "v", ID("waiting"))
		for id, state := range map[string]State{"done": Done, "running": Running, "waiting": Waiting} {
			for _, err := range []error{q.RunNow(t.Context(), id), q.Reschedule(t.Context(), id, time.Now())} {
				wrong, ok := errors.AsType[*StateError](err)
				require.True(t, ok, err)
				require.Equal(t, StateError{ID: id, State: state}, *wrong)
			}
		}
		_, err = q.EnqueueCopy(t.Context(), "done", nil)
		require.ErrorContains(t, err, `job "done" is done`)
	})
}

// A schedule that fires while RunNow is under way makes no second job.
func TestRunNowRacesWithTheSchedule(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		runs := map[string]int{}
		stop := work(t, q, JobOptions{}, func(_ context.Context, e *Entry[string]) error {
			runs[e.ID()]++
			return nil
		})
		const n = 200
		for i := range n {
			id := fmt.Sprint(i)
			enqueue(t, q, "v", ID(id), Delay(time.Second))
			time.Sleep(time.Second + time.Duration(i-n/2)*5*time.Millisecond)
			if err := q.RunNow(t.Context(), id); err != nil {
				_, wrong := errors.AsType[*StateError](err)
				require.True(t, wrong || errors.Is(err, ErrNotFound), err)
			}
		}
		time.Sleep(time.Minute)
		stop()
		require.Len(t, runs, n)
		for id, times := range runs {
			require.Equal(t, 1, times, id)
		}
		requireStats(t, q, Stats{})
	})
}

func TestEnqueueCopyCorrectsAJob(t *testing.T) {
	bubble(t, Options{Priorities: 3}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "wrnog", ID("x\ny"), Priority(2), MaxAttempts(1), CorrelationID("c"), Property("a", "1"), Property("b", "2"), Timeout(time.Minute), Retain(time.Hour))
		stop := work(t, q, JobOptions{}, func(context.Context, *Entry[string]) error { return errors.New("what is wrnog?") })
		time.Sleep(time.Second)
		stop()
		r, err := q.EnqueueCopy(t.Context(), "x\ny", func(v *string) error { *v = strings.Replace(*v, "wrnog", "wrong", 1); return nil }, Property("b", "3"), MaxAttempts(4))
		require.NoError(t, err)
		i := get(t, q, r.ID)
		require.Equal(t, "wrong", i.Value)
		require.Equal(t, []any{Waiting, 1, 4, 2, "c", "x\ny", ""}, []any{i.State, i.Attempt, i.MaxAttempts, i.Priority, i.CorrelationID, i.CopyOf, i.Error})
		require.Equal(t, map[string]string{"a": "1", "b": "3"}, i.Properties)
		require.Equal(t, Dead, get(t, q, "x\ny").State, "the job stays")

		_, err = q.EnqueueCopy(t.Context(), "x\ny", func(*string) error { return errors.New("no") })
		require.ErrorContains(t, err, "no")
		_, err = q.EnqueueCopy(t.Context(), "nobody", nil)
		require.ErrorIs(t, err, ErrNotFound)
		_, err = q.EnqueueCopy(t.Context(), "x\ny", nil, MaxAttempts(-1))
		require.ErrorContains(t, err, "MaxAttempts is -1")
	})
}
