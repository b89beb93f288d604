// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

// Package guard runs code that belongs to somebody else, so that a panic in it is an error with
// a stack and not the end of the process.
package guard

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// PanicError is what became of a function that panicked, or that ended its goroutine with
// runtime.Goexit, instead of returning.
type PanicError struct {
	Value any    // what panic was called with
	Stack []byte // of the goroutine, taken where it panicked
}

var errGoexit = errors.New("ended its goroutine by runtime.Goexit, as t.FailNow does, instead of returning")

// Error names the value that was passed to panic. It leaves the stack out.
func (e *PanicError) Error() string {
	if e.Value == errGoexit {
		return errGoexit.Error()
	}
	return fmt.Sprintf("panic: %v", e.Value)
}

// Unwrap returns the value that was passed to panic if it is an error, otherwise nil.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Call runs fn on a goroutine of its own, waits for its end and returns its error; a panic and
// a runtime.Goexit are returned as a *PanicError. The extra goroutine (half a microsecond) is
// the price of surviving Goexit, which cannot be recovered from.
func Call(fn func() error) error {
	end := make(chan error, 1)
	go Settle(fn, func(err error) { end <- err })
	return <-end
}

// Settle runs fn on this goroutine and then done, exactly once and however fn ended, with what
// Call would have returned. It is for those whose goroutine may end with fn: after a Goexit done
// still runs, but Settle does not return.
func Settle(fn func() error, done func(error)) {
	var err error
	returned := false
	defer func() {
		// Since Go 1.21 recover returns nil only if nothing panicked, even after panic(nil).
		if value := recover(); value != nil {
			err = &PanicError{Value: value, Stack: debug.Stack()}
		} else if !returned {
			err = &PanicError{Value: errGoexit, Stack: debug.Stack()}
		}
		done(err)
	}()
	err = fn()
	returned = true
}
