// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import "time"

// A pace says how many jobs to hold ready beside those that run. Handlers of no
// length need a thousand, or they wait for the network; long ones need none, as
// a job in the buffer is one that another worker can't have. So it is what the
// slots finish in a short while.
type pace struct {
	extra int // jobs to hold ready

	since time.Time // the measurement's begin
	count int       // jobs finished since
	size  int       // of a payload, smoothed

	calm  time.Time     // nothing is held ready before: jobs had to be handed back
	storm time.Duration // how long that lasted last time
}

const (
	holdFor  = 20 * time.Millisecond // how long the slots should last
	measure  = 2 * time.Millisecond  // at the least, for one rate
	maxExtra = 4096
	maxBytes = 16 << 20 // of payloads held ready
)

// came notes the size of a job's payload.
func (p *pace) came(size int) { p.size += (size - p.size) / 8 }

// finished counts a job and, now and then, reckons anew.
func (p *pace) finished(now time.Time) {
	p.count++
	took := now.Sub(p.since)
	if took < measure {
		return
	}
	rate := int(int64(p.count) * int64(holdFor) / int64(took))
	limit := min(maxExtra, maxBytes/max(p.size, 1))
	p.extra = min((p.extra+rate)/2, limit)
	if now.Before(p.calm) {
		p.extra = 0
	}
	p.since, p.count = now, 0
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
