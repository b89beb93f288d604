// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// EventType says what has happened.
type EventType string

// The types of events. An attempt that failed is Retrying or Dead, with its error.
const (
	EventEnqueued   EventType = "enqueued"
	EventStarted    EventType = "started"
	EventProgress   EventType = "progress" // of a work item, see package workitem
	EventCompleted  EventType = "completed"
	EventRetrying   EventType = "retrying"
	EventSnoozed    EventType = "snoozed"
	EventReturned   EventType = "returned" // unfinished, by a worker that stops
	EventDead       EventType = "dead"
	EventCancelled  EventType = "cancelled"
	EventPaused     EventType = "paused"
	EventResumed    EventType = "resumed"
	EventWorkerUp   EventType = "worker_up"
	EventWorkerDown EventType = "worker_down" // it has stopped, or has not answered for four seconds
)

// An Event is something that happened to a job, to the queue or to a worker.
type Event struct {
	Type    EventType       `json:"type"`
	Queue   string          `json:"queue"`
	ID      string          `json:"id,omitempty"` // of the job
	Attempt int             `json:"attempt,omitempty"`
	Worker  string          `json:"worker,omitempty"` // its ID
	Time    time.Time       `json:"time"`             // by the clock of who tells it
	Took    time.Duration   `json:"took_ns,omitempty"`
	Error   string          `json:"error,omitempty"` // of the attempt; why the queue is paused
	Data    json.RawMessage `json:"data,omitempty"`  // of a progress event, the work item's status

	// Missed is how many events were lost before this one, because the watcher was slow.
	Missed int `json:"-"`
}

const (
	// announceEvery is how often a watcher says that it is there, and heardFor how
	// long it is believed.
	announceEvery = 2 * time.Second
	heardFor      = 5 * time.Second
)

// The teller sends events, while somebody watches: else all that a job pays is a
// look at a number.
type teller struct {
	c     *core
	mu    sync.Mutex         // guards sub
	sub   *nats.Subscription // to those who watch; nil before the first call
	heeds atomic.Bool        // whether there is one
	since atomic.Int64       // when it began to listen for watchers, in Unix nanoseconds; 0: not yet
	until atomic.Int64       // when the last watcher counts as gone, in the same
}

// heed listens for watchers, from the first call on until close, or for as long
// as the connection lives.
func (t *teller) heed() {
	if t.heeds.Load() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sub != nil {
		return
	}
	sub, err := t.c.nc.Subscribe(t.c.names.control(watchVerb), func(m *nats.Msg) {
		t.until.Store(time.Now().Add(heardFor).UnixNano())
		_ = m.Respond(nil)
	})
	if err != nil {
		t.c.log.Debug("nobody can watch", "err", err)
		return
	}
	t.sub = sub
	t.since.Store(time.Now().UnixNano())
	t.heeds.Store(true)
}

func (t *teller) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sub == nil {
		return
	}
	_ = t.sub.Unsubscribe() // fails if the connection is closed, which has ended it
	t.sub = nil
	t.heeds.Store(false)
}

// watched reports whether somebody watches.
func (t *teller) watched() bool {
	until := t.until.Load()
	return until != 0 && time.Now().UnixNano() < until
}

// tell sends an event, if somebody watches. It may be lost.
func (t *teller) tell(e Event) {
	if t.watched() {
		t.send(e)
	}
}

// tellSurely is tell for what is rare, and done by those who have just come: it
// sends also when it can't know yet whether somebody watches.
func (t *teller) tellSurely(e Event) {
	since := t.since.Load()
	if since == 0 || time.Now().UnixNano()-since < int64(2*announceEvery) || t.watched() {
		t.send(e)
	}
}

func (t *teller) send(e Event) {
	e.Queue, e.Time = t.c.names.queue, time.Now()
	data, err := json.Marshal(e)
	if err == nil {
		_ = t.c.nc.Publish(t.c.names.event(string(e.Type)), data)
	}
}

// enqueued tells of a job that was stored.
func (t *teller) enqueued(r Receipt) {
	t.heed()
	if t.watched() && !r.Duplicate {
		t.tell(Event{Type: EventEnqueued, ID: r.ID})
	}
}

// eventOf is the event of a settlement, by how it ended.
var eventOf = map[string]EventType{
	"completed": EventCompleted, "retrying": EventRetrying, "snoozed": EventSnoozed, "deferred": EventSnoozed,
	"returned": EventReturned, "dead": EventDead, "cancelled": EventCancelled,
}

// settled tells how a job was settled.
func (t *teller) settled(d *delivery, s settlement, how, worker string) {
	if !t.watched() {
		return
	}
	e := Event{Type: eventOf[how], ID: d.id, Attempt: d.attempt, Worker: worker, Took: d.run.took}
	if s.err != nil {
		e.Error = textOf(s.err)
	}
	if e.Type != "" {
		t.tell(e)
	}
}
