// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package jobs

import (
	"slices"
	"sync"
	"time"
)

// Status is what a Runner has done since it was made, does now, and will do next.
type Status struct {
	Name      string
	Running   int       // runs in progress
	Runs      int       // runs that have ended
	Failed    int       // how many of Runs failed
	Cancelled int       // how many of Runs were cancelled
	Next      time.Time // when the next of the planned runs is to start; zero if none waits for its time
	Last      []Record  // the runs that ended last, the latest first, at most 10
}

// A Record is a run that has ended.
type Record struct {
	ID       string // as in Info
	Number   int    // as in Info
	Instance int    // as in Info
	Started  time.Time
	Took     time.Duration
	Result   Result
}

// Status returns a snapshot of what the Runner does. A job that is Continuous counts as one run for
// as long as its loop goes on.
func (r *Runner) Status() Status {
	status := r.history.snapshot()
	status.Name = r.opts.Name
	return status
}

const historyLength = 10

// history is what Status tells.
type history struct {
	mu      sync.Mutex // guards the rest; never held while calling out
	status  Status     // without Name and Next
	planned map[*instance]time.Time
}

func (h *history) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.status.Running++
}

func (h *history) end(record Record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.status.Running--
	h.status.Runs++
	switch record.Result.Outcome() {
	case OutcomeFailed:
		h.status.Failed++
	case OutcomeCancelled:
		h.status.Cancelled++
	}
	last := h.status.Last
	h.status.Last = slices.Insert(last[:min(len(last), historyLength-1)], 0, record)
}

func (h *history) plan(in *instance, start time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.planned == nil {
		h.planned = make(map[*instance]time.Time)
	}
	h.planned[in] = start
}

func (h *history) unplan(in *instance) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.planned, in)
}

func (h *history) snapshot() Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	status := h.status
	status.Last = slices.Clone(status.Last)
	for _, start := range h.planned {
		if status.Next.IsZero() || start.Before(status.Next) {
			status.Next = start
		}
	}
	return status
}
