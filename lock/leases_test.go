// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

func TestDoHoldsTheLockForAsLongAsItTakes(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		require.NoError(t, a.Do(t.Context(), "x", func(ctx context.Context, fence Fence) error {
			for range 10 {
				time.Sleep(3 * time.Minute)
				requireHeldBy(t, b, "x", "a")
			}
			require.NotZero(t, fence)
			return ctx.Err()
		}, TTL(2*time.Second)))
		acquire(t, b, "x", Wait(0))
	})
}

func TestDoReturnsWhatTheFunctionReturns(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		require.Equal(t, io.EOF, a.TryDo(t.Context(), "x", func(context.Context, Fence) error { return io.EOF }))
		require.PanicsWithValue(t, "boom", func() {
			a.Do(t.Context(), "x", func(context.Context, Fence) error { panic("boom") })
		})
		lease := acquire(t, b, "x", Wait(0))
		called := false
		err := a.TryDo(t.Context(), "x", func(context.Context, Fence) error { called = true; return nil })
		require.ErrorIs(t, err, ErrHeld)
		require.False(t, called)
		release(t, lease)
	})
}

func TestDoSaysThatTheLockWasLost(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		for _, its := range []error{nil, io.EOF} {
			err := a.Do(t.Context(), "x", func(ctx context.Context, fence Fence) error {
				_, err := b.ForceRelease(ctx, "x")
				require.NoError(t, err)
				<-ctx.Done()
				require.ErrorIs(t, context.Cause(ctx), ErrLost)
				return its
			})
			require.ErrorIs(t, err, ErrLost)
			require.Equal(t, its != nil, errors.Is(err, io.EOF))
			require.ErrorContains(t, err, `lock "x": the lock was lost`)
		}
	})
}

// What winds up after its context was cancelled still needs the lock.
func TestTheLockIsRenewedUntilTheFunctionReturns(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		ctx, cancel := context.WithCancelCause(t.Context())
		var entered atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			err := a.Do(ctx, "x", func(ctx context.Context, fence Fence) error {
				cancel(io.EOF)
				<-ctx.Done()
				require.Equal(t, io.EOF, context.Cause(ctx), "and not ErrLost")
				time.Sleep(time.Hour)
				require.False(t, entered.Load())
				return nil
			})
			require.NoError(t, err)
		})
		time.Sleep(time.Second)
		acquire(t, b, "x")
		entered.Store(true)
		wg.Wait()
	})
}

func TestNoReleaseKeepsTheLockForOneMoreTTL(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		nothing := func(context.Context, Fence) error { time.Sleep(50 * time.Minute); return nil }
		require.NoError(t, a.Do(t.Context(), "x", nothing, NoRelease(), TTL(time.Hour)))
		began := time.Now()
		requireHeldBy(t, b, "x", "a")
		require.ErrorIs(t, b.TryDo(t.Context(), "x", nothing), ErrHeld)
		acquire(t, b, "x")
		require.InDelta(t, time.Hour.Seconds(), time.Since(began).Seconds(), 1)

		require.NoError(t, a.DoAll(t.Context(), []string{"p", "q"}, func(context.Context, map[string]Fence) error { return nil }, NoRelease()))
		requireHeldBy(t, b, "p", "a")
		requireHeldBy(t, b, "q", "a")
	})
}

func TestSeveralNamesAreHeldAllOrNotAtAll(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		busy := acquire(t, a, "resource", TTL(time.Hour))
		// one whose name ends with that of another must not stand for it
		_, err := b.AcquireAll(t.Context(), []string{"resource", "my-resource", "a"}, Wait(0))
		require.ErrorIs(t, err, ErrHeld)
		require.ErrorContains(t, err, `locks ["resource" "my-resource" "a"]: acquire: held by a`)
		_, err = b.AcquireAll(t.Context(), []string{"resource", "my-resource", "a"}, Wait(time.Minute))
		require.ErrorIs(t, err, ErrHeld)
		for _, name := range []string{"my-resource", "a"} {
			release(t, acquire(t, a, name, Wait(0)))
		}
		release(t, busy)

		leases, err := b.AcquireAll(t.Context(), []string{"z", "resource", "a", "z", "B"})
		require.NoError(t, err)
		var names []string
		for _, l := range leases {
			names = append(names, l.Name())
			requireHeldBy(t, a, l.Name(), "b")
			require.Equal(t, l.Fence(), leases.Fences()[l.Name()])
		}
		require.Equal(t, []string{"B", "a", "resource", "z"}, names, "each once, in byte order")
		require.NoError(t, leases.Renew(t.Context()))
		release(t, leases)
		release(t, leases)

		_, err = a.AcquireAll(t.Context(), nil)
		require.ErrorContains(t, err, "no names")
		_, err = a.AcquireAll(t.Context(), []string{"x", ""})
		require.ErrorContains(t, err, "the name is empty")
	})
}

func TestSeveralNamesInAnyOrderNeverDeadlock(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		rooms := map[string]*room{"p": newRoom(t), "q": newRoom(t), "r": newRoom(t)}
		began := time.Now()
		var wg sync.WaitGroup
		for i, names := range [][]string{{"p", "q", "r"}, {"r", "q", "p"}, {"q", "p"}, {"r", "p"}, {"q"}} {
			locks := openLocks(t, e.NewJetStream(), Options{})
			wg.Go(func() {
				who := string(rune('0' + i))
				for range 20 {
					require.NoError(t, locks.DoAll(t.Context(), names, func(ctx context.Context, fences map[string]Fence) error {
						for _, name := range names {
							rooms[name].enter(ctx, who, fences[name])
							defer rooms[name].leave(who)
						}
						time.Sleep(time.Second)
						return ctx.Err()
					}))
				}
			})
		}
		wg.Wait()
		require.Less(t, time.Since(began), 110*time.Second, "100 visits of a second, one after the other at worst")
	})
}

func TestEarlierNamesAreKeptWhileWaitingForTheNext(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		busy := acquire(t, a, "z", TTL(time.Hour))
		var wg sync.WaitGroup
		wg.Go(func() {
			require.NoError(t, b.DoAll(t.Context(), []string{"m", "z"}, func(ctx context.Context, fences map[string]Fence) error {
				return ctx.Err()
			}))
		})
		time.Sleep(10 * time.Minute)
		requireHeldBy(t, a, "m", "b")

		// One that is lost meanwhile is taken again: never some without the others.
		_, err := a.ForceRelease(t.Context(), "m")
		require.NoError(t, err)
		taken := acquire(t, a, "m", Wait(0), TTL(10*time.Minute))
		time.Sleep(time.Minute)
		release(t, busy)
		time.Sleep(time.Second)
		requireHeldBy(t, b, "m", "a")
		release(t, acquire(t, a, "z", Wait(0)))
		release(t, taken)
		wg.Wait()
	})
}

func TestTheContextOfSeveralEndsWithAnyOfThem(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		err := a.DoAll(t.Context(), []string{"p", "q"}, func(ctx context.Context, fences map[string]Fence) error {
			_, err := b.ForceRelease(ctx, "p")
			require.NoError(t, err)
			<-ctx.Done()
			require.ErrorIs(t, context.Cause(ctx), ErrLost)
			return nil
		})
		require.ErrorIs(t, err, ErrLost)
		acquire(t, b, "q", Wait(0))
	})
}

func TestReleaseEndsTheContextFirst(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		room := newRoom(t)
		lease := acquire(t, a, "x")
		work, stop := lease.Keep(t.Context())
		defer stop()
		room.enter(work, "a", lease.Fence())
		var wg sync.WaitGroup
		wg.Go(func() {
			require.NoError(t, b.Do(t.Context(), "x", func(ctx context.Context, fence Fence) error {
				room.enter(ctx, "b", fence)
				return nil
			}))
		})
		time.Sleep(time.Second)
		release(t, lease)
		wg.Wait()
		require.ErrorIs(t, context.Cause(work), errReleased)

		late, stopLate := lease.Keep(t.Context())
		require.Error(t, late.Err(), "what is kept after its end ends at once")
		stopLate()
	})
}
