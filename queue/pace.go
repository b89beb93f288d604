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

	last  time.Time     // when a job was last finished
	since time.Time     // the measurement's begin
	count int           // jobs finished since
	busy  time.Duration // that they took together
	size  int           // of a payload, smoothed

	calm    time.Time     // no more than ceiling is held ready before: jobs had to be handed back
	storm   time.Duration // how long that lasted last time
	ceiling int
}

const (
	holdFor  = 20 * time.Millisecond // how long the slots should last
	headway  = 2                     // times what was finished: less than spillAfter lasts
	measure  = 2 * time.Millisecond  // at the least, for one rate
	maxExtra = 16 << 10
	maxBytes = 16 << 20 // of payloads held ready
)

// came notes the size of a job's payload.
func (p *pace) came(size int) { p.size += (size - p.size) / 8 }

// finished counts a job and, now and then, reckons anew.
func (p *pace) finished(now time.Time, took time.Duration) {
	p.last = now
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
		p.extra = min(p.extra, p.ceiling)
	}
	p.since, p.count, p.busy = now, 0, 0
}

// spilled notes that jobs had to be handed back, because handlers took much
// longer than before. If all slots are stuck, nothing is held ready for a while; if
// jobs are still finished, as when the machine has other work, half as many as now.
// The while is a second, and twice as long each time it happens again soon, up to a
// minute.
func (p *pace) spilled(now time.Time) {
	if now.Sub(p.calm) > 10*p.storm {
		p.storm = 0
	}
	p.storm = min(max(time.Second, 2*p.storm), time.Minute)
	p.calm = now.Add(p.storm)
	p.ceiling = p.extra / 2
	if now.Sub(p.last) > spillAfter/2 {
		p.ceiling = 0
	}
	p.extra = p.ceiling
}
