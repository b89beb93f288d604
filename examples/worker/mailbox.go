// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetjobs/jetjobs/hosting"
	"github.com/jetjobs/jetjobs/queue"
)

// setUpWithin is how long setUp waits for the servers: whoever deploys wants to know.
const setUpWithin = 30 * time.Second

// A mailbox is the queue "emails", which a startup action opens: while the servers are away, probes and
// signals are answered all the same. What needs the queue is added to the host before, with the mailbox.
type mailbox struct {
	js  jetstream.JetStream
	cfg config

	*queue.Job[Email]                                    // set by open, before the host runs it
	queue             atomic.Pointer[queue.Queue[Email]] // nil until then, when the host is asked for its status
}

// open waits for the servers and opens the queue.
func (m *mailbox) open(ctx context.Context) error {
	if err := hosting.AwaitConnected(m.js.Conn())(ctx); err != nil {
		return err
	}
	q, err := queue.Open[Email](ctx, m.js, m.Name(), queue.Options{Replicas: m.cfg.replicas})
	if err != nil {
		return err
	}
	m.Job = queue.NewJob(q, deliver, queue.JobOptions{Concurrency: m.cfg.concurrency})
	m.queue.Store(q)
	return nil
}

// setUp creates the queue.
func (m *mailbox) setUp(ctx context.Context) error {
	slog.Info("creating the queue, unless it is there", "queue", m.Name(), "within", setUpWithin)
	ctx, cancel := context.WithTimeoutCause(ctx, setUpWithin, fmt.Errorf("it took longer than %s", setUpWithin))
	defer cancel()
	if err := m.open(ctx); err != nil {
		return err
	}
	slog.Info("the queue is there", "queue", m.Name())
	return nil
}

// Name and Stats are for the status of the host.
func (m *mailbox) Name() string { return "emails" }

func (m *mailbox) Stats(ctx context.Context) (queue.Stats, error) {
	if q := m.queue.Load(); q != nil {
		return q.Stats(ctx)
	}
	return queue.Stats{}, errors.New("the queue is not open yet")
}

func (m *mailbox) enqueueDemo(ctx context.Context) error {
	for i := range m.cfg.demo {
		if _, err := m.queue.Load().Enqueue(ctx, Email{To: fmt.Sprintf("user-%d@example.com", i+1)}); err != nil {
			return err
		}
	}
	return nil
}

// tellWhyNot logs why there is no connection. It is tried every 2 s; a line each 10 s is enough.
func tellWhyNot() nats.ConnErrHandler {
	var told time.Time
	return func(nc *nats.Conn, err error) {
		if time.Since(told) >= 10*time.Second {
			told = time.Now()
			slog.Warn("waiting for NATS", "servers", nc.Servers(), "err", err)
		}
	}
}
