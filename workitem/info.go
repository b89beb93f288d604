// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package workitem

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/jetjobs/jetjobs/queue"
)

// An Info is an item at a moment: the job that it is, of what kind, and how far.
type Info struct {
	queue.Info[Envelope]
	Kind string

	// Status is the latest known, with the progress; the zero one in a List, and if
	// none is known.
	Status Status
}

// Get returns an item in whatever state it is, with its progress. One that is over
// and not retained is known by its Status, for Options.Keep: then only ID, State,
// Kind, Attempt, MaxAttempts, Error, Enqueued and Since are set beside that. The error is
// queue.ErrNotFound for one of which nothing is known.
func (q *Queue) Get(ctx context.Context, id string) (Info, error) {
	job, err := q.jobs.Get(ctx, id)
	if err != nil && !errors.Is(err, queue.ErrNotFound) {
		return Info{}, err // it says all
	}
	if checkID(id) != nil {
		return Info{}, err
	}
	r, lookErr := q.look(ctx, id)
	switch {
	case lookErr != nil:
		return Info{}, q.wrap(fmt.Sprintf("get %q", id), lookErr)
	case err == nil:
		return Info{Info: job, Kind: kindOf(job, r), Status: r.Status}, nil
	case !r.State.Final():
		return Info{}, err // over, and its end not told, or just gone
	}
	s := r.Status
	job = queue.Info[Envelope]{
		ID: id, State: map[State]queue.State{Completed: queue.Done, Cancelled: queue.Cancelled, Failed: queue.Dead}[s.State],
		Attempt: s.Attempt, MaxAttempts: s.MaxAttempts, Error: s.Error, Enqueued: s.Enqueued, Since: s.Updated,
	}
	return Info{Info: job, Kind: s.Kind, Status: s}, nil
}

// kindOf is from the job, or, as one that is retained has no payload, from its
// status.
func kindOf(job queue.Info[Envelope], r record) string {
	if job.Value.Kind != "" {
		return job.Value.Kind
	}
	return r.Kind
}

// A Filter says which items. What is not set accepts every item; all that is set
// must hold.
type Filter struct {
	queue.Filter
	Kinds []string // as they were enqueued: aliases are not followed
}

// List lists items, as queue.Queue.List does, without asking for the Status of each.
// Kinds are selected here and not on the server, and of what is Done or Cancelled the
// kind is known only by its status: a filter by kind asks for that of each of these,
// and leaves out those whose status is no longer kept.
func (q *Queue) List(ctx context.Context, f Filter) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		all, found := f.Filter, 0
		if len(f.Kinds) > 0 && f.Limit > 0 { // counted here; what is wrong is refused there
			all.Limit = 0
		}
		for job, err := range q.jobs.List(ctx, all) {
			if err != nil {
				yield(Info{}, err)
				return
			}
			i := Info{Info: job, Kind: job.Value.Kind}
			if len(f.Kinds) > 0 {
				if i.Kind == "" && (job.State == queue.Done || job.State == queue.Cancelled) {
					r, _, err := q.ledger.read(ctx, job.ID)
					if err != nil {
						if ctx.Err() == nil {
							yield(Info{}, q.wrap("list", err))
						}
						return
					}
					i.Kind = r.Kind
				}
				if !slices.Contains(f.Kinds, i.Kind) {
					continue
				}
			}
			if !yield(i, nil) {
				return
			}
			if found++; found == f.Limit {
				return
			}
		}
	}
}

// CancelAll cancels the items that a filter accepts, as Cancel does, and returns how
// many. What is enqueued while it goes on is left alone. It refuses an empty filter
// unless Filter.All is set.
func (q *Queue) CancelAll(ctx context.Context, f Filter) (n int, err error) {
	if f.Empty() && len(f.Kinds) == 0 && !f.All {
		return 0, q.wrap("cancel all", errors.New("the filter is empty: set Filter.All if every item is meant"))
	}
	for _, s := range f.States {
		if s.Over() {
			return 0, q.wrap("cancel all", fmt.Errorf("State %s: want Waiting, Running or Later: an item that is over can't be cancelled", s))
		}
	}
	if len(f.States) == 0 {
		f.States = []queue.State{queue.Waiting, queue.Running, queue.Later}
	}
	for i, err := range q.List(ctx, f) {
		if err != nil {
			return n, err
		}
		switch _, err := q.Cancel(ctx, i.ID); {
		case err == nil:
			n++
		case !errors.Is(err, queue.ErrNotFound): // over in the meantime
			return n, err
		}
	}
	return n, q.wrap("cancel all", context.Cause(ctx))
}
