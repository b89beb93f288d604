// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A Lease is a lock that somebody has acquired. It ends with its TTL unless it is
// renewed, by Keep or by Renew, and its own clock says when. Its methods may be
// called concurrently.
type Lease struct {
	c   *core
	ref ref
	ttl time.Duration

	record record        // what it writes; immutable
	op     chan struct{} // holds one token: one request about the key at a time

	mu        sync.Mutex // guards the rest; never held while asking the server
	rev       uint64     // of the key, as last heard
	confirmed time.Time  // when the last request was sent that the server has confirmed
	end       error      // why it is no longer held, or nil
	free      bool       // the key is not ours: released, or lost for good
	keepers   map[*keeper]struct{}
}

func newLease(c *core, ref ref, r record, rev uint64, sent time.Time) *Lease {
	r.Fence = Fence(rev)
	return &Lease{
		c: c, ref: ref, ttl: time.Duration(r.TTL) * time.Second,
		record: r, op: make(chan struct{}, 1), rev: rev, confirmed: sent, keepers: map[*keeper]struct{}{},
	}
}

// Name is the name of the lock, as it was asked for.
func (l *Lease) Name() string { return l.ref.name }

// Fence is larger than that of every earlier holder, and stays when the lease is
// renewed.
func (l *Lease) Fence() Fence { return l.record.Fence }

// TTL is how long the lock outlives its last renewal at the server: what was
// asked for, rounded up to whole seconds.
func (l *Lease) TTL() time.Duration { return l.ttl }

// Deadline is until when the lease is held for sure, unless it is renewed: a
// tenth of the TTL before the server may give the lock to another.
func (l *Lease) Deadline() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.deadlineLocked()
}

func (l *Lease) deadlineLocked() time.Time { return deadline(l.confirmed, l.ttl) }

// deadline is when a lease ends whose last confirmed request was sent at this
// time. The server counts from when it got it, which was later.
func deadline(sent time.Time, ttl time.Duration) time.Time { return sent.Add(ttl - ttl/10) }

// Held reports whether the lease is held for sure: neither released nor lost, and
// its time not over.
func (l *Lease) Held() bool { return l.err() == nil }

// err asks the clock, and ends the lease when its time is over.
func (l *Lease) err() error {
	l.mu.Lock()
	if l.end != nil || time.Now().Before(l.deadlineLocked()) {
		defer l.mu.Unlock()
		return l.end
	}
	l.mu.Unlock()
	l.lose(fmt.Errorf("not renewed within %s", l.ttl-l.ttl/10), false)
	return ErrLost
}

func (l *Lease) lost() bool { return errors.Is(l.err(), ErrLost) }

// lose ends the lease, and with it the contexts of its keepers, if nothing else
// has. The reason is for the log. If the key is gone for good nothing more is
// sent for it.
func (l *Lease) lose(reason error, gone bool) {
	if gone {
		l.mu.Lock()
		l.free = true
		l.mu.Unlock()
	}
	if l.finish(ErrLost) {
		l.c.opts.logger().Warn("lock lost", "lock", l.ref.label, "fence", uint64(l.Fence()), "err", reason)
	}
}

// finish ends the lease with a cause, once, and then the contexts of its keepers.
func (l *Lease) finish(cause error) bool {
	l.mu.Lock()
	if l.end != nil {
		l.mu.Unlock()
		return false
	}
	l.end = cause
	keepers := l.keepers
	l.keepers = nil
	l.mu.Unlock()
	for k := range keepers {
		k.cancel(cause)
	}
	return true
}

// Renew makes the lease last for its whole TTL from now, and returns when the
// server has confirmed it. While the server is away it waits for it. An error that
// is ErrLost is final. With any other the lease ends when it would have ended
// without the call.
func (l *Lease) Renew(ctx context.Context) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	return l.wrap("renew", l.renew(ctx))
}

func (l *Lease) renew(ctx context.Context) error {
	if err := l.begin(ctx); err != nil {
		return err
	}
	defer l.done()
	for n := 0; ; n++ {
		if err := l.err(); err != nil {
			return err
		}
		sent := time.Now()
		rev, err := l.c.put(ctx, l.ref.key, l.revision(), l.record.encode(), l.ttl)
		if err == nil {
			return l.confirm(rev, sent)
		}
		mine, err := l.catchUp(ctx, err)
		if !mine {
			l.lose(errors.New("taken away, or expired, at the server"), true)
			return ErrLost
		}
		if err := retry(ctx, n, err); err != nil {
			return err
		}
	}
}

// confirm notes a renewal, unless the lease has ended before the answer came.
func (l *Lease) confirm(rev uint64, sent time.Time) error {
	l.mu.Lock()
	l.rev = rev
	if l.end == nil && time.Now().Before(l.deadlineLocked()) {
		l.confirmed = sent
	}
	l.mu.Unlock()
	return l.err()
}

// catchUp looks after a write that failed with err whether the key is still this
// lease's. If it is at another revision, that is of a write whose answer was lost.
// The error is why that is not known, or why the write failed in another way.
func (l *Lease) catchUp(ctx context.Context, err error) (mine bool, _ error) {
	if !errors.Is(err, errConflict) {
		return true, err
	}
	e, err := l.c.read(ctx, l.ref.key)
	if err != nil {
		return true, err
	}
	if e.held == nil || e.held.Nonce != l.record.Nonce || e.holder(l.ref).Fence != l.Fence() {
		return false, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rev = max(l.rev, e.rev)
	return true, nil
}

// Release frees the lock. Contexts of Keep end before that. It may be called
// again: once it has freed the lock it returns nil. It never frees somebody
// else's, and returns ErrLost if the lock was not held until now. With any other
// error the lock may be held until its TTL is over.
func (l *Lease) Release(ctx context.Context) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	return l.wrap("release", l.release(ctx))
}

func (l *Lease) release(ctx context.Context) error {
	l.finish(errReleased)
	if err := l.begin(ctx); err != nil {
		return err
	}
	defer l.done()
	for n := 0; !l.isFree(); n++ {
		rev, err := l.c.clear(ctx, l.ref.key, l.revision())
		if err == nil {
			l.c.remember(l.ref.key, memo{rev: rev, until: time.Now().Add(markerTTL)})
			l.freed(true)
			break
		}
		mine, err := l.catchUp(ctx, err)
		if !mine {
			l.freed(false)
			break
		}
		if err := retry(ctx, n, err); err != nil {
			return err
		}
	}
	return l.outcome()
}

// freed notes that the key is no longer this lease's, and whether it was until
// now: then nobody has had it in between, and it does not matter how late it is.
func (l *Lease) freed(untilNow bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = true
	if untilNow {
		l.end = errReleased
	} else {
		l.end = ErrLost
	}
}

func (l *Lease) isFree() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.free
}

func (l *Lease) outcome() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if errors.Is(l.end, ErrLost) {
		return ErrLost
	}
	return nil
}

func (l *Lease) revision() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rev
}

// begin waits until no other request about the key is under way.
func (l *Lease) begin(ctx context.Context) error {
	select {
	case l.op <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Lease) done() { <-l.op }

func (l *Lease) wrap(verb string, err error) error { return wrap(l.ref, verb, err) }

func wrap(r ref, verb string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("lock %q: %s: %w", r.label, verb, err)
}
