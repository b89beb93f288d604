// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"time"

	"github.com/jetjobs/jetjobs/queue"
)

func workers(*flag.FlagSet) action {
	return onQueue(func(ctx context.Context, in *inspector, q *opened, _ []string) error {
		all, err := q.Workers(ctx)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			in.note("nobody works on %s", q.Name())
			return nil
		}
		if in.cfg.json {
			for _, w := range all {
				if err := in.printJSON(w); err != nil {
					return err
				}
			}
			return nil
		}
		return in.printWorkers(all)
	})
}

// printWorkers prints a table of workers, and one of what they run.
func (in *inspector) printWorkers(all []queue.Worker) error {
	t, running := newTable(in.out), 0
	t.row("WORKER", "JOB", "BUSY", "BUFFERED", "DONE", "SINCE", "VERSION", "")
	for _, w := range all {
		quiet := ""
		if w.Quiet {
			quiet = "quiet"
		}
		t.row(w.ID, w.Job, fmt.Sprintf("%d of %d", w.Busy, w.Concurrency), strconv.Itoa(w.Buffered), strconv.Itoa(w.Done),
			relative(w.Since), w.Version, quiet)
		running += len(w.Running)
	}
	if err := t.flush(); err != nil || running == 0 {
		return err
	}
	fmt.Fprintln(in.out)
	t.row("RUNS", "ATTEMPT", "FOR", "ON")
	for _, w := range all {
		for _, r := range w.Running {
			t.row(r.ID, strconv.Itoa(r.Attempt), span(time.Since(r.Since)), w.ID)
		}
	}
	return t.flush()
}

// tellWorker is the action of a command that tells one worker something.
func tellWorker(word, done string, tell func(q *opened, ctx context.Context, id string) error) action {
	return onQueue(func(ctx context.Context, in *inspector, q *opened, args []string) error {
		err := tell(q, ctx, args[0])
		if errors.Is(err, queue.ErrNotFound) {
			return fmt.Errorf("no worker %q answers on queue %q: inspect workers %s lists those that do", args[0], q.Name(), q.Name())
		}
		if err != nil {
			return err
		}
		return in.tell(map[string]any{"worker": args[0], "told": word}, "%s %s", args[0], done)
	})
}

func quietWorker(*flag.FlagSet) action {
	return tellWorker("quiet", "takes nothing new; inspect resume-worker ends that",
		func(q *opened, ctx context.Context, id string) error { return q.QuietWorker(ctx, id) })
}

func resumeWorker(*flag.FlagSet) action {
	return tellWorker("resume", "takes jobs",
		func(q *opened, ctx context.Context, id string) error { return q.ResumeWorker(ctx, id) })
}

func stopWorker(*flag.FlagSet) action {
	return tellWorker("stop", "stops: what it runs has its grace, the rest goes back",
		func(q *opened, ctx context.Context, id string) error { return q.StopWorker(ctx, id) })
}
