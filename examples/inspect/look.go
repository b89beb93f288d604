// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jetjobs/jetjobs/queue"
	"github.com/jetjobs/jetjobs/workitem"
)

func queues(*flag.FlagSet) action {
	return func(ctx context.Context, in *inspector, _ []string) error {
		if err := in.connect(); err != nil {
			return err
		}
		all, err := queue.Queues(ctx, in.js, in.cfg.namespace)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			in.note("no queue in the namespace %q", in.cfg.namespace)
		}
		for _, name := range all {
			if err := in.tell(map[string]any{"queue": name}, "%s", name); err != nil {
				return err
			}
		}
		return nil
	}
}

func stats(*flag.FlagSet) action {
	return onQueue(func(ctx context.Context, in *inspector, q *opened, _ []string) error {
		s, err := q.Stats(ctx)
		if err != nil {
			return err
		}
		if in.cfg.json {
			return in.printJSON(struct {
				Queue       string    `json:"queue"`
				Waiting     int       `json:"waiting"`
				Running     int       `json:"running"`
				Later       int       `json:"later"`
				Dead        int       `json:"dead"`
				Done        int       `json:"done"`
				LagSeconds  float64   `json:"lag_seconds"`
				MaxRunning  int       `json:"max_running,omitempty"`
				Paused      bool      `json:"paused"`
				PausedUntil time.Time `json:"paused_until,omitzero"`
				PauseReason string    `json:"pause_reason,omitempty"`
				Created     time.Time `json:"created"`
			}{
				q.Name(), s.Waiting, s.Running, s.Later, s.Dead, s.Done, s.Lag().Seconds(), s.MaxRunning,
				s.Paused, s.PausedUntil, s.PauseReason, s.Created,
			})
		}
		t := newTable(in.out)
		t.field("queue", q.Name())
		t.field("waiting", strconv.Itoa(s.Waiting))
		if s.Waiting > 0 {
			t.field("", "the oldest for "+span(s.Lag()))
		}
		t.field("running", strconv.Itoa(s.Running))
		if s.MaxRunning > 0 {
			t.field("", fmt.Sprintf("at most %d of a priority", s.MaxRunning))
		}
		t.field("later", strconv.Itoa(s.Later))
		t.field("dead", strconv.Itoa(s.Dead))
		t.field("done", fmt.Sprintf("%d retained, cancelled ones included", s.Done))
		t.field("paused", pauseOf(s))
		t.field("created", moment(s.Created))
		return t.flush()
	})
}

func pauseOf(s queue.Stats) string {
	if !s.Paused {
		return "no"
	}
	text := "yes, until it is resumed"
	if !s.PausedUntil.IsZero() {
		text = "yes, until " + moment(s.PausedUntil)
	}
	if s.PauseReason != "" {
		text += ": " + s.PauseReason
	}
	return text
}

func list(fs *flag.FlagSet) action {
	var filter workitem.Filter
	defineStates(fs, &filter, queue.Waiting, queue.Running, queue.Later, queue.Done, queue.Dead, queue.Cancelled)
	defineFilter(fs, &filter)
	check := func([]string) error { return checkSpan(filter) }
	return checked(check, onQueue(func(ctx context.Context, in *inspector, q *opened, _ []string) error {
		t, n := newTable(in.out), 0
		for info, err := range q.list(ctx, filter) {
			if err == nil {
				info.kind, err = q.kindOf(ctx, info)
			}
			if err != nil {
				return errors.Join(err, t.flush())
			}
			if n++; in.cfg.json {
				err = in.printJSON(newJob(info))
			} else {
				err = printListed(t, info, q.items != nil)
			}
			if err != nil {
				return err
			}
		}
		if n == 0 && ctx.Err() == nil {
			in.note("no job")
		}
		return errors.Join(t.flush(), context.Cause(ctx))
	}))
}

// printListed adds a row, and above the first one what its columns are.
func printListed(t *table, i listed, kinds bool) error {
	row := func(id, kind string, others ...string) {
		cells := []string{id}
		if kinds {
			cells = append(cells, kind)
		}
		t.row(append(cells, others...)...)
	}
	if t.rows == 0 {
		row("ID", "KIND", "STATE", "ATTEMPT", "ENQUEUED", "DETAIL", "PAYLOAD")
	}
	row(i.ID, i.kind, string(i.State), of(i.Attempt, i.MaxAttempts), relative(i.Enqueued),
		detail(i.Info), oneLine(shown(i.Payload), 60))
	return t.failed
}

func get(*flag.FlagSet) action {
	return onQueue(func(ctx context.Context, in *inspector, q *opened, args []string) error {
		found, progress, err := q.get(ctx, args[0])
		if errors.Is(err, queue.ErrNotFound) {
			return &noJobError{q.Name(), args[0]}
		}
		if err != nil {
			return err
		}
		if in.cfg.json {
			j := newJob(found)
			j.Progress = progress
			return in.printJSON(j)
		}
		return in.describe(found, progress)
	})
}

// get gets a job, and the progress of a work item if any is known.
func (q *opened) get(ctx context.Context, id string) (found listed, progress *workitem.Status, err error) {
	if q.items == nil {
		found.Info, err = q.Get(ctx, id)
		return found, nil, err
	}
	item, err := q.items.Get(ctx, id)
	if item.Status.State != "" {
		progress = &item.Status
	}
	return listed{raw(item.Info), item.Kind}, progress, err
}

// describe prints all that is known of a job.
func (in *inspector) describe(i listed, progress *workitem.Status) error {
	t := newTable(in.out)
	t.field("job", i.ID)
	t.field("kind", i.kind)
	state := string(i.State)
	if i.Reason != "" {
		state += ", " + i.Reason
	}
	t.field("state", state)
	t.field("attempt", of(i.Attempt, i.MaxAttempts))
	if i.Interruptions > 0 {
		t.field("", fmt.Sprintf("interrupted %d times by the end of a worker", i.Interruptions))
	}
	t.field("priority", strconv.Itoa(i.Priority))
	t.field("enqueued", moment(i.Enqueued))
	t.field("since", moment(i.Since))
	t.field("due", moment(i.Due))
	if i.State == queue.Running && i.Worker == "" {
		i.Worker = "none answers: it has crashed, is cut off, or took the job with Dequeue"
	}
	t.field("worker", i.Worker)
	if progress != nil {
		t.field("progress", progressOf(*progress))
	}
	t.field("error", i.Error)
	t.field("correlation", i.CorrelationID)
	t.field("properties", sorted(i.Properties))
	t.field("copy of", i.CopyOf)
	if i.Retain > 0 {
		t.field("retained", i.Retain.String()+" from its end on")
	}
	if i.Undecodable != nil {
		t.field("undecodable", i.Undecodable.Error())
	}
	t.field("payload", shown(i.Payload))
	t.field("result", shown(i.Result))
	return t.flush()
}

// progressOf is the status of a work item in a line.
func progressOf(s workitem.Status) string {
	text := strings.Join(strings.Fields(fmt.Sprintf("%d%% %s %s", s.Percent, s.State, s.Kind)), " ")
	if s.Message != "" {
		text += ": " + s.Message
	}
	if len(s.Data) > 0 {
		text += " " + string(s.Data)
	}
	return text
}
