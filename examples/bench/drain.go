// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

func drain(ctx context.Context, r *rig, by string) (s sample, err error) {
	err = r.with(ctx, by, setup{}, func(sys system) error {
		if err := r.fill(ctx, sys, r.cfg.jobs); err != nil {
			return err
		}
		s, err = r.measure(r.cfg.jobs, func() error { return r.drain(ctx, sys, r.cfg.concurrency, r.cfg.jobs) })
		return err
	})
	return s, err
}

func pipeline(ctx context.Context, r *rig, by string) (s sample, err error) {
	err = r.with(ctx, by, setup{}, func(sys system) error {
		s, err = r.measure(r.cfg.jobs, func() error {
			done := r.count(r.cfg.jobs)
			return during(ctx, sys, r.cfg.concurrency, func(n int) error {
				done.add(n)
				return nil
			}, func(ctx context.Context) error {
				err := r.produce(ctx, r.cfg.producers, r.cfg.jobs, func(n int) error {
					_, err := sys.enqueue(ctx, n, how{})
					return err
				})
				return errors.Join(err, done.wait(ctx), r.emptied(ctx, sys))
			})
		})
		return err
	})
	return s, err
}

// overtaken is how many in a hundred pairs of jobs of different priority were
// started the wrong way round; 50 is without any order.
const overtaken = "out of order %"

// levels is how many priorities there are.
const levels = 3

func priorities(ctx context.Context, r *rig, by string) (s sample, err error) {
	err = r.with(ctx, by, setup{priorities: levels}, func(sys system) error {
		err := r.produce(ctx, 256, r.cfg.jobs, func(n int) error {
			_, err := sys.enqueue(ctx, n, how{priority: n % levels})
			return err
		})
		if err != nil {
			return err
		}
		var mu sync.Mutex // guards order
		order := make([]int, 0, r.cfg.jobs)
		done := r.count(r.cfg.jobs)
		s, err = r.measure(r.cfg.jobs, func() error {
			return during(ctx, sys, r.cfg.concurrency, func(n int) error {
				mu.Lock()
				order = append(order, n%levels)
				mu.Unlock()
				done.add(n)
				return nil
			}, done.wait)
		})
		if err == nil {
			s[overtaken] = 100 * outOfOrder(order)
		}
		return err
	})
	return s, err
}

// outOfOrder is how much of the pairs of different priorities has the lower one first.
func outOfOrder(order []int) float64 {
	var so [levels]int // how many of each are before
	var wrong, pairs int
	for _, p := range order {
		for other, n := range so {
			if other != p {
				pairs += n
			}
			if other > p {
				wrong += n
			}
		}
		so[p]++
	}
	return float64(wrong) / float64(max(1, pairs))
}

func retries(ctx context.Context, r *rig, by string) (s sample, err error) {
	err = r.with(ctx, by, setup{}, func(sys system) error {
		if err := r.fill(ctx, sys, r.cfg.jobs); err != nil {
			return err
		}
		failed := make([]atomic.Bool, r.cfg.jobs)
		done := r.count(r.cfg.jobs)
		s, err = r.measure(r.cfg.jobs, func() error {
			return during(ctx, sys, r.cfg.concurrency, func(n int) error {
				if n%10 == 0 && !failed[n].Swap(true) {
					return errTryAgain
				}
				done.add(n)
				return nil
			}, done.wait)
		})
		return err
	})
	return s, err
}

var errTryAgain = errors.New("failed once, as it should")
