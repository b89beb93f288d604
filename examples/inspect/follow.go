// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jetjobs/jetjobs/queue"
	"github.com/jetjobs/jetjobs/workitem"
)

func watch(fs *flag.FlagSet) action {
	only := fs.String("id", "", "only what happens to the job with this `ID`")
	var types []queue.EventType
	fs.Func("type", "only these `types` of events, comma-separated, such as retrying,dead", func(s string) error {
		for name := range strings.SplitSeq(s, ",") {
			if !slices.Contains(eventTypes, queue.EventType(name)) {
				return fmt.Errorf("%q is none of %q", name, eventTypes)
			}
			types = append(types, queue.EventType(name))
		}
		return nil
	})
	during := defineLength(fs, "for", "end after this `time` instead of Ctrl-C")
	return onQueue(func(ctx context.Context, in *inspector, q *opened, _ []string) error {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		events, err := q.Watch(ctx)
		if err != nil {
			return err
		}
		if *during > 0 {
			defer time.AfterFunc(*during, stop).Stop()
		}
		in.note("watching %s; Ctrl-C ends it", q.Name())
		printed, missed := 0, 0
		for e := range events {
			missed += e.Missed
			hidden := e.Type == queue.EventMissed || *only != "" && e.ID != *only ||
				len(types) > 0 && !slices.Contains(types, e.Type)
			if hidden && e.Missed == 0 {
				continue
			}
			if err := in.printEvent(e, hidden); err != nil {
				return err
			}
			if !hidden {
				printed++
			}
		}
		in.note("%d events, %d missed", printed, missed)
		return nil // to be ended is how it ends
	})
}

var eventTypes = []queue.EventType{
	queue.EventEnqueued, queue.EventStarted, queue.EventProgress, queue.EventCompleted, queue.EventRetrying,
	queue.EventSnoozed, queue.EventReturned, queue.EventDead, queue.EventCancelled, queue.EventPaused,
	queue.EventResumed, queue.EventWorkerUp, queue.EventWorkerDown,
}

// printEvent prints how many events were lost before this one, and this one if it is
// not hidden, as an EventMissed is, which says no more than that.
func (in *inspector) printEvent(e queue.Event, hidden bool) error {
	if in.cfg.json {
		if hidden {
			return in.printJSON(map[string]any{"type": queue.EventMissed, "missed": e.Missed})
		}
		return in.printJSON(struct {
			queue.Event
			Missed int `json:"missed,omitempty"` // before this one
		}{e, e.Missed})
	}
	var text strings.Builder
	if e.Missed > 0 {
		fmt.Fprintf(&text, "%-12s  %d events were missed here: this terminal is slower than the queue\n", "…", e.Missed)
	}
	if !hidden {
		fmt.Fprintln(&text, eventLine(e))
	}
	_, err := in.out.Write([]byte(text.String()))
	return err
}

// eventLine is an event as people read it.
func eventLine(e queue.Event) string {
	line := fmt.Sprintf("%s  %-11s", e.Time.Local().Format("15:04:05.000"), strings.ReplaceAll(string(e.Type), "_", " "))
	var words []string
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	if e.ID != "" {
		add("%s", oneLine(e.ID, 0))
	}
	if e.Attempt > 0 {
		add("attempt %d", e.Attempt)
	}
	if e.Took > 0 {
		add("took %s", span(e.Took))
	}
	if e.Worker != "" {
		add("on %s", oneLine(e.Worker, 0))
	}
	if len(e.Data) > 0 {
		var s workitem.Status
		if json.Unmarshal(e.Data, &s) == nil {
			add("%s", oneLine(progressOf(s), 100))
		}
	}
	if e.Error != "" {
		add("%s", oneLine(e.Error, 200))
	}
	return strings.TrimRight(line+"  "+strings.Join(words, "  "), " ")
}

func wait(fs *flag.FlagSet) action {
	limit := defineLength(fs, "timeout", "wait for no longer than this `time` (default: as long as it takes)")
	retained := fs.Bool("retained", false, "the workers retain what they have done (Options.Retain), though the job does not say so")
	act := onQueue(func(ctx context.Context, in *inspector, q *opened, args []string) error {
		id := args[0]
		info, err := q.Get(ctx, id)
		if errors.Is(err, queue.ErrNotFound) {
			return &noJobError{q.Name(), id}
		}
		if err != nil {
			return err
		}
		if info.Retain == 0 && !info.State.Over() && !*retained {
			return fmt.Errorf("job %q is not retained, so nothing tells how it ends: say -retained if its workers' Options.Retain keeps it; inspect watch %s shows the end of any", id, q.Name())
		}
		if *limit > 0 {
			var stop context.CancelFunc
			ctx, stop = context.WithTimeoutCause(ctx, *limit, fmt.Errorf("job %q is not over after %s", id, *limit))
			defer stop()
		}
		if !info.State.Over() {
			in.note("waiting for job %q; Ctrl-C ends it", id)
		}
		return in.await(ctx, q, id)
	})
	return func(ctx context.Context, in *inspector, args []string) error {
		if *retained {
			in.retain = time.Second // or queue.Wait refuses; it stores nothing
		}
		return act(ctx, in, args)
	}
}

// await prints the result of a job, or fails as the job has.
func (in *inspector) await(ctx context.Context, q *opened, id string) error {
	result, err := queue.Wait[json.RawMessage](ctx, q.Queue, id)
	if failed, ok := errors.AsType[*queue.FailedError](err); ok {
		if failed.State == queue.Dead {
			return fmt.Errorf("%w; inspect requeue %s %s lets it run again", failed, q.Name(), id)
		}
		return failed
	}
	switch {
	case errors.Is(err, queue.ErrNotFound):
		return fmt.Errorf("job %q is over and was not retained: nothing tells how it ended", id)
	case err != nil:
		return err
	case in.cfg.json:
		return in.printJSON(map[string]any{"id": id, "state": queue.Done, "result": result})
	case len(result) == 0:
		in.note("job %q is done, and has no result", id)
		return nil
	}
	in.note("job %q is done", id)
	_, err = fmt.Fprintf(in.out, "%s\n", result)
	return err
}
