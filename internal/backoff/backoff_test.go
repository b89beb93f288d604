// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package backoff_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/backoff"
)

func TestDelayGrowsToItsLimit(t *testing.T) {
	e := backoff.Exponential{First: 100 * time.Millisecond, Max: time.Minute, Factor: 2}
	for n, want := range map[int]time.Duration{
		-1:          100 * time.Millisecond,
		0:           100 * time.Millisecond,
		1:           100 * time.Millisecond,
		2:           200 * time.Millisecond,
		3:           400 * time.Millisecond,
		10:          51200 * time.Millisecond,
		11:          time.Minute,
		64:          time.Minute,
		1 << 20:     time.Minute,
		math.MaxInt: time.Minute,
	} {
		require.Equal(t, want, e.Delay(n, nil), "after %d failures", n)
	}
}

func TestDelayOfOddSettings(t *testing.T) {
	for name, c := range map[string]struct {
		e    backoff.Exponential
		n    int
		want time.Duration
	}{
		"zero value":              {backoff.Exponential{}, 5, 0},
		"zero times infinity":     {backoff.Exponential{Factor: math.Inf(1)}, 2, 0},
		"negative first":          {backoff.Exponential{First: -time.Second, Factor: 2}, math.MaxInt, 0},
		"no factor is constant":   {backoff.Exponential{First: time.Second, Max: time.Hour}, 9, time.Second},
		"never shrinks":           {backoff.Exponential{First: time.Second, Factor: 0.5}, 9, time.Second},
		"not a number":            {backoff.Exponential{First: time.Second, Factor: math.NaN(), Jitter: math.NaN()}, 9, time.Second},
		"infinite factor":         {backoff.Exponential{First: time.Second, Max: time.Hour, Factor: math.Inf(1)}, 2, time.Hour},
		"infinite factor, first":  {backoff.Exponential{First: time.Second, Max: time.Hour, Factor: math.Inf(1)}, 1, time.Second},
		"no limit does not wrap":  {backoff.Exponential{First: time.Second, Factor: 2}, 500, math.MaxInt64},
		"largest limit":           {backoff.Exponential{First: time.Second, Max: math.MaxInt64, Factor: 2}, 500, math.MaxInt64},
		"first is over the limit": {backoff.Exponential{First: time.Hour, Max: time.Minute, Factor: 2}, 1, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, c.e.Delay(c.n, func() float64 { return 0.5 }))
		})
	}
}

func TestJitterSpreadsEvenAtTheLimit(t *testing.T) {
	e := backoff.Exponential{First: time.Second, Max: 10 * time.Second, Factor: 2, Jitter: 0.1}
	for _, c := range []struct {
		rnd  float64
		n    int
		want time.Duration
	}{
		{0, 1, 900 * time.Millisecond},
		{0.5, 1, time.Second},
		{0.75, 1, 1050 * time.Millisecond},
		{0, 50, 9 * time.Second},
		{0.75, 50, 10500 * time.Millisecond},
	} {
		require.InDelta(t, c.want, e.Delay(c.n, func() float64 { return c.rnd }), 10, "rnd %v, n %d", c.rnd, c.n)
	}
}

func FuzzDelay(f *testing.F) {
	f.Add(int64(time.Second), int64(time.Hour), 2.0, 0.1, 3, 0.5)
	f.Add(int64(math.MaxInt64), int64(0), math.MaxFloat64, 1.0, math.MaxInt, 0.999)
	f.Add(int64(1), int64(math.MaxInt64), 1.0000001, -1.0, math.MinInt, 0.0)
	f.Fuzz(func(t *testing.T, first, limit int64, factor, jitter float64, n int, rnd float64) {
		if !(rnd >= 0 && rnd < 1) {
			t.Skip("rnd is in [0, 1)")
		}
		e := backoff.Exponential{First: time.Duration(first), Max: time.Duration(limit), Factor: factor, Jitter: jitter}
		plain := e.Delay(n, nil)
		require.GreaterOrEqual(t, plain, time.Duration(0))
		if limit > 0 {
			require.LessOrEqual(t, plain, e.Max)
		}
		if n < math.MaxInt {
			require.GreaterOrEqual(t, e.Delay(n+1, nil), plain, "a later delay is shorter")
		}
		jittered := e.Delay(n, func() float64 { return rnd })
		require.GreaterOrEqual(t, jittered, time.Duration(0))
		if plain < math.MaxInt64/4 {
			require.LessOrEqual(t, jittered, 2*plain+1)
		}
	})
}
