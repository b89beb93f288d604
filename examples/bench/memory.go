// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"
)

// serverMemory is what the resident memory of the server has grown by, after it
// has given back what it does not need. With -long that is without the blocks of
// messages that it keeps at hand for a while, some megabytes.
const serverMemory = "server bytes/job"

// cacheExpiry is when the server has surely dropped blocks that nobody reads: it
// took 14 s (2.15.2).
const cacheExpiry = 20 * time.Second

// keptFor is longer than any run.
const keptFor = 24 * time.Hour

func memoryWaiting(ctx context.Context, r *rig, by string) (sample, error) {
	return r.memory(ctx, by, setup{}, func(sys system, n int) error { return r.fill(ctx, sys, n) })
}

func memoryDelayed(ctx context.Context, r *rig, by string) (sample, error) {
	due := time.Now().Add(keptFor)
	return r.memory(ctx, by, setup{}, func(sys system, n int) error {
		return r.produce(ctx, 256, n, func(i int) error {
			_, err := sys.enqueue(ctx, i, how{due: due})
			return err
		})
	})
}

func memoryRetained(ctx context.Context, r *rig, by string) (sample, error) {
	return r.memory(ctx, by, setup{retain: keptFor}, func(sys system, n int) error {
		if err := r.fill(ctx, sys, n); err != nil {
			return err
		}
		return r.workOff(ctx, sys, r.cfg.concurrency, n)
	})
}

func (r *rig) memory(ctx context.Context, by string, s setup, store func(sys system, n int) error) (sample, error) {
	n := r.cfg.scaled(max(50_000, r.cfg.jobs))
	var before, after int64
	err := r.with(ctx, by, s, func(sys system) (err error) {
		if _, before, err = r.srv.ask(askSettle); err != nil {
			return err
		}
		if err = store(sys, n); err != nil {
			return err
		}
		if r.cfg.long {
			if err = sleep(ctx, cacheExpiry); err != nil {
				return err
			}
		}
		_, after, err = r.srv.ask(askSettle)
		return err
	})
	return sample{serverMemory: float64(after-before) / float64(n)}, err
}
