// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// slotUse is how much of the time of its slots a system had handlers run.
const slotUse = "slot use %"

func handlers1ms(ctx context.Context, r *rig, by string) (sample, error) {
	return r.busySlots(ctx, by, min(10, r.cfg.concurrency), time.Millisecond, time.Second)
}

func handlers100ms(ctx context.Context, r *rig, by string) (sample, error) {
	return r.busySlots(ctx, by, r.cfg.concurrency, 100*time.Millisecond, 2*time.Second)
}

// busySlots looks at slots for some time after the last of them has begun, with
// more jobs waiting than can be done.
func (r *rig) busySlots(ctx context.Context, by string, slots int, work, normal time.Duration) (s sample, err error) {
	w := &window{length: r.cfg.span(normal), slots: int64(slots), open: make(chan struct{})}
	jobs := slots*int(2*w.length/work) + 5*slots
	err = r.with(ctx, by, setup{advance: slots * max(1, int(20*time.Millisecond/work))}, func(sys system) error {
		if err := r.fill(ctx, sys, jobs); err != nil {
			return err
		}
		spent, took, err := r.spend(func() error {
			return during(ctx, sys, slots, func(int) error {
				begin := w.begin()
				time.Sleep(work)
				w.end(begin)
				return nil
			}, w.wait)
		})
		s = r.costs(spent, took, int(w.ended.Load()))
		return err
	})
	if err == nil && int(w.ended.Load()) >= jobs {
		err = errors.New("there was no more work") // then slots were not idle for want of speed
	}
	s = s.merge(sample{
		slotUse: 100 * float64(w.busy.Load()) / (float64(slots) * float64(w.length)),
		rate:    float64(w.within.Load()) / w.length.Seconds(),
	})
	return s, err
}

// A window is the time in which slots are looked at. It opens when so many
// handlers have begun. Its methods may be called concurrently.
type window struct {
	length time.Duration
	slots  int64

	begun, ended, within atomic.Int64  // handlers
	busy                 atomic.Int64  // nanoseconds that handlers ran in the window
	open                 chan struct{} // closed once opened is set
	opened               time.Time
}

func (w *window) begin() time.Time {
	now := time.Now()
	if w.begun.Add(1) == w.slots {
		w.opened = now
		close(w.open)
	}
	return now
}

func (w *window) end(begin time.Time) {
	end := time.Now()
	w.ended.Add(1)
	select {
	case <-w.open:
	default:
		return
	}
	closed := w.opened.Add(w.length)
	if end.Before(closed) {
		w.within.Add(1)
	} else {
		end = closed
	}
	if begin.Before(w.opened) {
		begin = w.opened
	}
	w.busy.Add(int64(max(0, end.Sub(begin))))
}

// wait waits until the window closes.
func (w *window) wait(ctx context.Context) error {
	select {
	case <-w.open:
		return sleep(ctx, time.Until(w.opened.Add(w.length)))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// What a worker costs that has nothing to do.
const (
	clientIdle = "client % of a core"
	serverIdle = "server % of a core"
)

func idle(ctx context.Context, r *rig, by string) (sample, error) {
	s := sample{}
	err := r.with(ctx, by, setup{advance: r.cfg.concurrency}, func(sys system) error {
		return during(ctx, sys, r.cfg.concurrency, func(int) error { return nil }, func(ctx context.Context) error {
			if err := sleep(ctx, r.cfg.span(time.Second)); err != nil { // what made the worker is over then
				return err
			}
			spent, took, err := r.spend(func() error { return sleep(ctx, r.cfg.span(5*time.Second)) })
			if measuresCPU {
				s[clientIdle] = 100 * spent.client.Seconds() / took.Seconds()
			}
			if r.srv.separate() {
				s[serverIdle] = 100 * spent.server.Seconds() / took.Seconds()
			}
			return err
		})
	})
	return s, err
}
