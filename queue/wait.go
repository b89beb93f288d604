// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jetjobs/jetjobs/internal/wirename"
)

// A FailedError is what Wait returns for a job that did not succeed. It matches
// ErrCancelled if the job was cancelled.
type FailedError struct {
	ID       string
	State    State  // Dead or Cancelled
	Reason   string // why it is dead: ReasonAttempts and so on
	Attempts int    // started; of a job that was cancelled before it ran, with the one to come
	Text     string // of the error that ended the last attempt
}

func (e *FailedError) Error() string {
	if e.State == Cancelled {
		return fmt.Sprintf("job %q was cancelled", e.ID)
	}
	return fmt.Sprintf("job %q is dead (%s) after %d attempts: %s", e.ID, e.Reason, e.Attempts, e.Text)
}

// Is makes errors.Is(err, ErrCancelled) true for a cancelled job.
func (e *FailedError) Is(target error) bool { return target == ErrCancelled && e.State == Cancelled }

// Wait waits until a job is over, in whatever process it runs, and returns the
// result that its handler gave to Entry.SetResult, or the zero R if it gave none.
// A job that is over already is answered at once. The error is a *FailedError if
// the job is dead or was cancelled, and ErrNotFound if there is none.
//
// Only a job that is retained (Retain, Options.Retain) leaves a result behind:
// Wait refuses any other, and has as long as it is retained to read it.
//
// It is told of the end, and asks nothing meanwhile, but for a look after a
// reconnect and every half a minute, in case that the word was lost or the job
// was purged. All calls in a process for one queue share two subscriptions.
// Without a deadline it waits for as long as it takes.
func Wait[R, T any](ctx context.Context, q *Queue[T], id string) (R, error) {
	r, err := await[R](ctx, q, id)
	return r, q.c.wrap("wait", err)
}

// EnqueueAndWait enqueues a job and waits for its end, as Wait does. It is
// retained for a minute, if neither the queue nor opts say otherwise. If there is a job
// with the ID of opts already, nothing is enqueued, and the result is that job's.
func EnqueueAndWait[R, T any](ctx context.Context, q *Queue[T], value T, opts ...EnqueueOption) (R, error) {
	opts = append(opts[:len(opts):len(opts)], enqueueOption(func(s *spec) {
		if !s.has("Retain") && q.c.opts.Retain == 0 {
			s.retain = time.Minute
		}
	}))
	r, err := q.Enqueue(ctx, value, opts...)
	if err != nil {
		return *new(R), err
	}
	return Wait[R](ctx, q, r.ID)
}

func await[R, T any](ctx context.Context, q *Queue[T], id string) (result R, err error) {
	if err := checkID(id); err != nil {
		return result, err
	}
	w, err := q.c.waiters.join(wirename.Encode(id))
	if err != nil {
		return result, err
	}
	defer q.c.waiters.leave(w)
	for looks := 1; ; {
		end, err := q.c.end(ctx, w.token, looks)
		switch {
		case err != nil:
			return result, err
		case end != nil:
			return resultOf[R](q, end)
		}
		again := time.NewTimer(lookEvery + rand.N(lookEvery/4))
		select {
		case <-ctx.Done():
			again.Stop()
			return result, context.Cause(ctx)
		case <-w.told:
			looks = looksAfterWord
		case <-again.C:
			looks = 1
		}
		again.Stop()
	}
}

// lookEvery is how often Wait looks though nobody has told it to.
const lookEvery = 30 * time.Second

// looksAfterWord is how often it looks after a word, within 1.3 s: the server
// hands out the record before it has stored it.
const looksAfterWord = 8

// end returns the record of a job that is over, or nil for one that is not, after
// so many looks.
func (c *core) end(ctx context.Context, token string, looks int) (*stored, error) {
	for try := 0; ; try++ {
		last, err := c.findPatiently(ctx, token)
		if err != nil {
			return nil, err
		}
		if last == nil {
			return nil, fmt.Errorf("job %q: %w", wirename.Decode(token), ErrNotFound)
		}
		if word, _, _, _ := c.names.parse(last.Subject); word == done || word == dead {
			return last, nil
		}
		if err := c.checkRetained(last, token); err != nil || try+1 >= looks || !pause(ctx, try) {
			return nil, err
		}
	}
}

// checkRetained refuses a job whose end leaves nothing behind.
func (c *core) checkRetained(last *stored, token string) error {
	h, err := last.header()
	if err != nil {
		return err
	}
	about, _ := h.understand(last.Time)
	if about.retain == 0 && c.opts.Retain == 0 {
		return fmt.Errorf("job %q is not retained, so nothing tells how it ends: enqueue it with Retain, or set Options.Retain",
			wirename.Decode(token))
	}
	return nil
}

func resultOf[R, T any](q *Queue[T], end *stored) (result R, err error) {
	h, err := end.header()
	if err != nil {
		return result, err
	}
	info := q.info(end.Subject, end.Seq, h, end.Data, end.Time)
	if info.State != Done {
		about, malformed := h.understand(end.Time)
		return result, &FailedError{
			ID: info.ID, State: info.State, Reason: info.Reason,
			Attempts: about.started(info.Reason, malformed), Text: info.Error,
		}
	}
	if err := info.DecodeResult(&result); err != nil && !errors.Is(err, ErrNotFound) {
		return result, fmt.Errorf("decode the result of job %q: %w", info.ID, err)
	}
	return result, nil
}
