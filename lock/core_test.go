// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

func TestMain(m *testing.M) {
	natstest.Main(m, map[string]func([]string){"holder": holderProgram})
}

// openLocks opens the locks of one process of the test.
func openLocks(t testing.TB, js jetstream.JetStream, opts Options) *Locker {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	locks, err := Open(context.Background(), js, opts)
	require.NoError(t, err)
	return locks
}

// two opens the locks of two processes, a and b.
func two(t testing.TB, e *natstest.Env) (a, b *Locker) {
	t.Helper()
	return openLocks(t, e.JetStream(), Options{Owner: "a"}), openLocks(t, e.NewJetStream(), Options{Owner: "b"})
}

func acquire(t testing.TB, l *Locker, name string, opts ...Option) *Lease {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Hour)
	defer cancel()
	lease, err := l.Acquire(ctx, name, opts...)
	require.NoError(t, err)
	return lease
}

func release(t testing.TB, l interface{ Release(context.Context) error }) {
	t.Helper()
	require.NoError(t, l.Release(context.Background()))
}

// releaseAfter releases l in a while. What it returns waits until the server has
// answered, which is after somebody else may have the lock.
func releaseAfter(t testing.TB, d time.Duration, l interface{ Release(context.Context) error }) (wait func()) {
	t.Helper()
	released := make(chan struct{})
	time.AfterFunc(d, func() { release(t, l); close(released) })
	return func() { <-released }
}

// requireHeldBy fails unless the lock is held by owner for somebody who tries.
func requireHeldBy(t testing.TB, l *Locker, name, owner string) {
	t.Helper()
	_, err := l.TryAcquire(context.Background(), name)
	require.ErrorIs(t, err, ErrHeld)
	var held *HeldError
	require.ErrorAs(t, err, &held)
	require.Equal(t, owner, held.Owner)
}

// A room is where only one may be at a time: it knows the contexts of those who
// have entered, and fails the test if two of them are live.
type room struct {
	t testing.TB

	mu      sync.Mutex // guards the rest
	inside  map[string]context.Context
	last    Fence
	entered int
}

func newRoom(t testing.TB) *room { return &room{t: t, inside: map[string]context.Context{}} }

func (r *room) enter(ctx context.Context, who string, fence Fence) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for other, theirs := range r.inside {
		if theirs.Err() == nil && ctx.Err() == nil {
			r.t.Errorf("%s enters while %s is inside with a live context", who, other)
		}
	}
	if fence <= r.last {
		r.t.Errorf("%s has fence %d: want more than %d of the one before", who, fence, r.last)
	}
	r.inside[who], r.last = ctx, fence
	r.entered++
}

func (r *room) leave(who string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.inside, who)
}

func (r *room) visits() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.entered
}
