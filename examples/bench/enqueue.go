// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
)

func enqueueOne(ctx context.Context, r *rig, by string) (s sample, err error) {
	err = r.with(ctx, by, setup{}, func(sys system) error {
		s, err = r.measure(r.cfg.jobs, func() error {
			return r.produce(ctx, r.cfg.producers, r.cfg.jobs, func(n int) error {
				_, err := sys.enqueue(ctx, n, how{})
				return err
			})
		})
		return err
	})
	return s, err
}

func enqueueMany(ctx context.Context, r *rig, by string) (s sample, err error) {
	err = r.with(ctx, by, setup{}, func(sys system) error {
		s, err = r.measure(r.cfg.jobs, func() error {
			for from := 0; from < r.cfg.jobs; from += maxBatch {
				if err := sys.enqueueMany(ctx, from, min(from+maxBatch, r.cfg.jobs)); err != nil {
					return err
				}
			}
			return nil
		})
		return err
	})
	return s, err
}

// enqueueUnique checks that the system recognises what is there already.
func enqueueUnique(ctx context.Context, r *rig, by string) (s sample, err error) {
	var duplicates atomic.Int64
	err = r.with(ctx, by, setup{}, func(sys system) error {
		s, err = r.measure(r.cfg.jobs, func() error {
			return r.produce(ctx, r.cfg.producers, r.cfg.jobs, func(n int) error {
				id := n
				if n%10 == 9 {
					id-- // another caller may be at it
				}
				duplicate, err := sys.enqueue(ctx, n, how{id: "order-" + strconv.Itoa(id)})
				if duplicate {
					duplicates.Add(1)
				}
				return err
			})
		})
		return err
	})
	if got, want := int(duplicates.Load()), r.cfg.jobs/10; err == nil && got != want {
		err = fmt.Errorf("%d duplicates were recognised: want %d", got, want)
	}
	return s, err
}
