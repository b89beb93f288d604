// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetjobs/jetjobs/internal/tracing"
	"github.com/jetjobs/jetjobs/internal/wirename"
)

// A Receipt says what became of an enqueued job.
type Receipt struct {
	// ID names the job from now on.
	ID string
	// Duplicate means that a job with this ID is in the queue already, in State,
	// and that nothing was stored.
	Duplicate bool
	// State of the job that was there; Waiting may mean that it runs. Empty unless
	// Duplicate.
	State State
	// Replaced means that the option Replace overwrote a job.
	Replaced bool
}

// A newJob is one to be stored, checked and encoded.
type newJob struct {
	token    string
	subject  string
	header   header // nil for a default job
	data     []byte
	unique   bool // the caller chose the ID
	replace  bool
	due      time.Time
	priority int
}

func (j newJob) id() string { return wirename.Decode(j.token) }

// headroom is what a payload must leave of the server's limit for what a job
// gains while it is moved: the subject in several headers, numbers, times, and
// an error, each byte of which JSON may write as six.
func headroom(token string) int { return 1024 + 4*(len(token)+2*wirename.MaxLength) + 6*maxErrorLength }

// maxHeader is what the server takes.
const maxHeader = 64 << 10

// checkSize refuses what the server would.
func (c *core) checkSize(size int, token string) error {
	limit := int(c.nc.MaxPayload())
	if limit <= 0 {
		return nil // not connected yet; the server will say
	}
	if most := limit - headroom(token); size > most {
		return fmt.Errorf("the payload has %d bytes: want at most %d, which is the server's max_payload %d less what a job needs for itself; store large things elsewhere and enqueue a reference",
			size, most, limit)
	}
	return nil
}

// newJob checks the options and lays the job out.
func (c *core) newJob(data []byte, opts []EnqueueOption, now time.Time) (newJob, error) {
	if len(opts) == 0 {
		id := c.ids.next(now)
		return newJob{token: id, subject: c.names.first + id, data: data}, c.checkSize(len(data), id)
	}
	var s spec
	for _, o := range opts {
		o.enqueue(&s)
	}
	if err := s.check(c, now); err != nil {
		return newJob{}, err
	}
	j := newJob{token: wirename.Encode(s.id), data: data, unique: s.id != "", replace: s.replace, priority: s.priority}
	if !j.unique {
		j.token = c.ids.next(now)
	}
	size := len(data)
	if h := s.header(); len(h) > 0 || j.unique || s.due(now) != (time.Time{}) {
		// The time tells this very enqueue from another one of the same ID,
		// when an answer was lost.
		h.setTime(headerEnqueued, now)
		j.header = h
		if most := maxHeader - headroom(j.token); h.size() > most {
			return newJob{}, fmt.Errorf("the properties and the correlation ID have %d bytes: want at most %d; put more into the value", h.size(), most)
		}
		size += h.size()
	}
	j.subject = c.names.subject(ready, s.priority, j.token)
	if j.due = s.due(now); !j.due.IsZero() {
		j.subject = c.names.subject(later, s.priority, j.token)
	}
	return j, c.checkSize(size, j.token)
}

// newMessage is the job as it is published. It is made anew for each try.
func (c *core) newMessage(j newJob) *nats.Msg {
	m := &nats.Msg{Subject: j.subject, Data: j.data}
	if j.header != nil {
		m.Header = nats.Header(j.header.own())
		if !j.due.IsZero() {
			c.schedule(m, j.priority, j.token, j.due)
		}
	}
	return m
}

func (c *core) enqueue(ctx context.Context, data []byte, opts []EnqueueOption) (Receipt, error) {
	began, unanswered := time.Now(), false
	j, err := c.newJob(data, traced(ctx, opts), began)
	if err != nil {
		return Receipt{}, err
	}
	if !j.unique {
		// The usual case: one publish, without an expectation or a second timer.
		err := c.group.publish(ctx, j)
		if err == nil {
			r := Receipt{ID: j.id()}
			c.teller.enqueued(r)
			return r, nil
		}
		if unanswered = errors.Is(err, errUnanswered); !unanswered {
			return Receipt{}, err
		}
	}
	ctx, cancel := c.boundFrom(ctx, began)
	defer cancel()
	r, err := c.enqueueOnce(ctx, j, unanswered)
	if err == nil {
		c.teller.enqueued(r)
	}
	return r, err
}

// enqueueOnce stores a job unless one of its ID is there, and tries until ctx
// ends; unanswered says that there was a try already, of which nobody knows what
// came.
func (c *core) enqueueOnce(ctx context.Context, j newJob, unanswered bool) (Receipt, error) {
	var replaced *stored // what the next try overwrites
	for try := 0; ; try++ {
		m := c.newMessage(j)
		c.expectNew(m, j, replaced)
		err := c.publish(ctx, m)
		switch {
		case err == nil:
			return Receipt{ID: j.id(), Replaced: replaced != nil}, nil
		case errors.Is(err, errMoved):
			last, findErr := c.find(ctx, j.token)
			if findErr == nil && last != nil {
				ours, state := c.whose(j, last)
				switch {
				case unanswered && ours: // stored by an earlier try
					return Receipt{ID: j.id(), Replaced: replaced != nil}, nil
				case !j.replace || state != Later:
					return Receipt{ID: j.id(), Duplicate: true, State: state}, nil
				}
			}
			// With no job there it is gone in the meantime, or, on a replicated
			// stream, still in flight.
			replaced = last
		case errors.Is(err, errUnanswered):
			unanswered = true
		default:
			return Receipt{}, err
		}
		if !pause(ctx, try) {
			return Receipt{ID: j.id()}, fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// expectNew makes m conditional: no job of its ID anywhere, or else the one that
// it replaces, unmoved.
func (c *core) expectNew(m *nats.Msg, j newJob, replaced *stored) {
	if m.Header == nil {
		m.Header = nats.Header{}
	}
	if replaced == nil {
		c.expect(m, j.token, 0)
		return
	}
	c.expect(m, j.token, replaced.Seq)
	if replaced.Subject != m.Subject {
		purge(m, replaced.Subject)
	}
}

// purge makes the server take a schedule away in the write that stores m.
func purge(m *nats.Msg, schedule string) {
	m.Header.Set(jetstream.ScheduleNextHeader, "purge")
	m.Header.Set(jetstream.SchedulerHeader, schedule)
}

// whose tells whether a stored job is j itself, and its state.
func (c *core) whose(j newJob, last *stored) (ours bool, state State) {
	word, _, _, _ := c.names.parse(last.Subject)
	h, err := last.header()
	state = stateOf(word, h)
	if !j.unique {
		return true, state
	}
	return err == nil && h.get(headerEnqueued) == j.header.get(headerEnqueued), state
}

// traced adds the trace of ctx to what is stored, if there is one.
func traced(ctx context.Context, opts []EnqueueOption) []EnqueueOption {
	parent, state := tracing.Headers(ctx)
	if parent == "" {
		return opts
	}
	return append(opts[:len(opts):len(opts)], enqueueOption(func(s *spec) { s.traceParent, s.traceState = parent, state }))
}

// header is what the options store with the job; understand reads it.
func (s *spec) header() header {
	h := header{}
	if s.maxAttempts > 0 {
		h.set(headerMaxAttempts, strconv.Itoa(s.maxAttempts))
	}
	if s.timeout > 0 {
		h.set(headerTimeout, s.timeout.String())
	}
	if !s.expires.IsZero() {
		h.setTime(headerExpires, s.expires)
	}
	if s.retain > 0 {
		h.set(headerRetain, s.retain.String())
	}
	if s.correlation != "" {
		h.set(headerCorrelation, s.correlation)
	}
	if len(s.properties) > 0 {
		data, _ := json.Marshal(s.properties) // strings always marshal
		h.set(headerProperties, string(data))
	}
	if s.traceParent != "" {
		h.set(tracing.Parent, s.traceParent)
		if s.traceState != "" {
			h.set(tracing.State, s.traceState)
		}
	}
	if s.copyOf != "" {
		h.set(headerCopyOf, wirename.Encode(s.copyOf))
	}
	return h
}
