// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/bus"
	"github.com/jetjobs/jetjobs/internal/natstest"
)

// work subscribes with a handler that takes d, and obeys its context.
func work(t *testing.T, ctx context.Context, b *bus.Bus, d time.Duration) (sub *bus.Subscription, begun chan int, ends chan error) {
	t.Helper()
	begun, ends = make(chan int, 100), make(chan error, 100)
	sub, err := parcels.Subscribe(ctx, b, func(ctx context.Context, m *bus.Message[parcel]) error {
		begun <- m.Value.Number
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
		ends <- context.Cause(ctx)
		return nil
	})
	require.NoError(t, err)
	return sub, begun, ends
}

func TestEndOfTheContextEndsTheSubscriptionAfterTheRunningHandler(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, _ := open(t, e.Connect(), bus.Options{})
		type key struct{}
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "kept"))
		sub, begun, ends := work(t, ctx, b, 10*time.Second)
		for n := range 5 {
			publish(t, b, n)
		}
		time.Sleep(time.Second)
		cancel()
		synctest.Wait()
		require.Empty(t, ends, "the handler's context lives on")
		require.NoError(t, sub.Wait())
		require.Equal(t, []error{nil}, drained(ends), "and it ended by itself, before Wait returned")

		publish(t, b, 5)
		time.Sleep(time.Hour)
		require.Equal(t, []int{0}, drained(begun), "nothing after it")
		stats := sub.Stats()
		require.EqualValues(t, 1, stats.Handled)
		require.EqualValues(t, 4, stats.Dropped)
		require.EqualValues(t, stats.Received, stats.Handled+stats.Dropped)
		require.Empty(t, b.Stats())
	})
}

func TestGraceCutsTheHandlerWithACause(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, log := open(t, e.Connect(), bus.Options{Grace: 5 * time.Second})
		sub, _, ends := work(t, t.Context(), b, time.Hour)
		publish(t, b, 0)
		synctest.Wait()
		began := time.Now()
		sub.Close()
		require.Equal(t, 5*time.Second, time.Since(began))
		require.ErrorIs(t, <-ends, bus.ErrClosed)
		require.Len(t, log.lines(t, "handler still running: ending its context"), 1)
		sub.Close()
		require.NoError(t, sub.Wait())
	})
}

func TestNegativeGraceCutsAtOnce(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, _ := open(t, e.Connect(), bus.Options{Grace: -1})
		sub, _, ends := work(t, t.Context(), b, time.Hour)
		publish(t, b, 0)
		synctest.Wait()
		began := time.Now()
		sub.Close()
		require.Zero(t, time.Since(began))
		require.ErrorIs(t, <-ends, bus.ErrClosed)
	})
}

func TestAHandlerMayCancelItsOwnSubscription(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, _ := open(t, e.Connect(), bus.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		sub, err := parcels.Subscribe(ctx, b, func(context.Context, *bus.Message[parcel]) error {
			cancel()
			return nil
		})
		require.NoError(t, err)
		for n := range 100 {
			publish(t, b, n)
		}
		require.NoError(t, sub.Wait())
		synctest.Wait()
		require.EqualValues(t, 1, sub.Stats().Handled, "nothing after it")
		require.EqualValues(t, sub.Stats().Received, sub.Stats().Handled+sub.Stats().Dropped)
	})
}

func TestClosedConnectionEndsSubscriptionsWithAnError(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		nc := e.Connect()
		b, _ := open(t, nc, bus.Options{})
		sub, err := parcels.Subscribe(t.Context(), b, ignore)
		require.NoError(t, err)
		messages, err := parcels.Listen(t.Context(), b)
		require.NoError(t, err)
		time.AfterFunc(time.Second, nc.Close)

		require.ErrorIs(t, sub.Wait(), nats.ErrConnectionClosed)
		var errs []error
		for m, err := range messages {
			require.Nil(t, m)
			errs = append(errs, err)
		}
		require.Len(t, errs, 1)
		require.ErrorIs(t, errs[0], nats.ErrConnectionClosed)
		require.ErrorIs(t, parcels.Publish(t.Context(), b, parcel{}), nats.ErrConnectionClosed)
		_, err = parcels.Subscribe(t.Context(), b, ignore)
		require.ErrorIs(t, err, nats.ErrConnectionClosed)
		require.Empty(t, b.Stats())
	})
}

func TestALoopIsLiveBeforeItBeginsAndEndsWithItsContext(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, _ := open(t, e.Connect(), bus.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		messages, err := parcels.Listen(ctx, b)
		require.NoError(t, err)
		for n := range 3 {
			publish(t, b, n)
		}
		time.AfterFunc(time.Minute, cancel)
		var seen []int
		for m, err := range messages {
			require.NoError(t, err, "the end of the context is no error")
			seen = append(seen, m.Value.Number)
		}
		require.Equal(t, upTo(3), seen)
		require.Empty(t, b.Stats())
		for range messages {
			t.Error("the second loop got something")
		}
	})
}

func TestLeavingALoopEndsItsSubscription(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		nc := e.Connect()
		b, _ := open(t, nc, bus.Options{})
		messages, err := parcels.Listen(t.Context(), b)
		require.NoError(t, err)
		require.Len(t, b.Stats(), 1)
		publish(t, b, 1)
		for range messages {
			break
		}
		require.Zero(t, nc.NumSubscriptions())
		require.Empty(t, b.Stats())
	})
}

func TestALoopNeverBegunEndsWithItsContext(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		nc := e.Connect()
		b, _ := open(t, nc, bus.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		_, err := parcels.Listen(ctx, b)
		require.NoError(t, err)
		cancel()
		synctest.Wait()
		require.Zero(t, nc.NumSubscriptions())
		require.Empty(t, b.Stats())
	})
}

func TestFlushTellsWhetherTheServerHasEverything(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		link := e.Link()
		b, _ := open(t, link.JetStream().Conn(), bus.Options{Timeout: 5 * time.Second})
		near, _ := open(t, e.Connect(), bus.Options{})
		numbers := collect(t, near)
		publish(t, b, 1)
		require.NoError(t, b.Flush(t.Context()))
		synctest.Wait()
		require.Equal(t, []int{1}, drained(numbers))

		link.Cut()
		publish(t, b, 2)
		require.ErrorContains(t, b.Flush(t.Context()), "bus: flush: what was published may be lost: no answer within Options.Timeout 5s")
		publish(t, b, 3)
		time.AfterFunc(time.Second, link.Break)
		require.ErrorIs(t, b.Flush(t.Context()), nats.ErrDisconnected)
		link.Heal()
	})
}
