// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package cron

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// FleetOptions say where a Fleet keeps its schedules. The zero value is good.
type FleetOptions struct {
	// Namespace is the beginning of what it makes on the server. Default "jobs".
	Namespace string

	// Replicas is how many servers of a cluster keep bucket and queues, when they
	// are made: 1, 3 or 5. Default 1; if they are there, whatever they have.
	Replicas int

	// LeaderTTL is how long nobody plans ticks after the leader crashed; what was
	// due meanwhile is planned then. At least a second, in whole ones. Default 10 s.
	LeaderTTL time.Duration

	// Host names this process in the history, in List and in the log; several may have
	// one name. Default: host name and process ID, such as "web-1-4711".
	Host string

	// Logger receives what the fleet has to say. Default: slog.Default().
	Logger *slog.Logger
}

// Missed says what becomes of ticks that nobody planned within a minute, because
// no host was up. Ticks that are less late, as after the crash of a leader, are
// planned in any case.
type Missed string

// The policies. RunOnce, the default, makes up for the latest one, RunAll for each,
// at most 1,000, within FleetJobOptions.Window; RunNone for none.
const (
	RunOnce Missed = "once"
	RunAll  Missed = "all"
	RunNone Missed = "none"
)

// FleetJobOptions say how a job of a Fleet runs. The zero value is good.
type FleetJobOptions struct {
	// Zone is the name of the time zone whose clock counts. Default UTC.
	Zone string

	// Overlap is what happens to a tick while an occurrence waits, runs or is to
	// be retried anywhere. Default Skip.
	Overlap Overlap

	// Missed is what becomes of ticks while no host is up, for those not older than
	// Window. Default RunOnce, and 24 h.
	Missed Missed
	Window time.Duration

	// MaxAttempts is how often an occurrence is tried, with Backoff in between, see
	// queue.Options. Default 3.
	MaxAttempts int
	Backoff     func(attempt int) time.Duration

	// Timeout ends the context of an attempt. Default: none.
	Timeout time.Duration

	// Jitter is how much later than its tick an occurrence may begin, at random.
	// Default 0.
	Jitter time.Duration

	// RunAtStart runs the job once when the fleet gets to know it, but not when
	// hosts come and go later. Default: not before the first tick.
	RunAtStart bool

	// Concurrency is how many occurrences this process may run at a time. Default
	// 1, or 10 if Overlap is Allow.
	Concurrency int

	// Retain is how long runs are kept as history, at least Window and an hour: what
	// is kept keeps a leader that was cut off, and comes back, from enqueueing a tick
	// again. Default 7 days.
	Retain time.Duration
}

const leastRetain = time.Hour

func (o FleetJobOptions) withDefaults() FleetJobOptions {
	o.Overlap = cmp.Or(o.Overlap, Skip)
	o.Missed = cmp.Or(o.Missed, RunOnce)
	o.Window = cmp.Or(o.Window, 24*time.Hour)
	o.MaxAttempts = cmp.Or(o.MaxAttempts, 3)
	o.Retain = cmp.Or(o.Retain, max(7*24*time.Hour, o.Window))
	if o.Concurrency == 0 {
		o.Concurrency = 1
		if o.Overlap == Allow {
			o.Concurrency = 10
		}
	}
	return o
}

func (o FleetJobOptions) check() error {
	errs := []error{o.Overlap.check()}
	bad := func(field string, value any, want string) {
		errs = append(errs, fmt.Errorf("FleetJobOptions.%s is %v: want %s", field, value, want))
	}
	switch o.Missed {
	case "", RunOnce, RunAll, RunNone:
	default:
		bad("Missed", o.Missed, "RunOnce, RunAll or RunNone")
	}
	if o.Window < 0 {
		bad("Window", o.Window, "zero for 24h, or more")
	}
	if o.Retain < 0 || o.Retain > 0 && o.Retain < max(leastRetain, cmp.Or(o.Window, 24*time.Hour)) {
		bad("Retain", o.Retain, "at least Window and 1h, or zero for 7 days: the history shows which ticks have run")
	}
	if o.MaxAttempts < 0 {
		bad("MaxAttempts", o.MaxAttempts, "1 or more, or zero for 3")
	}
	if o.Timeout < 0 {
		bad("Timeout", o.Timeout, "zero for none, or more")
	}
	if o.Jitter < 0 {
		bad("Jitter", o.Jitter, "zero for none, or more")
	}
	if o.Concurrency < 0 {
		bad("Concurrency", o.Concurrency, "1 or more, or zero for the default")
	}
	return errors.Join(errs...)
}
