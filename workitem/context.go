// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package workitem

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jetjobs/jetjobs/queue"
)

// A Context is an item in its handler's hands. Its methods may be called
// concurrently. A test of a handler makes its own: one of a Value alone has the
// zero values for the rest, and what is reported goes nowhere.
type Context[T any] struct {
	// Value is what was enqueued. Each attempt decodes it anew.
	Value T

	run *run // nil in a test
}

// ID is the item's, which Enqueue returned.
func (c *Context[T]) ID() string { return ifRun(c.run, func(r *run) string { return r.entry.ID() }) }

// Kind is the one the item was enqueued with, which may be an Alias.
func (c *Context[T]) Kind() string {
	return ifRun(c.run, func(r *run) string { return r.entry.Value.Kind })
}

// Attempt is the number of this attempt, from 1. Snoozes, waits for a lock,
// shutdowns and crashes don't count.
func (c *Context[T]) Attempt() int {
	return ifRun(c.run, func(r *run) int { return r.entry.Attempt() })
}

// LastAttempt reports whether the item has failed if this attempt fails.
func (c *Context[T]) LastAttempt() bool {
	return ifRun(c.run, func(r *run) bool { return r.entry.LastAttempt() })
}

// Fence is that of the lock of LockBy, larger than that of every earlier holder;
// 0 without a lock.
func (c *Context[T]) Fence() uint64 { return ifRun(c.run, func(r *run) uint64 { return r.fence }) }

// Entry is the item as a job of the queue, for all else that is known of it; nil
// in a test. A handler settles it by what it returns, not by the entry's methods.
func (c *Context[T]) Entry() *queue.Entry[Envelope] {
	return ifRun(c.run, func(r *run) *queue.Entry[Envelope] { return r.entry })
}

// Progress tells whoever watches how far the item is. It never waits: of many
// reports in a short time the last one is sent, at most every 100 ms, and the
// very last always, with the end of the attempt if not before. So it may be
// called in a tight loop.
//
// A percent under 0 counts as 0 and one over 99 as 99: 100 says that the item is
// completed, which the framework does when the handler has returned. The
// percent may go down. A message is cut to 2,048 bytes.
func (c *Context[T]) Progress(percent int, message string) {
	c.report(percent, message, nil)
}

// Report is Progress with data beside it, for Status.Data: any value that
// encoding/json can encode, into at most 64 KiB. The value is encoded at once,
// so it may be changed later. If it can't be, the rest is reported without it
// and an error returned.
func (c *Context[T]) Report(percent int, message string, data any) error {
	encoded, err := json.Marshal(data)
	if err == nil && len(encoded) > maxData {
		err = fmt.Errorf("the data has %d bytes: want at most %d; keep large things elsewhere and report a reference", len(encoded), maxData)
	}
	if err != nil {
		encoded, err = nil, fmt.Errorf("workitem: report: %w", err)
	}
	c.report(percent, message, encoded)
	return err
}

const (
	maxData    = 64 << 10
	maxMessage = 2048
)

func (c *Context[T]) report(percent int, message string, data json.RawMessage) {
	if c.run != nil {
		c.run.reporter.report(percent, shorten(message), data)
	}
}

// shorten cuts a text that is for people.
func shorten(text string) string {
	if len(text) <= maxMessage {
		return text
	}
	return strings.ToValidUTF8(text[:maxMessage], "") + "…"
}

// ifRun is a fact about a run, or zero without one.
func ifRun[F any](r *run, fact func(*run) F) (zero F) {
	if r == nil {
		return zero
	}
	return fact(r)
}
