// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// starved is the longest time without a break that a job waited, in the stream
// or in the buffer of a worker, though a slot of some worker was free. It is
// seen from outside: by when jobs were stored, begun and ended. An enqueue that
// takes long to be answered is not part of it, the way to the worker is.
const starved = "starved ms"

// fairness has two workers, on a connection each as two processes have, share a
// queue. In each burst of jobs are some long ones: enough to fill the slots of
// one worker, not of both.
func fairness(ctx context.Context, r *rig, by string) (sample, error) {
	const (
		slots     = 2 // of each worker
		burst     = 40
		shortWork = 2 * time.Millisecond
		longWork  = 400 * time.Millisecond
	)
	work := func(n int) time.Duration {
		switch n % burst {
		case 10, 17, 24: // by then the worker has got used to short ones
			return longWork
		}
		return shortWork
	}
	bursts := max(1, int(r.cfg.span(3*time.Second)/(longWork+200*time.Millisecond)))
	life := newLives(r.count(burst * bursts))
	handle := func(n int) error {
		life.begin(n)
		time.Sleep(work(n))
		life.end(n)
		return nil
	}
	err := r.with(ctx, by, setup{advance: slots}, func(sys system) error {
		js, err := r.second()
		if err != nil {
			return err
		}
		other, err := sys.over(ctx, js)
		if err != nil {
			return err
		}
		return during(ctx, sys, slots, handle, func(ctx context.Context) error {
			return during(ctx, other, slots, handle, func(ctx context.Context) error {
				if err := sleep(ctx, idleWarmUp); err != nil {
					return err
				}
				for from := 0; from < burst*bursts; from += burst {
					if err := life.enqueue(ctx, sys, from, from+burst); err != nil {
						return err
					}
					if err := sleep(ctx, longWork+200*time.Millisecond); err != nil {
						return err
					}
				}
				return life.done.wait(ctx)
			})
		})
	})
	return sample{starved: millis(life.starved(2 * slots))}, err
}

// lives are those of numbered jobs. Its methods may be called concurrently.
type lives struct {
	done *tally

	mu   sync.Mutex // guards jobs
	jobs []life
}

type life struct{ stored, begun, ended time.Time }

func newLives(done *tally) *lives { return &lives{done: done, jobs: make([]life, len(done.seen))} }

func (l *lives) note(n int, what func(*life)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	what(&l.jobs[n])
}

func (l *lives) enqueue(ctx context.Context, sys system, from, to int) error {
	for n := from; n < to; n++ {
		if _, err := sys.enqueue(ctx, n, how{}); err != nil {
			return err
		}
		l.note(n, func(j *life) { j.stored = time.Now() })
	}
	return nil
}

func (l *lives) begin(n int) { l.note(n, func(j *life) { j.begun = time.Now() }) }

func (l *lives) end(n int) {
	l.note(n, func(j *life) { j.ended = time.Now() })
	l.done.add(n)
}

// starved is computed when all jobs have ended.
func (l *lives) starved(slots int) (worst time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	free := freeTimes(l.jobs, slots)
	for _, j := range l.jobs {
		for _, f := range free {
			from, to := f.begun, f.ended
			if j.stored.After(from) {
				from = j.stored
			}
			if j.begun.Before(to) {
				to = j.begun
			}
			worst = max(worst, to.Sub(from))
		}
	}
	return worst
}

// freeTimes are when fewer handlers ran than there are slots, between the first
// job and the last.
func freeTimes(jobs []life, slots int) (free []life) {
	type change struct {
		at time.Time
		by int
	}
	var changes []change
	for _, j := range jobs {
		changes = append(changes, change{j.stored, 0}, change{j.begun, 1}, change{j.ended, -1})
	}
	slices.SortFunc(changes, func(a, b change) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.by, b.by)) })
	running, since := 0, changes[0].at
	for _, c := range changes {
		was := running
		running += c.by
		switch {
		case was < slots && running >= slots:
			free = append(free, life{begun: since, ended: c.at})
		case was >= slots && running < slots:
			since = c.at
		}
	}
	return append(free, life{begun: since, ended: changes[len(changes)-1].at})
}
