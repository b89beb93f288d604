// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queuetest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/jobs"
	"github.com/jetjobs/jetjobs/queue"
	"github.com/jetjobs/jetjobs/queue/queuetest"
)

type email struct {
	To   string    `json:"to"`
	Body string    `json:"body,omitempty"`
	At   time.Time `json:"at,omitzero"`
}

func open(t *testing.T, js jetstream.JetStream, opts queue.Options) *queue.Queue[email] {
	opts.Logger = slog.New(slog.DiscardHandler)
	q, err := queue.Open[email](t.Context(), js, "emails", opts)
	require.NoError(t, err)
	return q
}

func enqueue(t *testing.T, q *queue.Queue[email], to string, opts ...queue.EnqueueOption) {
	_, err := q.Enqueue(t.Context(), email{To: to}, opts...)
	require.NoError(t, err)
}

// A recorder is a test that notes how it failed.
type recorder struct {
	testing.TB
	said string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.said = fmt.Sprintf(format, args...)
	panic(r)
}

// said returns with what f fails its test.
func said(t *testing.T, f func(t testing.TB)) (text string) {
	t.Helper()
	r := &recorder{TB: t}
	defer func() {
		if recover() != any(r) {
			t.Error("it has not failed")
		}
		text = r.said
	}()
	f(r)
	return ""
}

func TestRequireEnqueuedFindsTheJob(t *testing.T) {
	t.Parallel()
	q := open(t, queuetest.Start(t), queue.Options{Priorities: 3, MaxAttempts: 7})
	at := time.Now()
	_, err := q.Enqueue(t.Context(), email{To: "ada", At: at}, queue.ID("x"), queue.Delay(time.Hour), queue.Priority(2),
		queue.CorrelationID("c"), queue.Property("tenant", "acme"), queue.Timeout(time.Minute), queue.Retain(time.Hour),
		queue.Expires(at.Add(2*time.Hour)))
	require.NoError(t, err)
	enqueue(t, q, "bob")
	i := queuetest.RequireEnqueued(t, q, email{To: "ada", At: at}, queuetest.ID("x"), queuetest.DueIn(time.Hour), queuetest.Priority(2),
		queuetest.CorrelationID("c"), queuetest.Property("tenant", "acme"), queuetest.MaxAttempts(7),
		queuetest.Timeout(time.Minute), queuetest.Retain(time.Hour), queuetest.Expires(at.Add(2*time.Hour)))
	require.Equal(t, queue.Later, i.State)
	queuetest.RequireEnqueued(t, q, email{To: "bob"}, queuetest.DueAt(time.Time{}), queuetest.Timeout(0), queuetest.Retain(0),
		queuetest.Expires(time.Time{}))
	queuetest.RequireNotEnqueued(t, q, email{To: "ada", At: at}, queuetest.Timeout(time.Hour))
	queuetest.RequireNotEnqueued(t, q, email{To: "carl"})
	queuetest.RequireNotEnqueued(t, q, email{To: "bob"}, queuetest.Priority(1))
	queuetest.RequireEnqueuedMany(t, q, email{To: "bob"}, email{To: "ada", At: at})
}

func TestFailuresSayWhatDiffers(t *testing.T) {
	t.Parallel()
	q := open(t, queuetest.Start(t), queue.Options{})
	require.Equal(t, `queue "emails" has no such job among 0: want value {"to":"ada"}`+"\n  nothing is enqueued at all",
		said(t, func(t testing.TB) { queuetest.RequireEnqueued(t, q, email{To: "ada"}) }))

	enqueue(t, q, "bob", queue.ID("far"))
	enqueue(t, q, "ada", queue.ID("near"), queue.Property("tenant", "acme"))
	require.Equal(t, `queue "emails" has no such job among 2: want value {"to":"ada","body":"hi"}
  the nearest, job "near", differs:
  value.body: want "hi", got none
  property tenant: want evil, got acme`,
		said(t, func(t testing.TB) {
			queuetest.RequireEnqueued(t, q, email{To: "ada", Body: "hi"}, queuetest.Property("tenant", "evil"))
		}))
	require.Regexp(t, `due: want 20..-..-..T..:..:..Z, got at once`,
		said(t, func(t testing.TB) { queuetest.RequireEnqueued(t, q, email{To: "ada"}, queuetest.DueIn(time.Hour)) }))
	require.Equal(t, `queue "emails" has job "far", which is waiting, with value {"to":"bob"}: want none`,
		said(t, func(t testing.TB) { queuetest.RequireNotEnqueued(t, q, email{To: "bob"}) }))
	require.Equal(t, `queue "emails" has other jobs than the 2 wanted
  job "far" is too many: {"to":"bob"}
  missing: {"to":"carl"}`,
		said(t, func(t testing.TB) { queuetest.RequireEnqueuedMany(t, q, email{To: "carl"}, email{To: "ada"}) }))
	require.Contains(t, said(t, func(t testing.TB) {
		queuetest.Work(t, q, func(context.Context, *queue.Entry[email]) error { return nil }, email{})
	}), "has 2 jobs waiting")
	require.Contains(t, said(t, func(t testing.TB) {
		queuetest.Drain(t, q, func(context.Context, *queue.Entry[email]) error { return nil })
	}), "inside of queuetest.Run")
}

// To have a property with an empty value is more than not to have it.
func TestPropertyWantsItToBeThere(t *testing.T) {
	t.Parallel()
	q := open(t, queuetest.Start(t), queue.Options{})
	enqueue(t, q, "ada", queue.ID("without"))
	require.Contains(t, said(t, func(t testing.TB) {
		queuetest.RequireEnqueued(t, q, email{To: "ada"}, queuetest.Property("tenant", ""))
	}), `property tenant: want "", got none`)
	enqueue(t, q, "ada", queue.ID("with"), queue.Property("tenant", ""))
	require.Equal(t, "with", queuetest.RequireEnqueued(t, q, email{To: "ada"}, queuetest.Property("tenant", "")).ID)
}

// A payload that is not of the type is not its zero value.
func TestUndecodablePayloadIsNoValue(t *testing.T) {
	t.Parallel()
	js := queuetest.Start(t)
	others, err := queue.Open[string](t.Context(), js, "emails", queue.Options{})
	require.NoError(t, err)
	_, err = others.Enqueue(t.Context(), "no email", queue.ID("x"))
	require.NoError(t, err)
	q := open(t, js, queue.Options{})
	require.Regexp(t, `value: want \{"to":""\}, got "\\"no email\\"", which is undecodable: .*cannot unmarshal string`,
		said(t, func(t testing.TB) { queuetest.RequireEnqueued(t, q, email{}) }))
	queuetest.RequireNotEnqueued(t, q, email{})
	require.Regexp(t, `job "x" is too many: "\\"no email\\"", which is undecodable: .*\n  missing: \{"to":""\}`,
		said(t, func(t testing.TB) { queuetest.RequireEnqueuedMany(t, q, email{}) }))
}

func TestWorkSaysWhatBecameOfAJob(t *testing.T) {
	queuetest.Run(t, func(t *testing.T, js jetstream.JetStream) {
		q := open(t, js, queue.Options{MaxAttempts: 2, Backoff: func(int) time.Duration { return time.Hour }})
		handler := func(ctx context.Context, e *queue.Entry[email]) error {
			switch e.Value.To {
			case "fails":
				return errors.New("no such address")
			case "panics":
				panic("boom")
			case "sleeps":
				return queue.Snooze(time.Minute)
			case "bad":
				return queue.Permanent(errors.New("never"))
			case "slow":
				<-ctx.Done()
				return ctx.Err()
			}
			return e.SetResult("sent")
		}
		good := queuetest.Work(t, q, handler, email{To: "ada"})
		require.NoError(t, good.Err)
		require.Equal(t, queue.Done, good.Info.State)
		var result string
		require.NoError(t, good.Info.DecodeResult(&result))
		require.Equal(t, "sent", result)

		for to, want := range map[string][]any{
			"fails":  {queue.Later, queue.ReasonRetrying, "no such address"},
			"panics": {queue.Later, queue.ReasonRetrying, "panic: boom"},
			"sleeps": {queue.Later, queue.ReasonSnoozed, ""},
			"bad":    {queue.Dead, queue.ReasonPermanent, "never"},
			"slow":   {queue.Later, queue.ReasonRetrying, "timed out after 1s: context deadline exceeded"},
		} {
			o := queuetest.Work(t, q, handler, email{To: to}, queue.Timeout(time.Second), queue.Retain(2*time.Hour))
			require.Equal(t, want, []any{o.Info.State, o.Info.Reason, o.Info.Error}, to)
			require.Error(t, o.Err)
			if to == "panics" {
				_, ok := errors.AsType[*jobs.PanicError](o.Err)
				require.True(t, ok)
			}
		}
		require.Contains(t, said(t, func(t testing.TB) { queuetest.Work(t, q, handler, email{}, queue.MaxAttempts(-1)) }), "MaxAttempts is -1")
	})
}

func TestDrainRunsRetriesAndDelays(t *testing.T) {
	queuetest.Run(t, func(t *testing.T, js jetstream.JetStream) {
		q := open(t, js, queue.Options{MaxAttempts: 3, Backoff: func(n int) time.Duration { return time.Duration(n) * time.Hour }})
		enqueue(t, q, "good")
		enqueue(t, q, "good", queue.Delay(24*time.Hour))
		enqueue(t, q, "fails")
		enqueue(t, q, "fails once")
		enqueue(t, q, "sleeps")
		slept := false
		d := queuetest.Drain(t, q, func(_ context.Context, e *queue.Entry[email]) error {
			switch {
			case e.Value.To == "fails", e.Value.To == "fails once" && e.Attempt() == 1:
				return errors.New("no such address")
			case e.Value.To == "sleeps" && !slept:
				slept = true
				return queue.Snooze(time.Minute)
			}
			return nil
		})
		require.Equal(t, queuetest.Drained{Runs: 9, Completed: 4, Dead: 1, Took: d.Took}, d)
		require.WithinDuration(t, time.Now(), time.Now().Add(-d.Took).Add(24*time.Hour), 2*time.Second)
		queuetest.RequireEnqueuedMany(t, q)
	})
}

func TestDrainEndsThoughAJobDoesNot(t *testing.T) {
	queuetest.Run(t, func(t *testing.T, js jetstream.JetStream) {
		q := open(t, js, queue.Options{})
		enqueue(t, q, "for ever")
		text := said(t, func(t testing.TB) {
			queuetest.Drain(t, q, func(ctx context.Context, _ *queue.Entry[email]) error { return queue.Snooze(time.Minute) })
		})
		require.Contains(t, text, "does a handler snooze or enqueue for ever?")
	})
}

func TestDrainEndsThoughTheQueueIsPaused(t *testing.T) {
	queuetest.Run(t, func(t *testing.T, js jetstream.JetStream) {
		q := open(t, js, queue.Options{})
		enqueue(t, q, "ada")
		require.NoError(t, q.Pause(t.Context(), time.Time{}, ""))
		text := said(t, func(t testing.TB) {
			queuetest.Drain(t, q, func(context.Context, *queue.Entry[email]) error { return nil })
		})
		require.Contains(t, text, "is it paused")
	})
}

// A test of a handler that was never called must not pass.
func TestWorkFailsIfTheHandlerIsNotRun(t *testing.T) {
	queuetest.Run(t, func(t *testing.T, js jetstream.JetStream) {
		q := open(t, js, queue.Options{})
		handler := func(context.Context, *queue.Entry[email]) error { t.Error("it is run"); return nil }
		work := func(opts ...queue.EnqueueOption) string {
			return said(t, func(t testing.TB) { queuetest.Work(t, q, handler, email{}, opts...) })
		}
		require.Contains(t, work(queue.ID("x"), queue.Delay(time.Hour)), `has not handed out job "x" within 10s, which is later: is it delayed`)
		require.Contains(t, work(queue.ID("x")), `has job "x" already, which is later`)
		require.NoError(t, q.Pause(t.Context(), time.Time{}, ""))
		require.Contains(t, work(), "or the queue paused?")
	})
}

func TestExamplesRun(t *testing.T) {
	t.Run("sign up", testSignUp)
	t.Run("refuse", testDeliverRefusesABadAddress)
	t.Run("retry", testDeliverTriesAgainForADay)
}
