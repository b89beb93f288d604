// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package jobs

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jetjobs/jetjobs/internal/backoff"
)

// Options say how a Runner runs its job. The zero value runs one instance again and again.
type Options struct {
	// Name of the job in logs, in the context of its runs and in Status. Default "job".
	Name string

	// Interval is the wait between the end of a run and the start of the next. Default 0: at once
	// after a run that succeeded. It is a gap and not a rate, so runs never overlap. See the package
	// comment for jobs that succeed without having done anything.
	Interval time.Duration

	// InitialDelay is the wait before the first run of each instance. Default 0.
	InitialDelay time.Duration

	// IterationLimit ends an instance after so many runs, whatever their results. It counts for each
	// instance: 3 instances with a limit of 10 make 30 runs. Default 0: no limit.
	IterationLimit int

	// Instances is how many runs may go on at the same time. Default 1.
	Instances int

	// Grace is how long a run in progress keeps its context after the Runner was asked to stop. Then
	// the context ends with the cause ErrShutdown. Default 25 s, which leaves 5 of the 30 that
	// Kubernetes gives a process; negative: none, the context ends at once.
	Grace time.Duration

	// Backoff returns the wait after so many runs in a row, 1 or more, that failed or were cancelled.
	// The longer of it and Interval counts, and never less than 10 ms, so that no Backoff makes the
	// Runner spin. Instances call it concurrently. Default: min(100 ms · 2^(n−1), 1 min) ± 20 %.
	Backoff func(failures int) time.Duration

	// Logger receives what the Runner has to say. Default nil: slog.Default() at the time of writing.
	Logger *slog.Logger
}

const (
	minBackoff   = 10 * time.Millisecond
	defaultGrace = 25 * time.Second
)

var defaultBackoff = backoff.Exponential{First: 100 * time.Millisecond, Max: time.Minute, Factor: 2, Jitter: 0.2}

func (o Options) withDefaults() Options {
	o.Name = cmp.Or(o.Name, "job")
	o.Instances = cmp.Or(o.Instances, 1)
	o.Grace = max(cmp.Or(o.Grace, defaultGrace), 0)
	if o.Backoff == nil {
		o.Backoff = func(failures int) time.Duration { return defaultBackoff.Delay(failures, rand.Float64) }
	}
	return o
}

// check returns all that is wrong with o.
func (o Options) check() error {
	return errors.Join(
		notNegative("Options.Interval", o.Interval, "zero runs again at once"),
		notNegative("Options.InitialDelay", o.InitialDelay, "zero begins at once"),
		notNegative("Options.IterationLimit", o.IterationLimit, "zero means no limit"),
		notNegative("Options.Instances", o.Instances, "zero means one"),
	)
}

func notNegative[T int | time.Duration](field string, value T, zero string) error {
	if value < 0 {
		return fmt.Errorf("jobs: %s is %v: want zero or more; %s", field, value, zero)
	}
	return nil
}

// logger is asked for every line, so that slog.SetDefault works after the Runner was made.
func (o Options) logger() *slog.Logger {
	if o.Logger != nil {
		return o.Logger
	}
	return slog.Default()
}
