// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package cron

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jetjobs/jetjobs/internal/guard"
	"github.com/jetjobs/jetjobs/jobs"
	"github.com/jetjobs/jetjobs/queue"
)

// An outcome is what is kept of an occurrence that succeeded.
type outcome struct {
	Host    string        `json:"host"`
	Started time.Time     `json:"started"`
	Took    time.Duration `json:"took_ns"`
	Outcome string        `json:"outcome"`
	Message string        `json:"message,omitempty"`
	Attempt int           `json:"attempt"`
}

// A runError is a failure with where it happened and how long it took, which the
// queue keeps as text: they come first, as a long text is cut at its end.
type runError struct {
	host string
	took time.Duration
	err  error
}

func (e *runError) Error() string {
	return fmt.Sprintf("on %q after %s: %v", e.host, e.took.Round(time.Millisecond), e.err)
}
func (e *runError) Unwrap() error { return e.err }

// parseFailure is the reverse of runError.Error; of any other text it tells nothing.
func parseFailure(text string) (host string, took time.Duration, message string) {
	rest, ours := strings.CutPrefix(text, "on ")
	quoted, err := strconv.QuotedPrefix(rest)
	if !ours || err != nil {
		return "", 0, text
	}
	after, message, complete := strings.Cut(rest[len(quoted):], ": ")
	took, err = time.ParseDuration(strings.TrimPrefix(after, " after "))
	if !complete || err != nil {
		return "", 0, text
	}
	host, _ = strconv.Unquote(quoted)
	return host, took, message
}

// handler does the work of an occurrence. A job that says it was cancelled by
// itself had better not run, and has not failed.
func (f *Fleet) handler(j *fleetJob) queue.Handler[tick] {
	return func(ctx context.Context, e *queue.Entry[tick]) error {
		if info, ok := jobs.FromContext(ctx); ok {
			info.Name = j.name
			ctx = jobs.NewContext(ctx, info, nil)
		}
		began := time.Now()
		var result jobs.Result
		err := guard.Call(func() error { result = j.job.Run(ctx); return nil })
		if p, ok := err.(*guard.PanicError); ok {
			f.log.ErrorContext(ctx, "job panicked", "job", j.name, "panic", p.Value, "stack", string(p.Stack))
			result = jobs.Failed(errors.New(p.Error())) // which steers nothing, whatever the panic's value is
		}
		if result.Failed() || result.Cancelled() && ctx.Err() != nil {
			return &runError{f.opts.Host, time.Since(began), result.Err()}
		}
		return e.SetResult(outcome{
			Host: f.opts.Host, Started: began, Took: time.Since(began), Attempt: e.Attempt(),
			Outcome: result.Outcome().String(), Message: result.Message(),
		})
	}
}

// runOf is an occurrence that is over, as the history tells it.
func runOf(i queue.Info[tick]) Run {
	r := Run{ID: i.ID, Planned: tickOf(i.ID), Started: i.Since, Attempt: i.Attempt}
	var o outcome
	switch i.State {
	case queue.Dead:
		r.Outcome = jobs.OutcomeFailed.String()
		r.Host, r.Took, r.Message = parseFailure(i.Error)
		r.Started = i.Since.Add(-r.Took)
	case queue.Cancelled:
		r.Outcome = jobs.OutcomeCancelled.String()
	default:
		if err := i.DecodeResult(&o); err != nil {
			r.Message = err.Error()
			break
		}
		r.Started, r.Took, r.Outcome, r.Message, r.Host, r.Attempt = o.Started, o.Took, o.Outcome, o.Message, o.Host, o.Attempt
	}
	return r
}

// waitFor waits for an occurrence.
func waitFor(ctx context.Context, q *queue.Queue[tick], id string) (Run, error) {
	_, err := queue.Wait[outcome](ctx, q, id)
	if _, failed := errors.AsType[*queue.FailedError](err); err != nil && !failed {
		return Run{}, err
	}
	i, err := q.Get(ctx, id)
	if err != nil {
		return Run{}, err
	}
	return runOf(i), nil
}
