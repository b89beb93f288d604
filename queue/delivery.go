// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetjobs/jetjobs/internal/guard"
	"github.com/jetjobs/jetjobs/internal/wirename"
)

// A delivery is one message that this process was given to work on.
type delivery struct {
	meta // understood from the header; see malformed

	id        string
	token     string
	priority  int
	seq       uint64 // of the message in the stream; with token it is the fence of every move
	given     int    // how often the server has delivered this message, from 1
	pending   uint64 // how many more waited at the consumer when it was sent
	data      []byte
	header    header // as stored, nil for a default job
	reply     string // where acks go
	malformed error  // the header could not be understood

	state  atomic.Int32 // open, settling or settled
	result []byte       // for the done record, set by the handler
	how    string       // how it was settled; guarded by state

	cancelled atomic.Bool // see unlessCancelled; set under the keeper's mutex, by which it is found

	arrived time.Time // in this process
	lease   lease
	keeper  *keeper         // that renews the lease; nil in manual use
	ctx     context.Context // what the handler's context stems from; nil in manual use
	cancel  context.CancelCauseFunc
	run     run
}

const (
	open int32 = iota
	settling
	settled
)

// newDelivery understands a message that a pull brought. Its lease is the
// caller's to begin.
func (c *core) newDelivery(m *nats.Msg) (*delivery, error) {
	d := &delivery{data: m.Data, header: header(m.Header), reply: m.Reply}
	var ok bool
	if _, d.priority, d.token, ok = c.names.parse(m.Subject); !ok {
		return d, fmt.Errorf("subject %q is not one of a job", m.Subject)
	}
	at, ok := d.parseReply()
	if !ok {
		return d, fmt.Errorf("reply subject %q is not one of JetStream's", m.Reply)
	}
	d.id = wirename.Decode(d.token)
	d.meta, d.malformed = d.header.understand(at)
	d.interruptions += d.given - 1
	return d, nil
}

// parseReply reads what the server tells in the subject for acks:
// $JS.ACK.<stream>.<consumer>.<given>.<seq>.<consumer seq>.<stored>.<pending>,
// or, across domains, $JS.ACK.<domain>.<account>.<stream>… and a last token.
func (d *delivery) parseReply() (at time.Time, ok bool) {
	skip := 4
	if strings.Count(d.reply, ".") >= 10 {
		skip = 6
	}
	rest := d.reply
	for range skip {
		_, rest, ok = strings.Cut(rest, ".")
		if !ok {
			return at, false
		}
	}
	var n [5]uint64
	for i := range n {
		var word string
		word, rest, _ = strings.Cut(rest, ".")
		if n[i], ok = parseUint(word); !ok {
			return at, false
		}
	}
	d.given, d.seq, d.pending = int(n[0]), n[1], n[4]
	return time.Unix(0, int64(n[3])), true
}

// parseUint is strconv.ParseUint for what the server writes: it costs a third.
func parseUint(s string) (n uint64, ok bool) {
	if s == "" || len(s) > 19 {
		return 0, false
	}
	for i := range len(s) {
		digit := s[i] - '0'
		if digit > 9 {
			return 0, false
		}
		n = n*10 + uint64(digit)
	}
	return n, true
}

// maxAttemptsOr is the job's own limit or else the queue's.
func (d *delivery) maxAttemptsOr(of Options) int {
	if d.maxAttempts > 0 {
		return d.maxAttempts
	}
	return of.MaxAttempts
}

func (d *delivery) retainOr(of Options) time.Duration {
	if d.retain > 0 {
		return d.retain
	}
	return of.Retain
}

// unlessCancelled is what becomes of a job for which s was asked. That it was
// cancelled is remembered beside its context, of which only the first cause counts:
// a timeout or a shutdown may have ended it before. Whatever else is asked for, a
// cancelled job ends as that, unless it has succeeded. Ask when the keeper no longer
// finds the delivery: from then on nobody is told that it was cancelled here.
func (d *delivery) unlessCancelled(s settlement) settlement {
	if !d.cancelled.Load() || s.verdict == completeJob || s.verdict == ackOnly {
		return s
	}
	cancelled := settlement{verdict: cancelJob}
	if _, panicked := s.err.(*guard.PanicError); panicked {
		cancelled.err = s.err // for the log
	}
	return cancelled
}

// kept is the header to go on with when the job is moved.
func (d *delivery) kept() header {
	h := d.header.own()
	if h.get(headerEnqueued) == "" {
		h.setTime(headerEnqueued, d.enqueued)
	}
	return h
}

// claim lets one caller settle; an earlier settlement is reported with how it
// ended.
func (d *delivery) claim() error {
	if !d.state.CompareAndSwap(open, settling) {
		how := "being settled by another call"
		if d.state.Load() == settled {
			how = d.how
		}
		return &SettledError{ID: d.id, How: how}
	}
	return nil
}

// release ends a claim: with an error the job is still to be settled.
func (d *delivery) release(how string, err error) {
	if err != nil {
		d.state.Store(open)
		return
	}
	d.how = how
	d.state.Store(settled)
}

// checkTaken decides about a job before its handler sees it. It returns the
// settlement that it needs instead of being run, or nil.
func (c *core) checkTaken(ctx context.Context, d *delivery, now time.Time) (*settlement, error) {
	if d.given > 1 {
		// The earlier worker may have moved the job and lost only the ack.
		// First deliveries pay nothing for this.
		last, err := c.findPatiently(ctx, d.token)
		if err != nil {
			return nil, err
		}
		if last == nil || last.Seq != d.seq {
			return &settlement{verdict: ackOnly, err: errMoved}, nil
		}
	}
	switch newer, isNewer := d.malformed.(newerVersionError); {
	case isNewer && (d.unknownSince.IsZero() || now.Sub(d.unknownSince) < unknownFor):
		return &settlement{verdict: snoozeJob, delay: time.Minute, err: newer}, nil
	case d.malformed != nil:
		return &settlement{verdict: buryJob, err: d.malformed, reason: ReasonUndecodable}, nil
	case d.interruptions >= c.opts.MaxInterruptions:
		return &settlement{verdict: buryJob, reason: ReasonInterrupted,
			err: fmt.Errorf("interrupted %d times by the end of its worker", d.interruptions)}, nil
	case d.mayExpire() && now.After(d.expires):
		return &settlement{verdict: buryJob, reason: ReasonExpired,
			err: fmt.Errorf("not started before it expired at %s", d.expires.Format(time.RFC3339Nano))}, nil
	}
	return nil, nil
}

// unknownFor is how long a job that no worker here understands is left for
// another one before it is dead: long enough for a rolling deployment.
const unknownFor = 24 * time.Hour
