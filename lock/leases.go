// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Leases are locks that were acquired together, in the byte order of their names.
type Leases []*Lease

// Fences returns the fence of each name. There is no single one for all: each
// name has had other holders.
func (s Leases) Fences() map[string]Fence {
	fences := make(map[string]Fence, len(s))
	for _, l := range s {
		fences[l.ref.name] = l.Fence()
	}
	return fences
}

// Renew renews all of them and joins the errors.
func (s Leases) Renew(ctx context.Context) error {
	return s.each(func(l *Lease) error { return l.Renew(ctx) })
}

// Release releases all of them, the last first, whatever becomes of the others,
// and joins the errors.
func (s Leases) Release(ctx context.Context) error {
	return s.each(func(l *Lease) error { return l.Release(ctx) })
}

func (s Leases) each(do func(*Lease) error) error {
	var errs []error
	for _, l := range slices.Backward(s) {
		errs = append(errs, do(l))
	}
	return errors.Join(errs...)
}

// lost reports whether one of them was lost.
func (s Leases) lost() bool {
	return slices.ContainsFunc(s, (*Lease).lost)
}

// String lists the names.
func (s Leases) String() string {
	names := make([]string, len(s))
	for i, l := range s {
		names[i] = fmt.Sprintf("%q", l.ref.label)
	}
	return strings.Join(names, ", ")
}

// hold calls do under the leases, which it keeps, and lets go of them.
func (s Leases) hold(ctx context.Context, set settings, do func(context.Context) error) error {
	work, stop := s.Keep(ctx)
	lost := false
	defer func() { // also when do panics
		stop()
		s.letGo(ctx, set, lost)
	}()
	err := do(work)
	if lost = s.lost(); lost {
		return lostWith(s, err)
	}
	return err
}

// lostWith is the error of work whose lock was lost, and that returned err.
func lostWith(s Leases, err error) error {
	if err == nil {
		return fmt.Errorf("lock %s: %w", s, ErrLost)
	}
	return fmt.Errorf("lock %s: %w: %w", s, ErrLost, err)
}

// letGo releases the leases, or with NoRelease renews them for the last time.
func (s Leases) letGo(ctx context.Context, set settings, lost bool) {
	if !set.noRelease || lost {
		for _, l := range slices.Backward(s) {
			l.c.releaseQuietly(ctx, l, releaseFor)
		}
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	for _, l := range s {
		if err := l.renew(ctx); err != nil {
			l.c.opts.logger().Warn("lock ends earlier than asked for: its last renewal failed",
				"lock", l.ref.label, "fence", uint64(l.Fence()), "err", err)
		}
	}
}

// acquireEach takes all names, or none. If one that it has is lost while it waits
// for another, it begins again.
func (l *Locker) acquireEach(ctx context.Context, names []string, s settings) (Leases, error) {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	limit := time.Now().Add(s.wait)
	for {
		leases, err := l.acquireInOrder(ctx, names, s)
		if err == nil || !errors.Is(err, ErrLost) || ctx.Err() != nil {
			return leases, err
		}
		if s.wait >= 0 {
			s.wait = max(time.Until(limit), 0)
		}
	}
}

func (l *Locker) acquireInOrder(ctx context.Context, names []string, s settings) (leases Leases, err error) {
	limit := time.Now().Add(s.wait)
	kept := ctx
	defer func() {
		if err != nil {
			for _, lease := range slices.Backward(leases) {
				lease.c.releaseQuietly(ctx, lease, releaseFor)
			}
			leases = nil
		}
	}()
	for _, name := range names {
		if s.wait > 0 {
			s.wait = max(time.Until(limit), 0)
		}
		lease, err := l.c.acquire(kept, l.ref(name), s)
		if err != nil {
			if cause := context.Cause(kept); cause != nil && ctx.Err() == nil {
				err = cause
			}
			return leases, err
		}
		leases = append(leases, lease)
		var stop context.CancelFunc
		kept, stop = lease.Keep(kept)
		defer stop()
	}
	if leases.lost() {
		return leases, ErrLost
	}
	return leases, nil
}
