// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetjobs/jetjobs/internal/codec"
	"github.com/jetjobs/jetjobs/internal/wirename"
)

// An Info is a job at a moment.
type Info[T any] struct {
	ID    string
	State State

	// Reason tells why a job is Later (ReasonDelayed, …) or Dead (ReasonAttempts, …).
	Reason string

	// Value is what was enqueued, and Payload its bytes. Done and Cancelled jobs
	// have none: only their end is retained. Undecodable tells why Payload is not
	// a T, or the job's header not one of ours.
	Value       T
	Payload     []byte
	Undecodable error

	Attempt       int // under way or next; of a job that is over the last one, or the one that it did not come to
	MaxAttempts   int
	Interruptions int // of that attempt
	Priority      int
	Timeout       time.Duration // of each attempt; zero: the worker's
	Expires       time.Time     // if it is not started before; zero for never
	Retain        time.Duration // it is kept for after its end; zero: as the worker's Options.Retain says
	Enqueued      time.Time
	Since         time.Time // when it ended, came due, was put aside or handed back, or else was enqueued: being taken is not written down
	Due           time.Time // when a Later job is due, or another one was; zero for none
	Error         string    // of the last attempt that failed
	Result        []byte    // what the handler gave to Entry.SetResult, encoded
	CorrelationID string
	Properties    map[string]string
	CopyOf        string // the job that it was made from, see EnqueueCopy

	// Worker is the ID of the worker that has the job; empty if it is not Running,
	// if nobody answered, see Get, and in a List.
	Worker string

	// Started is when that worker got the job, by its clock; zero without a Worker.
	Started time.Time

	seq   uint64
	codec codec.Codec
}

// DecodeResult decodes Result into v. The error is ErrNotFound if there is none.
func (i Info[T]) DecodeResult(v any) error {
	if len(i.Result) == 0 {
		return fmt.Errorf("result of job %q: %w", i.ID, ErrNotFound)
	}
	return i.codec.Unmarshal(i.Result, v)
}

// Get returns a job in whatever state it is, or ErrNotFound: for one that never
// was, and for one that is over and was not retained. A job that is handed out is
// asked for at the workers, and is Waiting while it waits for a slot there. One that
// none of them has is Running without a Worker: it was taken by Dequeue, or its
// worker has crashed, and it is taken again after its lease, by the first worker with
// a free slot. Until then it stays Running, however long that takes.
func (q *Queue[T]) Get(ctx context.Context, id string) (Info[T], error) {
	info, err := q.get(ctx, id)
	return info, q.c.wrap("get", err)
}

func (q *Queue[T]) get(ctx context.Context, id string) (Info[T], error) {
	if err := checkID(id); err != nil {
		return Info[T]{}, err
	}
	ctx, cancel := q.c.bound(ctx)
	defer cancel()
	began := time.Now()
	last, err := q.c.findPatiently(ctx, wirename.Encode(id))
	if err != nil {
		return Info[T]{}, err
	}
	within := askWithin(time.Since(began))
	if last == nil {
		return Info[T]{}, fmt.Errorf("job %q: %w", id, ErrNotFound)
	}
	h, err := last.header()
	info := q.info(last.Subject, last.Seq, h, last.Data, last.Time)
	if err != nil {
		info.Undecodable = err
	}
	if info.State == Waiting {
		var at foundJob
		info.State, at, err = q.c.running(ctx, info.Priority, info.seq, within)
		info.Worker, info.Started = at.Worker, at.Started
	}
	return info, err
}

// info understands what is stored.
func (q *Queue[T]) info(subject string, seq uint64, h header, data []byte, at time.Time) Info[T] {
	word, priority, token, _ := q.c.names.parse(subject)
	about, undecodable := h.understand(at)
	info := Info[T]{
		ID: wirename.Decode(token), State: stateOf(word, h), Undecodable: undecodable,
		Attempt: about.attempt, MaxAttempts: about.maxAttempts, Interruptions: about.interruptions, Priority: priority,
		Timeout: about.timeout, Expires: about.expires, Retain: about.retain,
		Enqueued: about.enqueued, Since: at, Due: about.due, Error: h.error(),
		CorrelationID: about.correlation, Properties: about.properties, CopyOf: wirename.Decode(h.get(headerCopyOf)),
		seq: seq, codec: q.c.opts.Codec,
	}
	if info.MaxAttempts == 0 {
		info.MaxAttempts = q.c.opts.MaxAttempts
	}
	switch info.State {
	case Later:
		if info.Reason = h.get(headerReason); info.Reason == "" {
			info.Reason = ReasonDelayed
		}
	case Dead:
		info.Reason = h.get(headerReason)
	case Done:
		info.Result = data
	}
	if info.State == Done || info.State == Cancelled {
		return info
	}
	info.Payload = data
	if err := q.c.opts.Codec.Unmarshal(data, &info.Value); err != nil {
		info.Value = *new(T)
		info.Undecodable = errors.Join(info.Undecodable, &decodeError{err})
	}
	return info
}

// running tells whether a waiting job runs, and which worker has said so. The
// consumer knows what it has handed out; only workers know which of them has it.
func (c *core) running(ctx context.Context, priority int, seq uint64, within time.Duration) (State, foundJob, error) {
	var found foundJob
	delivered, err := c.delivered(ctx, priority)
	if err != nil || seq > delivered {
		return Waiting, found, err
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	m, err := c.nc.RequestWithContext(ctx, c.names.control(findVerb), strconv.AppendUint(nil, seq, 10))
	if err != nil {
		return Running, found, nil
	}
	if err := json.Unmarshal(m.Data, &found); err != nil || !found.Running {
		return Waiting, foundJob{}, nil // in the worker's buffer
	}
	return Running, found, nil
}

// delivered is the highest sequence of a priority that was handed out.
func (c *core) delivered(ctx context.Context, priority int) (uint64, error) {
	consumer, err := c.js.Consumer(ctx, c.names.stream, c.names.worker(priority))
	if err != nil {
		return 0, err
	}
	return consumer.CachedInfo().Delivered.Stream, nil
}

// A foundJob is a worker's answer about a job that it has.
type foundJob struct {
	Worker  string    `json:"worker"`
	Running bool      `json:"running"` // not only buffered
	Started time.Time `json:"started"` // when the worker got it
}

// infoOf understands a message of a page.
func (q *Queue[T]) infoOf(m *jetstream.RawStreamMsg) Info[T] {
	return q.info(m.Subject, m.Sequence, header(m.Header), m.Data, m.Time)
}

// listenForControl answers what other processes ask a worker about its jobs.
func (c *core) listenForControl(k *keeper, worker string, other func(verb string, m *nats.Msg)) (*nats.Subscription, error) {
	c.teller.heed()
	return c.nc.Subscribe(c.names.control("*"), func(m *nats.Msg) {
		seq, _ := parseUint(string(m.Data))
		switch verb := strings.TrimPrefix(m.Subject, c.names.ctl); verb {
		case cancelVerb:
			if k.cancel(seq, time.Now()) {
				_ = m.Respond(nil) // who asked waits for nothing else
			}
		case findVerb:
			if d := k.find(seq); d != nil {
				answer, _ := json.Marshal(foundJob{worker, d.run.slot.Load() != nil, d.arrived})
				_ = m.Respond(answer)
			}
		default:
			other(verb, m)
		}
	})
}

// What workers are asked on the control subjects, about the job of a sequence.
const (
	cancelVerb = "cancel"
	findVerb   = "find"
)
