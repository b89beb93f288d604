// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A Queue is a durable queue of jobs with values of type T. Its methods may be
// called concurrently. It lives as long as its connection: open a queue once, not
// for each call. Who does otherwise calls Close.
type Queue[T any] struct{ c *core }

// Close gives back what a queue that was used holds on its connection: two
// subscriptions, to the answers of the server and to those who watch. A queue that is
// used again makes them anew, and one that is in use at this moment keeps the first.
// Nothing depends on it; closing the connection does the same.
func (q *Queue[T]) Close() {
	q.c.publisher.close()
	q.c.teller.close()
}

// Open opens the queue with this name, and creates it on the server if it is
// not there. The name is made of letters, digits, - and _, at most 64 of them.
//
// What is there is verified and never edited: a difference to the options is an
// error that gives both values and the command that ends it. Any number of
// processes may open the same queue at once.
func Open[T any](ctx context.Context, js jetstream.JetStream, name string, opts Options) (*Queue[T], error) {
	c, err := openCore(ctx, js, name, opts)
	if err != nil {
		return nil, newCore(js, newNames("", name), opts.withDefaults()).wrap("open", err)
	}
	return &Queue[T]{c}, nil
}

// Name is the name the queue was opened with.
func (q *Queue[T]) Name() string { return q.c.names.queue }

// Enqueue stores one job and returns when the server has it: from then on the
// job is not lost, and is handed out until it is done or dead.
//
// While the server is away Enqueue waits and tries again, until ctx ends or, if
// it has no deadline, for Options.Timeout. A try whose answer was lost is
// repeated so that it does not make a second job, see the package's Guarantees.
// When the error says that there was no answer, the job may be stored all the
// same; Receipt.ID then is the ID to try again with.
func (q *Queue[T]) Enqueue(ctx context.Context, value T, opts ...EnqueueOption) (Receipt, error) {
	if q.c.wrapsEnqueue() {
		receipt, err := q.through(ctx, value, opts, func(ctx context.Context, opts []EnqueueOption) (Receipt, error) {
			return q.enqueue(ctx, value, opts)
		})
		return receipt, q.c.wrap("enqueue", err)
	}
	receipt, err := q.enqueue(ctx, value, opts)
	return receipt, q.c.wrap("enqueue", err)
}

// through stores one job through the middleware.
func (q *Queue[T]) through(ctx context.Context, value T, opts []EnqueueOption, store func(context.Context, []EnqueueOption) (Receipt, error)) (Receipt, error) {
	receipts, err := q.enqueueManyThrough(ctx, []Item[T]{{value, opts}}, func(ctx context.Context, items []Item[T]) ([]Receipt, error) {
		r, err := store(ctx, items[0].Options)
		return []Receipt{r}, err
	})
	if len(receipts) == 0 {
		receipts = []Receipt{{}}
	}
	return receipts[0], err
}

func (q *Queue[T]) enqueue(ctx context.Context, value T, opts []EnqueueOption) (Receipt, error) {
	data, err := q.encode(value)
	if err != nil {
		return Receipt{}, err
	}
	return q.c.enqueue(ctx, data, opts)
}

// enqueueManyThrough stores items through the middleware.
func (q *Queue[T]) enqueueManyThrough(ctx context.Context, items []Item[T], store func(context.Context, []Item[T]) ([]Receipt, error)) ([]Receipt, error) {
	drafts := make([]*Draft, len(items))
	for i, item := range items {
		drafts[i] = newDraft(item.Value, item.Options)
	}
	return q.c.throughEnqueue(ctx, drafts, func(ctx context.Context) ([]Receipt, error) {
		final := make([]Item[T], len(items))
		for i, item := range items {
			final[i] = Item[T]{item.Value, drafts[i].options(item.Options)}
		}
		return store(ctx, final)
	})
}

// EnqueueMany stores many jobs, in atomic batches of up to 1,000 jobs and 8 MiB in
// the order given: a batch is stored whole or not at all. The receipts belong to the
// items, one each; those of jobs that are not stored have no ID. If a batch
// fails, those before it are stored and those after it are not tried. If its
// answer was lost it may be stored all the same: its receipts have the IDs to
// try again with.
//
// Everything is checked before anything is stored.
func (q *Queue[T]) EnqueueMany(ctx context.Context, items []Item[T]) ([]Receipt, error) {
	store := q.enqueueMany
	if q.c.wrapsEnqueue() {
		store = func(ctx context.Context, items []Item[T]) ([]Receipt, error) {
			return q.enqueueManyThrough(ctx, items, q.enqueueMany)
		}
	}
	receipts, err := store(ctx, items)
	return receipts, q.c.wrap("enqueue many", err)
}

func (q *Queue[T]) enqueueMany(ctx context.Context, items []Item[T]) ([]Receipt, error) {
	jobs := make([]newJob, len(items))
	for i, item := range items {
		data, err := q.encode(item.Value)
		if err == nil {
			jobs[i], err = q.c.newJob(data, traced(ctx, item.Options), time.Now())
		}
		if err != nil {
			return nil, itemError{i, err}
		}
	}
	return q.c.enqueueMany(ctx, jobs)
}

// An Item is one job of EnqueueMany.
type Item[T any] struct {
	Value   T
	Options []EnqueueOption
}

// Items makes items of values, all with the same options.
func Items[T any](values []T, opts ...EnqueueOption) []Item[T] {
	items := make([]Item[T], len(values))
	for i, v := range values {
		items[i] = Item[T]{Value: v, Options: opts}
	}
	return items
}

func (q *Queue[T]) encode(value T) ([]byte, error) {
	data, err := q.c.opts.Codec.Marshal(value)
	if err != nil {
		return nil, &encodeError{err}
	}
	return data, nil
}

// Dequeue takes the next job, of the first priority that has one, and waits for
// one until ctx ends; then it returns ErrEmpty. An already cancelled context
// means a single try. The job must be settled, or renewed, within the lease; one
// that is dropped unsettled goes to another worker when its lease ends. A job
// that can't be decoded is not returned: it goes the way of a failed attempt.
func (q *Queue[T]) Dequeue(ctx context.Context) (*Entry[T], error) {
	for {
		d, err := q.c.dequeue(ctx)
		if err != nil {
			return nil, q.c.wrap("dequeue", err)
		}
		e, s, err := q.check(context.WithoutCancel(ctx), d)
		if err == nil && s != nil {
			err = q.c.settleEntry(context.WithoutCancel(ctx), d, *s)
		}
		if err != nil {
			return nil, q.c.wrap("dequeue", err)
		}
		if s == nil {
			return e, nil // with a lease that is as good as new, see check
		}
	}
}

// Entries takes one job after the other until ctx ends. The body of the loop
// settles each; what it leaves unsettled goes back to the queue at once, without
// counting the attempt. An error is yielded once, last. The sequence may be
// ranged over more than once.
func (q *Queue[T]) Entries(ctx context.Context) iter.Seq2[*Entry[T], error] {
	return func(yield func(*Entry[T], error) bool) {
		for ctx.Err() == nil {
			e, err := q.Dequeue(ctx)
			if err != nil {
				if ctx.Err() == nil {
					yield(nil, err)
				}
				return
			}
			more := yield(e, nil)
			if e.d.state.Load() == open {
				// What can't be given back goes back by its lease.
				_ = q.c.settleEntry(context.WithoutCancel(ctx), e.d, settlement{verdict: returnJob})
			}
			if !more {
				return
			}
		}
	}
}

// check is what a worker does before a handler sees the job.
func (q *Queue[T]) check(ctx context.Context, d *delivery) (*Entry[T], *settlement, error) {
	ctx, cancel := q.c.bound(ctx)
	defer cancel()
	s, err := q.c.checkTaken(ctx, d, time.Now())
	if s != nil || err != nil {
		return nil, s, err
	}
	e, err := q.entry(d)
	if err != nil {
		failed := settlementOf(err)
		return nil, &failed, nil
	}
	if time.Since(d.lease.since()) > q.c.lease/20 {
		// It counts from the pull, which has waited. Without an answer it is
		// a short one.
		_ = q.c.renewEntry(ctx, d)
	}
	return e, nil, nil
}

func (q *Queue[T]) entry(d *delivery) (*Entry[T], error) {
	e := &Entry[T]{c: q.c, d: d}
	if err := q.c.opts.Codec.Unmarshal(d.data, &e.Value); err != nil {
		return nil, &decodeError{err}
	}
	return e, nil
}
