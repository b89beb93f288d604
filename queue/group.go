// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// A grouper stores jobs without an expectation, each by a publish of its own, or many callers' in
// one atomic batch where that is faster. A batch takes the server milliseconds
// whatever its size; a publish takes it 10 µs, but 200 µs where each one is
// synced to disk (sync_interval always), and the callers wait for each other's.
// So it compares what the callers who wait now would take with what a batch has
// taken, both as measured here. Measured with nats-server 2.15.2, jobs per
// second alone and in batches: lazy sync 8 callers 46 k and 2.5 k; sync always 8
// callers 4.2 k and 2.7 k, 64 callers 3.7 k and 11 k, 512 callers 4.3 k and 60 k.
//
// While batches pay, a few jobs go alone now and then, so that what a publish takes
// is not remembered from a time when the machine was busy.
type grouper struct {
	c       *core
	callers atomic.Int64  // who wait for an answer
	alone   atomic.Int64  // publishes under way
	all     chan struct{} // all callers wait for the next batch
	single  atomic.Int64  // nanoseconds that one publish takes, smoothed
	batch   atomic.Int64  // nanoseconds that a batch takes, smoothed

	mu      sync.Mutex    // guards the rest
	waiting []*grouped    // for the next batch
	leading bool          // somebody sends batches
	probed  time.Time     // when jobs last went alone for the sake of it
	probeIn time.Duration // after that they do so again
}

// A grouped is a job on its way into a batch.
type grouped struct {
	job    newJob
	stored chan error // gets one answer; has room for it
}

const (
	// fewCallers never gain from a batch, and pay nothing for the question.
	fewCallers = 16
	// firstBatch is what a batch is thought to take before one was sent.
	firstBatch = 6 * time.Millisecond
	// probeEvery is how often probeJobs jobs go alone while batches pay: with a publish
	// of 230 µs that costs 0.4 % of the time. At first it is firstProbe, and doubles.
	probeEvery = 2 * time.Second
	firstProbe = 50 * time.Millisecond
	probeJobs  = 32
)

// errAlone is the answer to a job that is to be published by itself.
var errAlone = errors.New("not worth a batch")

// publish stores a job as core.publish does.
func (g *grouper) publish(ctx context.Context, j newJob) error {
	callers := g.callers.Add(1)
	defer g.callers.Add(-1)
	if callers < fewCallers {
		return g.c.publish(ctx, g.c.newMessage(j))
	}
	if g.pays(callers) {
		if err := g.join(ctx, j); err != errAlone {
			return err
		}
	}
	return g.publishAlone(ctx, j)
}

// publishAlone stores a job by a publish of its own, and learns what that takes.
func (g *grouper) publishAlone(ctx context.Context, j newJob) error {
	underWay := g.alone.Add(1)
	defer g.alone.Add(-1)
	if underWay%4 != 0 { // a sample will do
		return g.c.publish(ctx, g.c.newMessage(j))
	}
	began := time.Now()
	err := g.c.publish(ctx, g.c.newMessage(j))
	if err == nil {
		learn(&g.single, time.Since(began)/time.Duration(underWay))
	}
	return err
}

// pays reports whether a batch is faster than so many publishes, with a margin
// for what is not known.
func (g *grouper) pays(jobs int64) bool {
	batch := int64(g.oneBatch())
	return jobs*g.single.Load() > batch+batch/2
}

// oneBatch is how long a batch takes.
func (g *grouper) oneBatch() time.Duration {
	if batch := g.batch.Load(); batch > 0 {
		return time.Duration(batch)
	}
	return firstBatch
}

// learn moves a smoothed time a little towards the last one, and never far at once:
// that the machine was busy for a moment says nothing. Of two that come at once one
// may be lost.
func learn(smoothed *atomic.Int64, last time.Duration) {
	old := smoothed.Load()
	if old == 0 {
		smoothed.Store(int64(last))
		return
	}
	smoothed.Store(old + (min(int64(last), 2*old)-old)/32)
}

// join waits for j to be stored in a batch. If ctx ends first nobody knows.
func (g *grouper) join(ctx context.Context, j newJob) error {
	one := &grouped{j, make(chan error, 1)}
	g.mu.Lock()
	g.waiting = append(g.waiting, one)
	first, all := !g.leading, len(g.waiting) >= int(g.callers.Load())
	g.leading = true
	g.mu.Unlock()
	if all {
		select {
		case g.all <- struct{}{}:
		default:
		}
	}
	if first {
		go g.lead() // until nobody waits; those who do wait for it
	}
	select {
	case err := <-one.stored:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w (%w)", errUnanswered, context.Cause(ctx))
	}
}

// lead sends batches, one after the other as several at once are slower, until
// too few wait for one.
func (g *grouper) lead() {
	for {
		g.gather()
		batch := g.next()
		if len(batch) == 0 {
			return
		}
		batch = g.probe(batch)
		err := errAlone
		if g.pays(int64(len(batch))) {
			err = g.send(batch)
		}
		for _, one := range batch {
			one.stored <- err
		}
	}
}

// probe lets a few jobs of a batch go alone first, if it is time for that, and
// returns the others. What that takes replaces what was known.
func (g *grouper) probe(batch []*grouped) (others []*grouped) {
	g.mu.Lock()
	if g.probed.IsZero() {
		g.probed, g.probeIn = time.Now(), firstProbe
	}
	due := time.Since(g.probed) >= g.probeIn && len(batch) > probeJobs
	g.mu.Unlock()
	if !due {
		return batch
	}
	began := time.Now()
	var few sync.WaitGroup
	for _, one := range batch[:probeJobs] {
		few.Go(func() { one.stored <- g.c.publish(context.Background(), g.c.newMessage(one.job)) })
	}
	few.Wait()
	g.single.Store(int64(time.Since(began) / probeJobs))
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.probed, g.probeIn = time.Now(), min(2*g.probeIn, probeEvery); !g.pays(int64(len(batch))) {
		g.probeIn = firstProbe
	}
	return batch[probeJobs:]
}

// gather gives those who have their answer time to come back with the next job.
func (g *grouper) gather() {
	enough := time.NewTimer(g.oneBatch() / 5)
	defer enough.Stop()
	select {
	case <-g.all:
	case <-enough.C:
	}
}

// next takes those who wait, as many as fit into a batch.
func (g *grouper) next() []*grouped {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, bytes := 0, 0
	for n < min(len(g.waiting), maxBatch) && bytes <= maxBatchBytes {
		bytes += len(g.waiting[n].job.data)
		n++
	}
	select {
	case <-g.all: // said of those who are taken now
	default:
	}
	batch := g.waiting[:n:n]
	g.waiting = g.waiting[n:]
	g.leading = n > 0
	return batch
}

// send stores a batch. If the server refuses it nothing is stored, and each job
// goes alone, to be told what is wrong with itself.
func (g *grouper) send(batch []*grouped) error {
	msgs := make([]*nats.Msg, len(batch))
	for i, one := range batch {
		msgs[i] = g.c.newMessage(one.job)
	}
	began := time.Now()
	err := g.c.publishBatch(context.Background(), msgs)
	switch {
	case err == nil:
		learn(&g.batch, time.Since(began))
	case !errors.Is(err, errUnanswered):
		err = errAlone
	}
	return err
}
