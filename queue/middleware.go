// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"maps"

	"github.com/jetjobs/jetjobs/internal/guard"
)

// Middleware wraps what this process enqueues and works on: for metrics, spans,
// checks, the tenant. Either function may be nil. Both are called concurrently.
//
// For one type of values, wrap the Handler: it is a function.
type Middleware struct {
	// Enqueue wraps Enqueue and EnqueueCopy, with one draft, and EnqueueMany, with all
	// of them. It returns what next returns, or an error in place of it: then nothing is stored.
	// A panic is an error.
	Enqueue func(ctx context.Context, drafts []*Draft, next func(context.Context) ([]Receipt, error)) ([]Receipt, error)

	// Work wraps a Handler. What it returns is taken for what the handler has
	// returned.
	Work func(ctx context.Context, task Task, next func(context.Context) error) error
}

// A Task is a job that a worker has, whatever its type: an *Entry, whose value is
// there for who asks: task.(*queue.Entry[Email]).
type Task interface {
	ID() string
	Attempt() int
	MaxAttempts() int
	LastAttempt() bool
	Priority() int
	CorrelationID() string
	Property(key string) string
	Properties() map[string]string
}

// A Draft is a job that is about to be enqueued.
type Draft struct {
	// Value is what is enqueued: a T of the queue. To change it has no effect.
	Value any

	spec spec              // as the options have it
	set  map[string]string // properties
}

// ID returns the ID that the caller has chosen, or "".
func (d *Draft) ID() string { return d.spec.id }

// CorrelationID returns what the option of this name gives, or "".
func (d *Draft) CorrelationID() string { return d.spec.correlation }

// Priority returns the priority of the job.
func (d *Draft) Priority() int { return d.spec.priority }

// Property returns a property of the job.
func (d *Draft) Property(key string) string {
	if v, ok := d.set[key]; ok {
		return v
	}
	return d.spec.properties[key]
}

// SetProperty sets a property of the job, in place of the caller's if there is one.
func (d *Draft) SetProperty(key, value string) {
	if d.set == nil {
		d.set = map[string]string{}
	}
	d.set[key] = value
}

func newDraft(value any, opts []EnqueueOption) *Draft {
	d := &Draft{Value: value}
	for _, o := range opts {
		o.enqueue(&d.spec)
	}
	return d
}

// options are the caller's with what was set.
func (d *Draft) options(opts []EnqueueOption) []EnqueueOption {
	if len(d.set) == 0 {
		return opts
	}
	return append(opts[:len(opts):len(opts)], enqueueOption(func(s *spec) {
		if s.properties == nil {
			s.properties = map[string]string{}
		}
		maps.Copy(s.properties, d.set)
	}))
}

// wrapsEnqueue reports whether any middleware wraps enqueuing.
func (c *core) wrapsEnqueue() bool {
	for _, m := range c.opts.Middleware {
		if m.Enqueue != nil {
			return true
		}
	}
	return false
}

// throughEnqueue calls store through all middleware, the first one outermost.
func (c *core) throughEnqueue(ctx context.Context, drafts []*Draft, store func(context.Context) ([]Receipt, error)) (receipts []Receipt, err error) {
	next := store
	for i := len(c.opts.Middleware) - 1; i >= 0; i-- {
		if wrap, inner := c.opts.Middleware[i].Enqueue, next; wrap != nil {
			next = func(ctx context.Context) ([]Receipt, error) { return wrap(ctx, drafts, inner) }
		}
	}
	err = guard.Call(func() (err error) {
		receipts, err = next(ctx)
		return err
	})
	return receipts, err
}

// throughWork calls a handler through all middleware, the first one outermost.
func (c *core) throughWork(ctx context.Context, task Task, handle func(context.Context) error) error {
	next := handle
	for i := len(c.opts.Middleware) - 1; i >= 0; i-- {
		if wrap, inner := c.opts.Middleware[i].Work, next; wrap != nil {
			next = func(ctx context.Context) error { return wrap(ctx, task, inner) }
		}
	}
	return next(ctx)
}
