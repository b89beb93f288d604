// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Milliseconds, and how many were started before they were due.
const (
	medianWait = "p50 ms"
	p99Wait    = "p99 ms"
	p999Wait   = "p99.9 ms"
	longest    = "max ms"
	early      = "early jobs"
)

// waits are how long each of a number of jobs waited. add may be called
// concurrently.
type waits struct {
	done *tally

	mu  sync.Mutex // guards all
	all []time.Duration
}

func (w *waits) add(n int, d time.Duration) {
	w.mu.Lock()
	w.all = append(w.all, d)
	w.mu.Unlock()
	w.done.add(n)
}

func (w *waits) sample() sample {
	w.mu.Lock()
	defer w.mu.Unlock()
	ms := make([]float64, len(w.all))
	for i, d := range w.all {
		ms[i] = millis(d)
	}
	return sample{
		medianWait: percentile(ms, 50),
		p99Wait:    percentile(ms, 99),
		p999Wait:   percentile(ms, 99.9),
		longest:    percentile(ms, 100),
	}
}

// lowRate is how many jobs a second are few.
const lowRate = 200

func latency(ctx context.Context, r *rig, by string) (s sample, err error) {
	jobs := int(lowRate * r.cfg.span(2*time.Second).Seconds())
	sent := make([]time.Time, jobs) // each written before its job is enqueued
	w := &waits{done: r.count(jobs)}
	err = r.with(ctx, by, setup{advance: r.cfg.concurrency}, func(sys system) error {
		return during(ctx, sys, r.cfg.concurrency, func(n int) error {
			w.add(n, time.Since(sent[n]))
			return nil
		}, func(ctx context.Context) error {
			if err := sleep(ctx, idleWarmUp); err != nil {
				return err
			}
			start := time.Now()
			for n := range jobs {
				if err := sleep(ctx, time.Until(start.Add(time.Duration(n)*time.Second/lowRate))); err != nil {
					return err
				}
				sent[n] = time.Now()
				if _, err := sys.enqueue(ctx, n, how{}); err != nil {
					return err
				}
			}
			return w.done.wait(ctx)
		})
	})
	return w.sample(), err
}

// idleWarmUp is when a worker has surely begun to wait for jobs.
const idleWarmUp = 50 * time.Millisecond

// delayed has jobs become due one after the other, once all are there.
func delayed(ctx context.Context, r *rig, by string) (s sample, err error) {
	jobs := max(100, r.cfg.jobs/10)
	spread := r.cfg.span(2 * time.Second)
	first := time.Now().Add(time.Second/2 + time.Duration(jobs)*time.Second/2_000) // when all are there, also if every write is synced
	due := func(n int) time.Time { return first.Add(time.Duration(n) * spread / time.Duration(jobs)) }
	w := &waits{done: r.count(jobs)}
	err = r.with(ctx, by, setup{}, func(sys system) error {
		return during(ctx, sys, r.cfg.concurrency, func(n int) error {
			w.add(n, time.Since(due(n)))
			return nil
		}, func(ctx context.Context) error {
			err := r.produce(ctx, r.cfg.producers, jobs, func(n int) error {
				_, err := sys.enqueue(ctx, n, how{due: due(n)})
				return err
			})
			if err == nil && time.Now().After(first) {
				err = errors.New("the first were due before the last were enqueued: want fewer -jobs")
			}
			return errors.Join(err, w.done.wait(ctx))
		})
	})
	s = w.sample()
	delete(s, p999Wait) // of too few
	s[early] = 0
	for _, d := range w.all {
		if d < 0 {
			s[early]++
		}
	}
	return s, err
}
