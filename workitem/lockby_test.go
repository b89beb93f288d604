// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package workitem

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/lock"
	"github.com/jetjobs/jetjobs/queue"
)

func byFile(l load) string { return l.File }

func openLocks(t *testing.T, e *natstest.Env) *lock.Locker {
	t.Helper()
	locks, err := lock.Open(t.Context(), e.JetStream(), lock.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	return locks
}

func TestItemsOfOneKeyNeverRunTogetherAndContentionCostsNoAttempt(t *testing.T) {
	bubble(t, Options{Queue: queue.Options{MaxAttempts: 1}}, func(t *testing.T, e *natstest.Env, q *Queue) {
		running, most, fences := map[string]int{}, 0, []uint64{}
		gate := make(chan struct{}, 1)
		h := knows(func(_ context.Context, c *Context[load]) error {
			gate <- struct{}{}
			running[c.Value.File]++
			most = max(most, running[c.Value.File])
			if c.Value.File == "a" {
				fences = append(fences, c.Fence())
			}
			<-gate
			time.Sleep(10 * time.Second)
			gate <- struct{}{}
			running[c.Value.File]--
			<-gate
			require.Equal(t, 1, c.Attempt())
			return nil
		}, LockBy(openLocks(t, e), byFile))
		var ids []string
		for range 4 {
			ids = append(ids, enqueue(t, q, "a"), enqueue(t, q, "b"))
		}
		began := time.Now()
		work(t, q, h, JobOptions{Concurrency: 4})
		work(t, q, h, JobOptions{Concurrency: 4})
		time.Sleep(5 * time.Second)
		waiting := 0
		for _, id := range ids {
			if s := latest(t, q, id); s.State == Queued {
				waiting++
				require.Contains(t, s.Message, "waits for the lock")
				require.Contains(t, s.Message, "held by")
			}
		}
		require.Equal(t, 6, waiting)
		for _, id := range ids {
			all := watch(t, q, id)
			require.Equal(t, Completed, all[len(all)-1].State)
		}
		require.Equal(t, 1, most)
		require.IsIncreasing(t, fences)
		require.Less(t, time.Since(began), 60*time.Second, "the keys do not wait for each other")
	})
}

func TestHandlerEndsWhenItsLockIsLost(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		locks := openLocks(t, e)
		id := enqueue(t, q, "a")
		wait := watching(t, q, id)
		work(t, q, knows(func(ctx context.Context, c *Context[load]) error {
			if c.Attempt() == 2 {
				return nil
			}
			<-ctx.Done()
			require.ErrorIs(t, context.Cause(ctx), lock.ErrLost)
			return ctx.Err()
		}, LockBy(locks, byFile)), JobOptions{})
		time.Sleep(time.Second)
		_, err := locks.ForceRelease(t.Context(), "a")
		require.NoError(t, err)
		all := wait()
		require.Equal(t, []State{Queued, Started, Retrying, Started, Completed}, states(all))
		require.Contains(t, all[2].Error, "lost")
	})
}

// A bolt is a Locker without a server.
type bolt struct{ err error }

func (b bolt) TryDo(ctx context.Context, _ string, do func(context.Context, uint64) error, _ ...string) error {
	if b.err != nil {
		return b.err
	}
	return do(ctx, 7)
}

func TestEmptyKeyTakesNoLock(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		id := enqueue(t, q, "")
		work(t, q, knows(func(_ context.Context, c *Context[load]) error {
			require.Zero(t, c.Fence())
			return nil
		}, LockBy(bolt{errors.New("unreachable")}, byFile)), JobOptions{})
		all := watch(t, q, id)
		require.Equal(t, Completed, all[len(all)-1].State)
	})
}

func TestPanicInAKeyIsAFailedAttempt(t *testing.T) {
	bubble(t, Options{Queue: queue.Options{MaxAttempts: 1}}, func(t *testing.T, e *natstest.Env, q *Queue) {
		id := enqueue(t, q, "a")
		work(t, q, knows(nothing, LockBy(bolt{}, func(load) string { panic("no key") })), JobOptions{})
		all := watch(t, q, id)
		require.Equal(t, Failed, all[len(all)-1].State)
		require.Equal(t, "panic: no key", all[len(all)-1].Error)
	})
}
