// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetjobs/jetjobs/internal/backoff"
	"github.com/jetjobs/jetjobs/internal/wirename"
)

// Options describe a queue. The zero value opens a queue as it stands on the
// server, or creates one with the defaults.
//
// The first group is stored on the server and the same for all who use the
// queue: a field left zero takes what is there (but for Storage: who does not ask
// for memory does not get it), a field that differs from it makes Open fail. The second group is this process's own; give it the same
// values everywhere that work is done.
type Options struct {
	// Namespace is the first word of everything the queue has on the server,
	// for several installations in one account. Letters, digits, - and _.
	// Default: "jobs".
	Namespace string

	// MustExist makes Open fail with ErrNotFound if the queue is not there, instead
	// of creating it, and take its Storage as it stands: for tools that look at the
	// queues of others. Default: create it.
	MustExist bool

	// Storage is where the server keeps the jobs. Memory is lost when the
	// server stops. Default: file.
	Storage jetstream.StorageType

	// Replicas is how many servers keep a copy: 1, 3 or 5. Default: 1.
	Replicas int

	// Priorities is how many there are; a job's is 0 (first) to Priorities-1.
	// Each one is a consumer on the server. Default: 1, at most 16.
	Priorities int

	// Lease is how soon the crash of a worker is noticed, not how long a job
	// may run: workers renew it. At least a second. Default: 30 s.
	Lease time.Duration

	// MaxRunning is how many jobs of one priority may run at a time over all
	// workers. It takes effect only when Open creates the queue; SetMaxRunning
	// changes it live. Default: no limit.
	MaxRunning int

	// MaxAttempts is after how many failed attempts a job is dead, unless it was
	// enqueued with its own number. Default: 20, which with the default Backoff
	// takes about nine hours.
	MaxAttempts int

	// MaxInterruptions is how often a job may be interrupted by the end of its
	// worker (a crash, a lost connection; not a shutdown) before it is dead. A job
	// that has one left runs after a short wait, and only one such job at a time
	// in each process, so that a job that kills its workers does not make its
	// neighbours dead. Default: 5.
	MaxInterruptions int

	// Backoff says how long a job waits after its nth failed attempt, n from 1.
	// It is called concurrently. Default: 1 s, doubled each time up to 1 h, and
	// ±10 %.
	Backoff func(attempt int) time.Duration

	// Retain is how long a finished job is kept with its result, unless it was
	// enqueued with its own time; as long as it is kept its ID is taken. Whole
	// seconds, rounded up. Default: not at all.
	Retain time.Duration

	// Codec makes payloads of values. Default: JSON.
	Codec Codec

	// Middleware wraps what this process enqueues and works on; the first is the
	// outermost. Default: none.
	Middleware []Middleware

	// Timeout limits a call whose context has no deadline: how long Enqueue
	// waits for a server that is away. Default: 30 s.
	Timeout time.Duration

	// Logger gets started and stopped at Info, single jobs at Debug, and at Warn
	// what needs a look. Default: slog.Default().
	Logger *slog.Logger
}

const (
	maxPriorities = 16
	maxAttempts   = 1_000_000
)

var defaultBackoff = backoff.Exponential{First: time.Second, Max: time.Hour, Factor: 2, Jitter: 0.1}

// withDefaults fills in what the server does not know.
func (o Options) withDefaults() Options {
	o.Namespace = cmp.Or(o.Namespace, defaultNamespace)
	o.MaxAttempts = cmp.Or(o.MaxAttempts, 20)
	o.MaxInterruptions = cmp.Or(o.MaxInterruptions, 5)
	o.Codec = cmp.Or(o.Codec, JSON)
	o.Timeout = cmp.Or(o.Timeout, 30*time.Second)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	if o.Backoff == nil {
		o.Backoff = func(attempt int) time.Duration { return defaultBackoff.Delay(attempt, rand.Float64) }
	}
	return o
}

// check reports everything that is wrong at once.
func (o Options) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("Options."+format, args...)) }
	if o.Namespace != "" {
		if err := wirename.Check("Options.Namespace", o.Namespace); err != nil {
			errs = append(errs, err)
		}
	}
	if o.Storage != jetstream.FileStorage && o.Storage != jetstream.MemoryStorage {
		bad("Storage is %d: want jetstream.FileStorage or jetstream.MemoryStorage", o.Storage)
	}
	if o.Replicas < 0 || o.Replicas > 5 || o.Replicas == 2 || o.Replicas == 4 {
		bad("Replicas is %d: want 1, 3 or 5", o.Replicas)
	}
	if o.Priorities < 0 || o.Priorities > maxPriorities {
		bad("Priorities is %d: want 1 to %d; use several queues for more kinds of work", o.Priorities, maxPriorities)
	}
	if o.Lease != 0 && o.Lease < time.Second {
		bad("Lease is %s: want at least 1s, as it is renewed over the network", o.Lease)
	}
	for _, f := range []struct {
		name  string
		value int
	}{{"MaxRunning", o.MaxRunning}, {"MaxAttempts", o.MaxAttempts}, {"MaxInterruptions", o.MaxInterruptions}} {
		if f.value < 0 || f.value > maxAttempts {
			bad("%s is %d: want 1 to %d, or zero for the default", f.name, f.value, maxAttempts)
		}
	}
	if o.Retain < 0 || o.Retain > maxRetain {
		bad("Retain is %s: want zero, to keep nothing, to %s", o.Retain, maxRetain)
	}
	if o.Timeout < 0 {
		bad("Timeout is %s: want zero for the default, or more", o.Timeout)
	}
	return errors.Join(errs...)
}
