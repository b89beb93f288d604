// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import "time"

// pulls keeps account of the pull requests of one consumer that the server may
// still answer, oldest first.
//
// Messages don't say which pull they answer, and the server serves waiting pulls
// in turns. Counting them off the oldest pull is nevertheless safe for leases:
// what the server sent before it knew of a later pull is at most what the
// earlier ones still had open then, and arrives first.
type pulls struct {
	open   []pullRequest
	closed time.Time // when the last one that is no longer open was sent
	number int       // of the last one
}

type pullRequest struct {
	number int
	sent   time.Time
	left   int
}

// add notes a pull for n messages and returns its number.
func (p *pulls) add(now time.Time, n int) int {
	p.number++
	p.open = append(p.open, pullRequest{number: p.number, sent: now, left: n})
	return p.number
}

// outstanding is how many messages may still come.
func (p *pulls) outstanding() (n int) {
	for _, r := range p.open {
		n += r.left
	}
	return n
}

// arrived counts a message off and returns a time before which the server can't
// have sent it.
func (p *pulls) arrived() time.Time {
	if len(p.open) == 0 {
		return p.closed // more than was asked for: of a pull given up
	}
	sent := p.open[0].sent
	if p.open[0].left--; p.open[0].left == 0 {
		p.drop(0)
	}
	return sent
}

// ended notes that the server has closed a pull with so many messages unsent;
// below zero: it did not say how many. If fewer were unsent than are left by the
// count here, the others are still to come from pulls that were counted as full,
// and they were sent later than the answer that shows it.
func (p *pulls) ended(number, unsent int) {
	for i := range p.open {
		r := &p.open[i]
		if r.number != number {
			continue
		}
		if rest := r.left - unsent; unsent >= 0 && rest > 0 {
			r.number, r.left = 0, rest
			return
		}
		unsent -= r.left
		p.drop(i)
		break
	}
	for unsent > 0 && len(p.open) > 0 {
		n := min(unsent, p.open[0].left)
		unsent -= n
		if p.open[0].left -= n; p.open[0].left == 0 {
			p.drop(0)
		}
	}
}

// reset forgets all pulls: the connection or the consumer's leader is another.
// What still arrives is counted from the oldest of them.
func (p *pulls) reset() {
	if len(p.open) > 0 {
		p.closed = p.open[0].sent
		p.open = p.open[:0]
	}
}

// overdue reports whether the oldest pull should have ended by now.
func (p *pulls) overdue(now time.Time, after time.Duration) bool {
	return len(p.open) > 0 && now.Sub(p.open[0].sent) > after
}

func (p *pulls) drop(i int) {
	p.closed = p.open[i].sent
	p.open = append(p.open[:i], p.open[i+1:]...)
}
