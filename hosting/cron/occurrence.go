// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package cron

import (
	"context"
	"errors"
	"time"

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

// A hostError is a failure with the host on which it happened, which the queue
// keeps as text.
type hostError struct {
	host string
	err  error
}

func (e *hostError) Error() string { return e.err.Error() + " (on " + e.host + ")" }
func (e *hostError) Unwrap() error { return e.err }

// handler does the work of an occurrence. A job that says it was cancelled by
// itself had better not run, and has not failed.
func (f *Fleet) handler(j *fleetJob) queue.Handler[tick] {
	return func(ctx context.Context, e *queue.Entry[tick]) error {
		if info, ok := jobs.FromContext(ctx); ok {
			info.Name = j.name
			ctx = jobs.NewContext(ctx, info, nil)
		}
		began := time.Now()
		result := j.job.Run(ctx)
		if result.Failed() || result.Cancelled() && ctx.Err() != nil {
			return &hostError{f.opts.Host, result.Err()}
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
		r.Outcome, r.Message = jobs.OutcomeFailed.String(), i.Error
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
