// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strconv"
)

// growing are the workloads that show whether the cost of a job stays the same.
// Each is a point of a curve.
func growing() (list []workload) {
	add := func(curve, doc, point string, long bool, run func(ctx context.Context, r *rig, by string) (sample, error)) {
		list = append(list, workload{name: curve + "-" + point, doc: doc, systems: []string{bySubjects, byQueue}, curve: curve, rounds: 1, long: long, run: run})
	}
	for _, w := range []struct {
		point string
		jobs  int
	}{{"10k", 10_000}, {"100k", 100_000}, {"1m", 1_000_000}} {
		add("growth-waiting", "enqueue until so many wait, then drain", w.point, w.jobs > 100_000, func(ctx context.Context, r *rig, by string) (sample, error) {
			return r.withWaiting(ctx, by, w.jobs)
		})
	}
	for _, n := range []int{1, 10, 100} {
		add("growth-queues", "drain of so many queues at a time by one process, which share -jobs and -concurrency", strconv.Itoa(n), false, func(ctx context.Context, r *rig, by string) (sample, error) {
			return r.withQueues(ctx, by, n)
		})
	}
	for _, n := range []int{1, 10, 100, 1000} {
		add("growth-slots", "drain with so many slots", strconv.Itoa(n), false, func(ctx context.Context, r *rig, by string) (sample, error) {
			return r.withSlots(ctx, by, n)
		})
	}
	return list
}

// whileEnqueuing is before metrics of a workload that measures both.
const whileEnqueuing = "enqueue: "

func (r *rig) withWaiting(ctx context.Context, by string, n int) (s sample, err error) {
	n = r.cfg.scaled(n)
	err = r.with(ctx, by, setup{}, func(sys system) error {
		enqueued, err := r.measure(n, func() error { return r.fill(ctx, sys, n) })
		if err != nil {
			return err
		}
		s, err = r.measure(n, func() error { return r.drain(ctx, sys, r.cfg.concurrency, n) })
		for metric, value := range enqueued {
			s[whileEnqueuing+metric] = value
		}
		return err
	})
	return s, err
}

func (r *rig) withQueues(ctx context.Context, by string, queues int) (s sample, err error) {
	if r.cfg.quick {
		queues = min(queues, 10)
	}
	each := max(1, r.cfg.jobs/queues)
	err = r.withAll(ctx, by, setup{}, queues, func(systems []system) error {
		for _, sys := range systems {
			if err := r.fill(ctx, sys, each); err != nil {
				return err
			}
		}
		s, err = r.measure(each*queues, func() error {
			return together(queues, func(i int) error {
				return r.drain(ctx, systems[i], max(1, r.cfg.concurrency/queues), each)
			})
		})
		return err
	})
	return s, err
}

func (r *rig) withSlots(ctx context.Context, by string, slots int) (s sample, err error) {
	err = r.with(ctx, by, setup{}, func(sys system) error {
		if err := r.fill(ctx, sys, r.cfg.jobs); err != nil {
			return err
		}
		s, err = r.measure(r.cfg.jobs, func() error { return r.drain(ctx, sys, slots, r.cfg.jobs) })
		return err
	})
	return s, err
}
