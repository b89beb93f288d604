// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetjobs/jetjobs/internal/wirename"
)

// Options describe a bus. The zero value is good.
type Options struct {
	// Namespace is the first word of every subject, for several installations in
	// one account. Letters, digits, - and _. Default: "jobs".
	Namespace string

	// Codec makes payloads of values. Default: JSON.
	Codec Codec

	// Buffer is how many messages may wait for a subscription's handler before
	// new ones are dropped, unless it was made with its own number. Besides, no
	// more than 64 MiB wait. Default: 65,536.
	Buffer int

	// Grace is how long a running handler keeps its context after its
	// subscription was asked to end. Then the context ends with the cause
	// ErrClosed. Default 25 s; negative: none, the context ends at once.
	Grace time.Duration

	// Timeout limits a call whose context has no deadline: Request, Flush, a
	// delayed Publish, and the confirmation that Subscribe waits for. Default: 30 s.
	Timeout time.Duration

	// CoreOnly says that no JetStream is wanted: a delayed Publish is refused.
	// Default: the first delayed Publish creates a stream, see the package comment.
	CoreOnly bool

	// Storage is where the stream keeps delayed messages. Memory is lost when the
	// server stops. Default: file.
	Storage jetstream.StorageType

	// Replicas is how many servers keep a copy of delayed messages: 1, 3 or 5.
	// Default: what is there, else 1.
	Replicas int

	// Logger gets subscriptions begun and ended at Debug, and at Warn what needs
	// a look: slow subscribers, failed and undecodable messages. Default nil:
	// slog.Default() at the time of writing.
	Logger *slog.Logger
}

const (
	defaultBuffer  = 64 << 10
	maxBufferBytes = 64 << 20
)

func (o Options) withDefaults() Options {
	o.Namespace = cmp.Or(o.Namespace, "jobs")
	o.Buffer = cmp.Or(o.Buffer, defaultBuffer)
	o.Grace = max(cmp.Or(o.Grace, 25*time.Second), 0)
	o.Timeout = cmp.Or(o.Timeout, 30*time.Second)
	if o.Codec == nil { // not cmp.Or: a Codec need not be comparable
		o.Codec = JSON
	}
	return o
}

// check reports everything that is wrong at once.
func (o Options) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("Options."+format, args...)) }
	if o.Namespace != "" {
		errs = append(errs, wirename.Check("Options.Namespace", o.Namespace))
	}
	if o.Buffer < 0 {
		bad("Buffer is %d: want the number of messages, or zero for %d", o.Buffer, defaultBuffer)
	}
	if o.Timeout < 0 {
		bad("Timeout is %s: want zero for the default, or more", o.Timeout)
	}
	if o.Storage != jetstream.FileStorage && o.Storage != jetstream.MemoryStorage {
		bad("Storage is %d: want jetstream.FileStorage or jetstream.MemoryStorage", o.Storage)
	}
	if o.Replicas < 0 || o.Replicas > 5 {
		bad("Replicas is %d: want 1, 3 or 5", o.Replicas)
	}
	return errors.Join(errs...)
}

// logger is asked for every line, so that slog.SetDefault works after New.
func (o Options) logger() *slog.Logger {
	if o.Logger != nil {
		return o.Logger
	}
	return slog.Default()
}
