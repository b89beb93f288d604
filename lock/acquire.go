// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"
)

// A claim is one acquisition of one name.
type claim struct {
	c      *core
	ref    ref
	ttl    time.Duration
	record record

	expect uint64 // the revision of a tombstone that this process has left, or 0
	doubt  bool   // an answer was lost: our nonce may be at the key
	holder Holder // who held the lock when last seen
}

// newClaim takes over the nonce of an earlier claim of this process that ended in
// doubt, and with it what may be left of that.
func (c *core) newClaim(ref ref, ttl time.Duration) *claim {
	memo := c.recall(ref.key)
	return &claim{
		c: c, ref: ref, ttl: ttl, expect: memo.rev, doubt: memo.nonce != "",
		record: record{
			Version: version, Owner: c.opts.Owner, Nonce: cmp.Or(memo.nonce, rand.Text()), TTL: int(ttl / time.Second),
		},
	}
}

// close leaves a claim that ends in doubt to the next one.
func (a *claim) close() {
	if a.doubt {
		a.c.remember(a.ref.key, memo{nonce: a.record.Nonce, until: time.Now().Add(a.ttl + oneTry)})
	}
}

// acquire takes a lock, waiting as long as the settings say.
func (c *core) acquire(ctx context.Context, ref ref, s settings) (*Lease, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	a := c.newClaim(ref, s.ttl)
	defer a.close()
	lease, err := a.acquire(ctx, s.wait)
	if err != nil || ctx.Err() == nil {
		return lease, err
	}
	c.releaseQuietly(ctx, lease, oneTry) // nobody is there to take it
	return nil, ctx.Err()
}

func (a *claim) acquire(ctx context.Context, wait time.Duration) (*Lease, error) {
	if wait == 0 {
		ctx, cancel := bounded(ctx)
		defer cancel()
		return a.try(ctx)
	}
	limit := ctx
	if wait > 0 {
		var cancel context.CancelFunc
		limit, cancel = context.WithTimeout(ctx, wait)
		defer cancel()
	}
	lease, err := a.wait(limit)
	if err != nil && limit.Err() != nil {
		err = a.tooLate(ctx)
	}
	return lease, err
}

// tooLate is the error of a wait that is over.
func (a *claim) tooLate(ctx context.Context) error {
	switch {
	case ctx.Err() == nil && a.holder.Held():
		return &HeldError{a.holder}
	case ctx.Err() == nil:
		return fmt.Errorf("the server did not answer in time: %w", context.DeadlineExceeded)
	case a.holder.Held():
		return fmt.Errorf("%w; %w", ctx.Err(), &HeldError{a.holder})
	}
	return ctx.Err()
}

// try takes the lock if it is free. It waits for the server only.
func (a *claim) try(ctx context.Context) (*Lease, error) {
	for n := 0; ; n++ {
		lease, err := a.take(ctx, a.expect)
		if err == nil {
			return lease, nil
		}
		var e entry
		if errors.Is(err, errConflict) {
			if e, err = a.c.read(ctx, a.ref.key); err == nil {
				if a.busy(e) {
					return nil, &HeldError{a.holder}
				}
				a.expect = e.rev
			}
		}
		if err != nil && !transient(err) {
			return nil, err
		}
		if again(ctx, n, err) != nil {
			return nil, a.unanswered(ctx, err)
		}
	}
}

// unanswered is the error of a try whose context has ended.
func (a *claim) unanswered(ctx context.Context, last error) error {
	if last == nil || errors.Is(last, ctx.Err()) {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", ctx.Err(), last)
}

// wait takes the lock as soon as it is free. Those who wait in this process do
// so in the order in which they came, and only the first of them asks the server.
func (a *claim) wait(ctx context.Context) (*Lease, error) {
	if !a.c.contended(a.ref.key) {
		lease, err := a.try(ctx)
		if err == nil || !errors.Is(err, ErrHeld) {
			return lease, err
		}
	}
	line := a.c.join(a.ref.key)
	defer line.leave()
	select {
	case line.turn <- struct{}{}:
		defer func() { <-line.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for n := 0; ; {
		e, changed, err := line.look(ctx, a.c)
		switch {
		case err != nil && (!transient(err) || ctx.Err() != nil):
			return nil, err
		case err != nil:
			n++
			err = pause(ctx, n)
		case a.busy(e):
			err = line.await(ctx, changed, line.patience(e))
		default:
			lease, takeErr := a.take(ctx, e.rev)
			if takeErr == nil {
				return lease, nil
			}
			if !errors.Is(takeErr, errConflict) && !transient(takeErr) {
				return nil, takeErr
			}
			// Another was faster, and the watch is about to say so.
			err = line.await(ctx, changed, 10*time.Millisecond)
		}
		if err != nil {
			return nil, err
		}
	}
}

// busy reports whether somebody else holds the lock, and notes who.
func (a *claim) busy(e entry) bool {
	if e.held == nil || e.held.Nonce == a.record.Nonce {
		a.holder = Holder{}
		return false
	}
	a.holder = e.holder(a.ref)
	return true
}

// take writes the record to a key that is at revision expect. What is there by an
// earlier take, whose answer was lost, is overwritten like nothing.
func (a *claim) take(ctx context.Context, expect uint64) (*Lease, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	sent := time.Now()
	a.record.Since = sent.Round(0)
	// If ctx ends meanwhile the answer still tells that there is something to
	// release.
	rev, err := a.c.put(context.WithoutCancel(ctx), a.ref.key, expect, a.record.encode(), a.ttl)
	switch {
	case errors.Is(err, errConflict):
		return nil, err
	case err != nil:
		a.doubt = true
		return nil, err
	case !time.Now().Before(deadline(sent, a.ttl)):
		a.doubt = true // it is ours, and its time is over
		return nil, errConflict
	}
	a.doubt = false
	return newLease(a.c, a.ref, a.record, rev, sent), nil
}

// releaseQuietly releases a lease that its holder is done with, or leaves it to
// its TTL if the server does not answer.
func (c *core) releaseQuietly(ctx context.Context, l *Lease, limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	if err := l.release(ctx); err != nil && !errors.Is(err, ErrLost) {
		c.opts.logger().Warn("lock not released; it ends with its TTL", "lock", l.ref.label, "fence", uint64(l.Fence()), "err", err)
	}
}
