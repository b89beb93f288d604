// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

func TestAThrottleNeverGrantsMoreInAnyPeriod(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		const limit, period = 7, 10 * time.Second
		var mu sync.Mutex
		var granted []time.Time
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		for p := range 4 {
			throttle := openLocks(t, e.NewJetStream(), Options{}).Throttle("api", limit, period)
			for range 3 {
				wg.Go(func() {
					rnd := rand.New(rand.NewPCG(uint64(p), 0))
					for throttle.Wait(ctx) == nil {
						mu.Lock()
						granted = append(granted, time.Now())
						mu.Unlock()
						time.Sleep(time.Duration(rnd.IntN(5000)) * time.Millisecond)
					}
				})
			}
		}
		wg.Wait()
		requireThrottled(t, granted, limit, period)
		require.Greater(t, len(granted), 410, "and hardly fewer: 420 fit into ten minutes")
	})
}

// requireThrottled fails if any period has more than limit times.
func requireThrottled(t *testing.T, granted []time.Time, limit int, period time.Duration) {
	t.Helper()
	slices.SortFunc(granted, time.Time.Compare)
	for i := limit; i < len(granted); i++ {
		require.GreaterOrEqual(t, granted[i].Sub(granted[i-limit]), period, "%d and %d", i-limit, i)
	}
}

func TestAThrottleRefusesAndSaysWhenToTryAgain(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		one, other := a.Throttle("api", 3, time.Minute), b.Throttle("api", 3, time.Minute)
		require.NoError(t, one.Try(t.Context()))
		time.Sleep(10 * time.Second)
		require.NoError(t, other.Try(t.Context()))
		require.NoError(t, one.Try(t.Context()))
		for _, throttle := range []*Throttle{one, other} {
			err := throttle.Try(t.Context())
			require.ErrorIs(t, err, ErrThrottled)
			var throttled *ThrottledError
			require.ErrorAs(t, err, &throttled)
			require.InDelta(t, 50, throttled.RetryAfter.Seconds(), 0.1)
			require.ErrorContains(t, err, `throttle "api": throttled: try again in 50.`)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
		defer cancel()
		began := time.Now()
		require.ErrorIs(t, one.Wait(ctx), ErrThrottled)
		require.Zero(t, time.Since(began), "who can't wait so long does not wait at all")
		require.NoError(t, other.Wait(t.Context()))
		require.InDelta(t, 50, time.Since(began).Seconds(), 0.1)
		require.NoError(t, a.Throttle("other", 3, time.Minute).Try(t.Context()))
	})
}

func TestAThrottleForgetsNothingInARestart(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		throttle := a.Throttle("api", 2, time.Hour)
		require.NoError(t, throttle.Try(t.Context()))
		e.Restart(10 * time.Second)
		require.NoError(t, throttle.Wait(t.Context()))
		require.ErrorIs(t, b.Throttle("api", 2, time.Hour).Try(t.Context()), ErrThrottled)
	})
}

func TestATurnWhoseAnswerWasLostMayCountAndNeverCountsTooLittle(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		link := e.Link()
		throttle := openLocks(t, link.JetStream(), Options{}).Throttle("api", 5, time.Hour)
		require.NoError(t, throttle.Try(t.Context()))
		link.CutReplies()
		time.AfterFunc(10*time.Second, link.Heal)
		require.NoError(t, throttle.Wait(t.Context()))
		granted := 2
		for throttle.Try(t.Context()) == nil {
			granted++
		}
		require.LessOrEqual(t, granted, 5)
		require.GreaterOrEqual(t, granted, 4)
	})
}

func TestAThrottleThatMakesNoSenseSaysSo(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, _ := two(t, e)
		err := a.Throttle("", 0, time.Microsecond).Try(t.Context())
		require.ErrorContains(t, err, "the name is empty")
		require.ErrorContains(t, err, "the limit is 0: want at least 1")
		require.ErrorContains(t, err, "the period is 1µs")
		_, err = a.c.put(t.Context(), keyOf(throttleKind, "", "later"), 0, []byte(`{"v":2}`), time.Minute)
		require.NoError(t, err)
		require.ErrorContains(t, a.Throttle("later", 1, time.Second).Try(t.Context()), "version 2: want at most 1")
	})
}

// simulate grants turns at random times by a window alone, as one process that
// hears the stamps of all others would.
func simulate(t *testing.T, seed uint64, limit int, period time.Duration) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var w window
	var granted []time.Time
	for range 5 * limit {
		now = now.Add(time.Duration(rnd.Int64N(int64(period) / int64(limit))))
		next, delay := w.turn(now, limit, period)
		if delay > 0 {
			require.LessOrEqual(t, delay, period+period/windowSize+time.Microsecond)
			now = now.Add(delay)
			next, delay = w.turn(now, limit, period)
			require.Zero(t, delay, "the delay is enough")
		}
		now = now.Add(time.Duration(rnd.Int64N(int64(period) / int64(limit) / 100))) // on its way
		granted = append(granted, now)
		w = next.settled(now, limit, period)
	}
	require.LessOrEqual(t, len(w.Grants), windowSize+2)
	next, _ := w.turn(now.Add(period), limit, period)
	again, err := parseWindow(next.encode())
	require.NoError(t, err)
	require.Equal(t, next, again)
	requireThrottled(t, granted, limit, period)
	took := granted[len(granted)-1].Sub(granted[0])
	require.Less(t, took, 5*period+period/5, "and turns are not wasted")
}

func TestWindowsOfAnyLimit(t *testing.T) {
	for _, limit := range []int{1, 2, 10, 199, 200, 201, 5000} {
		for seed := range uint64(3) {
			simulate(t, seed, limit, time.Second*time.Duration(1+7*seed))
		}
	}
}

func TestTheServersTimeIsAnIntervalThatHoldsIt(t *testing.T) {
	sent := time.Now()
	received := sent.Add(80 * time.Millisecond)
	server := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC) // some time between the two
	for _, after := range []time.Duration{0, time.Millisecond, time.Minute} {
		from, to := serverTime(received.Add(after), server, sent, received)
		require.False(t, from.After(server.Add(after)), "if it answered at once")
		require.False(t, to.Before(server.Add(after+80*time.Millisecond)), "if the answer was slow")
		require.Less(t, to.Sub(from), 150*time.Millisecond)
	}
}
