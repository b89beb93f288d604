// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestArrivalsCountFromTheOldestOpenPull(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	var p pulls
	first := p.add(at(1), 2)
	p.add(at(2), 1)
	require.Equal(t, 3, p.outstanding())
	require.Equal(t, at(1), p.arrived())
	require.Equal(t, at(1), p.arrived())
	require.Equal(t, at(2), p.arrived())
	require.Zero(t, p.outstanding())
	require.Equal(t, at(2), p.arrived(), "more than was asked for")

	p.ended(first, 1) // long full
	third := p.add(at(3), 5)
	p.arrived()
	p.ended(third, 4)
	require.Zero(t, p.outstanding())

	p.add(at(4), 5)
	p.add(at(5), 5)
	require.True(t, p.overdue(at(20), 10*time.Second))
	require.False(t, p.overdue(at(10), 10*time.Second))
	p.reset()
	require.Equal(t, at(4), p.arrived(), "what still comes counts from the oldest")
}

// A server that serves two pulls in turns, and a network that delays both ways:
// the time that an arrival counts from is never after the time it was sent.
func TestLeaseNeverCountsFromTooLate(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var p pulls
		type pull struct{ number, left int }
		var serving []pull
		var toServer []pull
		type arrival struct {
			sent   time.Time
			status *pull
		}
		var toClient []arrival
		now := time.Unix(1000, 0)
		for range 2000 {
			now = now.Add(time.Duration(rnd.IntN(1000)) * time.Microsecond)
			switch rnd.IntN(5) {
			case 0: // the client asks
				if len(p.open) < openPulls {
					n := 1 + rnd.IntN(20)
					toServer = append(toServer, pull{p.add(now, n), n})
				}
			case 1: // a pull reaches the server
				if len(toServer) > 0 {
					serving, toServer = append(serving, toServer[0]), toServer[1:]
				}
			case 2: // the server sends a job, pulls in turn
				if len(serving) > 0 {
					one := serving[0]
					serving = serving[1:]
					if one.left--; one.left > 0 {
						serving = append(serving, one)
					}
					toClient = append(toClient, arrival{sent: now})
				}
			case 3: // a pull expires
				if len(serving) > 0 && rnd.IntN(10) == 0 {
					one := serving[0]
					serving = serving[1:]
					toClient = append(toClient, arrival{status: &one})
				}
			case 4: // the client receives
				if len(toClient) > 0 {
					a := toClient[0]
					toClient = toClient[1:]
					if a.status != nil {
						p.ended(a.status.number, a.status.left)
					} else if from := p.arrived(); from.After(a.sent) {
						t.Fatalf("seed %d: counts from %s, sent at %s", seed, from, a.sent)
					}
				}
			}
			require.LessOrEqual(t, p.outstanding(), 40)
		}
	}
}
