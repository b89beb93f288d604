// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import "time"

// A memo is what this process knows about a key that it doesn't hold: the
// tombstone that it left there, or the nonce of an acquisition whose answer was
// lost.
type memo struct {
	rev   uint64
	nonce string
	until time.Time
}

const maxMemos = 4096

// remember keeps a memo until its time is over. When there are too many it forgets
// the tombstones first, which only save a request.
func (c *core) remember(key string, m memo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.memos) >= maxMemos {
		now := time.Now()
		for k, old := range c.memos {
			if old.nonce == "" || now.After(old.until) {
				delete(c.memos, k)
			}
		}
	}
	if len(c.memos) < maxMemos {
		c.memos[key] = m
	}
}

// recall returns the memo of a key, which may be empty, and forgets it.
func (c *core) recall(key string) memo {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.memos[key]
	delete(c.memos, key)
	if time.Now().After(m.until) {
		return memo{}
	}
	return m
}
