// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package workitem

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/queue"
)

// A load is what most items are.
type load struct {
	File string `json:"file"`
}

const loading Kind[load] = "load"

// bubble runs f in fake time with a server and the queue "q".
func bubble(t *testing.T, opts Options, f func(t *testing.T, e *natstest.Env, q *Queue)) {
	t.Helper()
	natstest.Run(t, func(t *testing.T, e *natstest.Env) { f(t, e, open(t, e.JetStream(), opts)) })
}

func open(t testing.TB, js jetstream.JetStream, opts Options) *Queue {
	t.Helper()
	if opts.Queue.Logger == nil {
		opts.Queue.Logger = slog.New(slog.DiscardHandler)
	}
	q, err := Open(t.Context(), js, "q", opts)
	require.NoError(t, err)
	return q
}

func enqueue(t testing.TB, q *Queue, file string, opts ...queue.EnqueueOption) string {
	t.Helper()
	r, err := Enqueue(t.Context(), q, loading, load{file}, opts...)
	require.NoError(t, err)
	return r.ID
}

// knows makes handlers of one for loads.
func knows(handle Handler[load], opts ...RegisterOption) *Handlers {
	h := new(Handlers)
	Register(h, loading, handle, opts...)
	return h
}

// work runs a pool until the returned function is called, which waits.
func work(t testing.TB, q *Queue, h *Handlers, opts JobOptions) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		if err := NewJob(q, h, nil, opts).RunContinuous(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); group.Wait() })
	t.Cleanup(stop)
	return stop
}

// watch collects what Watch yields to its end.
func watch(t testing.TB, q *Queue, id string) []Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*24*time.Hour)
	defer cancel()
	var all []Status
	for s, err := range q.Watch(ctx, id) {
		require.NoError(t, err)
		all = append(all, s)
	}
	require.NotEmpty(t, all)
	require.True(t, all[len(all)-1].State.Final(), "%v", states(all))
	return all
}

// watching is watch, begun now, in a bubble; the returned function waits for its end.
func watching(t testing.TB, q *Queue, id string) (wait func() []Status) {
	t.Helper()
	var all []Status
	var group sync.WaitGroup
	group.Go(func() { all = watch(t, q, id) })
	time.Sleep(time.Millisecond) // of a bubble: it listens
	return func() []Status { group.Wait(); return all }
}

// latest is what Status knows.
func latest(t testing.TB, q *Queue, id string) Status {
	t.Helper()
	s, err := q.Status(t.Context(), id)
	require.NoError(t, err)
	return s
}

// states are those of statuses, repeated ones once.
func states(all []Status) (some []State) {
	for _, s := range all {
		if len(some) == 0 || some[len(some)-1] != s.State {
			some = append(some, s.State)
		}
	}
	return some
}

// wire counts the messages about items that pass on core NATS.
func wire(t testing.TB, nc *nats.Conn) *tap {
	t.Helper()
	tap := &tap{}
	_, err := nc.Subscribe("jobs.progress.>", tap.hear)
	require.NoError(t, err)
	require.NoError(t, nc.Flush())
	return tap
}

type tap struct {
	mu    sync.Mutex // guards the rest
	heard []time.Time
	texts [][]byte
}

func (tap *tap) hear(m *nats.Msg) {
	tap.mu.Lock()
	defer tap.mu.Unlock()
	tap.heard, tap.texts = append(tap.heard, time.Now()), append(tap.texts, m.Data)
}

func (tap *tap) times() []time.Time {
	tap.mu.Lock()
	defer tap.mu.Unlock()
	return append([]time.Time(nil), tap.heard...)
}

// text is all that was heard.
func (tap *tap) text() string {
	tap.mu.Lock()
	defer tap.mu.Unlock()
	return string(bytes.Join(tap.texts, []byte("\n")))
}

// A logBuffer is a log to look into.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
