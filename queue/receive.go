// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
)

// receive takes in what the server sends to a lane.
func (w *worker) receive(l *lane, p *pulls, m *nats.Msg) {
	now := time.Now()
	if m.Reply == "" {
		w.receiveStatus(l, p, m, now)
		return
	}
	d, err := w.c.newDelivery(m)
	d.arrived = now
	d.ctx, d.cancel = context.WithCancelCause(w.handlers)
	w.mu.Lock()
	open := len(p.open)
	d.lease.confirmed = p.arrived()
	if err == nil {
		w.keeper.add(d)
		l.push(d)
		w.buffered++
		w.pace.came(len(m.Data))
	}
	waits := !w.watched && w.running+w.buffered > w.concurrency
	w.watched = w.watched || waits
	var asks []pullMsg
	if len(p.open) < open { // the pull is full: there may be room for another
		asks = w.asksLocked(now)
	}
	w.wakeLocked()
	w.mu.Unlock()
	w.send(asks)
	if waits {
		w.nudge()
	}
	if err != nil {
		w.c.log.Warn("message is not a job", "err", err)
	}
}

func (w *worker) receiveStatus(l *lane, p *pulls, m *nats.Msg, now time.Time) {
	w.mu.Lock()
	if p != l.pulls {
		w.mu.Unlock()
		return // of a pull given up
	}
	retryIn, err := l.status(m)
	if err != nil {
		w.err = err
	}
	if retryIn > 0 {
		l.retryAt = now.Add(retryIn)
	}
	refused := retryIn > busyRetry && now.After(w.warnAt)
	if refused {
		w.warnAt = now.Add(time.Minute)
	}
	if w.drain && l.pulls.outstanding() == 0 && retryIn == 0 {
		l.empty = l.asked
	}
	w.mu.Unlock()
	if refused {
		w.c.log.Warn("the server gives no jobs for now", "err", m.Header.Get("Status")+" "+m.Header.Get("Description"))
	}
	w.nudge()
}
