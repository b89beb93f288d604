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
				return errors.Join(err, done.wait(ctx))
			})
		})
		return err
	})
	return s, err
}

// overtaken is how many jobs in a hundred were started before the last one that
// should have been before them.
const overtaken = "out of order %"

func priorities(ctx context.Context, r *rig, by string) (s sample, err error) {
	const levels = 3
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
			s[overtaken] = 100 * float64(outOfOrder(order)) / float64(len(order))
		}
		return err
	})
	return s, err
}

// outOfOrder counts what stands before something smaller.
func outOfOrder(order []int) (n int) {
	least := int(^uint(0) >> 1)
	for i := len(order) - 1; i >= 0; i-- {
		if order[i] > least {
			n++
		}
		least = min(least, order[i])
	}
	return n
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
