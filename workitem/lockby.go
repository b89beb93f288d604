// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package workitem

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// A Locker is a lock.Locker, as far as LockBy needs it.
type Locker[F ~uint64, O any] interface {
	// TryDo calls do while holding the named lock, or does not call it and
	// returns an error if somebody else holds it.
	TryDo(ctx context.Context, name string, do func(ctx context.Context, fence F) error, opts ...O) error
}

// LockBy lets no two items with the same key run at the same time, whatever
// their kinds, in any process: key is a name from the business, such as that of
// an account. An item whose lock is held waits a second or two and is tried
// again, as often as it takes, and no attempt is counted. An empty key takes no
// lock.
//
// The handler's context ends when the lock is lost; Context.Fence tells late
// holders apart. If the locks can't be reached the item waits as well.
func LockBy[T any, F ~uint64, O any](locks Locker[F, O], key func(T) string) RegisterOption {
	return registerOption(func(r *registration) {
		r.lock = &lockBy{
			check: func(value any) error {
				if _, ok := value.(T); !ok && value != nil {
					return fmt.Errorf("LockBy has a key of %T, and the kind is %T", *new(T), value)
				}
				if locks == nil || key == nil {
					return fmt.Errorf("LockBy has no locks or no key")
				}
				return nil
			},
			key: func(value any) string { typed, _ := value.(T); return key(typed) },
			try: func(ctx context.Context, name string, do func(context.Context, uint64) error) error {
				return locks.TryDo(ctx, name, func(ctx context.Context, fence F) error { return do(ctx, uint64(fence)) })
			},
		}
	})
}

// A lockBy is LockBy without its types.
type lockBy struct {
	check func(value any) error
	key   func(value any) string
	try   func(ctx context.Context, name string, do func(context.Context, uint64) error) error
}

// lockPause is how long an item waits for a lock before it is tried again: 1 to
// 2 s, so that those who wait for one lock spread out.
func lockPause() time.Duration { return time.Second + rand.N(time.Second) }

// do calls do under the item's lock, if it has one. Held reports whether do was
// called; otherwise err says why the lock could not be had.
func (l *lockBy) do(ctx context.Context, value any, do func(context.Context, uint64) error) (held bool, key string, err error) {
	if l == nil {
		return true, "", do(ctx, 0)
	}
	if key = l.key(value); key == "" {
		return true, "", do(ctx, 0)
	}
	err = l.try(ctx, key, func(ctx context.Context, fence uint64) error {
		held = true
		return do(ctx, fence)
	})
	return held, key, err
}
