// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package cron

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Overlap says what happens to a tick that is due while an earlier run goes on.
type Overlap string

// The policies. Skip, the default, leaves the tick out; Allow runs beside; Queue
// runs afterwards.
const (
	Skip  Overlap = "skip"
	Allow Overlap = "allow"
	Queue Overlap = "queue"
)

func (o Overlap) check() error {
	switch o {
	case "", Skip, Allow, Queue:
		return nil
	}
	return fmt.Errorf("Options.Overlap is %q: want Skip, Allow or Queue", o)
}

// Control is what can be done with the schedules of a Table or a Fleet at run
// time. Its methods may be called concurrently. A name that is not there is
// ErrNotFound.
type Control interface {
	// List returns all schedules, by name.
	List(ctx context.Context) ([]Status, error)
	// Trigger runs a job now, whether it is enabled or not, and returns at once.
	Trigger(ctx context.Context, name string) (*Handle, error)
	// Enable makes a schedule fire again, from now on: what was due meanwhile is
	// left out.
	Enable(ctx context.Context, name string) error
	// Disable stops a schedule from firing; runs in progress go on. why is kept.
	Disable(ctx context.Context, name, why string) error
	// Reschedule gives a job another expression, in the same zone, from now on.
	// The empty expression is the one it was added with.
	Reschedule(ctx context.Context, name, spec string) error
}

var (
	// ErrNotFound is the error for a name that has no schedule.
	ErrNotFound = errors.New("no schedule of this name")
	// ErrRunning is the error of Trigger while a job runs that may not overlap.
	ErrRunning = errors.New("the job runs already, and may not overlap")
)

// Status is a schedule at a moment.
type Status struct {
	Name     string      `json:"name"`
	Spec     string      `json:"spec"`
	Zone     string      `json:"zone"`
	Overlap  Overlap     `json:"overlap"`
	Enabled  bool        `json:"enabled"`
	Why      string      `json:"why,omitempty"`      // it was disabled
	By       string      `json:"by,omitempty"`       // who disabled or rescheduled it
	Since    time.Time   `json:"since,omitzero"`     // when that was
	Original string      `json:"original,omitempty"` // the expression before Reschedule
	Hosts    []string    `json:"hosts,omitempty"`    // who registers it; a Fleet's
	Running  int         `json:"running"`            // runs in progress
	Skipped  int         `json:"skipped"`            // ticks left out because of Overlap
	LastSkip time.Time   `json:"last_skip,omitzero"` // the last one of them
	Next     []time.Time `json:"next,omitempty"`     // the next five ticks, none if disabled
	Last     []Run       `json:"last,omitempty"`     // the last ten runs that ended, the latest first
	Problem  string      `json:"problem,omitempty"`  // why some of this is not known; of a Fleet
}

// Run is a run that has ended.
type Run struct {
	ID      string        `json:"id"`
	Planned time.Time     `json:"planned,omitzero"` // the tick; zero if it was triggered by hand
	Started time.Time     `json:"started"`          // the last attempt
	Took    time.Duration `json:"took_ns"`          // that one
	Outcome string        `json:"outcome"`          // succeeded, failed, cancelled
	Message string        `json:"message,omitempty"`
	Host    string        `json:"host,omitempty"`
	Attempt int           `json:"attempt"` // how many it took
}

// A Handle is a run that was triggered.
type Handle struct {
	ID   string
	wait func(ctx context.Context) (Run, error)
}

// Wait returns the run when it has ended. The error is that of ctx, or of the
// server; a job that failed is no error of Wait.
func (h *Handle) Wait(ctx context.Context) (Run, error) { return h.wait(ctx) }

const (
	nextShown = 5
	lastShown = 10
)
