// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"time"
)

var (
	// ErrEmpty says that no job was waiting.
	ErrEmpty = errors.New("no job is waiting")

	// ErrLeaseLost is the cause (context.Cause) with which a handler's context
	// ends when the lease on its job could not be renewed in time: another
	// worker may have the job by now. It is also the error of settling or
	// renewing an entry after its lease.
	ErrLeaseLost = errors.New("the lease on the job was lost")

	// ErrCancelled is the cause (context.Cause) with which a handler's context
	// ends when its job was cancelled, see Queue.Cancel.
	ErrCancelled = errors.New("the job was cancelled")

	// ErrNotFound says that there is no job with an ID where it was looked for.
	ErrNotFound = errors.New("not found")

	// ErrSettled is matched by a SettledError.
	ErrSettled = errors.New("the job is settled already")
)

// A SettledError is the answer to a second settlement of an Entry.
type SettledError struct {
	ID  string // of the job
	How string // it was settled: completed, retrying, snoozed, returned, cancelled or dead
}

func (e *SettledError) Error() string {
	return fmt.Sprintf("job %q is settled already: %s", e.ID, e.How)
}

// Is makes errors.Is(err, ErrSettled) true.
func (e *SettledError) Is(target error) bool { return target == ErrSettled }

// A timeoutError is the cause with which the context of a handler ends that
// took longer than its job's Timeout.
type timeoutError struct{ after time.Duration }

func (e *timeoutError) Error() string { return fmt.Sprintf("timed out after %s", e.after) }

// Is makes errors.Is(err, context.DeadlineExceeded) true.
func (e *timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

// A decodeError says that a payload is not a value of the queue's type.
type decodeError struct{ err error }

func (e *decodeError) Error() string { return "decode the payload: " + e.err.Error() }
func (e *decodeError) Unwrap() error { return e.err }

// An encodeError says that a value could not be made a payload.
type encodeError struct{ err error }

func (e *encodeError) Error() string { return "encode the value: " + e.err.Error() }
func (e *encodeError) Unwrap() error { return e.err }

// An itemError says which item of many is wrong.
type itemError struct {
	index int
	err   error
}

func (e itemError) Error() string { return fmt.Sprintf("item %d: %v", e.index, e.err) }
func (e itemError) Unwrap() error { return e.err }
