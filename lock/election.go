// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jetjobs/jetjobs/internal/backoff"
	"github.com/jetjobs/jetjobs/internal/guard"
)

// ElectionOptions say how an Election goes. The zero value is for most.
type ElectionOptions struct {
	// TTL is how long nobody leads after the leader has crashed or was cut off.
	// One that stops in order is succeeded at once. At least a second, rounded up
	// to whole ones. Default: Options.TTL.
	TTL time.Duration

	// Backoff returns the wait before this process runs for leader again, after
	// so many times in a row, 1 or more, that its function returned although it
	// was still the leader. Default: min(100 ms · 2^(n−1), 1 min) ± 20 %.
	Backoff func(failures int) time.Duration
}

// An Election runs a function in one process of all that run for it: the leader.
// The leader holds the lock of the election's name.
type Election struct {
	locker  *Locker
	name    string
	lead    func(ctx context.Context, term Fence) error
	ttl     time.Duration
	backoff func(failures int) time.Duration

	lease atomic.Pointer[Lease] // nil: not the leader
}

// NewElection returns an election with this name. While this process leads, Run
// calls lead, once for each term. A term is a fence: larger than that of every
// earlier leader.
//
// The context of lead ends when the process stops leading: with cause ErrLost if
// it lost the lock, and otherwise as that of Run. Until lead returns, the process
// goes on holding the lock if it can, so that no two leaders are at work. If lead
// returns before that, with an error or without, or panics, the process resigns and
// runs again after Backoff.
func NewElection(locker *Locker, name string, lead func(ctx context.Context, term Fence) error, opts ElectionOptions) (*Election, error) {
	ttl := cmp.Or(opts.TTL, locker.c.opts.TTL)
	err := errors.Join(checkName(locker.scope, name), checkTTL("ElectionOptions.TTL", ttl))
	if lead == nil {
		err = errors.Join(err, errors.New("lead is nil: want a function; to observe only, use Locker.Watch"))
	}
	if err != nil {
		return nil, fmt.Errorf("election %q: %w", locker.label+name, err)
	}
	e := &Election{locker: locker, name: name, lead: lead, ttl: ttl, backoff: opts.Backoff}
	if e.backoff == nil {
		exponential := backoff.Exponential{First: 100 * time.Millisecond, Max: time.Minute, Factor: 2, Jitter: 0.2}
		e.backoff = func(n int) time.Duration { return exponential.Delay(n, rand.Float64) }
	}
	return e, nil
}

// Run runs for leader, and leads, until ctx ends; it then resigns, and returns
// nil, when lead has returned. Another process that runs takes over at once. The
// error is that of a connection that was closed, or of a server that refuses.
func (e *Election) Run(ctx context.Context) error {
	failures := 0
	for {
		lease, _, err := e.locker.acquire(ctx, e.name, forever, []Option{TTL(e.ttl)})
		switch {
		case err == nil && ctx.Err() != nil: // elected too late
			lease.c.releaseQuietly(ctx, lease, releaseFor)
			return nil
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		began := time.Now()
		lost := e.reign(ctx, lease)
		if time.Since(began) >= steady {
			failures = 0
		}
		if lost {
			continue
		}
		failures++
		if !backoff.Sleep(ctx, max(e.backoff(failures), minBackoff)) {
			return nil
		}
	}
}

const (
	// steady is how long somebody must have led for the next failure to be the
	// first in a row.
	steady = time.Minute

	minBackoff = 10 * time.Millisecond
)

// reign leads for one term and reports whether the lock was lost.
func (e *Election) reign(ctx context.Context, lease *Lease) (lost bool) {
	log := e.locker.c.opts.logger().With("lock", lease.ref.label, "fence", uint64(lease.Fence()))
	work, stop := lease.Keep(ctx)
	e.lease.Store(lease)
	log.Info("elected")
	defer func() {
		e.lease.CompareAndSwap(lease, nil)
		stop()
		lease.c.releaseQuietly(ctx, lease, releaseFor)
		log.Info("resigned")
	}()
	err := guard.Call(func() error { return e.lead(work, lease.Fence()) })
	if lost = lease.lost(); !lost && ctx.Err() == nil {
		log.Warn("leader's function returned early", "err", err)
	}
	return lost
}

// Term returns the term in which this process leads; ok is false while it does
// not.
func (e *Election) Term() (term Fence, ok bool) {
	if lease := e.lease.Load(); lease != nil && lease.Held() {
		return lease.Fence(), true
	}
	return 0, false
}

// Leader returns who leads and since when, whether this process runs or not. If
// nobody does, Held is false.
func (e *Election) Leader(ctx context.Context) (Holder, error) {
	return e.locker.Holder(ctx, e.name)
}

// Observe yields who leads, at once and whenever that changes, until ctx ends. It
// is Locker.Watch of the election's name.
func (e *Election) Observe(ctx context.Context) iter.Seq2[Holder, error] {
	return e.locker.Watch(ctx, e.name)
}
