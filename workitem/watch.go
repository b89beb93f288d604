// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package workitem

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetjobs/jetjobs/bus"
)

// Messages on their way may be lost, and an item that died without its handler
// tells nobody: a watch without news looks for itself, first soon, then now and
// then.
const (
	lookSoon  = time.Second
	lookAgain = 10 * time.Second
)

// Watch yields the statuses of an item: the latest known one at once, those that
// follow as they come, in order, and ends after the final one. So it may begin
// before the item is enqueued, while it runs, or, for Options.Keep, after its
// end. Progress that comes faster than the loop takes it is skipped; changes of
// state are not, unless the connection was interrupted.
//
// An ID that nothing is known of is waited for; ask Status first where that is
// not wanted. The sequence ends without an error when ctx ends. An error is yielded
// once, last. It may be ranged over more than once.
func (q *Queue) Watch(ctx context.Context, id string) iter.Seq2[Status, error] {
	return func(yield func(Status, error) bool) {
		err := checkID(id)
		if err == nil {
			err = q.watch(ctx, id, func(s Status) bool { return yield(s, nil) })
		}
		if err != nil && ctx.Err() == nil {
			yield(Status{Queue: q.Name(), ID: id}, q.wrap("watch", err))
		}
	}
}

func (q *Queue) watch(ctx context.Context, id string, yield func(Status) bool) error {
	news := newNewsbox()
	sub, err := q.names.topic(id).Subscribe(ctx, q.bus, news.receive)
	if err != nil {
		return err
	}
	defer sub.Close()
	look := time.NewTimer(0)
	defer look.Stop()
	next, last := lookSoon, record{}
	for {
		var arrived []record
		select {
		case <-ctx.Done():
			return nil
		case <-news.poke:
			arrived = news.take()
			look.Reset(lookAgain)
		case <-look.C:
			r, err := q.look(ctx, id)
			if gone(err) {
				return err
			}
			arrived = news.take() // what led there comes first
			if err == nil && r.State != "" {
				arrived = append(arrived, r)
			}
			if look.Reset(next); err == nil {
				next = lookAgain
			}
		}
		for _, r := range arrived {
			if last.State != "" && !r.after(last) {
				continue
			}
			if last = r; !yield(r.Status) || r.State.Final() {
				return nil
			}
		}
	}
}

// gone tells errors after which there is nothing to wait for.
func gone(err error) bool {
	return errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, jetstream.ErrStreamNotFound)
}

// Subscribe calls handler for the statuses of all items of the queue, one after
// the other as they come, until ctx ends or Close is called. It is live when
// Subscribe returns, and like all of the bus at most once: what was before, and
// what is published while the connection is interrupted, is not delivered.
func (q *Queue) Subscribe(ctx context.Context, handler func(context.Context, Status) error, opts ...bus.SubscribeOption) (*bus.Subscription, error) {
	sub, err := q.names.topics().Subscribe(ctx, q.bus, func(ctx context.Context, m *bus.Message[bus.Raw]) error {
		r, err := decodeRecord(m.Value)
		if err != nil {
			return err
		}
		return handler(ctx, r.Status)
	}, opts...)
	return sub, q.wrap("subscribe", err)
}

// A newsbox holds what a watch has not taken yet: all changes of state, and of
// progress the last.
type newsbox struct {
	poke chan struct{} // there is something in it

	mu      sync.Mutex // guards records
	records []record
}

func newNewsbox() *newsbox { return &newsbox{poke: make(chan struct{}, 1)} }

func (b *newsbox) receive(_ context.Context, m *bus.Message[bus.Raw]) error {
	r, err := decodeRecord(m.Value)
	if err != nil {
		return err
	}
	b.mu.Lock()
	if n := len(b.records); n > 0 && r.State == Progress && b.records[n-1].State == Progress && r.after(b.records[n-1]) {
		b.records[n-1] = r
	} else {
		b.records = append(b.records, r)
	}
	b.mu.Unlock()
	select {
	case b.poke <- struct{}{}:
	default:
	}
	return nil
}

func (b *newsbox) take() []record {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.records
	b.records = nil
	return all
}
