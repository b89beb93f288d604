// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"fmt"
	"time"
)

// RetryAfter makes a handler's error choose when its job is tried again. The
// attempt counts, and after the last one the job is dead as usual. The delay is
// never cut short; zero or less means as soon as possible, which is within half
// a second.
func RetryAfter(delay time.Duration, err error) error {
	return &steer{verdict: retryJob, delay: delay, err: err}
}

// Snooze puts a job aside without counting the attempt: for work whose time has
// not come, or that needs something another holds just now. The handler's next
// attempt has the same number. Zero or less means as soon as possible, which is
// within half a second.
func Snooze(delay time.Duration) error {
	return &steer{verdict: snoozeJob, delay: delay}
}

// Permanent makes a handler's error final: the job is dead at once, whatever
// attempts it has left, and is kept among the dead letters.
func Permanent(err error) error {
	return &steer{verdict: buryJob, err: err}
}

// A steer is an error that says what is to become of a job.
type steer struct {
	verdict verdict
	delay   time.Duration
	err     error // nil for a snooze
}

func (s *steer) Error() string {
	switch {
	case s.verdict == snoozeJob:
		return fmt.Sprintf("snoozed for %s", s.delay)
	case s.err == nil:
		return "no reason given"
	}
	return s.err.Error()
}

func (s *steer) Unwrap() error { return s.err }
