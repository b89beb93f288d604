// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// What is measured of every workload that does a number of jobs.
const (
	rate        = "jobs/s"
	clientCPU   = "client µs/job"
	serverCPU   = "server µs/job"
	allocations = "allocations/job"
)

// A sample is what one system did in one turn: a value for each metric that is
// known.
type sample map[string]float64

// merge adds the metrics of another sample, and returns s.
func (s sample) merge(other sample) sample {
	for metric, value := range other {
		s[metric] = value
	}
	return s
}

// usage is what was used up to a moment.
type usage struct {
	at             time.Time
	client, server time.Duration
	allocations    uint64
}

func (r *rig) usage() (u usage, err error) {
	if r.srv.separate() {
		if u.server, _, err = r.srv.ask(askUsage); err != nil {
			return u, err
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.allocations = m.Mallocs
	u.client, _ = processCPU()
	u.at = time.Now()
	return u, nil
}

// spend is what a function used.
func (r *rig) spend(do func() error) (spent usage, took time.Duration, err error) {
	runtime.GC()
	before, err := r.usage()
	if err != nil {
		return spent, 0, err
	}
	if err := do(); err != nil {
		return spent, 0, err
	}
	took = time.Since(before.at)
	after, err := r.usage()
	spent.client = after.client - before.client
	spent.server = after.server - before.server
	spent.allocations = after.allocations - before.allocations
	return spent, took, err
}

// measure is what it costs to do a number of jobs.
func (r *rig) measure(jobs int, do func() error) (sample, error) {
	spent, took, err := r.spend(do)
	return r.costs(spent, took, jobs), err
}

// costs are what a number of jobs used, for each.
func (r *rig) costs(spent usage, took time.Duration, jobs int) sample {
	n := float64(jobs)
	s := sample{rate: n / took.Seconds(), allocations: float64(spent.allocations) / n}
	if measuresCPU {
		s[clientCPU] = micros(spent.client) / n
	}
	if r.srv.separate() {
		s[serverCPU] = micros(spent.server) / n
	}
	return s
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// together calls do with 0 to n-1 at once, and returns the first error.
func together(n int, do func(i int) error) error {
	errs := make(chan error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { errs <- do(i) })
	}
	group.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// produce enqueues n jobs by so many callers at a time.
func (r *rig) produce(ctx context.Context, callers, n int, enqueue func(n int) error) error {
	var next atomic.Int64
	t := r.count(n)
	return together(callers, func(int) error {
		for {
			i := int(next.Add(1)) - 1
			if i >= n {
				return ctx.Err()
			}
			if err := enqueue(i); err != nil {
				next.Store(int64(n)) // the others end too
				return err
			}
			t.add(i)
		}
	})
}

// fill enqueues n default jobs as fast as it goes, and not in batches, whose
// messages have headers.
func (r *rig) fill(ctx context.Context, s system, n int) error {
	return r.produce(ctx, 256, n, func(i int) error {
		_, err := s.enqueue(ctx, i, how{})
		return err
	})
}

// during has a system work until body returns.
func during(ctx context.Context, s system, slots int, handle handler, body func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	working, stop := context.WithCancel(ctx)
	defer stop()
	var worker sync.WaitGroup
	var failed error
	worker.Go(func() {
		failed = s.work(working, slots, handle)
		if working.Err() == nil {
			cancel(errors.Join(errors.New("the worker has ended"), failed))
		}
	})
	err := body(ctx)
	stop()
	worker.Wait()
	return errors.Join(err, failed)
}

// did is a handler that counts.
func (t *tally) did(n int) error {
	t.add(n)
	return nil
}

// wait waits until all are counted.
func (t *tally) wait(ctx context.Context) error {
	select {
	case <-t.all:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// workOff works until so many jobs are done.
func (r *rig) workOff(ctx context.Context, s system, slots, n int) error {
	t := r.count(n)
	return during(ctx, s, slots, t.did, t.wait)
}

// drain is workOff, and waits until the server has taken the jobs away: that it has
// read an acknowledgement is not the end of its work.
func (r *rig) drain(ctx context.Context, s system, slots, n int) error {
	t := r.count(n)
	return during(ctx, s, slots, t.did, func(ctx context.Context) error {
		if err := t.wait(ctx); err != nil {
			return err
		}
		return r.emptied(ctx, s)
	})
}

// emptied waits until nothing is left of any job.
func (r *rig) emptied(ctx context.Context, s system) error {
	for {
		stream, err := r.js.Stream(ctx, s.stream())
		if err != nil {
			return err
		}
		if stream.CachedInfo().State.Msgs == 0 {
			return nil
		}
		if err := sleep(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

// sleep waits, unless ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
