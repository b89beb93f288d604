// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package workitem

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/queue"
)

func TestGetTellsTheJobAndItsProgress(t *testing.T) {
	bubble(t, Options{Keep: 10 * time.Minute}, func(t *testing.T, e *natstest.Env, q *Queue) {
		handle := func(ctx context.Context, c *Context[load]) error {
			if c.Value.File == "bad.csv" {
				return queue.Permanent(errors.New("no such file"))
			}
			c.Progress(40, "row 4")
			time.Sleep(time.Minute)
			return nil
		}
		later := enqueue(t, q, "a.csv", queue.Delay(time.Hour))
		stop := work(t, open(t, e.NewJetStream(), Options{Keep: 10 * time.Minute}), knows(handle), JobOptions{Concurrency: 3})
		id := enqueue(t, q, "a.csv")
		kept := enqueue(t, q, "a.csv", queue.Retain(time.Hour))
		bad := enqueue(t, q, "bad.csv")
		time.Sleep(30 * time.Second)
		i, err := q.Get(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, []any{queue.Running, "load", 40, "row 4", Progress, 1}, []any{i.State, i.Kind, i.Status.Percent, i.Status.Message, i.Status.State, i.Attempt})
		require.NotEmpty(t, i.Worker)
		i, err = q.Get(t.Context(), later)
		require.NoError(t, err)
		require.Equal(t, []any{queue.Later, "load", Queued}, []any{i.State, i.Kind, i.Status.State})
		i, err = q.Get(t.Context(), bad)
		require.NoError(t, err)
		require.Equal(t, []any{queue.Dead, "load", Failed, "no such file"}, []any{i.State, i.Kind, i.Status.State, i.Error})

		time.Sleep(time.Minute)
		stop()
		for _, id := range []string{id, kept} { // one is known by its status only
			i, err = q.Get(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, []any{id, queue.Done, "load", 100}, []any{i.ID, i.State, i.Kind, i.Status.Percent})
		}
		time.Sleep(10 * time.Minute)
		for _, id := range []string{id, "nobody"} {
			_, err = q.Get(t.Context(), id)
			require.ErrorIs(t, err, queue.ErrNotFound)
		}
		_, err = q.Get(t.Context(), "")
		require.ErrorContains(t, err, "ID is empty")
	})
}

func TestListAndCancelAllByKind(t *testing.T) {
	const exporting Kind[load] = "export"
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		h := knows(func(context.Context, *Context[load]) error { return nil })
		Register(h, exporting, func(context.Context, *Context[load]) error { return nil })
		put := func(kind Kind[load], id string, opts ...queue.EnqueueOption) {
			_, err := Enqueue(t.Context(), q, kind, load{}, append(opts, queue.ID(id))...)
			require.NoError(t, err)
		}
		put(loading, "load done", queue.Retain(24*time.Hour))
		put(exporting, "export done", queue.Retain(24*time.Hour))
		stop := work(t, q, h, JobOptions{})
		time.Sleep(time.Minute)
		stop()
		for _, n := range []string{"1", "2", "3"} {
			put(loading, "load "+n, queue.Delay(time.Hour))
			put(exporting, "export "+n, queue.Delay(time.Hour))
		}
		list := func(f Filter) (ids []string) {
			for i, err := range q.List(t.Context(), f) {
				require.NoError(t, err)
				ids = append(ids, i.ID)
			}
			return ids
		}
		require.Len(t, list(Filter{}), 8)
		require.Equal(t, []string{"export done", "export 1", "export 2", "export 3"}, list(Filter{Kinds: []string{"export"}}))
		require.Equal(t, []string{"export 3", "export 2"}, list(Filter{Kinds: []string{"export"}, Filter: queue.Filter{Newest: true, Limit: 2}}))
		require.Len(t, list(Filter{Kinds: []string{"export", "load"}}), 8)
		require.Empty(t, list(Filter{Kinds: []string{"nobody"}}))
		require.Equal(t, []string{"load 2"}, list(Filter{Kinds: []string{"load"}, Filter: queue.Filter{IDPrefix: "load 2"}}))

		for _, kinds := range [][]string{nil, {"load"}} {
			f := Filter{Kinds: kinds, Filter: queue.Filter{All: true, Limit: -1}}
			for i, err := range q.List(t.Context(), f) {
				require.ErrorContains(t, err, "Filter.Limit is -1", "%v %s", kinds, i.ID)
			}
			_, err := q.CancelAll(t.Context(), f)
			require.ErrorContains(t, err, "Limit is -1")
		}

		_, err := q.CancelAll(t.Context(), Filter{})
		require.ErrorContains(t, err, "set Filter.All if every item is meant")
		_, err = q.CancelAll(t.Context(), Filter{Filter: queue.Filter{States: []queue.State{queue.Done}}})
		require.ErrorContains(t, err, "State done: want Waiting, Running or Later")
		n, err := q.CancelAll(t.Context(), Filter{Kinds: []string{"nobody"}})
		require.NoError(t, err)
		require.Zero(t, n)
		n, err = q.CancelAll(t.Context(), Filter{Kinds: []string{"load"}})
		require.NoError(t, err)
		require.Equal(t, 3, n)
		require.Len(t, list(Filter{Filter: queue.Filter{States: []queue.State{queue.Later}}}), 3)
		s, err := q.Status(t.Context(), "load 1")
		require.NoError(t, err)
		require.Equal(t, Cancelled, s.State, "its status is told")
		n, err = q.CancelAll(t.Context(), Filter{Filter: queue.Filter{All: true}})
		require.NoError(t, err)
		require.Equal(t, 3, n)
	})
}

// Who watches the queue sees the progress of its items among the events, and who
// watches one item is told as before.
func TestWatchOfTheQueueTellsProgress(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		enqueue(t, q, "a.csv", queue.Delay(24*time.Hour)) // it heeds watchers from now on
		stop := work(t, open(t, e.NewJetStream(), Options{}), knows(slowly), JobOptions{})
		time.Sleep(time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		events, err := open(t, e.NewJetStream(), Options{}).Jobs().Watch(ctx)
		require.NoError(t, err)
		id := enqueue(t, q, "a.csv")
		time.AfterFunc(time.Minute, cancel)
		var types []queue.EventType
		percent := -1
		for event := range events {
			if event.Type != queue.EventProgress {
				types = append(types, event.Type)
				continue
			}
			require.Equal(t, []string{id, "q"}, []string{event.ID, event.Queue})
			var s Status
			require.NoError(t, json.Unmarshal(event.Data, &s))
			require.Equal(t, []string{id, "load"}, []string{s.ID, s.Kind})
			require.GreaterOrEqual(t, s.Percent, percent)
			percent = s.Percent
		}
		require.Equal(t, 100, percent)
		require.ElementsMatch(t, []queue.EventType{queue.EventWorkerUp, queue.EventEnqueued, queue.EventStarted, queue.EventCompleted}, types)
		stop()
	})
}
