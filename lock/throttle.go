// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jetjobs/jetjobs/internal/backoff"
)

// A Throttle gives turns: at most so many in any period, over all processes that
// use its name. Its methods may be called concurrently.
//
// The period slides: wherever it begins, it has no more than the limit of turns,
// by the clock of the server, which stamps each turn as it stores it. What is not
// counted is how long the answer takes to reach who asked.
//
// A turn costs one request, and two more if another process has had one since. All
// turns of a name are one key: this is for the rates at which outside services
// are called, some hundreds a second, and not for traffic.
type Throttle struct {
	c      *core
	name   string // with the scope, for people
	key    string
	limit  int
	period time.Duration
	err    error // what is wrong with it

	turn chan struct{} // held by who asks; the others of this process queue for it
	// What stands at the key, as far as this process knows; for who has the turn.
	rev    uint64
	window window
}

// Throttle returns the throttle with this name, which gives at most limit turns
// in any period. All who use a name should say the same: each judges what all have
// taken by what it was told. The limit is at least 1, the period at least a
// millisecond; what makes no sense is the error of each turn.
func (l *Locker) Throttle(name string, limit int, period time.Duration) *Throttle {
	t := &Throttle{
		c: l.c, name: l.label + name, key: keyOf(throttleKind, l.scope, name), limit: limit, period: period,
		err: checkName(l.scope, name), turn: make(chan struct{}, 1),
	}
	if limit < 1 {
		t.err = errors.Join(t.err, fmt.Errorf("the limit is %d: want at least 1", limit))
	}
	if period < time.Millisecond {
		t.err = errors.Join(t.err, fmt.Errorf("the period is %s: want at least a millisecond", period))
	}
	return t
}

// Wait waits for a turn and takes it. If ctx has a deadline, and there is none
// before that, it returns a ThrottledError, which is ErrThrottled, at once. Those
// who wait in one process get their turns in the order in which they asked.
func (t *Throttle) Wait(ctx context.Context) error { return t.wrap(t.take(ctx, true)) }

// Try takes a turn if there is one, and otherwise returns a ThrottledError, which
// is ErrThrottled and says when to try again.
func (t *Throttle) Try(ctx context.Context) error { return t.wrap(t.take(ctx, false)) }

func (t *Throttle) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("throttle %q: %w", t.name, err)
}

func (t *Throttle) take(ctx context.Context, wait bool) error {
	if t.err != nil {
		return t.err
	}
	if !wait {
		var cancel context.CancelFunc
		ctx, cancel = bounded(ctx)
		defer cancel()
	}
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for n := 0; ; {
		delay, err := t.once(ctx)
		switch {
		case err == nil && delay == 0:
			return nil
		case err == nil:
			limit, hasLimit := ctx.Deadline()
			if !wait || hasLimit && time.Until(limit) < delay {
				return &ThrottledError{Name: t.name, RetryAfter: delay}
			}
			n = 0
			if !backoff.Sleep(ctx, delay) {
				return ctx.Err()
			}
		case !errors.Is(err, errConflict) && !transient(err), again(ctx, n, err) != nil:
			return err
		default:
			n++
		}
	}
}

// once takes a turn, or returns how long there is none.
func (t *Throttle) once(ctx context.Context) (time.Duration, error) {
	if err := t.refresh(ctx); err != nil {
		return 0, err
	}
	from, _, err := t.c.clock.now(ctx, t.c)
	if err != nil {
		return 0, err
	}
	next, delay := t.window.turn(from, t.limit, t.period)
	if delay > 0 {
		return delay, nil
	}
	rev, err := t.c.put(ctx, t.key, t.rev, next.encode(), wholeSeconds(t.period)+time.Second)
	if err != nil {
		t.rev = 0 // unknown; a turn whose answer was lost may count all the same
		return 0, err
	}
	_, to, err := t.c.clock.now(ctx, t.c)
	if err != nil {
		t.rev = 0
		return 0, nil
	}
	t.rev, t.window = rev, next.settled(to, t.limit, t.period)
	return 0, nil
}

// refresh reads what stands at the key, if that is not known.
func (t *Throttle) refresh(ctx context.Context) error {
	if t.rev != 0 {
		return nil
	}
	e, err := t.c.read(ctx, t.key)
	if err != nil {
		return err
	}
	w, err := parseWindow(e.data)
	if err != nil {
		return err
	}
	t.rev, t.window = e.rev, w.settled(e.created, t.limit, t.period)
	return nil
}
