// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package hosting

import (
	"errors"
	"fmt"
	"time"

	"github.com/jetjobs/jetjobs/internal/backoff"
)

// A JobOption is given to AddJob.
type JobOption interface{ applyJob(*hostedJob) }

// A ServiceOption is given to AddService.
type ServiceOption interface{ applyService(*service) }

// A StartupOption is given to AddStartup.
type StartupOption interface{ applyStartup(*action) }

// An Option is one of the few that everything takes.
type Option interface {
	JobOption
	ServiceOption
	StartupOption
}

type afterStartup struct{}

func (afterStartup) applyJob(j *hostedJob)   { j.late = true }
func (afterStartup) applyService(s *service) { s.late = true }
func (afterStartup) applyStartup(a *action)  { a.late = true }

// AfterStartup puts a startup action, a service or a job into the second wave,
// which begins when all of the first one is up: a job that needs what a service
// offers, the listener that is to open last.
func AfterStartup() Option { return afterStartup{} }

type startupOption func(*action)

func (o startupOption) applyStartup(a *action) { o(a) }

// Priority says when a startup action runs: smaller ones first, equal ones at
// the same time. Default 0; may be negative.
func Priority(n int) StartupOption { return startupOption(func(a *action) { a.priority = n }) }

// Timeout limits each attempt of a startup action: its context ends with a
// context.DeadlineExceeded. One that goes on for 4 s after that stops the host,
// however many attempts it has. Default: none.
func Timeout(d time.Duration) StartupOption {
	return startupOption(func(a *action) { a.timeout, a.timed = d, true })
}

// Attempts is how often a startup action is tried until it succeeds, with a
// wait of min(100 ms · 2^(n−1), 1 min) ± 20 % after the n-th failure. Default 1.
func Attempts(n int) StartupOption { return startupOption(func(a *action) { a.attempts = n }) }

type serviceOption func(*service)

func (o serviceOption) applyService(s *service) { o(s) }

// RestartOnFailure runs a service again after it failed, with a wait of
// min(100 ms · 2^(n−1), 1 min) ± 20 % after the n-th failure in a row; one that
// ran for a minute begins a new row. Without it a failure stops the host.
func RestartOnFailure() ServiceOption { return serviceOption(func(s *service) { s.restart = true }) }

// restarts is the wait of RestartOnFailure and of Attempts.
var restarts = backoff.Exponential{First: 100 * time.Millisecond, Max: time.Minute, Factor: 2, Jitter: 0.2}

func (a *action) check() error {
	var errs []error
	if a.timed && a.timeout <= 0 {
		errs = append(errs, fmt.Errorf("startup action %q: Timeout is %s: want more than zero; leave it out for none", a.name, a.timeout))
	}
	if a.attempts < 1 {
		errs = append(errs, fmt.Errorf("startup action %q: Attempts is %d: want 1 or more", a.name, a.attempts))
	}
	if a.run == nil {
		errs = append(errs, fmt.Errorf("startup action %q: the function is nil", a.name))
	}
	return errors.Join(errs...)
}
