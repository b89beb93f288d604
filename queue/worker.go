// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetjobs/jetjobs/jobs"
)

// A worker keeps a number of slots busy with the jobs of a queue.
//
// A few goroutines share it: the callbacks of its lanes put jobs into the
// buffers, the slots take them out, and run watches over both.
type worker struct {
	executor
	acks        *acker
	concurrency int
	grace       time.Duration
	drain       bool // end when nothing is waiting
	began       time.Time
	halt        func() // as if the caller's context had ended

	slots sync.WaitGroup
	back  sync.WaitGroup // jobs on their way back
	poke  chan struct{}  // run has something to look at

	processed atomic.Int64 // jobs that handlers have had to their end

	mu         sync.Mutex // guards the rest; never held while a handler runs or a message is sent
	ready      *sync.Cond // a job is buffered, or stopping
	idle       int        // slots that wait for ready
	waking     bool       // one of them was woken and is not awake yet
	lanes      []*lane
	buffered   int
	watched    bool // watch will look at the buffers in time
	running    int
	generation int // grows with each job that ends, so that draining looks again
	pace       pace
	stopping   bool
	quiet      bool      // it takes nothing new
	warnAt     time.Time // a refusal is logged, but not before
	err        error     // why it can't go on
	cutAt      time.Time // when the grace was over, if it was; for who waits for the end
}

const (
	// settleGrace is how long telling the server may take after the grace, and
	// confirmGrace how much longer to see that it has heard the last acks. A host
	// waits for 5 s, so that one without a connection is not taken for deaf.
	settleGrace  = 3 * time.Second
	confirmGrace = time.Second
)

// run works until ctx ends, or until nothing is waiting if it drains, and
// returns how many jobs handlers have had to their end.
func (w *worker) run(ctx context.Context) (int, error) {
	w.began = time.Now()
	ctx, w.halt = context.WithCancel(ctx)
	defer w.halt()
	w.poke = make(chan struct{}, 1)
	w.ready = sync.NewCond(&w.mu)
	w.keeper, w.acks = newKeeper(w.c), newAcker(w.c)
	w.ack = w.acks.ack
	beyond := context.WithoutCancel(ctx) // what outlives the order to stop
	stopping, stopped := context.WithCancel(beyond)
	defer stopped()
	settling, abandon := context.WithCancel(beyond)
	defer abandon()
	w.handlers, w.settling, w.cut = beyond, settling, w.keeper.isCut
	w.info.Stopping, w.info.Grace = stopping.Done(), w.grace

	defer w.help(beyond)()
	unlisten, err := w.listen()
	defer unlisten()
	if err != nil {
		return 0, err
	}
	w.c.teller.tell(Event{Type: EventWorkerUp, Worker: w.id})
	defer w.c.teller.tell(Event{Type: EventWorkerDown, Worker: w.id})
	for range w.concurrency {
		w.slots.Go(w.slot)
	}
	err = w.watch(ctx)
	if errors.Is(err, errConsumerDeleted) {
		// What was done is told as well as may be; nothing is there that would keep it.
		defer time.AfterFunc(settleGrace, abandon).Stop()
	}

	stopped()
	ended := make(chan struct{})
	var end sync.WaitGroup
	end.Go(func() { w.limit(ended, abandon) })
	w.stop()
	w.slots.Wait()
	w.back.Wait()
	close(ended)
	end.Wait()
	return int(w.processed.Load()), err
}

// limit sees to it that stopping takes no longer than the grace, and telling the
// server no longer than settleGrace beyond it.
func (w *worker) limit(ended <-chan struct{}, abandon func()) {
	grace := time.NewTimer(w.grace)
	defer grace.Stop()
	select {
	case <-ended:
		return
	case <-w.info.Cut:
	case <-grace.C:
	}
	w.cutAt = time.Now()
	w.keeper.cut(jobs.ErrShutdown)
	settle := time.NewTimer(settleGrace)
	defer settle.Stop()
	select {
	case <-ended:
	case <-settle.C:
		abandon()
	}
}

// help starts what renews leases and sends acks, and returns what ends it, after
// the last ack is confirmed.
func (w *worker) help(ctx context.Context) (end func()) {
	var helpers sync.WaitGroup
	helping, stop := context.WithCancel(ctx)
	helpers.Go(func() { w.keeper.run(helping) })
	helpers.Go(func() { w.acks.run(helping) })
	return func() {
		stop()
		helpers.Wait()
		limit := settleGrace
		if !w.cutAt.IsZero() {
			limit += confirmGrace - time.Since(w.cutAt)
		}
		finishing, done := context.WithTimeout(ctx, limit)
		defer done()
		w.acks.finish(finishing)
	}
}

// listen subscribes to what workers are told. What it returns ends all of it,
// also after an error.
func (w *worker) listen() (end func(), err error) {
	control, err := w.c.listenForControl(w.keeper, w.id, w.control)
	if err != nil {
		return func() {}, err
	}
	end = func() {
		control.Unsubscribe()
		for _, l := range w.lanes {
			l.sub.Unsubscribe() // drained before, but for an error below
		}
	}
	for p := range w.c.priorities {
		l := w.c.newLane(p)
		if err := l.listen(w.c.nc, &w.mu, w.receive); err != nil {
			return end, err
		}
		w.lanes = append(w.lanes, l)
	}
	return end, nil
}

// watch looks after lanes and buffers until there is nothing more to do.
func (w *worker) watch(ctx context.Context) error {
	status := w.c.nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer w.c.nc.RemoveStatusListener(status)
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case s := <-status:
			if s == nats.CLOSED {
				return nats.ErrConnectionClosed
			}
			w.forgetPulls()
		case <-w.poke:
		case <-next.C:
		}
		in, end, err := w.look(time.Now())
		if end || err != nil {
			return err
		}
		next.Reset(in)
	}
}

// forgetPulls makes every lane ask again, on a new connection.
func (w *worker) forgetPulls() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.lanes {
		l.giveUp()
	}
}

// look does what time brings: it gives up pulls that were not answered, hands
// back what has waited too long behind busy slots, and asks for more. It
// returns when to look again.
func (w *worker) look(now time.Time) (in time.Duration, end bool, err error) {
	w.hush()
	spilled := w.spill(now)
	err = w.refresh(now)
	if len(spilled) > 0 {
		w.back.Go(func() { w.handBack(spilled) })
	}
	if err != nil {
		return 0, false, err
	}
	w.mu.Lock()
	in = w.c.pullExpiry()
	for _, l := range w.lanes {
		if wait := l.retryAt.Sub(now); wait > 0 {
			in = min(in, wait)
		}
	}
	if w.watched = w.buffered > 0; w.watched {
		in = min(in, spillAfter/8)
	}
	if w.c.nc.IsClosed() && w.err == nil {
		w.err = nats.ErrConnectionClosed
	}
	end, err = w.drainedLocked(), w.err
	if !end && err == nil && w.drain && w.quiet && w.running == 0 && w.buffered == 0 {
		err = errQuiet
	}
	asks := w.asksLocked(now)
	w.mu.Unlock()
	w.send(asks)
	return in, end && len(spilled) == 0, err
}

// refresh listens anew for the lanes whose pulls were given up.
func (w *worker) refresh(now time.Time) error {
	for _, l := range w.staleLanes(now) {
		if err := w.c.listenAgain(l, &w.mu, w.receive); err != nil {
			return err
		}
	}
	return nil
}

// staleLanes are those that must listen anew before they ask again.
func (w *worker) staleLanes(now time.Time) (stale []*lane) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.lanes {
		if l.pulls.overdue(now, w.c.pullExpiry()+2*time.Second) {
			l.giveUp()
		}
		if l.stale && !w.quiet {
			stale = append(stale, l)
		}
	}
	return stale
}

// errQuiet ends a worker that drains: it takes nothing more, and who waits for it
// would wait for whoever told it so.
var errQuiet = errors.New("told to be quiet (QuietWorker) before the queue was empty")

// drainedLocked reports whether a draining worker has found every lane empty
// since the last job ended.
func (w *worker) drainedLocked() bool {
	return w.drain && w.running == 0 && w.buffered == 0 &&
		!slices.ContainsFunc(w.lanes, func(l *lane) bool { return l.empty != w.generation })
}

// nudge wakes watch.
func (w *worker) nudge() {
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

// asksLocked makes the pulls that there is room for.
func (w *worker) asksLocked(now time.Time) (asks []pullMsg) {
	for p, l := range w.lanes {
		if n := w.wantLocked(p, now); n > 0 {
			l.asked = w.generation
			expires := w.c.pullExpiry()
			if w.drain {
				expires = 0
			}
			asks = append(asks, l.ask(now, n, expires))
		}
	}
	return asks
}

func (w *worker) send(asks []pullMsg) {
	for _, a := range asks {
		// Without a connection nothing is asked: the reconnect does it.
		if w.c.nc.IsConnected() {
			_ = w.c.nc.PublishRequest(a.subject, a.reply, a.body)
		}
	}
}

// wantLocked is how many more jobs of a priority to ask for. A higher priority
// that has a backlog leaves nothing to the lower ones.
func (w *worker) wantLocked(p int, now time.Time) int {
	l := w.lanes[p]
	if w.stopping || l.stale || now.Before(l.retryAt) || len(l.pulls.open) >= openPulls || w.drain && l.empty == w.generation {
		return 0
	}
	used := w.running + w.buffered + l.pulls.outstanding()
	for _, higher := range w.lanes[:p] {
		if higher.backlog {
			used += higher.pulls.outstanding()
		}
	}
	extra := w.pace.extra
	if room := w.concurrency + extra - used; room >= max(1, extra/2) {
		return room
	}
	return 0
}

// stop ends taking: the slots finish what they have, and what was not started
// goes back. Draining the subscriptions waits for what the server sent before
// it knew.
func (w *worker) stop() {
	w.mu.Lock()
	w.stopping = true
	w.mu.Unlock()
	w.ready.Broadcast()
	closeLanes(w.lanes)
	w.mu.Lock()
	unstarted := w.takeBackLocked(time.Now().Add(aMoment)) // all that came
	w.mu.Unlock()
	w.handBack(unstarted)
}
