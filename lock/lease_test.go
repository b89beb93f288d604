// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

func TestFencesGrowWithEveryHolderAndStayOverRenewals(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		var last Fence
		for range 5 {
			for _, l := range []*Locker{a, b} {
				lease := acquire(t, l, "x")
				require.Greater(t, lease.Fence(), last)
				last = lease.Fence()
				for range 3 {
					require.NoError(t, lease.Renew(t.Context()))
					require.Equal(t, last, lease.Fence())
					holder, err := b.Holder(t.Context(), "x")
					require.NoError(t, err)
					require.Equal(t, last, holder.Fence, "the same for others")
				}
				release(t, lease)
			}
		}
	})
}

func TestAnUnrenewedLeaseEndsAtItsDeadlineAndTheKeyAtItsTTL(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		began := time.Now()
		lease := acquire(t, a, "x", TTL(20*time.Second))
		require.Equal(t, began.Add(18*time.Second), lease.Deadline())
		time.Sleep(17999 * time.Millisecond)
		require.True(t, lease.Held())
		time.Sleep(time.Millisecond)
		require.False(t, lease.Held(), "by its own clock")
		require.ErrorIs(t, lease.Renew(t.Context()), ErrLost)
		requireHeldBy(t, b, "x", "a")
		acquire(t, b, "x")
		require.InDelta(t, 20, time.Since(began).Seconds(), 0.5)
	})
}

func TestALeaseCountsFromWhenItsRequestWasSent(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		link := e.Link()
		a := openLocks(t, link.JetStream(), Options{})
		answerLate := func() (sent time.Time) {
			link.CutReplies()
			time.AfterFunc(900*time.Millisecond, link.Heal)
			return time.Now()
		}
		sent := answerLate()
		lease := acquire(t, a, "x", TTL(10*time.Second))
		require.Equal(t, 900*time.Millisecond, time.Since(sent))
		require.Equal(t, sent.Add(9*time.Second), lease.Deadline())
		time.Sleep(time.Second)
		sent = answerLate()
		require.NoError(t, lease.Renew(t.Context()))
		require.Equal(t, 900*time.Millisecond, time.Since(sent))
		require.Equal(t, sent.Add(9*time.Second), lease.Deadline())
	})
}

// A paused process wakes at some time after the deadline: its timers are due, but
// have not run yet.
func TestAContextAsksTheClockBeforeItsTimersRun(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		link := e.Link()
		lease := acquire(t, openLocks(t, link.JetStream(), Options{}), "x")
		link.Cut()
		inner, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		work := leaseContext{inner, Leases{lease}} // as of Keep, with timers that never run
		require.NoError(t, lease.attach(&keeper{cancel: cancel}))
		child, stop := context.WithCancel(work)
		defer stop()
		time.Sleep(time.Until(lease.Deadline()))
		require.ErrorIs(t, work.Err(), context.Canceled)
		require.ErrorIs(t, context.Cause(work), ErrLost)
		<-child.Done()
		require.ErrorIs(t, context.Cause(child), ErrLost)
	})
}

// Another goroutine has found that the time is over, and has not come to the end of
// the context.
func TestAContextDoesNotOutliveItsLeaseForAMoment(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		lease := acquire(t, openLocks(t, e.JetStream(), Options{}), "x")
		inner, cancel := context.WithCancelCause(t.Context())
		work := leaseContext{inner, Leases{lease}}
		lease.mu.Lock()
		lease.end = ErrLost
		lease.mu.Unlock()
		said := make(chan error, 1)
		go func() { said <- work.Err() }()
		synctest.Wait()
		require.Empty(t, said, "it says nothing until the context has ended")
		cancel(ErrLost)
		require.ErrorIs(t, <-said, context.Canceled)
	})
}

func TestATTLIsNeverCutShort(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		for asked, want := range map[time.Duration]time.Duration{
			time.Second:             time.Second,
			1500 * time.Millisecond: 2 * time.Second,
			1999 * time.Millisecond: 2 * time.Second,
			2 * time.Second:         2 * time.Second,
			time.Minute + 1:         61 * time.Second,
		} {
			time.Sleep(333 * time.Millisecond)
			began := time.Now()
			lease := acquire(t, a, "x", TTL(asked))
			require.Equal(t, want, lease.TTL())
			next := acquire(t, b, "x")
			require.GreaterOrEqual(t, time.Since(began), want)
			require.Less(t, time.Since(began), want+400*time.Millisecond)
			release(t, next)
		}
		_, err := a.TryAcquire(t.Context(), "x", TTL(999*time.Millisecond))
		require.ErrorContains(t, err, "want at least a second")
	})
}

func TestRenewingKeepsTheTTL(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		lease := acquire(t, a, "x", TTL(5*time.Second))
		for range 100 {
			time.Sleep(2 * time.Second)
			require.NoError(t, lease.Renew(t.Context()))
		}
		last := time.Now()
		acquire(t, b, "x")
		require.InDelta(t, 5, time.Since(last).Seconds(), 0.5, "and is neither immortal nor back at the default")
	})
}

func TestRenewWaitsForTheServerAndNotLongerThanTheLease(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, _ := two(t, e)
		lease := acquire(t, a, "x", TTL(10*time.Second))
		e.Stop()
		time.AfterFunc(4*time.Second, e.Begin)
		began := time.Now()
		require.NoError(t, lease.Renew(t.Context()))
		require.InDelta(t, 4, time.Since(began).Seconds(), 1)
		e.Stop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		require.ErrorIs(t, lease.Renew(ctx), ErrLost)
		require.InDelta(t, 13, time.Since(began).Seconds(), 1)
	})
}

// This is why a renewal is a publish: if it fails, nats.go's Update keeps TTLs.
func TestUpdateMakesAKeyImmortal(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		lease := acquire(t, a, "x")
		kv, err := e.JetStream().KeyValue(t.Context(), "jobs_locks")
		require.NoError(t, err)
		_, err = kv.Update(t.Context(), "lock.x", lease.record.encode(), uint64(lease.Fence()))
		require.NoError(t, err)
		time.Sleep(time.Hour)
		requireHeldBy(t, b, "x", "a")
	})
}

func TestReleaseMayBeRepeated(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		lease := acquire(t, a, "x")
		release(t, lease)
		require.False(t, lease.Held())
		next := acquire(t, b, "x")
		release(t, lease)
		release(t, lease)
		requireHeldBy(t, a, "x", "b")
		require.ErrorIs(t, lease.Renew(t.Context()), errReleased)
		release(t, next)
	})
}

func TestALateReleaseFreesNobodyElsesLock(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		late := acquire(t, a, "x", TTL(time.Second))
		next := acquire(t, b, "x")
		require.ErrorIs(t, late.Release(t.Context()), ErrLost)
		require.ErrorIs(t, late.Release(t.Context()), ErrLost, "again the same")
		requireHeldBy(t, a, "x", "b")
		release(t, next)

		late = acquire(t, a, "x", TTL(time.Second))
		release(t, acquire(t, b, "x"))
		require.ErrorIs(t, late.Release(t.Context()), ErrLost, "also if it is free again")
	})
}

func TestALateReleaseOfWhatNobodyTookIsARelease(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		lease := acquire(t, a, "x", TTL(10*time.Second))
		time.Sleep(9500 * time.Millisecond)
		require.False(t, lease.Held())
		release(t, lease)
		acquire(t, b, "x", Wait(0))
	})
}

func TestAReleasedOrExpiredLockLeavesNothingBehind(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, _ := two(t, e)
		for range 10 {
			release(t, acquire(t, a, "released"))
		}
		acquire(t, a, "expired", TTL(time.Second))
		time.Sleep(markerTTL + 2*time.Second)
		info, err := a.c.stream.Info(t.Context())
		require.NoError(t, err)
		require.Zero(t, info.State.Msgs)
	})
}

func TestForceReleaseEvictsTheHolder(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		lease := acquire(t, a, "x", TTL(30*time.Second))
		work, stop := lease.Keep(t.Context())
		defer stop()
		evicted, err := b.ForceRelease(t.Context(), "x")
		require.NoError(t, err)
		require.Equal(t, Holder{Name: "x", Owner: "a", Since: evicted.Since, TTL: 30 * time.Second, Fence: lease.Fence()}, evicted)
		next := acquire(t, b, "x", Wait(0))
		require.Greater(t, next.Fence(), lease.Fence())

		began := time.Now()
		<-work.Done()
		require.ErrorIs(t, context.Cause(work), ErrLost)
		require.LessOrEqual(t, time.Since(began), 10*time.Second, "by its next renewal")
		require.ErrorIs(t, lease.Release(t.Context()), ErrLost)
		requireHeldBy(t, a, "x", "b")

		evicted, err = b.ForceRelease(t.Context(), "nobody's")
		require.NoError(t, err)
		require.Equal(t, Holder{Name: "nobody's"}, evicted)
	})
}

func TestWhoHoldsALockSinceWhen(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		held, err := b.IsHeld(t.Context(), "x")
		require.NoError(t, err)
		require.False(t, held)
		began := time.Now()
		lease := acquire(t, a, "x")
		_, stop := lease.Keep(t.Context())
		time.Sleep(time.Hour)
		holder, err := b.Holder(t.Context(), "x")
		require.NoError(t, err)
		require.True(t, holder.Held())
		require.Equal(t, "a", holder.Owner)
		require.Equal(t, lease.Fence(), holder.Fence)
		require.True(t, began.Equal(holder.Since), "%s and not %s", began, holder.Since)
		_, err = b.TryAcquire(t.Context(), "x")
		require.EqualError(t, err, `lock "x": acquire: held by a since 2000-01-01T00:00:00Z`)
		stop()
		release(t, lease)
		held, err = b.IsHeld(t.Context(), "x")
		require.NoError(t, err)
		require.False(t, held)
	})
}

func TestEveryOperationOfAScopeIsScoped(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		root, _ := two(t, e)
		scope, other := root.Scope("a"), root.Scope("a").Scope("b")
		leases := []*Lease{acquire(t, root, "x"), acquire(t, scope, "x"), acquire(t, other, "x"), acquire(t, root, "a.x")}
		require.Equal(t, "x", leases[1].Name())
		_, err := scope.TryAcquire(t.Context(), "x")
		require.ErrorContains(t, err, `lock "a.x": acquire: held by a`)
		holder, err := scope.Holder(t.Context(), "x")
		require.NoError(t, err)
		require.Equal(t, leases[1].Fence(), holder.Fence)
		require.Equal(t, "x", holder.Name)
		_, err = scope.ForceRelease(t.Context(), "x")
		require.NoError(t, err)
		require.ErrorIs(t, leases[1].Release(t.Context()), ErrLost)
		for _, i := range []int{0, 2, 3} {
			release(t, leases[i])
		}
		for h, err := range root.Scope("a").Watch(t.Context(), "x") {
			require.NoError(t, err)
			require.False(t, h.Held())
			break
		}
		e1, err := NewElection(scope, "x", nothing, ElectionOptions{})
		require.NoError(t, err)
		lease := acquire(t, scope, "x")
		leader, err := e1.Leader(t.Context())
		require.NoError(t, err)
		require.Equal(t, lease.Fence(), leader.Fence)
		require.NoError(t, scope.Throttle("t", 1, time.Hour).Try(t.Context()))
		require.NoError(t, root.Throttle("t", 1, time.Hour).Try(t.Context()))
		require.ErrorIs(t, root.Scope("a").Throttle("t", 1, time.Hour).Try(t.Context()), ErrThrottled)
	})
}
