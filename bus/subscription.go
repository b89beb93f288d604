// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetjobs/jetjobs/internal/guard"
)

// A Subscription receives the messages of a topic. Its methods may be called
// concurrently.
type Subscription struct {
	bus  *Bus
	plan plan
	nats *nats.Subscription // set before end can be called
	box  *mailbox

	live   context.Context         // ends when the subscription is to end, with the reason
	end    context.CancelCauseFunc // ends live
	work   context.Context         // of handlers
	cut    context.CancelCauseFunc // ends work
	left   atomic.Int32            // workers that have not returned
	cutter *time.Timer             // calls cut; set by stop
	done   chan struct{}           // closed by finish

	received                               atomic.Uint64
	handled                                atomic.Uint64
	failed, panicked, undecodable, dropped notice
}

// errEnded is the reason of a subscription that was asked to end.
var errEnded = errors.New("ended")

func newSubscription(ctx context.Context, b *Bus, p plan) *Subscription {
	s := &Subscription{bus: b, plan: p, box: newMailbox(p.buffer, maxBufferBytes), done: make(chan struct{})}
	s.live, s.end = context.WithCancelCause(ctx)
	s.work, s.cut = context.WithCancelCause(context.WithoutCancel(ctx))
	return s
}

// begin starts the workers, and stop when live ends.
func (s *Subscription) begin() {
	s.bus.live.add(s)
	s.bus.opts.logger().Debug("subscribed", s.attrs()...)
	if s.plan.receive != nil {
		s.left.Store(int32(s.plan.concurrency))
		for range s.plan.concurrency {
			w := &worker{s: s}
			w.call, w.settle = w.receive, w.settled
			go w.run() // finish is after the last one, and Close and Wait after finish
		}
	}
	context.AfterFunc(s.live, s.stop)
}

// Close ends the subscription as the end of its context does: messages that still
// wait are dropped, and it returns when the running handler has. So a handler
// that wants to end its own subscription cancels the context instead. Close may
// be called more than once.
func (s *Subscription) Close() {
	s.end(errEnded)
	<-s.done
}

// Wait returns when the subscription has ended and its running handler has
// returned. The error is nil if its context ended or Close was called, and
// otherwise says why it ended: the connection was closed.
func (s *Subscription) Wait() error {
	<-s.done
	if reason := context.Cause(s.live); errors.Is(reason, nats.ErrConnectionClosed) {
		return wrap(s.plan.topic, "subscription", reason)
	}
	return nil
}

// deliver is called by the client for each message, in order.
func (s *Subscription) deliver(m *nats.Msg) {
	s.received.Add(1)
	l := letter{msg: m}
	if s.plan.responds {
		l.received = time.Now()
	}
	if s.box.put(l) {
		return
	}
	if s.live.Err() != nil {
		s.refuse(l)
		return
	}
	s.warn(&s.dropped, "slow subscriber: messages dropped", "waiting", s.box.waiting())
	s.answer(m, nil, errBusy)
}

// next takes a message for a loop; false says that the subscription has ended.
func (s *Subscription) next() (*nats.Msg, envelope, bool) {
	for {
		l, ok := s.take()
		if !ok {
			return nil, envelope{}, false
		}
		e, err := readEnvelope(l.msg.Header)
		if err == nil {
			return l.msg, e, true
		}
		s.decoded(err)
	}
}

// take waits for a message; false says that the subscription has ended.
func (s *Subscription) take() (letter, bool) {
	for {
		l, ok := s.box.take()
		if !ok || s.live.Err() == nil {
			return l, ok
		}
		s.refuse(l) // stop is about to close the box
	}
}

// refuse is what happens to a message when the subscription has ended.
func (s *Subscription) refuse(l letter) {
	s.dropped.count.Add(1)
	s.answer(l.msg, nil, errEnding)
}

// decoded counts what a loop has taken.
func (s *Subscription) decoded(err error) {
	if err != nil {
		s.warn(&s.undecodable, "undecodable message skipped", "err", err)
		return
	}
	s.handled.Add(1)
}

// stop lets nothing more in and gives the running handlers Options.Grace.
func (s *Subscription) stop() {
	if s.plan.responds {
		// Requests that are on their way get an answer instead of a timeout.
		if s.nats.Drain() != nil {
			_ = s.nats.Unsubscribe()
		}
	} else {
		_ = s.nats.Unsubscribe() // fails if the connection is closed, which does as well
	}
	s.cutter = time.AfterFunc(s.bus.opts.Grace, s.cutOff)
	for _, l := range s.box.close() {
		s.refuse(l)
	}
	if s.plan.receive == nil {
		s.finish()
	}
}

// cutOff ends the context of handlers that still run.
func (s *Subscription) cutOff() {
	if grace := s.bus.opts.Grace; grace > 0 {
		s.bus.opts.logger().Warn("handler still running: ending its context", append(s.attrs(), "grace", grace)...)
	}
	s.cut(ErrClosed)
}

// finish runs once, after stop and the last handler.
func (s *Subscription) finish() {
	s.cutter.Stop()
	s.cut(ErrClosed)
	s.bus.live.remove(s)
	stats := s.stats()
	s.bus.opts.logger().Debug("subscription ended", append(s.attrs(), "reason", context.Cause(s.live),
		"received", stats.Received, "failed", stats.Failed, "undecodable", stats.Undecodable, "dropped", stats.Dropped)...)
	close(s.done)
}

// A worker handles one message after the other.
type worker struct {
	s      *Subscription
	call   func() error // receive and settled, made once
	settle func(error)

	letter letter // in hand
	reply  []byte
	late   bool // nobody waits for the reply any more
}

// run takes messages until the subscription ends. It has a goroutine of its own,
// and gets another one if a handler ends it by runtime.Goexit, as t.FailNow does.
func (w *worker) run() {
	ended := false
	defer func() {
		if !ended {
			go w.run()
		} else if w.s.left.Add(-1) == 0 {
			w.s.finish()
		}
	}()
	for {
		var ok bool
		if w.letter, ok = w.s.take(); !ok {
			break
		}
		w.reply, w.late = nil, false
		guard.Settle(w.call, w.settle)
	}
	ended = true
}

func (w *worker) receive() (err error) {
	m := w.letter.msg
	e, err := readEnvelope(m.Header)
	if err != nil {
		return err
	}
	ctx := w.s.work
	if e.timeout != 0 && !w.letter.received.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, w.letter.received.Add(e.timeout))
		defer func() {
			w.late = ctx.Err() == context.DeadlineExceeded
			cancel()
		}()
		if ctx.Err() == context.DeadlineExceeded {
			return errLate
		}
	}
	w.reply, err = w.s.plan.receive(ctx, m, e)
	return err
}

// errLate says that a request waited for longer than its caller does.
var errLate = errors.New("its caller has given up")

func (w *worker) settled(err error) {
	s := w.s
	panicked, isPanic := errors.AsType[*guard.PanicError](err)
	switch {
	case err == nil:
		s.handled.Add(1)
	case err == errLate:
		s.warn(&s.dropped, "slow responder: requests dropped whose callers have given up", "waiting", s.box.waiting())
	case isPanic:
		s.warn(&s.panicked, "handler panicked", "err", err, "stack", string(panicked.Stack))
	case isUndecodable(err):
		s.warn(&s.undecodable, "undecodable message skipped", "err", err)
	case s.plan.responds:
		s.failed.count.Add(1) // the caller is told
	default:
		s.warn(&s.failed, "handler failed", "err", err)
	}
	if !w.late {
		s.answer(w.letter.msg, w.reply, err)
	}
}
