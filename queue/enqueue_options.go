// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// An EnqueueOption says how one job differs from a default one.
type EnqueueOption interface{ enqueue(*spec) }

type enqueueOption func(*spec)

func (o enqueueOption) enqueue(s *spec) { o(s) }

// ID names the job: any UTF-8 string of up to 256 bytes. At most one job with
// an ID is anywhere in the queue, be it waiting, running, delayed, retained or
// dead; enqueuing another one stores nothing and says Duplicate.
func ID(id string) EnqueueOption {
	return enqueueOption(func(s *spec) { s.set("ID"); s.id = id })
}

// Delay makes the job wait before it can be taken, never less than d and
// normally at most half a second more. The server counts it from now by this
// process's clock.
func Delay(d time.Duration) EnqueueOption {
	return enqueueOption(func(s *spec) { s.set("Delay"); s.delay = d })
}

// At makes the job wait until t by the server's clock, never less and normally
// at most half a second more. A t in the past means as soon as possible.
func At(t time.Time) EnqueueOption {
	return enqueueOption(func(s *spec) { s.set("At"); s.at = t })
}

// Priority puts the job before all waiting ones with a larger number. It is 0
// (the default, first) to Options.Priorities-1. A queue that always has jobs of
// one priority does not get to the next.
func Priority(p int) EnqueueOption {
	return enqueueOption(func(s *spec) { s.set("Priority"); s.priority = p })
}

// MaxAttempts is after how many failed attempts the job is dead. Default:
// Options.MaxAttempts of the worker.
func MaxAttempts(n int) EnqueueOption {
	return enqueueOption(func(s *spec) { s.set("MaxAttempts"); s.maxAttempts = n })
}

// Timeout limits each attempt: then the handler's context ends, and the attempt
// has failed. Default: JobOptions.Timeout of the worker.
func Timeout(d time.Duration) EnqueueOption {
	return enqueueOption(func(s *spec) { s.set("Timeout"); s.timeout = d })
}

// Expires makes the job dead, with ReasonExpired, if it was not started by t.
func Expires(t time.Time) EnqueueOption {
	return enqueueOption(func(s *spec) { s.set("Expires"); s.expires = t })
}

// Retain keeps the job for d after it was completed, with its result, and with
// it keeps its ID taken. Whole seconds, rounded up. Default: Options.Retain of
// the worker.
func Retain(d time.Duration) EnqueueOption {
	return enqueueOption(func(s *spec) { s.set("Retain"); s.retain = d })
}

// CorrelationID is carried to the handler, to tell what belongs together.
func CorrelationID(id string) EnqueueOption {
	return enqueueOption(func(s *spec) { s.set("CorrelationID"); s.correlation = id })
}

// Property is carried to the handler. It may be given several times.
func Property(key, value string) EnqueueOption {
	return enqueueOption(func(s *spec) {
		s.set("Property " + key)
		if s.properties == nil {
			s.properties = map[string]string{}
		}
		s.properties[key] = value
	})
}

// Replace overwrites a job of the same ID that is still delayed, snoozed or
// waiting for a retry, with everything that belongs to it: the last of many
// calls in a short time counts (debounce). A job that is already waiting,
// running, retained or dead is left alone and the new one is a Duplicate.
func Replace() EnqueueOption {
	return enqueueOption(func(s *spec) { s.set("Replace"); s.replace = true })
}

// A spec is what the options of one call ask for.
type spec struct {
	given []string // names of the options, to find those given twice
	twice []string

	id          string
	delay       time.Duration
	at          time.Time
	priority    int
	maxAttempts int
	timeout     time.Duration
	expires     time.Time
	retain      time.Duration
	correlation string
	properties  map[string]string
	replace     bool
	copyOf      string

	traceParent, traceState string
}

func (s *spec) set(option string) {
	if s.has(option) {
		s.twice = append(s.twice, option)
	}
	s.given = append(s.given, option)
}

func (s *spec) has(option string) bool {
	for _, o := range s.given {
		if o == option {
			return true
		}
	}
	return false
}

// due is when the job may be taken, zero for at once.
func (s *spec) due(now time.Time) time.Time {
	if s.has("At") {
		if s.at.Before(now) {
			return now
		}
		return s.at
	}
	if s.delay > 0 {
		return dueAfter(now, s.delay)
	}
	return time.Time{}
}

// check reports everything that is wrong with the options at once.
func (s *spec) check(c *core, now time.Time) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, o := range s.twice {
		bad("option %s is given twice: leave one out", o)
	}
	if s.has("ID") && s.id == "" {
		bad("ID is empty: leave the option out and the queue makes one")
	} else if s.has("ID") {
		if err := checkID(s.id); err != nil {
			errs = append(errs, err)
		}
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"Delay", s.delay}, {"Timeout", s.timeout}, {"Retain", s.retain}} {
		if d.value < 0 || d.value == 0 && s.has(d.name) && d.name != "Delay" {
			bad("%s is %s: want more than zero, or leave the option out", d.name, d.value)
		}
	}
	if s.retain > maxRetain {
		bad("Retain is %s: want at most %s", s.retain, maxRetain)
	}
	if s.has("MaxAttempts") && (s.maxAttempts < 1 || s.maxAttempts > maxAttempts) {
		bad("MaxAttempts is %d: want 1 to %d", s.maxAttempts, maxAttempts)
	}
	if s.priority < 0 || s.priority >= c.priorities {
		bad("Priority is %d: want 0 to %d, as the queue has %d (Options.Priorities)", s.priority, c.priorities-1, c.priorities)
	}
	if s.has("At") && s.has("Delay") {
		bad("At and Delay are both given: leave one out")
	}
	if s.has("At") && (s.at.IsZero() || s.at.After(endOfTime)) {
		bad("At is %s: want a time before the year 2262", s.at.Format(time.RFC3339))
	}
	if s.replace && !s.has("ID") {
		bad("Replace is given without ID: say which job to replace")
	}
	s.checkExpires(now, bad)
	if id := s.correlation; !utf8.ValidString(id) || strings.ContainsAny(id, "\r\n") || strings.TrimSpace(id) != id {
		bad("CorrelationID is %q: want one line of UTF-8 without white space around it", id)
	}
	for k, v := range s.properties {
		if k == "" || !utf8.ValidString(k) || !utf8.ValidString(v) {
			bad("Property %q is %q: want UTF-8, and a key that is not empty", k, v)
		}
	}
	return errors.Join(errs...)
}

func (s *spec) checkExpires(now time.Time, bad func(string, ...any)) {
	if !s.has("Expires") {
		return
	}
	at := s.expires.Format(time.RFC3339Nano)
	if s.expires.Before(now) {
		bad("Expires is %s, which is past: want a time to come", at)
	} else if s.expires.After(endOfTime) {
		bad("Expires is %s: want a time before the year 2262", at)
	} else if due := s.due(now); due.After(s.expires) {
		bad("Expires is %s, before the job is due at %s: want it later", at, due.Format(time.RFC3339Nano))
	}
}
