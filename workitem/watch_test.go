// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package workitem

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/queue"
)

func slowly(_ context.Context, c *Context[load]) error {
	for n := range 10 {
		c.Progress(10*n, "row")
		time.Sleep(time.Second)
	}
	return nil
}

func TestWatchMayBeginBeforeTheItemIsEnqueued(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		wait := watching(t, q, "order 7.*>")
		work(t, q, knows(slowly), JobOptions{})
		time.Sleep(time.Hour)
		require.Equal(t, "order 7.*>", enqueue(t, q, "a.csv", queue.ID("order 7.*>"), queue.Delay(time.Second)))
		require.Equal(t, []State{Queued, Started, Progress, Completed}, states(wait()))
	})
}

func TestWatchMayBeginLateAndStartsWithTheLatestStatus(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		id := enqueue(t, q, "a.csv")
		work(t, q, knows(slowly), JobOptions{})
		time.Sleep(5500 * time.Millisecond)
		began := time.Now()
		first := time.Duration(-1)
		var all []Status
		for s, err := range q.Watch(t.Context(), id) {
			require.NoError(t, err)
			if first < 0 {
				first = time.Since(began)
			}
			all = append(all, s)
		}
		require.Less(t, first, 10*time.Millisecond)
		require.GreaterOrEqual(t, all[0].Percent, 40, "no older than a second")
		require.Equal(t, []State{Progress, Completed}, states(all))
	})
}

func TestWatchAfterTheEndYieldsTheEndForAsLongAsItIsKept(t *testing.T) {
	bubble(t, Options{Keep: 10 * time.Minute}, func(t *testing.T, e *natstest.Env, q *Queue) {
		id := enqueue(t, q, "a.csv")
		work(t, q, knows(slowly), JobOptions{})
		time.Sleep(9 * time.Minute)
		e.Restart(time.Second)
		all := watch(t, q, id)
		require.Equal(t, []State{Completed}, states(all))
		time.Sleep(2 * time.Minute)
		_, err := q.Status(t.Context(), id)
		require.ErrorIs(t, err, queue.ErrNotFound)
		require.ErrorContains(t, err, id)
	})
}

func TestStatusOfAnItemThatIsNotOverIsKeptBeyondKeep(t *testing.T) {
	bubble(t, Options{Keep: time.Minute}, func(t *testing.T, e *natstest.Env, q *Queue) {
		id := enqueue(t, q, "a.csv", queue.Delay(48*time.Hour))
		time.Sleep(47 * time.Hour)
		require.Equal(t, Queued, latest(t, q, id).State)
	})
}

func TestWatchEndsWithoutAnErrorWhenItsContextDoes(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		for range q.Watch(ctx, "nothing") {
			t.Error("something was yielded")
		}
		for _, err := range q.Watch(t.Context(), "") {
			require.ErrorContains(t, err, "workitem \"q\": watch: ID is \"\"")
		}
	})
}

func TestWatchFindsWhatItMissedWhileItWasCutOff(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		q := open(t, e.JetStream(), Options{})
		link := e.Link()
		far := open(t, link.JetStream(), Options{})
		id := enqueue(t, q, "a.csv")
		wait := watching(t, far, id)
		time.Sleep(time.Second)
		link.Break()
		stop := work(t, q, knows(slowly), JobOptions{})
		time.Sleep(20 * time.Second)
		stop()
		link.Heal()
		began := time.Now()
		require.Equal(t, []State{Queued, Completed}, states(wait()))
		require.Less(t, time.Since(began), 15*time.Second)
	})
}

// An item that kills its workers has no handler at its end.
func TestWatchEndsForAnItemThatDiedWithoutItsHandler(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		id := enqueue(t, q, "a.csv", queue.Expires(time.Now().Add(time.Minute)))
		wait := watching(t, q, id)
		time.Sleep(time.Hour)
		work(t, q, knows(slowly), JobOptions{})
		all := wait()
		require.Equal(t, []State{Queued, Failed}, states(all))
		require.Contains(t, all[1].Error, "expired")
		require.Equal(t, Failed, latest(t, q, id).State)
		require.Equal(t, []State{Failed}, states(watch(t, q, id)))
	})
}

func TestSlowWatcherMissesProgressButNoState(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		id := enqueue(t, q, "a.csv")
		h := knows(func(ctx context.Context, c *Context[load]) error {
			if err := slowly(ctx, c); err != nil || c.Attempt() == 2 {
				return err
			}
			return errDisk
		})
		var all []Status
		for s, err := range q.Watch(t.Context(), id) {
			require.NoError(t, err)
			if all = append(all, s); len(all) == 1 {
				work(t, q, h, JobOptions{})
			}
			time.Sleep(time.Hour)
		}
		require.Equal(t, []State{Queued, Started, Progress, Retrying, Started, Progress, Completed}, states(all))
		require.LessOrEqual(t, len(all), 8)
	})
}

func TestSubscribeSeesAllItemsOfItsQueue(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		other, err := Open(t.Context(), e.JetStream(), "other", Options{})
		require.NoError(t, err)
		var mu sync.Mutex
		seen := map[string][]Status{}
		sub, err := q.Subscribe(t.Context(), func(_ context.Context, s Status) error {
			mu.Lock()
			defer mu.Unlock()
			seen[s.ID] = append(seen[s.ID], s)
			return nil
		})
		require.NoError(t, err)
		a, b := enqueue(t, q, "a.csv"), enqueue(t, q, "b.csv")
		_, err = Enqueue(t.Context(), other, loading, load{})
		require.NoError(t, err)
		work(t, q, knows(slowly), JobOptions{Concurrency: 2})
		time.Sleep(time.Minute)
		sub.Close()
		require.Len(t, seen, 2)
		for _, id := range []string{a, b} {
			require.Equal(t, []State{Queued, Started, Progress, Completed}, states(seen[id]))
		}
	})
}
