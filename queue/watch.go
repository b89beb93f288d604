// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetjobs/jetjobs/internal/wirename"
)

// Watch tells what happens to the queue, in all processes, from its return on until
// ctx ends or the connection is closed. Workers that are there are told of at once,
// each as EventWorkerUp; one that ends without a word is down within four seconds.
//
// Events are sent only while somebody watches, and are hints: one may be lost with
// a connection. What a slow watcher misses is counted, in Missed of the next Event or,
// when it has caught up and there is none, of an EventMissed at once. Those
// of one process come in the order in which it tells them, but for EventProgress; who
// enqueues a job tells so when the server has answered, when a worker may have told
// of its start. A process that has never enqueued or worked before may be heard only
// two seconds after its first job. Range over the sequence once.
func (q *Queue[T]) Watch(ctx context.Context) (iter.Seq[Event], error) {
	w := newWatcher(q.c)
	if err := w.begin(ctx); err != nil {
		return nil, q.c.wrap("watch", err)
	}
	return func(yield func(Event) bool) {
		defer w.end()
		for {
			e, ok := w.next()
			if !ok || !yield(e) {
				return
			}
		}
	}, nil
}

// EventMissed is made by Watch and is about no job: so many events as its Missed says
// were lost, and for now no other follows.
const EventMissed EventType = "missed"

// A watcher is one call of Watch.
type watcher struct {
	c      *core
	events chan Event
	ctx    context.Context // of the watcher: ended by its caller, who ranges, or the connection
	end    func()

	mu      sync.Mutex // guards the rest
	missed  int
	round   int            // of asking who is there
	seen    map[string]int // the round in which a worker last answered
	gone    map[string]int // the round in which a worker said that it ends: an answer heard after that was sent before
	dropped map[*nats.Subscription]int
}

func newWatcher(c *core) *watcher {
	return &watcher{
		c: c, events: make(chan Event, 8192),
		seen: map[string]int{}, gone: map[string]int{}, dropped: map[*nats.Subscription]int{},
	}
}

// next waits for an event. Who finds none left is told first what it has missed, as
// nobody knows when the next one comes.
func (w *watcher) next() (e Event, ok bool) {
	if len(w.events) == 0 {
		if e, ok := w.takeMissed(); ok {
			return e, true
		}
	}
	select {
	case <-w.ctx.Done():
		return Event{}, false
	case e := <-w.events:
		return e, true
	}
}

// takeMissed takes the count of what was missed, unless an event has come that has it.
func (w *watcher) takeMissed() (e Event, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.missed == 0 || w.ctx.Err() != nil {
		return Event{}, false
	}
	e = w.missedLocked()
	w.missed = 0
	return e, true
}

func (w *watcher) missedLocked() Event {
	return Event{Type: EventMissed, Queue: w.c.names.queue, Time: time.Now(), Missed: w.missed}
}

// begin subscribes, and returns when those who are there know of it.
func (w *watcher) begin(ctx context.Context) error {
	nc := w.c.nc
	inbox := nc.NewInbox()
	var subs []*nats.Subscription
	unsubscribe := func() {
		for _, s := range subs {
			_ = s.Unsubscribe()
		}
	}
	for subject, hear := range map[string]nats.MsgHandler{
		w.c.names.event("*"): w.hearEvent,
		w.c.names.progress:   w.hearProgress,
		inbox:                w.hearWorker,
	} {
		sub, err := nc.Subscribe(subject, hear)
		if err != nil {
			unsubscribe()
			return err
		}
		subs = append(subs, sub)
	}
	// That they know is all; the answers say nothing.
	if _, err := w.c.askAll(ctx, w.c.names.control(watchVerb), nil); err != nil {
		unsubscribe()
		return err
	}
	w.ctx, w.end = context.WithCancel(ctx)
	go func() { // until ctx ends, or who ranges over the events leaves
		defer w.end()
		defer unsubscribe()
		every := time.NewTicker(askEvery)
		defer every.Stop()
		for round := 1; !nc.IsClosed(); round++ {
			w.countDropped(subs)
			w.ask(inbox)
			select {
			case <-w.ctx.Done():
				return
			case <-every.C:
			}
			if round%(int(announceEvery/askEvery)) == 0 {
				_ = nc.Publish(w.c.names.control(watchVerb), nil)
			}
		}
	}()
	return nil
}

// A watcher asks all workers for a sign of life so often, and one that has left so
// many unanswered is down.
const (
	askEvery       = time.Second
	unansweredAsks = 3
)

// countDropped counts what nats.go had no more room for, and tells it to who waits for
// an event.
func (w *watcher) countDropped(subs []*nats.Subscription) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range subs {
		if n, err := s.Dropped(); err == nil {
			w.missed += n - w.dropped[s]
			w.dropped[s] = n
		}
	}
	if w.missed > 0 && len(w.events) == 0 { // who has events to take looks for itself
		w.events <- w.missedLocked()
		w.missed = 0
	}
}

// ask asks which workers are there, and tells of those that are down.
func (w *watcher) ask(inbox string) {
	w.mu.Lock()
	w.round++
	maps.DeleteFunc(w.gone, func(_ string, round int) bool { return w.round-round > unansweredAsks })
	for id, round := range w.seen {
		if w.round-round > unansweredAsks {
			delete(w.seen, id)
			w.pushLocked(Event{Type: EventWorkerDown, Queue: w.c.names.queue, Worker: id, Time: time.Now()})
		}
	}
	w.mu.Unlock()
	_ = w.c.nc.PublishRequest(w.c.names.control(whoVerb), inbox, []byte(briefly))
}

func (w *watcher) hearWorker(m *nats.Msg) {
	var worker Worker
	if json.Unmarshal(m.Data, &worker) != nil || worker.ID == "" {
		return // also: nobody is there
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, gone := w.gone[worker.ID]; gone {
		return
	}
	if _, known := w.seen[worker.ID]; !known {
		w.pushLocked(Event{Type: EventWorkerUp, Queue: w.c.names.queue, Worker: worker.ID, Time: time.Now()})
	}
	w.seen[worker.ID] = w.round
}

func (w *watcher) hearEvent(m *nats.Msg) {
	var e Event
	if json.Unmarshal(m.Data, &e) != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e.Type {
	case EventWorkerDown:
		delete(w.seen, e.Worker)
		w.gone[e.Worker] = w.round
	case EventWorkerUp:
		if _, known := w.seen[e.Worker]; known {
			return
		}
		w.seen[e.Worker] = w.round
	}
	w.pushLocked(e)
}

func (w *watcher) hearProgress(m *nats.Msg) {
	token := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	e := Event{Type: EventProgress, Queue: w.c.names.queue, ID: wirename.Decode(token), Time: time.Now()}
	if json.Valid(m.Data) {
		e.Data = m.Data
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pushLocked(e)
}

// pushLocked hands an event to who ranges over them, or counts it.
func (w *watcher) pushLocked(e Event) {
	e.Missed = w.missed
	select {
	case w.events <- e:
		w.missed = 0
	default:
		w.missed++
	}
}

// askAll asks everybody who listens on a subject, and returns their answers: when
// nobody has answered for a moment, or nobody listens, or ctx has ended. Silence is
// an answer only if the server can be reached.
func (c *core) askAll(ctx context.Context, subject string, data []byte) (answers [][]byte, err error) {
	sub, err := c.nc.SubscribeSync(c.nc.NewInbox())
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe()
	away, err := c.reach(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.nc.PublishRequest(subject, sub.Subject, data); err != nil {
		return nil, err
	}
	for {
		silent, cancel := context.WithTimeout(ctx, answerWithin+2*away)
		m, err := sub.NextMsgWithContext(silent)
		cancel()
		switch {
		case ctx.Err() != nil:
			return answers, context.Cause(ctx)
		case err != nil && c.nc.IsClosed():
			return answers, nats.ErrConnectionClosed
		case errors.Is(err, nats.ErrNoResponders):
			return nil, nil
		case err != nil, len(m.Data) == 0 && m.Header.Get("Status") != "": // silence, or nobody
			return answers, nil
		}
		answers = append(answers, m.Data)
	}
}

// reach tells how far away the server is, there and back, or returns an error if it
// can't be reached just now.
func (c *core) reach(ctx context.Context) (away time.Duration, err error) {
	try, cancel := context.WithTimeoutCause(ctx, oneTry, nats.ErrDisconnected)
	defer cancel()
	began := time.Now()
	if err := c.nc.FlushWithContext(try); err != nil {
		return 0, fmt.Errorf("the server does not answer: %w", cmp.Or(context.Cause(try), err))
	}
	return time.Since(began), nil
}

// answerWithin is how long, beside the way to the server, nobody has to answer to be
// taken for all having done.
const answerWithin = 150 * time.Millisecond
