// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

func TestDequeueWaitsUntilItsContextEnds(t *testing.T) {
	for _, priorities := range []int{1, 3} {
		bubble(t, Options{Priorities: priorities}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := q.Dequeue(ctx)
			require.ErrorIs(t, err, ErrEmpty)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.WithinDuration(t, began.Add(time.Minute), time.Now(), time.Second)

			var group sync.WaitGroup
			group.Go(func() {
				time.Sleep(45 * time.Second)
				enqueue(t, q, "v", Priority(priorities-1))
			})
			began = time.Now()
			e := dequeue(t, q)
			require.WithinDuration(t, began.Add(45*time.Second), time.Now(), 100*time.Millisecond, "a job wakes it")
			require.NoError(t, e.Complete(t.Context()))
			group.Wait()
		})
	}
}

func TestDequeueWithAnEndedContextTriesOnce(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		began := time.Now()
		requireEmpty(t, q)
		enqueue(t, q, "v")
		e, err := q.Dequeue(ended())
		require.NoError(t, err)
		require.Equal(t, "v", e.Value)
		require.Less(t, time.Since(began), 2*aMoment)
	})
}

func TestDequeueWithAnEndedContextTellsAnEmptyQueueFromAServerThatIsAway(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		e.Stop()
		_, err := q.Dequeue(ended())
		require.ErrorIs(t, err, errUnanswered)
		require.NotErrorIs(t, err, ErrEmpty)
	})
}

// Jobs that arrive while callers give up are neither lost nor interrupted.
func TestDequeueThatEndsLosesNoJob(t *testing.T) {
	bubble(t, Options{Priorities: 2, Lease: time.Hour}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		const n = 200
		var group sync.WaitGroup
		for range 4 {
			q := openOn(t, e.NewJetStream(), Options{})
			group.Go(func() {
				for range n {
					ctx, cancel := context.WithTimeout(t.Context(), 3*time.Millisecond)
					if e, err := q.Dequeue(ctx); err == nil {
						if err := e.Abandon(t.Context(), nil); err != nil {
							t.Error(err)
						}
					}
					cancel()
				}
			})
		}
		for i := range n {
			enqueue(t, q, "v", Priority(i%2))
			time.Sleep(time.Millisecond)
		}
		group.Wait()
		requireStats(t, q, Stats{Waiting: n})
		for range n {
			e, err := q.Dequeue(ended())
			require.NoError(t, err)
			require.Zero(t, e.Interruptions())
			require.NoError(t, e.Complete(t.Context()))
		}
	})
}

func TestDroppedEntryGoesBackWithItsLease(t *testing.T) {
	bubble(t, Options{Lease: time.Minute}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v")
		began := time.Now()
		dequeue(t, q)
		e := dequeue(t, q)
		require.WithinDuration(t, began.Add(time.Minute), time.Now(), time.Second)
		require.Equal(t, 1, e.Interruptions())
		require.Equal(t, 1, e.Attempt())
	})
}

func TestEntriesGivesBackWhatTheLoopLeaves(t *testing.T) {
	bubble(t, Options{Lease: time.Hour}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		for _, v := range []string{"complete", "leave", "break"} {
			enqueue(t, q, v)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for e, err := range q.Entries(ctx) {
			require.NoError(t, err)
			if e.Value == "complete" {
				require.NoError(t, e.Complete(ctx))
			}
			if e.Value == "break" {
				break
			}
		}
		requireStats(t, q, Stats{Waiting: 2})
		var values []string
		for e, err := range q.Entries(ctx) {
			require.NoError(t, err)
			require.Zero(t, e.Interruptions())
			require.NoError(t, e.Complete(ctx))
			if values = append(values, e.Value); len(values) == 2 {
				cancel()
			}
		}
		require.ElementsMatch(t, []string{"leave", "break"}, values)
		for range q.Entries(ctx) {
			t.Error("an ended context yields nothing")
		}
	})
}

func TestEntriesYieldsAnErrorOnce(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		var group sync.WaitGroup
		group.Go(func() {
			time.Sleep(time.Second)
			if err := q.Delete(t.Context()); err != nil {
				t.Error(err)
			}
		})
		var errs []error
		for _, err := range q.Entries(t.Context()) {
			errs = append(errs, err)
		}
		require.Len(t, errs, 1)
		require.ErrorIs(t, errs[0], errConsumerDeleted)
		group.Wait()
	})
}

func TestEntryChangesNothingOfTheQueue(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		q, err := Open[map[string]int](t.Context(), e.JetStream(), "q", Options{})
		require.NoError(t, err)
		_, err = q.Enqueue(t.Context(), map[string]int{"n": 1})
		require.NoError(t, err)
		first, err := q.Dequeue(t.Context())
		require.NoError(t, err)
		first.Value["n"] = 2
		require.NoError(t, first.Abandon(t.Context(), RetryAfter(0, errors.New("x"))))
		again, err := q.Dequeue(t.Context())
		require.NoError(t, err)
		require.Equal(t, map[string]int{"n": 1}, again.Value)
	})
}
