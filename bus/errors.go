// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"errors"
	"fmt"
)

var (
	// ErrNoResponder says that nobody handled a request, so that it is safe to
	// make it again: nobody responds to the endpoint, or the one who was asked is
	// too busy or about to stop.
	ErrNoResponder = errors.New("nobody took the request")

	// ErrClosed is the cause (context.Cause) with which a handler's context ends
	// when its subscription ended and Options.Grace is over.
	ErrClosed = errors.New("the subscription has ended")
)

// What a ReplyError's Code says unless the handler chose its own.
const (
	codeUndecodable = "400"
	codeFailed      = "500"
	codeUnavailable = "503"
)

// maxErrorText is how many bytes of an error's text travel.
const maxErrorText = 2048

// A ReplyError is the answer of a handler that failed. A handler that returns
// one, or an error that wraps one, sends its Code and Text as they are.
type ReplyError struct {
	// Code is for programs: by default "500" for a handler that failed or
	// panicked, "400" for a request it could not decode, and "503" for a request
	// that was not handled at all, which errors.Is finds to be ErrNoResponder.
	Code string

	// Text is for people: one line, at most 2,048 bytes of it.
	Text string
}

func (e *ReplyError) Error() string { return fmt.Sprintf("%s (code %s)", e.Text, e.Code) }

// Is makes errors.Is(err, ErrNoResponder) true for the code "503".
func (e *ReplyError) Is(target error) bool {
	return target == ErrNoResponder && e.Code == codeUnavailable
}

// replyError is what the caller gets to know of err.
func replyError(err error) *ReplyError {
	if chosen, ok := errors.AsType[*ReplyError](err); ok {
		return &ReplyError{Code: chosen.Code, Text: chosen.Text}
	}
	if isUndecodable(err) {
		return &ReplyError{Code: codeUndecodable, Text: err.Error()}
	}
	return &ReplyError{Code: codeFailed, Text: err.Error()}
}

// A decodeError says that a message is not what the topic says it is.
type decodeError struct{ err error }

func (e *decodeError) Error() string { return "decode the message: " + e.err.Error() }
func (e *decodeError) Unwrap() error { return e.err }

func isUndecodable(err error) bool {
	_, ok := errors.AsType[*decodeError](err)
	return ok
}

// wrap says once which topic and what failed.
func wrap(topic, what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("bus %q: %s: %w", topic, what, err)
}
