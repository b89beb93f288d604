// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetjobs/jetjobs/internal/wirename"
)

// askFor is how long workers have, beside the way to the server, to say that they run
// a job. They answer at once; a worker that does not is cut off, and finds its job gone.
const askFor = 50 * time.Millisecond

// askWithin is how long to wait for workers, if the server has taken so long for an
// answer of its own.
func askWithin(took time.Duration) time.Duration { return askFor + min(2*took, oneTry) }

// Cancel ends a job and tells in which state it was found. One that was Waiting or
// Later is removed; if it is to be retained, a record without a result stays. The
// context of one that was Running ends with the cause ErrCancelled, wherever it runs
// and unless it has ended before: when its handler then returns an error, steers or
// panics, the job ends as cancelled, whatever attempts it has left; a handler that
// succeeds all the same has succeeded. Only a worker that loses the lease before
// its handler returns can't end it: then the job runs again.
//
// The error is ErrNotFound if there is no such job. One that was over first is that
// as well, and a *StateError that says how it ended. Cancelling twice does no harm.
// A job that was taken by Dequeue counts as waiting: it is removed, and who has it is
// not told.
//
// Beside the way to the server it takes no time if a worker answers or none can have
// the job, and 0.07 s if the job is handed out and nobody has it. A job that is due
// within 50 ms, or was less than a second ago, is waited for until its schedule has
// fired: 0.15 s in the middle and up to 0.3 s, as the server looks at its schedules
// four times a second (2.15.2), and what it has picked up then can't be taken back.
func (q *Queue[T]) Cancel(ctx context.Context, id string) (was State, err error) {
	if err := checkID(id); err != nil {
		return "", q.c.wrap("cancel", err)
	}
	ctx, cancel := q.c.bound(ctx)
	defer cancel()
	was, err = q.c.cancel(ctx, id)
	return was, q.c.wrap(fmt.Sprintf("cancel job %q", id), err)
}

func (c *core) cancel(ctx context.Context, id string) (was State, err error) {
	token, told := wirename.Encode(id), uint64(0) // the message of which the workers were told, if any
	for try := 0; ; try++ {
		found, err := c.findAtRest(ctx, token)
		if err != nil {
			return "", err
		}
		last := found.last
		if last == nil {
			return "", ErrNotFound
		}
		within := askWithin(found.took)
		word, priority, _, _ := c.names.parse(last.Subject)
		switch word {
		case done, dead:
			h, _ := last.header()
			state := stateOf(word, h)
			if told > 0 && state == Cancelled {
				return Running, nil // by a worker that got it just after the word
			}
			return "", &overError{StateError{ID: id, State: state}}
		case ready:
			was = Waiting
			if c.handedOut(ctx, priority, last.Seq) {
				if c.tellWorker(ctx, last.Seq, within) {
					return Running, nil
				}
				told = last.Seq
			}
		case later:
			was = Later
		}
		gone, err := c.cancelStored(ctx, last, priority, token)
		switch {
		case err != nil && !errors.Is(err, errMoved):
			return "", err
		case gone && word == ready && c.tellLateHolder(ctx, priority, last.Seq, within, told == last.Seq):
			return Running, nil // a worker took it in between
		case gone:
			c.teller.tellSurely(Event{Type: EventCancelled, ID: id})
			return was, nil
		}
		if !pause(ctx, try) {
			return "", context.Cause(ctx)
		}
	}
}

// An overError says that a job was over before it could be cancelled.
type overError struct{ StateError }

func (e *overError) Error() string { return fmt.Sprintf("it is %s: %s", e.State, ErrNotFound) }

func (e *overError) Unwrap() []error { return []error{&e.StateError, ErrNotFound} }

// handedOut reports whether the consumer may have handed out a message. Of one that
// it has not, no worker has to be asked, which takes askFor if none has it.
func (c *core) handedOut(ctx context.Context, priority int, seq uint64) bool {
	delivered, err := c.delivered(ctx, priority)
	return err != nil || seq <= delivered
}

// tellLateHolder tells who got the message just before it was removed, and reports
// whether anybody has it. If nobody should, the word goes out all the same, and
// nobody is waited for. If all were told before, whoever got it since knows, and does
// not start it: only a worker that has come since must be waited for, and not as long.
func (c *core) tellLateHolder(ctx context.Context, priority int, seq uint64, within time.Duration, told bool) bool {
	if told {
		within -= askFor * 3 / 4
	}
	if c.handedOut(ctx, priority, seq) {
		return c.tellWorker(ctx, seq, within)
	}
	_ = c.nc.Publish(c.names.control(cancelVerb), strconv.AppendUint(nil, seq, 10))
	return false
}

// tellWorker asks all workers of the queue to end the job that this message is,
// and reports whether one has it.
func (c *core) tellWorker(ctx context.Context, seq uint64, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	_, err := c.nc.RequestWithContext(ctx, c.names.control(cancelVerb), strconv.AppendUint(nil, seq, 10))
	return err == nil
}

// cancelStored takes the message of a job that nobody runs away, or reports
// false if it has moved. A job to be retained leaves a record.
func (c *core) cancelStored(ctx context.Context, last *stored, priority int, token string) (gone bool, err error) {
	h, err := last.header()
	if err != nil {
		return false, err
	}
	about, _ := h.understand(last.Time)
	d := &delivery{meta: about, token: token, priority: priority, data: last.Data, header: h}
	retain := d.retainOr(c.opts)
	if retain == 0 {
		return c.remove(ctx, last.Seq)
	}
	m := c.doneMsg(d, d.kept(), retain, outcomeCancelled)
	if state, _, _, _ := c.names.parse(last.Subject); state == later {
		c.expect(m, token, last.Seq)
		purge(m, last.Subject)
		err = c.publish(ctx, m)
		return err == nil, err
	}
	if gone, err = c.remove(ctx, last.Seq); gone {
		err = c.record(ctx, m, token)
	}
	return gone, err
}

// record stores the record of a job that was removed, and tries until ctx ends. If
// the ID is taken anew in between, there is none.
func (c *core) record(ctx context.Context, m *nats.Msg, token string) error {
	c.expect(m, token, 0)
	for try := 0; ; try++ {
		err := c.publish(ctx, m)
		if err == nil || errors.Is(err, errMoved) { // perhaps by an earlier try
			return nil
		}
		if !errors.Is(err, errUnanswered) || !pause(ctx, try) {
			return err
		}
	}
}

// cancel ends the context of the job that came with this message, if the keeper
// has it, or if it is just on its way here.
func (k *keeper) cancel(seq uint64, now time.Time) bool {
	k.mu.Lock()
	found := k.findLocked(seq)
	if found == nil {
		if now.Sub(k.swept) > doomedFor/10 {
			k.swept = now
			maps.DeleteFunc(k.doomed, func(_ uint64, at time.Time) bool { return now.Sub(at) > doomedFor })
		}
		k.doomed[seq] = now
	} else {
		found.cancelled.Store(true)
	}
	k.mu.Unlock()
	if found != nil {
		found.cancel(ErrCancelled)
	}
	return found != nil
}

// find returns the delivery of a message, if the keeper has it.
func (k *keeper) find(seq uint64) *delivery {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.findLocked(seq)
}

func (k *keeper) findLocked(seq uint64) *delivery {
	for d := k.list.lease.next; d != &k.list; d = d.lease.next {
		if d.seq == seq && !d.lease.lost && !d.lease.released {
			return d
		}
	}
	return nil
}

// doomedFor is how long a message may be on its way after the word that its job
// is cancelled.
const doomedFor = 10 * time.Second
