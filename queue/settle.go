// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A verdict is what becomes of a job that was taken.
type verdict int

const (
	completeJob verdict = iota // done, and kept if it is to be retained
	retryJob                   // the attempt failed: again after a while, or dead after the last one
	snoozeJob                  // again after a while, the attempt does not count
	deferJob                   // the same before it was started: its interruptions stay
	returnJob                  // again at once, nothing counts
	buryJob                    // dead
	cancelJob                  // cancelled, and recorded if it is to be retained
	ackOnly                    // the job was moved before; only its ack was lost
)

// Why a job is dead, for DeadLetter.Reason.
const (
	ReasonAttempts    = "attempts"    // its last attempt failed
	ReasonPermanent   = "permanent"   // its handler said so, with Permanent or Reject
	ReasonExpired     = "expired"     // it was not started in time
	ReasonInterrupted = "interrupted" // it was running too often when its worker ended
	ReasonUndecodable = "undecodable" // what is stored with it can't be understood
)

// A settlement is a verdict with what belongs to it.
type settlement struct {
	verdict verdict
	delay   time.Duration // of a retry or snooze; a retry below zero means Options.Backoff
	err     error
	reason  string // of a burial
}

// settlementOf says what a handler's return value asks for.
func settlementOf(err error) settlement {
	if err == nil {
		return settlement{verdict: completeJob}
	}
	if s, ok := errors.AsType[*steer](err); ok {
		if s.verdict == buryJob {
			return settlement{verdict: buryJob, err: err, reason: ReasonPermanent}
		}
		return settlement{verdict: s.verdict, delay: max(0, s.delay), err: err}
	}
	if _, ok := errors.AsType[*decodeError](err); ok {
		return settlement{verdict: retryJob, delay: -1, err: err, reason: ReasonUndecodable}
	}
	return settlement{verdict: retryJob, delay: -1, err: err}
}

// settle makes the transition and tells what it was: first the job is written
// where it belongs, by compare-and-set on the message that was delivered, then
// that message is acknowledged. A crash in between is found out by whoever gets
// the message next, see checkTaken. Nothing is sent once the lease has ended,
// since the server would accept it from anybody who ever had the message.
func (c *core) settle(ctx context.Context, d *delivery, s settlement, now time.Time, ack func(context.Context, *delivery) error) (how string, err error) {
	ends := c.leaseEnds(d)
	if !now.Before(ends) {
		return "", ErrLeaseLost
	}
	if (s.verdict == completeJob || s.verdict == cancelJob) && d.retainOr(c.opts) == 0 {
		return endings[s.verdict], ack(ctx, d) // the usual end costs nothing but the ack
	}
	ctx, cancel := context.WithDeadlineCause(ctx, ends, ErrLeaseLost)
	defer cancel()
	m, how := c.transition(d, s, now)
	if m != nil {
		if err := c.move(ctx, d, m); err != nil {
			return "", err
		}
	}
	return how, ack(ctx, d)
}

// What a done record says, and how a settlement without one is called.
const (
	outcomeSucceeded = "succeeded"
	outcomeCancelled = "cancelled"
)

var endings = map[verdict]string{completeJob: "completed", cancelJob: "cancelled"}

// transition is the message that a settlement stores, if any, and its name. An
// attempt that ended in order leaves no interruptions to the next.
func (c *core) transition(d *delivery, s settlement, now time.Time) (*nats.Msg, string) {
	h := d.kept()
	if s.verdict == retryJob && d.attempt >= d.maxAttemptsOr(c.opts) {
		s.verdict = buryJob
		if s.reason == "" {
			s.reason = ReasonAttempts
		}
	}
	switch s.verdict {
	case completeJob:
		return c.doneMsg(d, h, d.retainOr(c.opts), outcomeSucceeded), endings[s.verdict]
	case cancelJob:
		return c.doneMsg(d, h, d.retainOr(c.opts), outcomeCancelled), endings[s.verdict]
	case retryJob:
		delay := s.delay
		if delay < 0 {
			delay = c.backoff(d.attempt)
		}
		h.set(headerAttempt, strconv.Itoa(d.attempt+1))
		h.set(headerReason, ReasonRetrying)
		h.setError(s.err)
		h.setInterruptions(0)
		return c.laterMsg(d, h, dueAfter(now, delay)), "retrying"
	case snoozeJob:
		if _, unknown := s.err.(newerVersionError); unknown && d.unknownSince.IsZero() {
			h.setTime(headerUnknownSince, now)
		} else if !unknown {
			delete(h, headerExpires) // it was started
		}
		h.set(headerReason, ReasonSnoozed)
		h.setInterruptions(0)
		return c.laterMsg(d, h, dueAfter(now, s.delay)), "snoozed"
	case deferJob:
		h.set(headerReason, ReasonDeferred)
		h.setInterruptions(d.interruptions)
		return c.laterMsg(d, h, dueAfter(now, s.delay)), "deferred"
	case returnJob:
		if d.run.ctx != nil {
			delete(h, headerExpires) // it was started
		}
		h.setInterruptions(d.interruptions)
		return c.message(d, ready, h), "returned"
	case buryJob:
		h.set(headerReason, s.reason)
		h.setError(s.err)
		h.setInterruptions(d.interruptions)
		return c.message(d, dead, h), "dead"
	}
	return nil, "settled before"
}

// endOfTime is the last time that the server can keep: it counts nanoseconds
// since 1970 in 63 bits, and takes a later one for the past (2.15.2).
var endOfTime = time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)

// backoff is Options.Backoff, or the default if that panics.
func (c *core) backoff(attempt int) (delay time.Duration) {
	defer func() {
		if value := recover(); value != nil {
			c.log.Warn("Options.Backoff panicked, the default is used", "attempt", attempt, "err", value)
			delay = defaultBackoff.Delay(attempt, rand.Float64)
		}
	}()
	return max(0, c.opts.Backoff(attempt))
}

// dueAfter is now + delay, or the end of time.
func dueAfter(now time.Time, delay time.Duration) time.Time {
	if endOfTime.Sub(now) < delay {
		return endOfTime
	}
	return now.Add(delay)
}

// message is the job in another state.
func (c *core) message(d *delivery, state string, h header) *nats.Msg {
	return &nats.Msg{Subject: c.names.subject(state, d.priority, d.token), Header: nats.Header(h), Data: d.data}
}

// laterMsg is the job as a schedule: the server itself moves it back to ready.
func (c *core) laterMsg(d *delivery, h header, due time.Time) *nats.Msg {
	m := c.message(d, later, h)
	c.schedule(m, d.priority, d.token, due)
	return m
}

// schedule makes m come due. The time has nanoseconds: cut to seconds, as
// nats.go does it, it would be early.
func (c *core) schedule(m *nats.Msg, priority int, token string, due time.Time) {
	h := header(m.Header)
	h.setTime(headerDue, due)
	h.set(jetstream.ScheduleHeader, "@at "+due.UTC().Format(time.RFC3339Nano))
	h.set(jetstream.ScheduleTargetHeader, c.names.subject(ready, priority, token))
}

// doneMsg is the record of a finished job. The server removes it by its TTL,
// which counts whole seconds.
func (c *core) doneMsg(d *delivery, h header, retain time.Duration, outcome string) *nats.Msg {
	delete(h, headerReason)
	h.set(headerOutcome, outcome)
	h.set(jetstream.MsgTTLHeader, wholeSeconds(retain).String())
	m := c.message(d, done, h)
	if m.Data = nil; outcome == outcomeSucceeded {
		m.Data = d.result
		delete(h, headerError)
	}
	return m
}

// maxRetain is the longest that a done job can be kept.
const maxRetain = 100 * 365 * 24 * time.Hour

func wholeSeconds(d time.Duration) time.Duration {
	return (min(d, maxRetain) + time.Second - 1).Truncate(time.Second)
}

// move stores m in place of the job's present message, and returns nil also if
// somebody has moved the job before. It tries until ctx ends.
func (c *core) move(ctx context.Context, d *delivery, m *nats.Msg) error {
	c.expect(m, d.token, d.seq)
	// A message is moved once. The ID makes a second try harmless even if the
	// moved job has been done in between and the expectation holds again; the
	// server remembers it for two minutes.
	m.Header.Set(jetstream.MsgIDHeader, strconv.FormatUint(d.seq, 10))
	for try := 0; ; try++ {
		err := c.publish(ctx, m)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errMoved):
			last, findErr := c.find(ctx, d.token)
			if findErr == nil && (last == nil || last.Seq != d.seq) {
				return nil
			}
		case errors.Is(err, nats.ErrNoResponders): // the stream has no leader, or was deleted
			one, cancel := context.WithTimeout(ctx, oneTry)
			_, findErr := c.find(one, d.token)
			cancel()
			if goneForGood(findErr) {
				return findErr
			}
		case !errors.Is(err, errUnanswered) && !outOfOrder(err):
			return err
		}
		if !pause(ctx, try) {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// outOfOrder reports whether the server can't store anything just now, as when
// its storage is full.
func outOfOrder(err error) bool {
	apiErr, ok := errors.AsType[*jetstream.APIError](err)
	return ok && apiErr.Code >= http.StatusInternalServerError
}

// ackNow acknowledges and waits for the server to confirm it.
func (c *core) ackNow(ctx context.Context, d *delivery) error {
	ctx, cancel := context.WithDeadlineCause(ctx, c.leaseEnds(d), ErrLeaseLost)
	defer cancel()
	for try := 0; ; try++ {
		one, cancel := context.WithTimeout(ctx, oneTry)
		_, err := c.nc.RequestWithContext(one, d.reply, ackPayload)
		cancel()
		if err == nil {
			return nil
		}
		if !pause(ctx, try) {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

var (
	ackPayload      = []byte("+ACK")
	progressPayload = []byte("+WPI")
)
