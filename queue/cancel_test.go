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

func TestCancelRemovesWhatIsNotRunning(t *testing.T) {
	for _, retain := range []time.Duration{0, time.Hour} {
		bubble(t, Options{Retain: retain}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
			enqueue(t, q, "v", ID("later"), Delay(time.Minute))
			enqueue(t, q, "v", ID("waiting"))
			for _, id := range []string{"later", "waiting"} {
				was, err := q.Cancel(t.Context(), id)
				require.NoError(t, err)
				require.Equal(t, State(id), was)
				_, err = q.Cancel(t.Context(), id)
				require.ErrorIs(t, err, ErrNotFound)
			}
			want := Stats{}
			if retain > 0 {
				want.Done = 2
			}
			requireStats(t, q, want)
			require.Equal(t, retain > 0, enqueue(t, q, "again", ID("later"), Delay(time.Hour)).Duplicate)
			time.Sleep(2 * time.Minute)
			requireEmpty(t, q)
		})
	}
}

func TestCancelTellsTheHandlerWhereverItRuns(t *testing.T) {
	for name, returns := range map[string]error{"obeys": context.Canceled, "fails": errors.New("x"), "succeeds": nil} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{Retain: time.Hour}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
				var cause error
				var told time.Time
				stop := work(t, openOn(t, e.NewJetStream(), Options{Retain: time.Hour}), JobOptions{Concurrency: 2}, func(ctx context.Context, _ *Entry[string]) error {
					<-ctx.Done()
					cause, told = context.Cause(ctx), time.Now()
					return returns
				})
				work(t, q, JobOptions{}, func(ctx context.Context, e *Entry[string]) error { <-ctx.Done(); return nil })
				enqueue(t, q, "v", ID("x"))
				enqueue(t, q, "v", ID("y"))
				enqueue(t, q, "v", ID("z"))
				time.Sleep(time.Minute)
				began := time.Now()
				for _, id := range []string{"x", "y", "z"} {
					was, err := q.Cancel(t.Context(), id)
					require.NoError(t, err)
					require.Equal(t, Running, was)
				}
				require.Less(t, time.Since(began), 300*time.Millisecond)
				time.Sleep(time.Second)
				stop()
				require.ErrorIs(t, cause, ErrCancelled)
				require.WithinDuration(t, began, told, 100*time.Millisecond)
				requireStats(t, q, Stats{Done: 3})
			})
		})
	}
}

func TestCancelledJobIsNotRetried(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		runs := 0
		stop := work(t, q, JobOptions{}, func(ctx context.Context, _ *Entry[string]) error {
			runs++
			<-ctx.Done()
			return ctx.Err()
		})
		enqueue(t, q, "v", ID("x"))
		time.Sleep(time.Second)
		_, err := q.Cancel(t.Context(), "x")
		require.NoError(t, err)
		time.Sleep(time.Hour)
		stop()
		require.Equal(t, 1, runs)
		requireStats(t, q, Stats{})
	})
}

func TestCancelSaysWhatIsOver(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		bury(t, q, 1)
		_, err := q.Cancel(t.Context(), "0")
		require.ErrorIs(t, err, ErrNotFound)
		require.ErrorContains(t, err, `cancel job "0": it is dead: not found`)
		_, err = q.Cancel(t.Context(), "unknown")
		require.ErrorIs(t, err, ErrNotFound)
		_, err = q.Cancel(t.Context(), "")
		require.ErrorContains(t, err, "ID is empty")
		requireStats(t, q, Stats{Dead: 1})
	})
}

// Jobs are cancelled while workers take them: each one either was cancelled
// before it ran, or was told, or was over.
func TestCancelRacingTheWorkers(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		var mu sync.Mutex
		ran := map[string]bool{}
		for range 2 {
			work(t, openOn(t, e.NewJetStream(), Options{}), JobOptions{Concurrency: 2}, func(ctx context.Context, e *Entry[string]) error {
				mu.Lock()
				ran[e.ID()] = true
				mu.Unlock()
				select {
				case <-time.After(time.Millisecond):
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
		}
		was := map[string]State{}
		for range 300 {
			id := enqueue(t, q, "v", Delay(0)).ID
			time.Sleep(500 * time.Microsecond)
			w, err := q.Cancel(t.Context(), id)
			if err != nil {
				require.ErrorIs(t, err, ErrNotFound)
			}
			was[id] = w
		}
		time.Sleep(time.Minute)
		requireStats(t, q, Stats{})
		mu.Lock()
		defer mu.Unlock()
		for id, w := range was {
			switch w {
			case Waiting, Later:
				require.False(t, ran[id], "removed, and run all the same")
			case "":
				require.True(t, ran[id], "over, so it was run")
			}
		}
	})
}
