// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPaceHoldsWhatLastsAShortWhile(t *testing.T) {
	// A worker with so many slots finishes a job every so often, each of which
	// took so long.
	run := func(slots int, every, took time.Duration, size int) int {
		p, now := pace{slots: slots}, time.Unix(1000, 0)
		for range 10_000 {
			now = now.Add(every)
			p.came(size)
			p.finished(now, took)
		}
		return p.extra
	}
	require.Zero(t, run(1, time.Second, time.Second, 100), "long handlers: nothing in advance")
	require.InDelta(t, 20, run(1, time.Millisecond, time.Millisecond, 100), 2)
	require.InDelta(t, 2000, run(100, 10*time.Microsecond, time.Millisecond, 100), 200)
	require.InDelta(t, 2000, run(100, 20*time.Microsecond, time.Millisecond, 100), 200, "half of the slots wait for jobs: the buffer was too small")
	require.InDelta(t, 4, run(100, 10*time.Millisecond, time.Microsecond, 100), 1, "few jobs: a small buffer, however short they are")
	require.InDelta(t, maxExtra, run(100, time.Microsecond, time.Microsecond, 100), float64(maxExtra)/10)
	require.LessOrEqual(t, run(100, time.Microsecond, time.Microsecond, 1<<20), 20, "large payloads: few")
}

// runPace finishes jobs at a steady pace: each slot one per took, for so long.
func runPace(p *pace, now time.Time, took, long time.Duration) time.Time {
	for end := now.Add(long); now.Before(end); {
		now = now.Add(took / time.Duration(p.slots))
		p.finished(now, took)
	}
	return now
}

func TestLessIsHeldReadyAfterJobsHadToBeHandedBack(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	p := pace{slots: 10}
	now = runPace(&p, now, time.Millisecond, time.Second)
	before := p.extra

	now = now.Add(time.Second) // all slots are stuck
	p.spilled(now)
	require.Zero(t, p.extra)
	now = runPace(&p, now, time.Millisecond, 900*time.Millisecond)
	require.Zero(t, p.extra)
	now = runPace(&p, now, time.Millisecond, time.Second)
	require.InDelta(t, before, p.extra, 1)

	p.spilled(now) // though jobs are finished
	require.Equal(t, before/2, p.extra)
	now = runPace(&p, now, time.Millisecond, 1900*time.Millisecond)
	require.LessOrEqual(t, p.extra, before/2, "for twice as long, so soon after the first time")
	for range 10 {
		p.spilled(now)
	}
	require.Zero(t, p.extra)
	require.Equal(t, time.Minute, p.storm)
	now = runPace(&p, now.Add(time.Hour), time.Millisecond, time.Second)
	p.spilled(now)
	require.Equal(t, time.Second, p.storm, "long ago")
}
