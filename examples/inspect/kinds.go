// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/jetjobs/jetjobs/queue"
	"github.com/jetjobs/jetjobs/workitem"
)

// A listed job is one of a list, with its kind if the queue is one of work items.
type listed struct {
	queue.Info[json.RawMessage]
	kind string
}

// list lists the jobs that a filter accepts.
func (q *opened) list(ctx context.Context, f workitem.Filter) iter.Seq2[listed, error] {
	return func(yield func(listed, error) bool) {
		if err := q.checkKinds(f); err != nil {
			yield(listed{}, err)
			return
		}
		if q.items == nil {
			for info, err := range q.List(ctx, f.Filter) {
				if !yield(listed{Info: info}, err) {
					return
				}
			}
			return
		}
		for item, err := range q.items.List(ctx, f) {
			if !yield(listed{raw(item.Info), item.Kind}, err) {
				return
			}
		}
	}
}

// checkKinds refuses to select by what the jobs don't have.
func (q *opened) checkKinds(f workitem.Filter) error {
	if len(f.Kinds) > 0 && q.items == nil {
		return fmt.Errorf("-kind is for work items, and the jobs of queue %q are none", q.Name())
	}
	return nil
}

// kindOf is the kind of a listed item. A list does not know that of one that is done or
// cancelled, which has no payload any more; its status does, for as long as it is kept.
func (q *opened) kindOf(ctx context.Context, job listed) (string, error) {
	if q.items == nil || job.kind != "" || !job.State.Over() {
		return job.kind, nil
	}
	status, err := q.items.Status(ctx, job.ID)
	if errors.Is(err, queue.ErrNotFound) {
		return "", nil
	}
	return status.Kind, err
}

// raw is what a work item is as a job: what is printed of either is the same.
func raw(i queue.Info[workitem.Envelope]) queue.Info[json.RawMessage] {
	return queue.Info[json.RawMessage]{
		ID: i.ID, State: i.State, Reason: i.Reason, Payload: i.Payload, Undecodable: i.Undecodable,
		Attempt: i.Attempt, MaxAttempts: i.MaxAttempts, Interruptions: i.Interruptions, Priority: i.Priority,
		Timeout: i.Timeout, Expires: i.Expires, Retain: i.Retain, Enqueued: i.Enqueued, Since: i.Since, Due: i.Due,
		Error: i.Error, Result: i.Result, CorrelationID: i.CorrelationID, Properties: i.Properties, CopyOf: i.CopyOf,
		Worker: i.Worker,
	}
}
