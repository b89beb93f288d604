// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A workload is something that each system does in turn.
type workload struct {
	name, doc string
	systems   []string // the queue last
	curve     string   // of which it is a point; empty if of none
	rounds    int      // at most; 0: as many as asked for
	memory    bool     // it needs a server that tells its memory
	long      bool     // only with -long
	run       func(ctx context.Context, r *rig, by string) (sample, error)
}

var (
	all     = []string{byRaw, bySubjects, byQueue}
	withRaw = []string{byRaw, byQueue}
)

// workloads are all of them, in the order in which they run.
func workloads() []workload {
	list := []workload{
		{name: "enqueue-one", doc: "one job a call, by -producers callers", systems: all, run: enqueueOne},
		{name: "enqueue-many", doc: "1,000 jobs a call, as atomic batches, by one caller", systems: all, run: enqueueMany},
		{name: "enqueue-unique", doc: "jobs with IDs, every tenth is there already; raw: message IDs", systems: all, run: enqueueUnique},
		{name: "drain", doc: "jobs that wait, -concurrency slots, handlers that do nothing", systems: []string{byRaw, bySubjects, byJSON, byQueue}, run: drain},
		{name: "pipeline", doc: "enqueued and drained at the same time", systems: all, run: pipeline},
		{name: "priorities", doc: "drain of three priorities; raw: three consumers, in any order", systems: all, run: priorities},
		{name: "retries", doc: "drain in which one in ten fails once, tried again after 0.1 s", systems: all, run: retries},
		{name: "latency", doc: "from before the enqueue to the start of the handler, at 200 jobs/s; p99.9 means something with -long", systems: withRaw, run: latency},
		{name: "delayed", doc: "from when jobs are due to the start of their handlers", systems: withRaw, rounds: 2, run: delayed},
		{name: "handlers-1ms", doc: "at most 10 slots, handlers of 1 ms", systems: withRaw, rounds: 2, run: handlers1ms},
		{name: "handlers-100ms", doc: "-concurrency slots, handlers of 100 ms", systems: withRaw, rounds: 2, run: handlers100ms},
		{name: "fairness", doc: "two workers share short and long jobs: the longest that one waited while a slot was free", systems: withRaw, rounds: 2, run: fairness},
		{name: "idle", doc: "a worker that waits for jobs", systems: withRaw, rounds: 1, run: idle},
		{name: "memory-waiting", doc: "for each job that waits; -long waits until the server has dropped its caches", systems: all, rounds: 1, memory: true, run: memoryWaiting},
		{name: "memory-delayed", doc: "for each job that is due in a day", systems: all, rounds: 1, memory: true, run: memoryDelayed},
		{name: "memory-retained", doc: "for each job that is done and kept for a day", systems: all, rounds: 1, memory: true, run: memoryRetained},
	}
	return append(list, growing()...)
}

// selectWorkloads are those whose names, or the first words of whose names, are
// in a list.
func selectWorkloads(names string, c config) ([]workload, error) {
	var selected []workload
	var errs []error
	known := workloads()
	wanted := strings.Split(names, ",")
	for _, name := range wanted {
		fits := func(w workload) bool {
			return name == "all" || w.name == name || strings.HasPrefix(w.name, name+"-")
		}
		if name = strings.TrimSpace(name); !slices.ContainsFunc(known, fits) {
			errs = append(errs, fmt.Errorf("-workload has %q: want all, or some of %s", name, nameList(known)))
		}
		for _, w := range known {
			if fits(w) && (c.long || !w.long) && !slices.ContainsFunc(selected, func(s workload) bool { return s.name == w.name }) {
				selected = append(selected, w)
			}
		}
	}
	if len(errs) == 0 && len(selected) == 0 {
		errs = append(errs, fmt.Errorf("-workload is %q: it takes long; add -long", names))
	}
	return selected, errors.Join(errs...)
}

func nameList(list []workload) string {
	names := make([]string, len(list))
	for i, w := range list {
		names[i] = w.name
	}
	return strings.Join(names, ", ")
}

// A result is what became of a workload.
type result struct {
	workload
	rounds  []map[string]sample // by system
	skipped string              // why there are none
}

// runAll runs workloads, one after the other. After an error it returns those
// that are complete.
func (r *rig) runAll(ctx context.Context, list []workload) ([]result, error) {
	turns := 0
	for _, w := range list {
		turns += r.roundsOf(w) * len(w.systems)
	}
	defer r.progress.show(turns)()
	var results []result
	for _, w := range list {
		done, err := r.runRounds(ctx, w)
		if err != nil {
			return results, fmt.Errorf("%s: %w", w.name, err)
		}
		results = append(results, done)
	}
	return results, nil
}

// roundsOf is how many rounds a workload has.
func (r *rig) roundsOf(w workload) int {
	switch {
	case w.memory && !r.tellsMemory():
		return 0
	case w.rounds > 0 && !r.cfg.long:
		return min(w.rounds, r.cfg.rounds)
	}
	return r.cfg.rounds
}

// turnLimit is when a turn has failed. A million jobs take a minute.
const turnLimit = 20 * time.Minute

// runRounds has the systems take turns, each round in another order.
func (r *rig) runRounds(ctx context.Context, w workload) (result, error) {
	done := result{workload: w}
	if w.memory && !r.tellsMemory() {
		done.skipped = "needs a server that tells its memory: a process of its own, which leaving out -url and -embedded starts, on Linux"
	}
	for round := range r.roundsOf(w) {
		samples := map[string]sample{}
		for i := range w.systems {
			by := w.systems[(i+round)%len(w.systems)]
			r.progress.begin(fmt.Sprintf("%s, round %d, %s", w.name, round+1, by))
			turn, cancel := context.WithTimeoutCause(ctx, turnLimit, fmt.Errorf("not done after %s", turnLimit))
			s, err := w.run(turn, r, by)
			cancel()
			if err = errors.Join(err, ctx.Err()); err != nil {
				return done, fmt.Errorf("%s: %w", by, err)
			}
			samples[by] = s
		}
		done.rounds = append(done.rounds, samples)
	}
	return done, nil
}

func (r *rig) tellsMemory() bool { return r.srv.separate() && residentBytes() > 0 }
