// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
)

// Outcome is what came of a run, in one word.
type Outcome int8

// The outcomes. Cancelled means that the run did not do its work and that nothing is wrong with
// it: it was interrupted, or found that it had better not run.
const (
	OutcomeSucceeded Outcome = iota
	OutcomeFailed
	OutcomeCancelled
)

// String returns "succeeded", "failed" or "cancelled".
func (o Outcome) String() string {
	switch o {
	case OutcomeSucceeded:
		return "succeeded"
	case OutcomeFailed:
		return "failed"
	case OutcomeCancelled:
		return "cancelled"
	}
	return fmt.Sprintf("outcome(%d)", int8(o))
}

// A Result says what came of a run. It is an immutable value, and the zero Result means that the
// run succeeded.
type Result struct {
	outcome Outcome
	message string
	err     error // nil exactly when succeeded
}

// Succeeded returns the result of a run that did its work.
func Succeeded() Result { return Result{} }

// SucceededWith is Succeeded with a message for the log, such as "deleted 12 records". A message
// makes the run visible: the Runner logs it as information.
func SucceededWith(message string) Result { return Result{message: message} }

// Failed returns the result of a run that failed because of err, whatever err is.
func Failed(err error) Result {
	return Result{outcome: OutcomeFailed, err: cmp.Or(err, errUnknown)}
}

// FailedWith is Failed with an error that consists of the message.
func FailedWith(message string) Result { return Failed(errors.New(message)) }

var errUnknown = errors.New("failed without an error")

// Cancelled returns the result of a run that was interrupted, or that had better not run.
func Cancelled() Result { return Result{outcome: OutcomeCancelled, err: context.Canceled} }

// CancelledWith is Cancelled with the reason, such as "another instance is running".
func CancelledWith(message string) Result {
	return Result{outcome: OutcomeCancelled, message: message, err: fmt.Errorf("%s: %w", message, context.Canceled)}
}

// FromError returns the result of a run that returned err: succeeded for nil, cancelled for
// context.Canceled and ErrShutdown, also wrapped, and failed for everything else. That includes
// context.DeadlineExceeded, because too slow is a failure, and a PanicError, whatever it wraps.
func FromError(err error) Result {
	if err == nil {
		return Result{}
	}
	_, panicked := errors.AsType[*PanicError](err)
	if !panicked && (errors.Is(err, context.Canceled) || errors.Is(err, ErrShutdown)) {
		return Result{outcome: OutcomeCancelled, err: err}
	}
	return Failed(err)
}

// Outcome returns what came of the run, for a switch or a label.
func (r Result) Outcome() Outcome { return r.outcome }

// Succeeded reports whether the run did its work.
func (r Result) Succeeded() bool { return r.outcome == OutcomeSucceeded }

// Failed reports whether the run failed.
func (r Result) Failed() bool { return r.outcome == OutcomeFailed }

// Cancelled reports whether the run was interrupted or had better not run.
func (r Result) Cancelled() bool { return r.outcome == OutcomeCancelled }

// Message returns the message the result was made with, else the text of its error, else "".
func (r Result) Message() string {
	if r.message == "" && r.err != nil {
		return r.err.Error()
	}
	return r.message
}

// Err returns nil if the run succeeded, and otherwise why it did not; never nil. The error of a
// cancelled run matches context.Canceled or ErrShutdown.
func (r Result) Err() error { return r.err }

// String returns the outcome, and the message if there is one: "failed: disk full".
func (r Result) String() string {
	if message := r.Message(); message != "" {
		return r.outcome.String() + ": " + message
	}
	return r.outcome.String()
}

// LogValue makes a group of outcome and message of the result in a log.
func (r Result) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("outcome", r.outcome.String())}
	if message := r.Message(); message != "" {
		attrs = append(attrs, slog.String("message", message))
	}
	return slog.GroupValue(attrs...)
}

// after returns r with the number of attempts it took, if that was more than one.
func (r Result) after(attempts int) Result {
	if attempts == 1 {
		return r
	}
	note := fmt.Sprintf("after %d attempts", attempts)
	if r.message != "" {
		r.message = note + ": " + r.message
	}
	if r.err != nil {
		r.err = fmt.Errorf("%s: %w", note, r.err)
	} else if r.message == "" {
		r.message = note
	}
	return r
}
