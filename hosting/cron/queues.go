// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package cron

import (
	"context"
	"errors"
	"fmt"

	"github.com/jetjobs/jetjobs/queue"
)

// queue opens the queue of a job, and creates it as its definition wants it.
func (f *Fleet) queue(ctx context.Context, name string, d definition) (*queue.Queue[tick], error) {
	return f.openQueue(ctx, name, queue.Options{Retain: d.Retain, MaxRunning: maxRunning(d.Overlap)})
}

// look opens the queue of a job that others may have, if it is there.
func (f *Fleet) look(ctx context.Context, name string) (*queue.Queue[tick], error) {
	q, err := f.openQueue(ctx, name, queue.Options{MustExist: true})
	if errors.Is(err, queue.ErrNotFound) {
		err = fmt.Errorf("queue %q was deleted, or is not made yet: %w", queueOf(name), ErrNotFound)
	}
	return q, err
}

func (f *Fleet) openQueue(ctx context.Context, name string, opts queue.Options) (*queue.Queue[tick], error) {
	f.mu.Lock()
	q, j := f.queues[name], f.jobs[name]
	f.mu.Unlock()
	if q != nil {
		return q, nil
	}
	opts.Namespace, opts.Replicas, opts.Logger = f.opts.Namespace, f.opts.Replicas, f.opts.Logger
	if j != nil {
		opts.MaxAttempts, opts.Backoff = j.opts.MaxAttempts, j.opts.Backoff
	}
	q, err := queue.Open[tick](ctx, f.js, queueOf(name), opts)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queues[name] = q
	return q, nil
}

// closeQueues gives back what the queues keep on the connection. They are opened
// anew when they are used again, and may be others by then.
func (f *Fleet) closeQueues() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, q := range f.queues {
		q.Close()
		delete(f.queues, name)
	}
}

// forget makes the next use of a queue open it anew.
func (f *Fleet) forget(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.queues, name)
}

// maxRunning is what an overlap policy allows at a time, zero for any number.
func maxRunning(o Overlap) int {
	if o == Allow {
		return 0
	}
	return 1
}
