// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// A letter is a message that waits for its handler.
type letter struct {
	msg      *nats.Msg
	received time.Time // of a request; zero otherwise, since a clock is not free
}

func (l letter) size() int { return l.msg.Size() }

// A mailbox is what one subscription has received and not yet handled: first
// in, first out, bounded in messages and in bytes. Putting into it never waits.
type mailbox struct {
	maxMsgs  int
	maxBytes int

	mu     sync.Mutex // guards the rest; nothing is called while it is held
	filled sync.Cond  // a letter came, or the box was closed
	ring   []letter   // a power of two, grown when full
	first  int
	count  int
	bytes  int
	closed bool
}

func newMailbox(maxMsgs, maxBytes int) *mailbox {
	b := &mailbox{maxMsgs: maxMsgs, maxBytes: maxBytes}
	b.filled.L = &b.mu
	return b
}

// put adds a letter unless the box is full or closed. A letter larger than the
// whole box is taken by an empty one.
func (b *mailbox) put(l letter) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	full := b.count == b.maxMsgs || b.count > 0 && b.bytes+l.size() > b.maxBytes
	if b.closed || full {
		return false
	}
	if b.count == len(b.ring) {
		b.growLocked()
	}
	b.ring[(b.first+b.count)&(len(b.ring)-1)] = l
	b.count++
	b.bytes += l.size()
	b.filled.Signal()
	return true
}

func (b *mailbox) growLocked() {
	larger := make([]letter, max(2*len(b.ring), 16))
	n := copy(larger, b.ring[b.first:])
	copy(larger[n:], b.ring[:b.first])
	b.ring, b.first = larger, 0
}

// take waits for a letter; false says that the box was closed.
func (b *mailbox) take() (letter, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.count == 0 && !b.closed {
		b.filled.Wait()
	}
	if b.closed {
		return letter{}, false
	}
	return b.takeLocked(), true
}

func (b *mailbox) takeLocked() letter {
	l := b.ring[b.first]
	b.ring[b.first] = letter{}
	b.first = (b.first + 1) & (len(b.ring) - 1)
	b.count--
	b.bytes -= l.size()
	if b.count == 0 && len(b.ring) > 1024 {
		b.ring, b.first = nil, 0 // after a burst
	}
	return l
}

// close lets nothing more in or out, and returns what was left.
func (b *mailbox) close() []letter {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	left := make([]letter, 0, b.count)
	for b.count > 0 {
		left = append(left, b.takeLocked())
	}
	b.filled.Broadcast()
	return left
}

// waiting is how many letters are in the box.
func (b *mailbox) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.count
}
