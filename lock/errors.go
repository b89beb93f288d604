// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrHeld says that somebody else holds the lock. The error is a HeldError.
	ErrHeld = errors.New("held by another")

	// ErrLost is the cause (context.Cause) with which the context of a holder
	// ends when the lock could not be renewed in time, or was taken away. It is
	// also the error of renewing or releasing such a lease.
	ErrLost = errors.New("the lock was lost")

	// ErrThrottled says that no turn is free. The error is a ThrottledError.
	ErrThrottled = errors.New("throttled")
)

// A HeldError says who holds a lock.
type HeldError struct{ Holder }

func (e *HeldError) Error() string {
	return fmt.Sprintf("held by %s since %s", e.Owner, e.Since.UTC().Format(time.RFC3339))
}

// Is makes errors.Is(err, ErrHeld) true.
func (e *HeldError) Is(target error) bool { return target == ErrHeld }

// A ThrottledError says when there is a turn again, if nobody else takes it.
type ThrottledError struct {
	Name       string
	RetryAfter time.Duration
}

func (e *ThrottledError) Error() string {
	return fmt.Sprintf("throttled: try again in %s", e.RetryAfter)
}

// Is makes errors.Is(err, ErrThrottled) true.
func (e *ThrottledError) Is(target error) bool { return target == ErrThrottled }

// errReleased is what using a lease after Release returns, and the cause with
// which contexts of it end.
var errReleased = errors.New("the lock was released")
