// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"
)

// An Entry is a job that was taken from the queue, and the right to say what
// becomes of it. A handler says so by what it returns; whoever took the entry
// with Dequeue or Entries settles it with Complete, Abandon or Reject, exactly
// once, before its lease ends. Its methods may be called concurrently.
type Entry[T any] struct {
	// Value is what was enqueued. Each delivery decodes it anew.
	Value T

	c *core
	d *delivery
}

// ID is the job's: the one it was enqueued with, or that the queue made.
func (e *Entry[T]) ID() string { return e.d.id }

// Attempt is the number of this attempt, from 1. Snoozes, shutdowns and crashes
// don't count.
func (e *Entry[T]) Attempt() int { return e.d.attempt }

// MaxAttempts is after how many failed attempts the job is dead.
func (e *Entry[T]) MaxAttempts() int { return e.d.maxAttemptsOr(e.c.opts) }

// LastAttempt reports whether the job is dead if this attempt fails.
func (e *Entry[T]) LastAttempt() bool { return e.Attempt() >= e.MaxAttempts() }

// Interruptions is how often this attempt was begun before and interrupted by
// the end of its worker. More than zero means that its work may be half done.
func (e *Entry[T]) Interruptions() int { return e.d.interruptions }

// Priority is the job's, 0 the first.
func (e *Entry[T]) Priority() int { return e.d.priority }

// Enqueued is when the job was enqueued.
func (e *Entry[T]) Enqueued() time.Time { return e.d.enqueued }

// Due is when a delayed, retried or snoozed job was last due, else Enqueued.
func (e *Entry[T]) Due() time.Time {
	if e.d.due.IsZero() {
		return e.d.enqueued
	}
	return e.d.due
}

// LastError is the text of the error that ended the previous attempt, or empty.
func (e *Entry[T]) LastError() string { return e.d.header.error() }

// CorrelationID is the one the job was enqueued with, or empty.
func (e *Entry[T]) CorrelationID() string { return e.d.correlation }

// Property is a property the job was enqueued with, or empty.
func (e *Entry[T]) Property(key string) string { return e.d.properties[key] }

// Properties are all of them, in a map of the caller's own.
func (e *Entry[T]) Properties() map[string]string { return maps.Clone(e.d.properties) }

// Cancelled reports whether the job was cancelled while it was here: also if its
// context had ended before for another reason, and has that as its cause.
func (e *Entry[T]) Cancelled() bool { return e.d.cancelled.Load() }

// SetResult keeps a value with the record of the job once it is completed, for
// as long as the job is retained. Without Retain it has no effect. The last call
// before the settlement counts; it may not be called concurrently with another
// or with a settlement.
func (e *Entry[T]) SetResult(v any) error {
	data, err := e.c.opts.Codec.Marshal(v)
	if err == nil {
		err = e.c.checkSize(len(data)+e.d.header.size(), e.d.token)
	}
	if err != nil {
		return e.c.wrap("set the result", err)
	}
	e.d.result = data
	return nil
}

// Complete ends the job: it is done.
func (e *Entry[T]) Complete(ctx context.Context) error {
	return e.settle(ctx, "complete", settlementOf(nil))
}

// Abandon ends the attempt as a handler that returned err does: it counts, and
// the job is tried again after a backoff, or is dead after its last attempt.
// RetryAfter, Snooze and Permanent steer. With a nil err the job goes back at
// once, and the attempt does not count. A job that was cancelled before ends as
// cancelled, here and in Reject.
func (e *Entry[T]) Abandon(ctx context.Context, err error) error {
	s := settlementOf(err)
	if err == nil {
		s.verdict = returnJob
	}
	return e.settle(ctx, "abandon", s)
}

// Reject makes the job dead at once, whatever attempts it has left.
func (e *Entry[T]) Reject(ctx context.Context, reason error) error {
	return e.settle(ctx, "reject", settlementOf(Permanent(reason)))
}

func (e *Entry[T]) settle(ctx context.Context, what string, s settlement) error {
	err := e.c.settleEntry(ctx, e.d, s)
	if err != nil {
		return e.c.wrap(fmt.Sprintf("%s job %q", what, e.d.id), err)
	}
	return nil
}

// settleEntry settles a delivery that no executor has, or for its handler.
func (c *core) settleEntry(ctx context.Context, d *delivery, s settlement) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	if err := d.claim(); err != nil {
		return err
	}
	if d.keeper != nil {
		d.keeper.release(d, true)
		s = d.unlessCancelled(s)
	}
	how, err := c.settle(ctx, d, s, time.Now(), c.ackNow)
	if err != nil && d.keeper != nil {
		d.keeper.release(d, false) // the handler still has it
	}
	d.release(how, err)
	c.logSettled(d, s, how, 0, err)
	if c.teller.heed(); err == nil {
		c.teller.settled(d, s, how, "")
	}
	return err
}

// Renew gives the entry a full lease again, counted from now. A handler of a
// Job has no need of it: its lease is renewed for it. An entry whose lease has
// ended can't be renewed (ErrLeaseLost).
func (e *Entry[T]) Renew(ctx context.Context) error {
	ctx, cancel := e.c.bound(ctx)
	defer cancel()
	return e.c.wrap(fmt.Sprintf("renew job %q", e.d.id), e.c.renewEntry(ctx, e.d))
}

func (c *core) renewEntry(ctx context.Context, d *delivery) error {
	if d.state.Load() == settled {
		return &SettledError{ID: d.id, How: d.how}
	}
	if d.ctx != nil { // a keeper does it
		if errors.Is(context.Cause(d.ctx), ErrLeaseLost) {
			return ErrLeaseLost
		}
		return nil
	}
	ends := c.leaseEnds(d)
	ctx, cancel := context.WithDeadlineCause(ctx, ends, ErrLeaseLost)
	defer cancel()
	for try := 0; time.Now().Before(ends); try++ {
		sent, err := c.renew(ctx, d)
		if err == nil {
			d.lease.renewed(sent)
			return nil
		}
		if !pause(ctx, try) {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
	return ErrLeaseLost
}
