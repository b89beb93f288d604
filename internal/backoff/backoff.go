// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

// Package backoff computes how long to wait after the n-th failure, and waits. What it computes
// is a pure function of its arguments, randomness included, so that its users test their waiting and
// not their luck.
package backoff

import (
	"context"
	"math"
	"time"
)

// Exponential is a delay that grows by a factor with each failure, up to a limit.
// The zero value never waits.
type Exponential struct {
	First  time.Duration // after the first failure; zero or less: never wait
	Max    time.Duration // the limit, before jitter; zero or less: none
	Factor float64       // from one delay to the next; less than 1 counts as 1, a constant delay
	Jitter float64       // the part, 0 to 1, by which a delay may be shorter or longer; outside: the nearest
}

// Delay returns how long to wait after n failures in a row:
//
//	min(First · Factor^(n-1), Max) · (1 ± Jitter)
//
// The jitter comes after the limit, so that many who wait at the limit still spread out; a delay
// is at most Max · (1 + Jitter). An n under 1 counts as 1, and no n is too large. rnd returns
// numbers in [0, 1), as math/rand/v2.Float64 does; nil leaves the jitter out.
func (e Exponential) Delay(n int, rnd func() float64) time.Duration {
	if e.First <= 0 {
		return 0
	}
	delay := float64(e.First) * math.Pow(atLeastOne(e.Factor), float64(max(n, 1)-1))
	if e.Max > 0 {
		delay = min(delay, float64(e.Max))
	}
	if rnd != nil {
		delay *= 1 + clampUnit(e.Jitter)*(2*rnd()-1)
	}
	// float64(MaxInt64) rounds up to 2^63, which no Duration can hold.
	if delay >= math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(delay)
}

// atLeastOne and clampUnit are written so that NaN ends on the harmless side.

func atLeastOne(f float64) float64 {
	if f > 1 {
		return f
	}
	return 1
}

func clampUnit(f float64) float64 {
	if f > 0 {
		return min(f, 1)
	}
	return 0
}

// Sleep waits for d and reports whether ctx goes on.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}
