// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// What is stored with a job beside its payload. A job with default options has
// no header at all: attempt 1, enqueued at the message's own time.
const (
	headerVersion       = "Job-Version"       // of these headers; absent means 1
	headerAttempt       = "Job-Attempt"       // absent means 1
	headerMaxAttempts   = "Job-Max-Attempts"  // absent: the worker's Options
	headerInterruptions = "Job-Interruptions" // those of earlier messages of this job
	headerEnqueued      = "Job-Enqueued"      // RFC 3339; absent: the message's time
	headerDue           = "Job-Due"           // when a later job is due
	headerExpires       = "Job-Expires"
	headerTimeout       = "Job-Timeout"
	headerRetain        = "Job-Retain"
	headerCorrelation   = "Job-Correlation-Id"
	headerProperties    = "Job-Properties"    // a JSON object of strings
	headerUnknownSince  = "Job-Unknown-Since" // when a worker first could not understand it
	headerError         = "Job-Error"         // of the last attempt, as a JSON string
	headerOutcome       = "Job-Outcome"       // of a done job
	headerReason        = "Job-Reason"        // why a job is dead, or later; not of the others
	headerCopyOf        = "Job-Copy-Of"       // the ID of the job that it was made from
)

// version is that of the headers written here.
const version = 1

// maxErrorLength is how many bytes of an error are kept; it also bounds how
// much a job can grow while it is moved.
const maxErrorLength = 2048

// A header is what is stored with a job. Its methods take a nil header for an
// empty one, except those that set.
type header nats.Header

func (h header) get(key string) string { return nats.Header(h).Get(key) }

func (h header) set(key, value string) { nats.Header(h).Set(key, value) }

func (h header) setTime(key string, t time.Time) { h.set(key, t.UTC().Format(time.RFC3339Nano)) }

func (h header) setInterruptions(n int) {
	if delete(h, headerInterruptions); n > 0 {
		h.set(headerInterruptions, strconv.Itoa(n))
	}
}

// setError keeps the beginning of err's text. JSON keeps line breaks out of the
// header.
func (h header) setError(err error) {
	text := strings.ToValidUTF8(textOf(err), "\uFFFD")
	if len(text) > maxErrorLength {
		text = strings.ToValidUTF8(text[:maxErrorLength], "") + "…"
	}
	quoted, _ := json.Marshal(text) // a string always marshals
	h.set(headerError, string(quoted))
}

// textOf is err.Error(), also of an error whose method panics, as that of a nil
// pointer does.
func textOf(err error) (text string) {
	defer func() {
		if recover() != nil {
			text = fmt.Sprintf("an error of type %T whose Error method panics", err)
		}
	}()
	return err.Error()
}

func (h header) error() string {
	text := ""
	if quoted := h.get(headerError); quoted != "" && json.Unmarshal([]byte(quoted), &text) != nil {
		return quoted // not ours, but better than nothing
	}
	return text
}

// size is about what the header takes in a message.
func (h header) size() (n int) {
	for k, vs := range h {
		for _, v := range vs {
			n += len(k) + len(v) + 4
		}
	}
	return n
}

// own is a copy without what belongs to the server: a Nats- header that was
// copied to another message would be obeyed again.
func (h header) own() header {
	c := make(header, len(h)+4)
	for k, v := range h {
		if !strings.HasPrefix(k, "Nats-") {
			c[k] = v
		}
	}
	return c
}

// ours reports whether there is a header of ours: one that came in a batch has
// two of the server's.
func (h header) ours() bool {
	for k := range h {
		if strings.HasPrefix(k, "Job-") {
			return true
		}
	}
	return false
}

// A meta is a job's header, understood.
type meta struct {
	attempt       int
	interruptions int
	enqueued      time.Time
	*said         // never nil, and never changed
}

// started is how many attempts of a dead job were started, other than the one for
// which it expired, or that could not be begun because its header is malformed.
func (m meta) started(reason string, malformed error) int {
	if reason == ReasonExpired || reason == ReasonUndecodable && malformed != nil {
		return max(0, m.attempt-1)
	}
	return m.attempt
}

// mayExpire reports whether a job has a time to expire, and was not started yet.
func (m meta) mayExpire() bool { return !m.expires.IsZero() && m.attempt == 1 && m.interruptions == 0 }

// said is what most jobs don't say: all zero then.
type said struct {
	maxAttempts  int // 0: the worker's Options
	due          time.Time
	expires      time.Time
	timeout      time.Duration
	retain       time.Duration
	correlation  string
	properties   map[string]string
	unknownSince time.Time
}

var saidNothing = &said{}

// A newerVersionError says that a later release of jetjobs wrote this job.
type newerVersionError int

func (v newerVersionError) Error() string {
	return fmt.Sprintf("the job has version %d and this worker understands %d: upgrade the worker", int(v), version)
}

// understand reads a header; stored is the message's own time. With an error
// the result still has what could be read.
func (h header) understand(stored time.Time) (meta, error) {
	if !h.ours() {
		return meta{attempt: 1, enqueued: stored, said: saidNothing}, nil
	}
	return h.parse(stored)
}

func (h header) parse(stored time.Time) (meta, error) {
	m := meta{attempt: 1, enqueued: stored, said: &said{}}
	r := headerReader{header: h}
	written := version
	r.number(headerVersion, &written)
	r.number(headerAttempt, &m.attempt)
	r.number(headerMaxAttempts, &m.maxAttempts)
	r.number(headerInterruptions, &m.interruptions)
	r.time(headerEnqueued, &m.enqueued)
	r.time(headerDue, &m.due)
	r.time(headerExpires, &m.expires)
	r.time(headerUnknownSince, &m.unknownSince)
	r.duration(headerTimeout, &m.timeout)
	r.duration(headerRetain, &m.retain)
	m.correlation = h.get(headerCorrelation)
	if v := h.get(headerProperties); v != "" {
		r.failed(headerProperties, v, json.Unmarshal([]byte(v), &m.properties))
	}
	if written > version {
		return m, newerVersionError(written) // what was read is as good as it gets
	}
	return m, r.err
}

// A headerReader remembers the first thing that could not be read.
type headerReader struct {
	header header
	err    error
}

func (r *headerReader) failed(key, value string, err error) {
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("header %s is %q: %w", key, value, err)
	}
}

func (r *headerReader) number(key string, to *int) {
	if v := r.header.get(key); v != "" {
		n, err := strconv.Atoi(v)
		if r.failed(key, v, err); err == nil {
			*to = n
		}
	}
}

func (r *headerReader) time(key string, to *time.Time) {
	if v := r.header.get(key); v != "" {
		t, err := time.Parse(time.RFC3339Nano, v)
		if r.failed(key, v, err); err == nil {
			*to = t
		}
	}
}

func (r *headerReader) duration(key string, to *time.Duration) {
	if v := r.header.get(key); v != "" {
		d, err := time.ParseDuration(v)
		if r.failed(key, v, err); err == nil {
			*to = d
		}
	}
}
