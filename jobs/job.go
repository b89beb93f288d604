// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package jobs

import (
	"context"
	"errors"

	"github.com/jetjobs/jetjobs/internal/guard"
)

// ErrShutdown is the cause (context.Cause) with which the context of a run ends when its Runner was
// asked to stop and Options.Grace is over.
var ErrShutdown = errors.New("jobs: shutting down")

// A Job does one unit of work. Run returns when it is done, and soon after ctx has ended; ctx also
// ends when Run returns, and with it what Run left behind. A job that is run in several instances,
// without a factory, must allow concurrent calls.
type Job interface {
	Run(ctx context.Context) Result
}

// A Continuous job brings its own loop, because it can keep more going than one unit of work after
// the other.
//
// A Runner calls RunContinuous in place of Run, unless its options ask for what only single runs can
// give, Interval or IterationLimit. RunContinuous goes on until ctx ends, then starts nothing more,
// gives what it has started Info.Grace to end, and returns nil. An error, or returning without having
// been asked to, counts as a failed run: it is called again after the usual wait, which grows anew
// after a call that lasted a minute.
type Continuous interface {
	Job
	RunContinuous(ctx context.Context) error
}

// Func is a function as a Job.
type Func func(ctx context.Context) Result

// Run calls f.
func (f Func) Run(ctx context.Context) Result { return f(ctx) }

// ErrFunc is a function that returns an error as a Job: its result is FromError of that error.
type ErrFunc func(ctx context.Context) error

// Run calls f and returns FromError of what f returns.
func (f ErrFunc) Run(ctx context.Context) Result { return FromError(f(ctx)) }

// isNil reports whether there is no job in job, also when it is a nil function of our own types.
func isNil(job Job) bool {
	switch j := job.(type) {
	case nil:
		return true
	case Func:
		return j == nil
	case ErrFunc:
		return j == nil
	}
	return false
}

// PanicError is the error of a run that panicked. Value is what panic was called with, and Stack
// ([]byte) the stack of the goroutine that panicked. If Value is an error, the PanicError unwraps to
// it. A run that calls runtime.Goexit ends with a PanicError too, which says so.
type PanicError = guard.PanicError

// call runs one unit of work, on a goroutine of its own, and makes a panic of it a failed result.
func call(ctx context.Context, run func(context.Context) Result) Result {
	var result Result
	if err := guard.Call(func() error { result = run(ctx); return nil }); err != nil {
		return Failed(err)
	}
	return result
}
