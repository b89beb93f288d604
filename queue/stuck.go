// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"runtime/pprof"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jetjobs/jetjobs/internal/guard"
)

// A run is a delivery's time in a handler.
type run struct {
	slot     atomic.Pointer[string] // the label of the handler's goroutines, nil before and after
	ctx      context.Context        // the handler's; set before slot
	ended    time.Time              // when the keeper first saw the context ended; its alone
	reported bool                   // likewise
	took     time.Duration          // from its begin to its settlement
}

// stuckAfter is how long a handler may go on after its context has ended until
// it is reported.
const stuckAfter = 10 * time.Second

// ignoresEnd reports, once, a handler that goes on long after its context has
// ended. Only the keeper calls it.
func (r *run) ignoresEnd(now time.Time) bool {
	if r.reported || r.slot.Load() == nil || r.ctx.Err() == nil {
		return false
	}
	if r.ended.IsZero() {
		r.ended = now
	}
	r.reported = now.Sub(r.ended) >= stuckAfter
	return r.reported
}

// reportStuck says where a handler hangs. Its slot stays taken, and its lease
// is renewed unless it is lost, until it returns.
func (c *core) reportStuck(d *delivery) {
	slot := d.run.slot.Load()
	if slot == nil {
		return // it has returned just now
	}
	c.log.Warn("handler ignores the end of its context and keeps its slot",
		"id", d.id, "attempt", d.attempt, "err", context.Cause(d.run.ctx), "stack", guard.Stacks(slotLabel, *slot))
}

const slotLabel = "jetjobs-slot"

var slots atomic.Int64

// newSlot labels this goroutine, and those that it will start, so that their
// stacks can be found.
func newSlot() *string {
	slot := strconv.FormatInt(slots.Add(1), 10)
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels(slotLabel, slot)))
	return &slot
}
