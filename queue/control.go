// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// metaPauseReason is where the reason of a pause is kept: in the metadata of
// the first consumer.
const metaPauseReason = "jobs.pause.reason"

// Pause makes the queue hand out nothing, to any worker anywhere, until the
// given time, or until Resume if it is the zero time. Jobs that run go on, and
// jobs can be enqueued. It survives restarts of everything. The reason is kept
// for Stats; it is one line of at most 1,000 bytes, and may be empty.
func (q *Queue[T]) Pause(ctx context.Context, until time.Time, reason string) error {
	return q.c.wrap("pause", q.c.pauseQueue(ctx, until, reason))
}

func (c *core) pauseQueue(ctx context.Context, until time.Time, reason string) error {
	switch {
	case !until.IsZero() && !until.After(time.Now()):
		return fmt.Errorf("until is %s, which is past: want a time to come, or the zero time for no end", until.Format(time.RFC3339))
	case len(reason) > 1000 || strings.ContainsAny(reason, "\r\n"):
		return errors.New("the reason has more than 1,000 bytes or more than one line: want less")
	}
	if until.IsZero() {
		until = endOfTime
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	// The reason first: a crash in between leaves one that is not shown.
	if err := c.editWorker(ctx, 0, func(config *jetstream.ConsumerConfig) {
		config.Metadata[metaPauseReason] = reason
	}); err != nil {
		return err
	}
	for p := range c.priorities {
		if _, err := c.js.PauseConsumer(ctx, c.names.stream, c.names.worker(p), until); err != nil {
			return err
		}
	}
	c.teller.tellSurely(Event{Type: EventPaused, Error: reason})
	return nil
}

// Resume ends a pause. Resuming a queue that is not paused is no error.
func (q *Queue[T]) Resume(ctx context.Context) error {
	ctx, cancel := q.c.bound(ctx)
	defer cancel()
	for p := range q.c.priorities {
		if _, err := q.c.js.ResumeConsumer(ctx, q.c.names.stream, q.c.names.worker(p)); err != nil {
			return q.c.wrap("resume", err)
		}
	}
	q.c.teller.tellSurely(Event{Type: EventResumed})
	return nil
}

// SetMaxRunning changes how many jobs of one priority may run at a time over all
// workers, from now on; zero means no limit. Jobs that run already go on.
func (q *Queue[T]) SetMaxRunning(ctx context.Context, n int) error {
	if n < 0 || n > maxAttempts {
		return q.c.wrap("set max running", fmt.Errorf("n is %d: want 1 to %d, or zero for no limit", n, maxAttempts))
	}
	ctx, cancel := q.c.bound(ctx)
	defer cancel()
	for p := range q.c.priorities {
		if err := q.c.editWorker(ctx, p, func(config *jetstream.ConsumerConfig) {
			config.MaxAckPending = limitOrNone(n)
		}); err != nil {
			return q.c.wrap("set max running", err)
		}
	}
	return nil
}

// editWorker changes the consumer of a priority, unless it is so already: a user
// that may not change it can go on. The server has no compare-and-set for this; of
// two edits at once one may be lost.
func (c *core) editWorker(ctx context.Context, p int, edit func(*jetstream.ConsumerConfig)) error {
	consumer, err := c.js.Consumer(ctx, c.names.stream, c.names.worker(p))
	if err != nil {
		return err
	}
	was := consumer.CachedInfo().Config
	config := was
	config.Metadata = maps.Clone(was.Metadata)
	if config.Metadata == nil {
		config.Metadata = map[string]string{}
	}
	edit(&config)
	if reflect.DeepEqual(config, was) {
		return nil
	}
	_, err = c.js.UpdateConsumer(ctx, c.names.stream, config)
	return err
}

// Purge removes every job, in whatever state: waiting, delayed, dead, retained,
// and running ones too, whose handlers are not told and go on.
func (q *Queue[T]) Purge(ctx context.Context) error {
	ctx, cancel := q.c.bound(ctx)
	defer cancel()
	stream, err := q.c.js.Stream(ctx, q.c.names.stream)
	if err == nil {
		err = stream.Purge(ctx)
	}
	return q.c.wrap("purge", err)
}

// Delete removes the queue with all its jobs from the server. Workers end with
// an error; this Queue is of no more use. Deleting a queue that is gone is no
// error.
func (q *Queue[T]) Delete(ctx context.Context) error {
	ctx, cancel := q.c.bound(ctx)
	defer cancel()
	err := q.c.js.DeleteStream(ctx, q.c.names.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	return q.c.wrap("delete", err)
}
