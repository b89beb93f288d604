// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"context"
	"sync"
	"time"
)

const (
	// clockAge is how long the clock believes what it has learned.
	clockAge = time.Minute

	// clockDrift is by how much two clocks may run apart: 500 parts per million
	// is the fastest that NTP slews one.
	clockDrift = 2000 // one part in
)

// A clock knows the server's time, which stamps every message, as an interval:
// it is never earlier than from and never later than to.
type clock struct {
	mu       sync.Mutex // guards the rest; held while asking, so that one does for all
	server   time.Time  // what the server's clock said
	sent     time.Time  // when it was asked, by ours
	received time.Time  // when it had answered
}

// at returns the interval in which the server's clock is at our time now, given
// that it said server between sent and received.
func serverTime(now, server, sent, received time.Time) (from, to time.Time) {
	since, atMost := now.Sub(received), now.Sub(sent)
	return server.Add(since - since/clockDrift), server.Add(atMost + atMost/clockDrift)
}

// now returns the interval in which the server's clock is now.
func (k *clock) now(ctx context.Context, c *core) (from, to time.Time, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.server.IsZero() || time.Since(k.received) > clockAge {
		sent := time.Now()
		ctx, cancel := context.WithTimeout(ctx, oneTry)
		defer cancel()
		info, err := c.stream.Info(ctx)
		if err != nil {
			return from, to, err
		}
		k.server, k.sent, k.received = info.TimeStamp, sent, time.Now()
	}
	from, to = serverTime(time.Now(), k.server, k.sent, k.received)
	return from, to, nil
}
