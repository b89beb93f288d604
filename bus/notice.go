// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"sync"
	"sync/atomic"
	"time"
)

// noticeInterval is the least time between two lines in the log about the same
// trouble of the same subscription.
const noticeInterval = 10 * time.Second

// A notice counts one kind of trouble and says when a line about it is due: for
// the first, and then at most one in noticeInterval.
type notice struct {
	count atomic.Uint64

	mu   sync.Mutex // guards the rest
	last time.Time
}

// add counts one more and returns the count, and whether it is to be logged.
func (n *notice) add(now time.Time) (uint64, bool) {
	count := n.count.Add(1)
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.last.IsZero() && now.Sub(n.last) < noticeInterval {
		return count, false
	}
	n.last = now
	return count, true
}

// warn counts and, not too often, logs. The key count is how many there were of
// this kind since the subscription began.
func (s *Subscription) warn(n *notice, line string, args ...any) {
	if count, due := n.add(time.Now()); due {
		s.bus.opts.logger().Warn(line, append(append(s.attrs(), "count", count), args...)...)
	}
}

// attrs name the subscription in logs.
func (s *Subscription) attrs() []any {
	attrs := []any{"topic", s.plan.topic, "subscriber", s.plan.place}
	if s.plan.group != "" {
		attrs = append(attrs, "group", s.plan.group)
	}
	return attrs
}
