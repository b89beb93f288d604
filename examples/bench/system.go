// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetjobs/jetjobs/queue"
)

// A system holds numbered jobs and works on them: the queue, or a program on
// nats.go with the same effect. Its methods may be called concurrently.
type system interface {
	// enqueue stores one job; it returns when the server has it.
	enqueue(ctx context.Context, n int, h how) (duplicate bool, err error)

	// enqueueMany stores the jobs from ≤ n < to, at most maxBatch, whole or not at all.
	enqueueMany(ctx context.Context, from, to int) error

	// work works with so many slots until ctx ends, and returns when the server
	// has confirmed what is done. A job whose handler fails is tried again
	// after retryDelay.
	work(ctx context.Context, slots int, handle handler) error

	// stream is where the jobs are: one that is done and not retained is gone.
	stream() string

	// over is the same system on another connection.
	over(ctx context.Context, js jetstream.JetStream) (system, error)
}

type handler func(n int) error

// how says in what a job is not like the others.
type how struct {
	due      time.Time
	id       string
	priority int
}

// maxBatch is the server's own limit.
const maxBatch = 1000

// A queueSystem is the queue.
type queueSystem struct {
	rig   *rig
	setup setup
	q     *queue.Queue[string]
}

func (s *queueSystem) enqueue(ctx context.Context, n int, h how) (bool, error) {
	receipt, err := s.q.Enqueue(ctx, s.rig.text.of(n), h.options()...)
	return receipt.Duplicate, err
}

func (h how) options() (opts []queue.EnqueueOption) {
	if !h.due.IsZero() {
		opts = append(opts, queue.At(h.due))
	}
	if h.id != "" {
		opts = append(opts, queue.ID(h.id))
	}
	if h.priority > 0 {
		opts = append(opts, queue.Priority(h.priority))
	}
	return opts
}

func (s *queueSystem) enqueueMany(ctx context.Context, from, to int) error {
	values := make([]string, to-from)
	for i := range values {
		values[i] = s.rig.text.of(from + i)
	}
	_, err := s.q.EnqueueMany(ctx, queue.Items(values))
	return err
}

func (s *queueSystem) work(ctx context.Context, slots int, handle handler) error {
	return queue.NewJob(s.q, func(_ context.Context, e *queue.Entry[string]) error {
		return handle(number(e.Value))
	}, queue.JobOptions{Concurrency: slots}).RunContinuous(ctx)
}

func (s *queueSystem) stream() string { return "jobs_q_" + s.q.Name() }

func (s *queueSystem) over(ctx context.Context, js jetstream.JetStream) (system, error) {
	return s.rig.openQueue(ctx, js, s.q.Name(), s.setup)
}

// codec is how the queue encodes payloads.
func (c config) codec() queue.Codec {
	if c.plain {
		return plainText{}
	}
	return queue.JSON
}

type plainText struct{}

func (plainText) Marshal(v any) ([]byte, error) { return []byte(v.(string)), nil }

func (plainText) Unmarshal(data []byte, v any) error {
	*v.(*string) = string(data)
	return nil
}

// text makes the payload of a job: its number, and as much behind it as makes it
// so many bytes of JSON.
type text string

func newText(payload int) text { return text(" " + strings.Repeat("x", payload)) }

func (t text) of(n int) string {
	var digits [20]byte
	head := strconv.AppendInt(digits[:0], int64(n), 10)
	size := len(t) - 1 - len(`""`)
	var b strings.Builder
	b.Grow(size)
	b.Write(head)
	b.WriteString(string(t[:size-len(head)]))
	return b.String()
}

// json is the payload as it is encoded.
func (t text) json(n int) []byte {
	size := len(t) - 1
	b := make([]byte, 0, size)
	b = strconv.AppendInt(append(b, '"'), int64(n), 10)
	b = append(b, t[:size-1-len(b)]...)
	return append(b, '"')
}

// number is that of a payload.
func number[S string | []byte](text S) int {
	n := 0
	for i := 0; i < len(text) && text[i] != ' '; i++ {
		n = 10*n + int(text[i]-'0')
	}
	return n
}
