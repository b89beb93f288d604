// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"
)

// A Locker gives locks. Its methods may be called concurrently. A name is any
// string; the same name means the same lock in all processes that use the
// namespace, and the scope.
type Locker struct {
	c     *core
	scope string // empty, or ends with a dot
	label string // the scope as it is shown
}

// Scope returns a Locker whose names are its own: "a" in the scope "x" has
// nothing to do with "a" outside. All operations are scoped, also those of
// elections and throttles made of it. Scopes may be nested; the empty name is no
// scope.
func (l *Locker) Scope(name string) *Locker {
	if name == "" {
		return l
	}
	return &Locker{c: l.c, scope: scopeOf(l.scope, name), label: l.label + name + "."}
}

// A ref is one lock, as one Locker calls it.
type ref struct {
	name  string // as it was asked for
	label string // with the scope, for people
	key   string // in the bucket
}

func (l *Locker) ref(name string) ref {
	return ref{name: name, label: l.label + name, key: keyOf(lockKind, l.scope, name)}
}

// Do waits for the lock, as Acquire does, and calls do while holding it. The lock
// is renewed until do returns, and then released. The context of do ends with
// cause ErrLost when the lock is lost; the fence tells whoever do writes to that
// an earlier holder is late.
//
// Do returns what do returned, joined with ErrLost if the lock was lost before
// that. When the lock was not acquired, do is not called, and the error is that
// of Acquire. If do panics, the lock is released and the panic goes on.
func (l *Locker) Do(ctx context.Context, name string, do func(ctx context.Context, fence Fence) error, opts ...Option) error {
	return l.do(ctx, name, do, forever, opts)
}

// TryDo is Do without waiting: if somebody else holds the lock, it does not call
// do and returns a HeldError, which is ErrHeld.
func (l *Locker) TryDo(ctx context.Context, name string, do func(ctx context.Context, fence Fence) error, opts ...Option) error {
	return l.do(ctx, name, do, 0, opts)
}

// DoAll is Do for several names at once, all or none, see AcquireAll. The fences
// are by name.
func (l *Locker) DoAll(ctx context.Context, names []string, do func(ctx context.Context, fences map[string]Fence) error, opts ...Option) error {
	leases, s, err := l.acquireAll(ctx, names, forever, opts)
	if err != nil {
		return err
	}
	return leases.hold(ctx, s, func(ctx context.Context) error { return do(ctx, leases.Fences()) })
}

func (l *Locker) do(ctx context.Context, name string, do func(context.Context, Fence) error, wait time.Duration, opts []Option) error {
	lease, s, err := l.acquire(ctx, name, wait, opts)
	if err != nil {
		return err
	}
	return Leases{lease}.hold(ctx, s, func(ctx context.Context) error { return do(ctx, lease.Fence()) })
}

// Acquire waits until the lock is free and takes it. It waits no longer than ctx
// and the option Wait say; the error then tells who holds the lock, and matches
// ErrHeld and, if it was ctx, its error. While the server is away it goes on
// waiting. It returns within two seconds of the end of ctx.
//
// The lease ends with its TTL unless Keep, or Renew, renews it. Release it.
func (l *Locker) Acquire(ctx context.Context, name string, opts ...Option) (*Lease, error) {
	lease, _, err := l.acquire(ctx, name, forever, opts)
	return lease, err
}

// TryAcquire takes the lock if it is free, and otherwise returns a HeldError,
// which is ErrHeld.
func (l *Locker) TryAcquire(ctx context.Context, name string, opts ...Option) (*Lease, error) {
	lease, _, err := l.acquire(ctx, name, 0, opts)
	return lease, err
}

// AcquireAll takes several locks, all or none. It takes one after the other in
// the byte order of the names, which are the same however often they are named,
// and renews those that it has while it waits for the next. With Wait(0) it does
// not wait. The leases are in that order.
func (l *Locker) AcquireAll(ctx context.Context, names []string, opts ...Option) (Leases, error) {
	leases, _, err := l.acquireAll(ctx, names, forever, opts)
	return leases, err
}

func (l *Locker) acquire(ctx context.Context, name string, wait time.Duration, opts []Option) (*Lease, settings, error) {
	s, err := l.c.opts.settings(wait, opts)
	if err == nil {
		err = checkName(l.scope, name)
	}
	var lease *Lease
	if err == nil {
		lease, err = l.c.acquire(ctx, l.ref(name), s)
	}
	return lease, s, wrap(l.ref(name), "acquire", err)
}

func (l *Locker) acquireAll(ctx context.Context, names []string, wait time.Duration, opts []Option) (Leases, settings, error) {
	s, err := l.c.opts.settings(wait, opts)
	if len(names) == 0 {
		err = errors.Join(err, errors.New("no names: want one or more"))
	}
	for _, name := range names {
		err = errors.Join(err, checkName(l.scope, name))
	}
	var leases Leases
	if err == nil {
		leases, err = l.acquireEach(ctx, names, s)
	}
	if err != nil {
		err = fmt.Errorf("locks %q: acquire: %w", names, err)
	}
	return leases, s, err
}

// IsHeld reports whether somebody holds the lock.
func (l *Locker) IsHeld(ctx context.Context, name string) (bool, error) {
	holder, err := l.Holder(ctx, name)
	return holder.Held(), err
}

// Holder returns who holds the lock and since when, as the server knows it; if
// nobody does, Held is false.
func (l *Locker) Holder(ctx context.Context, name string) (Holder, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	e, err := l.c.look(ctx, l.ref(name).key)
	return e.holder(l.ref(name)), wrap(l.ref(name), "look up", err)
}

// ForceRelease frees the lock, whoever holds it, and returns who did. The holder
// is not asked and finds out by its next renewal, within a third of its TTL; its
// fence is smaller than that of the next holder.
func (l *Locker) ForceRelease(ctx context.Context, name string) (Holder, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	holder, err := l.c.forceRelease(ctx, l.ref(name))
	if err == nil && holder.Held() {
		l.c.opts.logger().Warn("lock released by force", "lock", l.label+name, "fence", uint64(holder.Fence), "owner", holder.Owner)
	}
	return holder, wrap(l.ref(name), "force release", err)
}

// Watch yields who holds the lock, at once and whenever that changes, until ctx
// ends. Between two holders it may or may not yield that there is none, and
// holders that follow each other quickly may be skipped; the last one never is.
// While the server is away it waits. An error is yielded once, last. The sequence
// may be ranged over more than once.
func (l *Locker) Watch(ctx context.Context, name string) iter.Seq2[Holder, error] {
	return func(yield func(Holder, error) bool) {
		err := checkName(l.scope, name)
		if err == nil {
			err = l.c.observe(ctx, l.ref(name).key, func(e entry) bool {
				return yield(e.holder(l.ref(name)), nil)
			})
		}
		if err != nil {
			yield(Holder{Name: name}, wrap(l.ref(name), "watch", err))
		}
	}
}
