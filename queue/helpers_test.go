// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

// bubble runs f in fake time with a server and the queue "q".
func bubble(t *testing.T, opts Options, f func(t *testing.T, e *natstest.Env, q *Queue[string])) {
	t.Helper()
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		f(t, e, openOn(t, e.JetStream(), opts))
	})
}

func openOn(t *testing.T, js jetstream.JetStream, opts Options) *Queue[string] {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	q, err := Open[string](t.Context(), js, "q", opts)
	require.NoError(t, err)
	return q
}

func enqueue(t *testing.T, q *Queue[string], value string, opts ...EnqueueOption) Receipt {
	t.Helper()
	r, err := q.Enqueue(t.Context(), value, opts...)
	require.NoError(t, err)
	return r
}

// dequeue waits in fake time for as long as it takes, up to a day.
func dequeue(t *testing.T, q *Queue[string]) *Entry[string] {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
	defer cancel()
	e, err := q.Dequeue(ctx)
	require.NoError(t, err)
	return e
}

// ended is a context for a single try.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func requireEmpty(t *testing.T, q *Queue[string]) {
	t.Helper()
	_, err := q.Dequeue(ended())
	require.ErrorIs(t, err, ErrEmpty)
}

// requireStats compares the numbers only. The server tells its consumers of what
// was stored, and works off acks, a moment after it has answered.
func requireStats(t *testing.T, q *Queue[string], want Stats) {
	t.Helper()
	var numbers Stats
	for range 10 {
		got, err := q.Stats(t.Context())
		require.NoError(t, err)
		numbers = Stats{Waiting: got.Waiting, Running: got.Running, Later: got.Later, Dead: got.Dead, Done: got.Done}
		if numbers == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	require.Equal(t, want, numbers)
}

// work runs handle until the returned function is called, which waits.
func work(t *testing.T, q *Queue[string], opts JobOptions, handle Handler[string]) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		if err := NewJob(q, handle, opts).RunContinuous(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); group.Wait() })
	t.Cleanup(stop)
	return stop
}

// deadLetters lists them.
func deadLetters(t *testing.T, q *Queue[string]) (all []DeadLetter[string]) {
	t.Helper()
	for l, err := range q.DeadLetters().All(t.Context()) {
		require.NoError(t, err)
		all = append(all, l)
	}
	return all
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

func (l *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// count is how many lines contain all of the words.
func (l *logBuffer) count(words ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.buf.String()) {
		has := true
		for _, w := range words {
			has = has && strings.Contains(line, w)
		}
		if has {
			n++
		}
	}
	return n
}
