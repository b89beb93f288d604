// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/jetjobs/jetjobs/queue"
	"github.com/jetjobs/jetjobs/workitem"
)

func cancel(fs *flag.FlagSet) action {
	var filter workitem.Filter
	defineStates(fs, &filter, queue.Waiting, queue.Running, queue.Later)
	defineFilter(fs, &filter)
	fs.BoolVar(&filter.All, "all", false, "every job that is not over")
	retain := defineLength(fs, "retain", "keep a record for this `time` of jobs that don't say themselves whether to; give what the workers' Options.Retain is")
	act := onQueue(func(ctx context.Context, in *inspector, q *opened, ids []string) error {
		if len(ids) == 0 {
			n, err := q.cancelAll(ctx, filter)
			return errors.Join(in.tell(map[string]any{"cancelled": n}, "%d cancelled", n), err)
		}
		return in.each(ids, func(id string) error {
			was, err := q.cancel(ctx, id)
			if err != nil {
				return q.whyNot(ctx, id, err, "cancel is for jobs that are not over; inspect delete removes dead ones")
			}
			return in.tell(map[string]any{"id": id, "was": was}, "%s was %s, and is cancelled", oneLine(id, 0), was)
		})
	})
	return func(ctx context.Context, in *inspector, args []string) error {
		in.retain = *retain
		if err := checkSelection(args[1:], filter); err != nil {
			return err
		}
		return act(ctx, in, args)
	}
}

// cancelAll cancels what a filter accepts; whoever watches a work item is told.
func (q *opened) cancelAll(ctx context.Context, filter workitem.Filter) (int, error) {
	if q.items != nil {
		return q.items.CancelAll(ctx, filter)
	}
	if err := q.checkKinds(filter); err != nil {
		return 0, err
	}
	return q.CancelAll(ctx, filter.Filter)
}

// forAll does something to each job that a filter accepts and returns how many it was
// done to. Those that somebody else changed first are left out.
func (q *opened) forAll(ctx context.Context, filter workitem.Filter, do func(id string) error) (n int, err error) {
	for job, err := range q.list(ctx, filter) {
		if err == nil {
			err = do(job.ID)
		}
		switch {
		case err == nil:
			n++
		case !errors.Is(err, queue.ErrNotFound):
			return n, err
		}
	}
	return n, context.Cause(ctx)
}

// each does something to each ID, goes on after a failure, and fails at the end.
func (in *inspector) each(ids []string, do func(id string) error) error {
	failed := 0
	for _, id := range ids {
		err := do(id)
		switch {
		case err != nil && len(ids) == 1:
			return err
		case err != nil:
			failed++
			in.note("inspect: %s", in.explain(err))
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d failed", failed, len(ids))
	}
	return nil
}

// forDead is the action of a command that does something to dead jobs.
func forDead(fs *flag.FlagSet, done string, do func(q *opened, ctx context.Context, id string) error) action {
	var filter workitem.Filter
	defineFilter(fs, &filter)
	fs.BoolVar(&filter.All, "all", false, "every dead job")
	check := func(args []string) error { return checkSelection(args[1:], filter) }
	return checked(check, onQueue(func(ctx context.Context, in *inspector, q *opened, ids []string) error {
		if len(ids) == 0 {
			filter.States = []queue.State{queue.Dead}
			n, err := q.forAll(ctx, filter, func(id string) error { return do(q, ctx, id) })
			return errors.Join(in.tell(map[string]any{done: n}, "%d %s", n, done), err)
		}
		return in.each(ids, func(id string) error {
			if err := do(q, ctx, id); err != nil {
				return q.whyNot(ctx, id, err, "this is for dead jobs; inspect cancel ends others")
			}
			return in.tell(map[string]any{"id": id, "done": done}, "%s is %s", oneLine(id, 0), done)
		})
	}))
}

func requeue(fs *flag.FlagSet) action {
	return forDead(fs, "requeued", func(q *opened, ctx context.Context, id string) error { return q.DeadLetters().Requeue(ctx, id) })
}

func deleteDead(fs *flag.FlagSet) action {
	return forDead(fs, "deleted", func(q *opened, ctx context.Context, id string) error { return q.DeadLetters().Delete(ctx, id) })
}

const onlyLater = "this is for jobs that are later: delayed, snoozed or waiting for a retry; inspect requeue is for dead ones"

func runNow(*flag.FlagSet) action {
	return onQueue(func(ctx context.Context, in *inspector, q *opened, args []string) error {
		id := args[0]
		if err := q.RunNow(ctx, id); err != nil {
			return q.whyNot(ctx, id, err, onlyLater)
		}
		return in.tell(map[string]any{"id": id, "done": "run now"}, "%s waits for the next free worker", oneLine(id, 0))
	})
}

func reschedule(*flag.FlagSet) action {
	var at time.Time
	check := func(args []string) (err error) {
		if at, err = parseTime(args[2], 1); err != nil {
			return misused("%s", err)
		}
		return nil
	}
	return checked(check, onQueue(func(ctx context.Context, in *inspector, q *opened, args []string) error {
		id := args[0]
		if err := q.Reschedule(ctx, id, at); err != nil {
			return q.whyNot(ctx, id, err, onlyLater)
		}
		return in.tell(map[string]any{"id": id, "due": at}, "%s is due %s", oneLine(id, 0), moment(at))
	}))
}

func pause(fs *flag.FlagSet) action {
	var until time.Time
	fs.Func("until", "when it ends by itself: a `time`, or a duration such as 30m (default: not before resume)", func(s string) (err error) {
		if until, err = parseTime(s, 1); err == nil && !until.After(time.Now()) {
			err = errors.New("want a time to come")
		}
		return err
	})
	var reason string
	fs.Func("reason", "a `line` that stats shows", func(s string) error {
		if reason = s; strings.ContainsAny(s, "\r\n") || len(s) > 1000 {
			return errors.New("want one line of at most 1,000 bytes")
		}
		return nil
	})
	return onQueue(func(ctx context.Context, in *inspector, q *opened, _ []string) error {
		if err := q.Pause(ctx, until, reason); err != nil {
			return err
		}
		return in.tell(map[string]any{"queue": q.Name(), "paused": true},
			"%s is paused; what runs goes on, and inspect resume %s ends it", q.Name(), q.Name())
	})
}

func resume(*flag.FlagSet) action {
	return onQueue(func(ctx context.Context, in *inspector, q *opened, _ []string) error {
		if err := q.Resume(ctx); err != nil {
			return err
		}
		return in.tell(map[string]any{"queue": q.Name(), "paused": false}, "%s hands out jobs", q.Name())
	})
}
