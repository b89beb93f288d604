// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jetjobs/jetjobs/internal/backoff"
)

// A keeper renews leases while somebody works under them.
type keeper struct {
	cancel context.CancelCauseFunc // ends the context of the work
	halt   context.CancelFunc      // ends the renewals
	tasks  sync.WaitGroup
}

// Keep renews the lease until stop is called, and returns a context that ends
// with cause ErrLost as soon as the lease is no longer held for sure: when its
// own clock says so, whatever the server does, and when the server says that it
// is gone. The end of ctx ends the context, too, but not the renewals: what is
// winding up is still protected. Call stop when the work is done; it does not
// release the lease.
func (l *Lease) Keep(ctx context.Context) (work context.Context, stop context.CancelFunc) {
	return Leases{l}.Keep(ctx)
}

// Keep keeps all of the leases, as Lease.Keep does: the context ends when one of
// them is lost.
func (s Leases) Keep(ctx context.Context) (work context.Context, stop context.CancelFunc) {
	inner, cancel := context.WithCancelCause(ctx)
	renewing, halt := context.WithCancel(context.WithoutCancel(ctx))
	k := &keeper{cancel: cancel, halt: halt}
	for _, l := range s {
		if err := l.attach(k); err != nil {
			cancel(err)
			continue
		}
		k.tasks.Go(func() { l.renewals(renewing) })
		k.tasks.Go(func() { l.watchdog(renewing) })
	}
	return leaseContext{inner, s}, func() {
		halt()
		k.tasks.Wait()
		for _, l := range s {
			l.detach(k)
		}
		cancel(nil)
	}
}

func (l *Lease) attach(k *keeper) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end == nil {
		l.keepers[k] = struct{}{}
	}
	return l.end
}

func (l *Lease) detach(k *keeper) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.keepers, k)
}

// renewals renews the lease a third of its TTL after it was last confirmed, and
// after a failure again soon.
func (l *Lease) renewals(ctx context.Context) {
	wait := time.Until(l.nextRenewal())
	for backoff.Sleep(ctx, wait) {
		try, cancel := context.WithTimeout(ctx, l.ttl/3)
		err := l.renew(try)
		cancel()
		switch {
		case err == nil:
			wait = time.Until(l.nextRenewal())
		case errors.Is(err, ErrLost), errors.Is(err, errReleased):
			return
		default:
			wait = min(l.ttl/20, pauseMax)
		}
	}
}

func (l *Lease) nextRenewal() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.confirmed.Add(l.ttl / 3)
}

// watchdog ends the lease when its time is over, while a renewal may be waiting
// for an answer.
func (l *Lease) watchdog(ctx context.Context) {
	for l.err() == nil && backoff.Sleep(ctx, time.Until(l.Deadline())) {
	}
}

// A leaseContext asks the clock before it says that it goes on. Timers that came
// due while the process was paused run after it wakes, a little later than the
// code that asks.
type leaseContext struct {
	context.Context
	leases Leases
}

func (c leaseContext) Err() error {
	if err := c.Context.Err(); err != nil {
		return err
	}
	for _, l := range c.leases {
		if l.err() != nil {
			<-c.Context.Done() // in a moment, if another goroutine has ended the lease just now
			break
		}
	}
	return c.Context.Err()
}
