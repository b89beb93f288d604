// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetjobs/jetjobs/internal/wirename"
)

// A DeadLetter is a job that failed for good. It is kept until somebody acts.
type DeadLetter[T any] struct {
	ID            string
	Value         T      // the zero value if Payload can't be decoded, see Undecodable
	Payload       []byte // as it was enqueued
	Undecodable   error  // why Payload is not a T, or the job's header not one of ours; else nil
	Error         string // that ended the last attempt
	Reason        string // ReasonAttempts and so on
	Attempts      int    // started; zero for a job that expired
	Interruptions int    // of the last attempt
	Priority      int
	Enqueued      time.Time
	Died          time.Time
	CorrelationID string
	Properties    map[string]string
}

// DeadLetters are the dead jobs of a queue. Its methods may be called
// concurrently.
type DeadLetters[T any] struct{ c *core }

// DeadLetters returns the dead jobs of the queue.
func (q *Queue[T]) DeadLetters() DeadLetters[T] { return DeadLetters[T]{q.c} }

// All lists the dead letters, those that died first first. It reads them from
// the server in pages, while it goes. An error is yielded once, last; when ctx
// ends the sequence does. The sequence may be ranged over more than once.
func (l DeadLetters[T]) All(ctx context.Context) iter.Seq2[DeadLetter[T], error] {
	return func(yield func(DeadLetter[T], error) bool) {
		for m, err := range l.c.read(ctx, l.c.names.state(dead), 1, math.MaxUint64) {
			if err != nil {
				yield(DeadLetter[T]{}, l.c.wrap("list the dead letters", err))
				return
			}
			if !yield(l.letter(m), nil) {
				return
			}
		}
	}
}

// Get returns the dead job with this ID, or ErrNotFound.
func (l DeadLetters[T]) Get(ctx context.Context, id string) (DeadLetter[T], error) {
	ctx, cancel := l.c.bound(ctx)
	defer cancel()
	m, err := l.c.findDead(ctx, id)
	if err != nil {
		return DeadLetter[T]{}, l.c.wrap("get a dead letter", err)
	}
	return l.letter(m), nil
}

// Requeue makes a dead job wait again, with all its attempts before it and what
// it was enqueued with but Expires. The error is ErrNotFound if no dead job has
// the ID.
func (l DeadLetters[T]) Requeue(ctx context.Context, id string) error {
	ctx, cancel := l.c.bound(ctx)
	defer cancel()
	m, err := l.c.findDead(ctx, id)
	if err == nil {
		err = l.c.requeue(ctx, m)
	}
	return l.c.wrap("requeue a dead letter", err)
}

// RequeueFunc requeues every dead job that match accepts and returns how many.
// Jobs that die while it goes on are left alone, so that one that dies at once
// again does not go round in circles.
func (l DeadLetters[T]) RequeueFunc(ctx context.Context, match func(DeadLetter[T]) bool) (int, error) {
	n, err := l.each(ctx, match, l.c.requeue)
	return n, l.c.wrap("requeue dead letters", err)
}

// Delete removes a dead job for ever. The error is ErrNotFound if no dead job
// has the ID.
func (l DeadLetters[T]) Delete(ctx context.Context, id string) error {
	ctx, cancel := l.c.bound(ctx)
	defer cancel()
	m, err := l.c.findDead(ctx, id)
	if err == nil {
		_, err = l.c.remove(ctx, m.Sequence)
	}
	return l.c.wrap("delete a dead letter", err)
}

// DeleteFunc deletes every dead job that match accepts and returns how many.
func (l DeadLetters[T]) DeleteFunc(ctx context.Context, match func(DeadLetter[T]) bool) (int, error) {
	n, err := l.each(ctx, match, func(ctx context.Context, m *jetstream.RawStreamMsg) error {
		_, err := l.c.remove(ctx, m.Sequence)
		return err
	})
	return n, l.c.wrap("delete dead letters", err)
}

// each acts on those that match and are dead now, in its own time on each.
func (l DeadLetters[T]) each(ctx context.Context, match func(DeadLetter[T]) bool, act func(context.Context, *jetstream.RawStreamMsg) error) (n int, err error) {
	stream, err := l.c.js.Stream(ctx, l.c.names.stream)
	if err != nil {
		return 0, err
	}
	last := stream.CachedInfo().State.LastSeq
	for m, err := range l.c.read(ctx, l.c.names.state(dead), 1, last) {
		if err != nil {
			return n, err
		}
		if !match(l.letter(m)) {
			continue
		}
		one, cancel := l.c.bound(ctx)
		err := act(one, m)
		cancel()
		if err != nil {
			return n, err
		}
		n++
	}
	return n, context.Cause(ctx)
}

func (l DeadLetters[T]) letter(m *jetstream.RawStreamMsg) DeadLetter[T] {
	h := header(m.Header)
	about, undecodable := h.understand(m.Time)
	_, priority, token, _ := l.c.names.parse(m.Subject)
	letter := DeadLetter[T]{
		ID:            wirename.Decode(token),
		Payload:       m.Data,
		Undecodable:   undecodable,
		Error:         h.error(),
		Reason:        h.get(headerReason),
		Attempts:      about.started(h.get(headerReason), undecodable),
		Interruptions: about.interruptions,
		Priority:      priority,
		Enqueued:      about.enqueued,
		Died:          m.Time,
		CorrelationID: about.correlation,
		Properties:    about.properties,
	}
	if err := l.c.opts.Codec.Unmarshal(m.Data, &letter.Value); err != nil && undecodable == nil {
		letter.Value, letter.Undecodable = *new(T), err
	}
	return letter
}

func (c *core) findDead(ctx context.Context, id string) (*jetstream.RawStreamMsg, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	last, err := c.find(ctx, wirename.Encode(id))
	if err != nil {
		return nil, err
	}
	if last != nil {
		if state, _, _, _ := c.names.parse(last.Subject); state == dead {
			h, err := last.header()
			return &jetstream.RawStreamMsg{Subject: last.Subject, Sequence: last.Seq, Header: nats.Header(h), Data: last.Data, Time: last.Time}, err
		}
	}
	return nil, fmt.Errorf("dead job %q: %w", id, ErrNotFound)
}

// requeue moves a dead job to ready, by compare-and-set, and then removes what
// is left. After a crash in between the job is there twice, once dead; the next
// requeue finds that it was moved, and only removes.
func (c *core) requeue(ctx context.Context, m *jetstream.RawStreamMsg) error {
	_, priority, token, _ := c.names.parse(m.Subject)
	h := header(m.Header).own()
	if h.get(headerEnqueued) == "" {
		h.setTime(headerEnqueued, m.Time)
	}
	for _, key := range []string{headerAttempt, headerInterruptions, headerExpires, headerReason, headerDue} {
		delete(h, key)
	}
	d := &delivery{token: token, priority: priority, seq: m.Sequence, data: m.Data}
	if err := c.move(ctx, d, c.message(d, ready, h)); err != nil {
		return err
	}
	_, err := c.remove(ctx, m.Sequence)
	return err
}
