// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/jobs"
)

func TestAJobRunsUnderItsLock(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		job := NewJob(a, "x", jobs.Func(func(ctx context.Context) jobs.Result {
			fence, ok := FenceFromContext(ctx)
			require.True(t, ok)
			holder, err := b.Holder(ctx, "x")
			require.NoError(t, err)
			require.Equal(t, fence, holder.Fence)
			return jobs.SucceededWith("done")
		}))
		result := job.Run(t.Context())
		require.True(t, result.Succeeded())
		require.Equal(t, "done", result.Message())
		_, ok := FenceFromContext(t.Context())
		require.False(t, ok)
		acquire(t, b, "x", Wait(0))
	})
}

func TestAJobWhoseLockIsHeldIsCancelledAndSaysByWhom(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		lease := acquire(t, b, "x", TTL(time.Hour))
		ran := jobs.Func(func(context.Context) jobs.Result { return jobs.Succeeded() })
		result := NewJob(a, "x", ran).Run(t.Context())
		require.True(t, result.Cancelled())
		require.Equal(t, `lock "x": acquire: held by b since 2000-01-01T00:00:00Z`, result.Message())
		require.ErrorIs(t, result.Err(), context.Canceled)

		released := releaseAfter(t, time.Minute, lease)
		require.True(t, NewJob(a, "x", ran, Wait(time.Hour)).Run(t.Context()).Succeeded())
		released()
	})
}

func TestAJobThatCannotGetItsLockDoesNotSpin(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		acquire(t, b, "x", TTL(100*time.Hour))
		runner, err := jobs.NewRunner(NewJob(a, "x", jobs.Func(func(context.Context) jobs.Result { return jobs.Succeeded() })),
			jobs.Options{Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		require.NoError(t, runner.Run(ctx))
		require.Less(t, runner.Status().Runs, 100)
		require.Equal(t, runner.Status().Runs, runner.Status().Cancelled)
	})
}

func TestAJobInManyProcessesRunsInOneAtATime(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		room := newRoom(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		var wg sync.WaitGroup
		for _, who := range []string{"a", "b", "c"} {
			locks := openLocks(t, e.NewJetStream(), Options{Owner: who})
			runner, err := jobs.NewRunner(NewJob(locks, "x", jobs.ErrFunc(func(ctx context.Context) error {
				fence, _ := FenceFromContext(ctx)
				room.enter(ctx, who, fence)
				defer room.leave(who)
				time.Sleep(time.Minute)
				return ctx.Err()
			})), jobs.Options{Interval: 10 * time.Second, Logger: slog.New(slog.DiscardHandler)})
			require.NoError(t, err)
			wg.Go(func() { require.NoError(t, runner.Run(ctx)) })
		}
		wg.Wait()
		require.Greater(t, room.visits(), 40)
	})
}

func TestAJobThatLosesItsLockHasFailed(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		for _, result := range []jobs.Result{jobs.Succeeded(), jobs.Cancelled()} {
			got := NewJob(a, "x", jobs.Func(func(ctx context.Context) jobs.Result {
				_, err := b.ForceRelease(ctx, "x")
				require.NoError(t, err)
				<-ctx.Done()
				return result
			})).Run(t.Context())
			require.True(t, got.Failed(), "%s", got)
			require.ErrorIs(t, got.Err(), ErrLost)
		}
	})
}

func TestAJobWithoutAServerFails(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, _ := two(t, e)
		e.Stop()
		result := NewJob(a, "x", jobs.Func(func(context.Context) jobs.Result { return jobs.Succeeded() })).Run(t.Context())
		require.True(t, result.Failed(), "%s", result)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.True(t, NewJob(a, "x", jobs.ErrFunc(nil)).Run(ctx).Cancelled(), "but not if it was told to stop")
	})
}

func TestAJobThatMakesNoSensePanicsWhereItIsMade(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, _ := two(t, e)
		job := jobs.Func(func(context.Context) jobs.Result { return jobs.Succeeded() })
		require.PanicsWithValue(t, "lock: NewJob: the job is nil", func() { NewJob(a, "x", nil) })
		require.Panics(t, func() { NewJob(a, "", job) })
		require.Panics(t, func() { NewJob(a, "x", job, TTL(time.Millisecond)) })
	})
}
