// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import "time"

// A pace says how many jobs to hold ready beside those that run. Handlers of no
// length need thousands, or they wait for the network; long ones need none, as
// a job in the buffer is one that another worker can't have. So it is what the
// slots can finish in a short while, going by how long handlers take, and no
// more than a few times what they have finished: a queue with few jobs needs no
// buffer. (What was finished alone would not do: a buffer that is too small
// makes the worker wait, and so seems large enough.)
type pace struct {
	slots int
	extra int // jobs to hold ready

	since time.Time     // the measurement's begin
	count int           // jobs finished since
	busy  time.Duration // that they took together
	size  int           // of a payload, smoothed

	calm  time.Time     // nothing is held ready before: jobs had to be handed back
	storm time.Duration // how long that lasted last time
}

const (
	holdFor  = 20 * time.Millisecond // how long the slots should last
	headway  = 4                     // times what was finished
	measure  = 2 * time.Millisecond  // at the least, for one rate
	maxExtra = 16 << 10
	maxBytes = 16 << 20 // of payloads held ready
)

// came notes the size of a job's payload.
func (p *pace) came(size int) { p.size += (size - p.size) / 8 }

// finished counts a job and, now and then, reckons anew.
func (p *pace) finished(now time.Time, took time.Duration) {
	p.count++
	p.busy += took
	passed := now.Sub(p.since)
	if passed < measure {
		return
	}
	jobs, hold := float64(p.count), float64(holdFor)
	able := jobs * float64(p.slots) * hold / float64(max(p.busy, 1))
	did := jobs * hold / float64(passed)
	limit := min(maxExtra, maxBytes/max(p.size, 1))
	p.extra = (p.extra + int(min(able, headway*did, float64(limit)))) / 2
	if now.Before(p.calm) {
		p.extra = 0
	}
	p.since, p.count, p.busy = now, 0, 0
}

// spilled notes that jobs had to be handed back, because handlers took much
// longer than before. For a while nothing is held ready: a second, and twice as
// long each time it happens again soon, up to a minute.
func (p *pace) spilled(now time.Time) {
	if now.Sub(p.calm) > 10*p.storm {
		p.storm = 0
	}
	p.storm = min(max(time.Second, 2*p.storm), time.Minute)
	p.calm = now.Add(p.storm)
	p.extra = 0
}
