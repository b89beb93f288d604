// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

func TestAcquireWaitsForTheRelease(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		lease := acquire(t, a, "x")
		_, stop := lease.Keep(t.Context())
		time.AfterFunc(time.Hour, stop)
		released := releaseAfter(t, time.Hour, lease)
		began := time.Now()
		acquire(t, b, "x")
		require.Less(t, time.Since(began)-time.Hour, 50*time.Millisecond)
		released()
	})
}

func TestAcquireWaitsForTheExpiry(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		began := time.Now()
		acquire(t, a, "x")
		acquire(t, b, "x")
		require.InDelta(t, 30, time.Since(began).Seconds(), 0.3)
	})
}

func TestAWaitEndsWithItsContext(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		lease := acquire(t, a, "x", TTL(time.Hour))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		_, err := b.Acquire(ctx, "x")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, ErrHeld)
		require.EqualError(t, err, `lock "x": acquire: context deadline exceeded; held by a since 2000-01-01T00:00:00Z`)
		require.Equal(t, time.Minute, time.Since(began))

		_, err = b.Acquire(ctx, "y")
		require.ErrorIs(t, err, context.DeadlineExceeded, "one that has ended before takes nothing")
		release(t, lease)
		acquire(t, a, "x", Wait(0))
	})
}

func TestWaitLimitsTheWaitAndNotTheWork(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		lease := acquire(t, a, "x", TTL(time.Hour))
		began := time.Now()
		_, err := b.Acquire(t.Context(), "x", Wait(time.Minute))
		require.ErrorIs(t, err, ErrHeld)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(began))
		_, err = b.Acquire(t.Context(), "x", Wait(0))
		require.ErrorIs(t, err, ErrHeld)
		require.Equal(t, time.Minute, time.Since(began))

		time.AfterFunc(30*time.Second, func() { release(t, lease) })
		require.NoError(t, b.Do(t.Context(), "x", func(ctx context.Context, _ Fence) error {
			time.Sleep(time.Hour)
			return ctx.Err()
		}, Wait(time.Minute)))
	})
}

func TestWaitersOfAProcessComeInTheirOrder(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		lease := acquire(t, a, "x")
		var order []int
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				require.NoError(t, b.Do(t.Context(), "x", func(context.Context, Fence) error {
					order = append(order, i) // the lock guards it
					return nil
				}))
			})
			time.Sleep(time.Second)
		}
		release(t, lease)
		wg.Wait()
		require.True(t, slices.IsSorted(order), "%v", order)
	})
}

func TestAWaiterThatGivesUpHoldsUpNobody(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		lease := acquire(t, a, "x", TTL(time.Hour))
		first, giveUp := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := b.Acquire(first, "x")
			require.ErrorIs(t, err, context.Canceled)
		})
		time.Sleep(time.Second)
		wg.Go(func() { acquire(t, b, "x") })
		time.Sleep(time.Second)
		giveUp()
		time.Sleep(time.Second)
		began := time.Now()
		release(t, lease)
		wg.Wait()
		require.Less(t, time.Since(began), 50*time.Millisecond)
	})
}

// consumers is how many watches there are on the bucket.
func consumers(t testing.TB, l *Locker) int {
	t.Helper()
	info, err := l.c.stream.Info(context.Background())
	require.NoError(t, err)
	return info.State.Consumers
}

func TestAThousandWaitersOnAThousandNamesShareOneWatch(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		again := openLocks(t, b.c.js, Options{}).Scope("") // the same bucket, opened twice in one process
		const n = 1000
		name := func(i int) string { return fmt.Sprintf("name-%d", i) }
		held := make([]*Lease, n)
		var taking, waiting sync.WaitGroup
		for i := range n {
			taking.Go(func() { held[i] = acquire(t, a, name(i), TTL(time.Hour)) })
		}
		taking.Wait()
		require.Zero(t, consumers(t, a), "nobody waits, nobody watches")
		var woken atomic.Int64
		for i := range n {
			waiting.Go(func() {
				l := []*Locker{b, again}[i%2]
				lease, err := l.Acquire(t.Context(), name(i))
				require.NoError(t, err)
				woken.Add(1)
				release(t, lease)
			})
		}
		time.Sleep(time.Minute)
		require.Equal(t, 1, consumers(t, a))
		require.Zero(t, woken.Load())
		began := time.Now()
		for i := range n {
			release(t, held[i])
		}
		waiting.Wait()
		require.Less(t, time.Since(began), 50*time.Millisecond)
		time.Sleep(linger + time.Second)
		require.Zero(t, consumers(t, a), "the watch ends when nobody needs it")
	})
}

func TestMoreProcessesWaitThanTheServersDefaultAllows(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		lease := acquire(t, a, "x", TTL(time.Hour))
		for range 1000 { // as many processes have their watches
			_, err := a.c.stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{FilterSubject: "$KV.jobs_locks.lock.>"})
			require.NoError(t, err)
		}
		var wg sync.WaitGroup
		wg.Go(func() { acquire(t, b, "x") })
		time.Sleep(2 * time.Second)
		require.Equal(t, 1001, consumers(t, a))
		began := time.Now()
		release(t, lease)
		wg.Wait()
		require.Less(t, time.Since(began), 50*time.Millisecond)
	})
}

func TestACancelledAcquisitionLeavesNothingBehind(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		for range 200 {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() {
				lease, err := a.Acquire(ctx, "x")
				if err == nil {
					err = lease.Release(t.Context())
				}
				done <- err
			}()
			go cancel() // at some moment of the request
			if err := <-done; err != nil {
				require.ErrorIs(t, err, context.Canceled)
			}
			release(t, acquire(t, b, "x", Wait(0)))
		}
	})
}

func TestAnAcquisitionThatIsCancelledHalfWayIsReleased(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		link := e.Link()
		a := openLocks(t, link.JetStream(), Options{Owner: "a"})
		b := openLocks(t, e.JetStream(), Options{Owner: "b"})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		link.CutReplies()
		time.AfterFunc(900*time.Millisecond, link.Heal)
		began := time.Now()
		_, err := a.Acquire(ctx, "x", TTL(time.Hour))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.LessOrEqual(t, time.Since(began), 1100*time.Millisecond)
		acquire(t, b, "x", Wait(0))
	})
}

func TestAnAcquisitionWhoseAnswerWasLostIsRecognised(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		link := e.Link()
		a := openLocks(t, link.JetStream(), Options{Owner: "a"})
		b := openLocks(t, e.JetStream(), Options{Owner: "b"})

		// within one call
		time.AfterFunc(30*time.Second, link.Heal)
		link.CutReplies()
		began := time.Now()
		lease := acquire(t, a, "x", TTL(time.Hour))
		require.Less(t, time.Since(began), 40*time.Second, "and not after an hour")
		require.True(t, lease.Held())
		requireHeldBy(t, b, "x", "a")
		release(t, lease)
		acquire(t, b, "x", Wait(0))

		// between two calls
		link.CutReplies()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := a.TryAcquire(ctx, "y", TTL(time.Hour))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		requireHeldBy(t, b, "y", "a")
		link.Heal()
		lease = acquire(t, a, "y", TTL(time.Hour), Wait(0))
		release(t, lease)
		acquire(t, b, "y", Wait(0))
	})
}

func TestAnAcquisitionThatArrivesLateIsNobodysLease(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		link := e.Link()
		a := openLocks(t, link.JetStream(nats.PingInterval(time.Hour)), Options{Owner: "a"})
		b := openLocks(t, e.JetStream(), Options{Owner: "b"})
		link.Cut()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := a.Acquire(ctx, "x", TTL(20*time.Second))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		time.Sleep(time.Minute)
		link.Heal() // what was sent a minute ago is stored now
		require.NoError(t, a.c.nc.FlushTimeout(time.Second))
		requireHeldBy(t, b, "x", "a")
		began := time.Now()
		acquire(t, b, "x")
		require.LessOrEqual(t, time.Since(began), 21*time.Second, "it blocks others for its TTL at most")
	})
}

func TestAcquireWaitsForTheServer(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, _ := two(t, e)
		e.Stop()
		began := time.Now()
		_, err := a.TryAcquire(t.Context(), "x")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, nats.ErrDisconnected, "and why")
		require.Equal(t, patience, time.Since(began))
		_, err = a.Acquire(t.Context(), "x", Wait(time.Second))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, ErrHeld)

		time.AfterFunc(time.Hour, e.Begin)
		began = time.Now()
		acquire(t, a, "x")
		require.InDelta(t, time.Hour.Seconds(), time.Since(began).Seconds(), 10)
	})
}

func TestAClosedConnectionEndsEveryWait(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		acquire(t, a, "x", TTL(time.Hour))
		time.AfterFunc(time.Minute, b.c.nc.Close)
		_, err := b.Acquire(t.Context(), "x")
		require.ErrorIs(t, err, nats.ErrConnectionClosed)
		_, err = b.Acquire(t.Context(), "x")
		require.ErrorIs(t, err, nats.ErrConnectionClosed)
		require.ErrorIs(t, b.Throttle("x", 1, time.Second).Wait(t.Context()), nats.ErrConnectionClosed)
	})
}

func TestWaitersMissNoReleaseWhileDisconnected(t *testing.T) {
	for _, gap := range []time.Duration{time.Second, markerTTL + time.Second} {
		natstest.Run(t, func(t *testing.T, e *natstest.Env) {
			link := e.Link()
			a := openLocks(t, e.JetStream(), Options{Owner: "a"})
			b := openLocks(t, link.JetStream(), Options{Owner: "b"})
			lease := acquire(t, a, "x", TTL(time.Hour))
			var wg sync.WaitGroup
			wg.Go(func() { acquire(t, b, "x") })
			time.Sleep(4*lookAgain + time.Second)
			link.Break()
			release(t, lease)
			time.Sleep(gap)
			link.Heal()
			began := time.Now()
			wg.Wait()
			require.Less(t, time.Since(began), time.Second)
		})
	}
}

// Nothing tells a watch of a purge, for instance.
func TestWaitersLookAgainWhenTheyHearNothing(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		acquire(t, a, "x", TTL(time.Hour))
		var wg sync.WaitGroup
		wg.Go(func() { acquire(t, b, "x") })
		time.Sleep(time.Minute)
		require.NoError(t, a.c.stream.Purge(t.Context()))
		began := time.Now()
		wg.Wait()
		t.Log(time.Since(began))
		require.LessOrEqual(t, time.Since(began), lookAgain)
	})
}

func TestWaitersMissNoReleaseInARestart(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		lease := acquire(t, a, "x", TTL(time.Hour))
		var wg sync.WaitGroup
		wg.Go(func() { acquire(t, b, "x") })
		time.Sleep(time.Minute)
		e.Restart(time.Second)
		release(t, lease)
		began := time.Now()
		wg.Wait()
		require.Less(t, time.Since(began), time.Second)
	})
}

func TestWatchYieldsEachHolder(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		ctx, cancel := context.WithCancel(t.Context())
		seen := make(chan Holder, 10)
		var wg sync.WaitGroup
		wg.Go(func() {
			for h, err := range b.Watch(ctx, "x") {
				require.NoError(t, err)
				seen <- h
			}
		})
		require.False(t, (<-seen).Held(), "at once")
		for range 3 {
			lease := acquire(t, a, "x")
			require.Equal(t, lease.Fence(), (<-seen).Fence)
			_, stop := lease.Keep(t.Context())
			time.Sleep(time.Hour)
			require.Empty(t, seen, "renewals are no news")
			stop()
			release(t, lease)
			require.False(t, (<-seen).Held())
		}
		acquire(t, a, "x")
		<-seen
		time.Sleep(time.Minute)
		require.False(t, (<-seen).Held(), "expiry is")
		cancel()
		wg.Wait()
		require.Empty(t, seen)
	})
}
