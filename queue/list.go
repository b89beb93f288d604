// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A Filter says which jobs. What is not set accepts every job; all that is set
// must hold.
type Filter struct {
	States         []State
	IDPrefix       string
	CorrelationID  string
	Properties     map[string]string // has each of them, with this value; the empty one is a value
	Error          string            // is part of Info.Error
	EnqueuedAfter  time.Time         // inclusive
	EnqueuedBefore time.Time         // exclusive

	// Newest lists what was written last first. Default: what was written first.
	Newest bool
	// Limit is how many jobs at most. Default 0: no limit.
	Limit int

	// All must be set by who wants to change every job of the queue, where a
	// filter decides what is changed.
	All bool
}

func (f Filter) check() error {
	var errs []error
	for _, s := range f.States {
		errs = append(errs, s.check())
	}
	if f.Limit < 0 {
		errs = append(errs, fmt.Errorf("Filter.Limit is %d: want zero for none, or more", f.Limit))
	}
	if !f.EnqueuedAfter.IsZero() && !f.EnqueuedBefore.IsZero() && !f.EnqueuedAfter.Before(f.EnqueuedBefore) {
		errs = append(errs, fmt.Errorf("Filter.EnqueuedAfter is %s: want it before EnqueuedBefore %s",
			f.EnqueuedAfter.Format(time.RFC3339Nano), f.EnqueuedBefore.Format(time.RFC3339Nano)))
	}
	return errors.Join(errs...)
}

// Empty reports whether f accepts every job.
func (f Filter) Empty() bool {
	return len(f.States) == 0 && f.IDPrefix == "" && f.CorrelationID == "" && len(f.Properties) == 0 &&
		f.Error == "" && f.EnqueuedAfter.IsZero() && f.EnqueuedBefore.IsZero()
}

// checkChange is check for what changes jobs.
func (f Filter) checkChange() error {
	if f.Empty() && !f.All {
		return errors.New("the filter is empty: set Filter.All if every job is meant")
	}
	return f.check()
}

// matches all but the state.
func (f Filter) matches(id, failure, correlation string, properties map[string]string, enqueued time.Time) bool {
	if !strings.HasPrefix(id, f.IDPrefix) || !strings.Contains(failure, f.Error) ||
		f.CorrelationID != "" && correlation != f.CorrelationID ||
		!f.EnqueuedAfter.IsZero() && enqueued.Before(f.EnqueuedAfter) ||
		!f.EnqueuedBefore.IsZero() && !enqueued.Before(f.EnqueuedBefore) {
		return false
	}
	for k, v := range f.Properties {
		if has, ok := properties[k]; !ok || has != v { // one that is not there has no empty value
			return false
		}
	}
	return true
}

// List lists jobs. It reads them from the server in pages while it goes, and
// never takes a job nor touches what workers do; memory is that of a page. On a
// queue that changes meanwhile it may show a job that moves twice, or not at
// all. On a replicated queue what was written in the last moment may be missing.
// Running means that the server has handed the job out and not heard of it since. The
// job of a worker that has crashed stays so after its lease as well, until another
// worker takes it again: the server does not tell the two apart. Get asks the workers.
//
// States and order are selected on the server, the rest here: a filter that
// accepts few of a million jobs reads the million.
//
// A page whose answer was lost is asked for again, until ctx ends or, if it has no
// deadline, for Options.Timeout. An error is yielded once, last; when ctx ends the
// sequence does. The sequence may be ranged over more than once.
func (q *Queue[T]) List(ctx context.Context, f Filter) iter.Seq2[Info[T], error] {
	return func(yield func(Info[T], error) bool) {
		if err := q.list(ctx, f, func(i Info[T]) bool { return yield(i, nil) }); err != nil && ctx.Err() == nil {
			yield(Info[T]{}, q.c.wrap("list", err))
		}
	}
}

func (q *Queue[T]) list(ctx context.Context, f Filter, yield func(Info[T]) bool) error {
	if err := f.check(); err != nil {
		return err
	}
	l := lister{c: q.c, newest: f.Newest}
	if err := l.prepare(ctx, f.States); err != nil {
		return err
	}
	found := 0
	for m, err := range l.messages(ctx) {
		if err != nil {
			return err
		}
		info := q.infoOf(m)
		if info.State == Waiting && m.Sequence <= l.delivered[info.Priority] {
			info.State = Running
		}
		if len(f.States) > 0 && !slices.Contains(f.States, info.State) ||
			!f.matches(info.ID, info.Error, info.CorrelationID, info.Properties, info.Enqueued) {
			continue
		}
		if !yield(info) {
			return nil
		}
		if found++; found == f.Limit {
			return nil
		}
	}
	return nil
}

// A lister reads the messages of some states.
type lister struct {
	c         *core
	newest    bool
	subjects  string         // what to read
	low, high uint64         // from where to where
	delivered map[int]uint64 // by priority, the highest sequence that was handed out
}

// prepare finds what to read. Of the jobs on the ready subjects those run that
// the consumer has handed out; waiting ones come after them, but for those of
// lower priorities.
func (l *lister) prepare(ctx context.Context, states []State) error {
	stream, err := l.c.js.Stream(ctx, l.c.names.stream)
	if err != nil {
		return err
	}
	state := stream.CachedInfo().State
	l.low, l.high = max(state.FirstSeq, 1), state.LastSeq
	words := map[string]bool{}
	for _, s := range states {
		words[s.wire()] = true
	}
	l.subjects = l.c.names.all()
	if len(words) == 1 {
		l.subjects = l.c.names.state(slices.Collect(maps.Keys(words))[0])
	}
	if len(words) > 0 && !words[ready] {
		return nil
	}
	l.delivered = map[int]uint64{}
	first, last := uint64(1<<63), uint64(0)
	for p := range l.c.priorities {
		d, err := l.c.delivered(ctx, p)
		if err != nil {
			return err
		}
		l.delivered[p] = d
		first, last = min(first, d), max(last, d)
	}
	if len(states) == 1 && states[0] == Waiting {
		l.low = max(l.low, first+1)
	}
	if len(states) == 1 && states[0] == Running {
		l.high = min(l.high, last)
	}
	return nil
}

// messages reads them in their order.
func (l *lister) messages(ctx context.Context) iter.Seq2[*jetstream.RawStreamMsg, error] {
	if l.newest {
		return l.backwards(ctx)
	}
	return func(yield func(*jetstream.RawStreamMsg, error) bool) {
		for m, err := range l.c.read(ctx, l.subjects, l.low, l.high) {
			if !yield(m, err) {
				return
			}
		}
	}
}

// backwards reads windows of sequences from the end, as the server reads only
// forwards: each one as large as it takes for about a page. One that turns out to
// hold much more is read again in smaller ones.
func (l *lister) backwards(ctx context.Context) iter.Seq2[*jetstream.RawStreamMsg, error] {
	return func(yield func(*jetstream.RawStreamMsg, error) bool) {
		width := uint64(pageSize)
		for high := l.high; high >= l.low && high > 0 && ctx.Err() == nil; {
			low := l.low
			if high-l.low >= width {
				low = high - width + 1
			}
			window, whole, err := l.window(ctx, low, high)
			if err != nil {
				yield(nil, err)
				return
			}
			if !whole {
				width = max(1, (high-low+1)/4)
				continue
			}
			for _, m := range slices.Backward(window) {
				if !yield(m, nil) {
					return
				}
			}
			high = low - 1
			switch {
			case len(window) > pageSize:
				width = max(1, width/2)
			case len(window) < pageSize/4:
				width *= 4
			}
		}
	}
}

// window reads the messages of some sequences; not whole if they are more than a
// few pages.
func (l *lister) window(ctx context.Context, low, high uint64) (all []*jetstream.RawStreamMsg, whole bool, err error) {
	size := 0
	for m, err := range l.c.read(ctx, l.subjects, low, high) {
		switch {
		case err != nil:
			return nil, false, err
		case low < high && (len(all) == 2*pageSize || size > 2*pageBytes):
			return nil, false, nil
		}
		all = append(all, m)
		size += len(m.Data)
	}
	return all, ctx.Err() == nil, nil
}
