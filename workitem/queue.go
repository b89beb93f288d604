// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package workitem

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetjobs/jetjobs/bus"
	"github.com/jetjobs/jetjobs/queue"
)

// Options describe a queue of work items. The zero value is good.
type Options struct {
	// Queue are those of the queue itself; the statuses have its Namespace,
	// Storage and Replicas.
	Queue queue.Options

	// Keep is how long the last status of an item is kept after its end, for
	// those who ask late. Whole seconds, rounded up. Default: 1 h.
	Keep time.Duration
}

// A Queue is a queue of work items of many kinds. Its methods may be called
// concurrently. It needs no closing; it lives as long as its connection.
type Queue struct {
	jobs   *queue.Queue[Envelope]
	codec  queue.Codec // of values
	names  names
	ledger *ledger
	bus    *bus.Bus // the space of statuses, on the queue's own connection
	log    *slog.Logger
}

// Open opens the queue of work items with this name, as queue.Open does, and
// beside it what keeps the statuses. Both those who enqueue and those who work
// or watch open it.
func Open(ctx context.Context, js jetstream.JetStream, name string, opts Options) (*Queue, error) {
	if opts.Keep < 0 {
		return nil, fmt.Errorf("workitem %q: open: Options.Keep is %s: want zero for the default, or more", name, opts.Keep)
	}
	opts.Keep = (cmp.Or(opts.Keep, time.Hour) + time.Second - 1).Truncate(time.Second)
	q := &Queue{codec: opts.Queue.Codec, names: names{cmp.Or(opts.Queue.Namespace, "jobs"), name}}
	if q.codec == nil {
		q.codec = queue.JSON
	}
	opts.Queue.Codec = envelopeCodec{q.codec}
	opts.Queue.Logger = cmp.Or(opts.Queue.Logger, slog.Default())
	q.log = opts.Queue.Logger.With("queue", name)
	var err error
	if q.jobs, err = queue.Open[Envelope](ctx, js, name, opts.Queue); err != nil {
		return nil, err // it says all
	}
	if q.ledger, err = openLedger(ctx, js, q.names, opts); err != nil {
		return nil, q.wrap("open", err)
	}
	b, err := bus.New(js.Conn(), bus.Options{Namespace: q.names.namespace, Logger: opts.Queue.Logger, CoreOnly: true})
	if err != nil {
		return nil, q.wrap("open", err)
	}
	q.bus = b.Space(space)
	return q, nil
}

// Name is the name the queue was opened with.
func (q *Queue) Name() string { return q.names.queue }

// Jobs is the queue itself, for its Stats, DeadLetters, Pause, RunNow and so on.
// Enqueue, Cancel and CancelAll there change no status.
func (q *Queue) Jobs() *queue.Queue[Envelope] { return q.jobs }

// Enqueue stores an item, from any process, and returns when the server has it;
// its guarantees and options are those of queue.Queue.Enqueue. The ID of the
// receipt is the one to Watch and to Cancel. Of an item that is a Duplicate
// nothing is told.
func Enqueue[T any](ctx context.Context, q *Queue, kind Kind[T], value T, opts ...queue.EnqueueOption) (queue.Receipt, error) {
	err := checkKind(string(kind))
	var data []byte
	if err == nil {
		data, err = q.codec.Marshal(value)
	}
	if err != nil {
		return queue.Receipt{}, q.wrap(fmt.Sprintf("enqueue kind %q", string(kind)), err)
	}
	e := Envelope{Kind: string(kind), Data: data, Enqueued: now()}
	receipt, err := q.jobs.Enqueue(ctx, e, opts...)
	if err == nil && !receipt.Duplicate {
		q.tellQueued(ctx, e, receipt.ID)
	}
	return receipt, err
}

// tellQueued writes the first status of an item, unless a worker was faster. The
// item is stored, so that nothing that happens here is the caller's concern.
func (q *Queue) tellQueued(ctx context.Context, e Envelope, id string) {
	p := q.ledger.pen(id, func(last record) bool { return !last.Enqueued.Equal(e.Enqueued) })
	p.placed, p.turn = true, 1 // usually there is nothing yet: don't ask
	s := Status{Queue: q.Name(), ID: id, Kind: e.Kind, State: Queued, Enqueued: e.Enqueued}
	if err := p.writeOnce(ctx, record{Status: s}); err != nil && !errors.Is(err, errBarred) {
		q.log.Debug("status not stored", "id", id, "kind", e.Kind, "err", err)
	}
}

// Cancel ends an item, and tells how it was found, as queue.Queue.Cancel does: one
// that waits is gone, and the handler's context of one that runs ends with cause
// queue.ErrCancelled, wherever it runs. The error is queue.ErrNotFound if there is
// no such item, or if it is over.
func (q *Queue) Cancel(ctx context.Context, id string) (was queue.State, err error) {
	was, err = q.jobs.Cancel(ctx, id)
	if err == nil {
		q.tellCancelled(ctx, id, was)
	}
	return was, err
}

// tellCancelled writes the last status of an item that had no handler; a handler's
// worker does it otherwise. An item that a worker has taken and not begun gets no
// handler any more.
func (q *Queue) tellCancelled(ctx context.Context, id string, was queue.State) {
	p := q.ledger.pen(id, func(last record) bool {
		begun := last.State == Started || last.State == Progress
		return !last.State.Final() && !(begun && was == queue.Running)
	})
	last, err := p.place(ctx)
	if err == nil {
		s := last.Status
		s.Queue, s.ID, s.State = q.Name(), id, Cancelled
		err = p.writeOnce(ctx, record{Status: s})
	}
	if err != nil && !errors.Is(err, errBarred) {
		q.log.Warn("status not stored", "id", id, "err", err)
	}
}

// Status returns the latest known status of an item, or queue.ErrNotFound if
// none is known: there was no such item, or it is over for longer than
// Options.Keep.
func (q *Queue) Status(ctx context.Context, id string) (Status, error) {
	err := checkID(id)
	var r record
	if err == nil {
		r, err = q.look(ctx, id)
	}
	if err == nil && r.State == "" {
		err = queue.ErrNotFound
	}
	if err != nil {
		return Status{}, q.wrap(fmt.Sprintf("status of %q", id), err)
	}
	return r.Status, nil
}

// look finds what is known of an item, the zero record if nothing is. An item
// that died without its handler, by interruptions or unstarted, told nobody; the
// dead letters know.
func (q *Queue) look(ctx context.Context, id string) (record, error) {
	last, _, err := q.ledger.read(ctx, id)
	if err != nil || last.State.Final() {
		return last, err
	}
	letter, err := q.jobs.DeadLetters().Get(ctx, id)
	if errors.Is(err, queue.ErrNotFound) {
		return last, nil
	}
	if err != nil {
		return last, err
	}
	last.Step += 1 << 32 // nothing can follow
	last.Queue, last.ID, last.Kind, last.State = q.Name(), id, letter.Value.Kind, Failed
	last.Attempt, last.Error, last.Updated = letter.Attempts, letter.Error, letter.Died
	if last.Enqueued.IsZero() {
		last.Enqueued = letter.Enqueued
	}
	return last, nil
}

// Delete deletes the queue with all its items and statuses.
func (q *Queue) Delete(ctx context.Context) error {
	err := q.ledger.js.DeleteStream(ctx, q.names.stream())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = nil
	}
	return errors.Join(q.wrap("delete", err), q.jobs.Delete(ctx))
}

const maxIDLength = 256

// checkID refuses what no item can have as its ID.
func checkID(id string) error {
	if id == "" || len(id) > maxIDLength || !utf8.ValidString(id) {
		return fmt.Errorf("ID is %q: want 1 to %d bytes of UTF-8", id, maxIDLength)
	}
	return nil
}

// wrap says once which queue and what failed.
func (q *Queue) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("workitem %q: %s: %w", q.Name(), what, err)
}
