// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

// bury makes n dead jobs, "0" and so on.
func bury(t *testing.T, q *Queue[string], n int) {
	t.Helper()
	for i := range n {
		enqueue(t, q, fmt.Sprint(i), ID(fmt.Sprint(i)))
		require.NoError(t, dequeue(t, q).Reject(t.Context(), fmt.Errorf("reason %d", i)))
	}
}

func TestDeadLettersAreListedInPages(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		require.Empty(t, deadLetters(t, q))
		bury(t, q, 2*pageSize+7)
		all := deadLetters(t, q)
		require.Len(t, all, 2*pageSize+7)
		for i, l := range all {
			require.Equal(t, fmt.Sprint(i), l.ID)
			require.Equal(t, fmt.Sprint(i), l.Value)
			require.Equal(t, fmt.Sprintf("reason %d", i), l.Error)
			require.Equal(t, ReasonPermanent, l.Reason)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		seen := 0
		for _, err := range q.DeadLetters().All(ctx) {
			require.NoError(t, err)
			if seen++; seen == 10 {
				cancel()
			}
		}
		require.Equal(t, 10, seen, "ends with its context, without an error")
	})
}

func TestDeadLettersAreNeverTrimmed(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		bury(t, q, 10)
		e.Restart(time.Hour)
		time.Sleep(48 * time.Hour)
		require.Len(t, deadLetters(t, q), 10)
	})
}

func TestRequeueGivesAllAttemptsAgain(t *testing.T) {
	bubble(t, Options{MaxAttempts: 2}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		began := time.Now()
		enqueue(t, q, "v", ID("x"), Property("k", "v"), Expires(began.Add(time.Hour)))
		for range 2 {
			require.NoError(t, dequeue(t, q).Abandon(t.Context(), errors.New("oops")))
		}
		time.Sleep(2 * time.Hour)
		require.NoError(t, q.DeadLetters().Requeue(t.Context(), "x"))
		require.ErrorIs(t, q.DeadLetters().Requeue(t.Context(), "x"), ErrNotFound)
		require.Empty(t, deadLetters(t, q))
		require.True(t, enqueue(t, q, "again", ID("x")).Duplicate)
		e := dequeue(t, q)
		require.Equal(t, 1, e.Attempt())
		require.Equal(t, "v", e.Property("k"))
		require.Equal(t, "oops", e.LastError())
		require.True(t, began.Equal(e.Enqueued()))
		require.NoError(t, e.Abandon(t.Context(), errors.New("again")))
		require.Equal(t, 2, dequeue(t, q).Attempt())
	})
}

func TestRequeueSomeAndAll(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		bury(t, q, 20)
		n, err := q.DeadLetters().RequeueFunc(t.Context(), func(l DeadLetter[string]) bool { return l.Error == "reason 7" })
		require.NoError(t, err)
		require.Equal(t, 1, n)
		requireStats(t, q, Stats{Waiting: 1, Dead: 19})
		// They die again at once; that must come to an end.
		work(t, q, JobOptions{}, func(context.Context, *Entry[string]) error { return Permanent(errors.New("still")) })
		time.Sleep(time.Second)
		n, err = q.DeadLetters().RequeueFunc(t.Context(), func(DeadLetter[string]) bool { time.Sleep(time.Millisecond); return true })
		require.NoError(t, err)
		require.Equal(t, 20, n)
		time.Sleep(time.Second)
		requireStats(t, q, Stats{Dead: 20})
		n, err = q.DeadLetters().DeleteFunc(t.Context(), func(l DeadLetter[string]) bool { return l.ID != "3" })
		require.NoError(t, err)
		require.Equal(t, 19, n)
		require.NoError(t, q.DeadLetters().Delete(t.Context(), "3"))
		require.ErrorIs(t, q.DeadLetters().Delete(t.Context(), "3"), ErrNotFound)
		requireStats(t, q, Stats{})
	})
}

func TestDeadLettersByID(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		bury(t, q, 1)
		enqueue(t, q, "alive", ID("alive"))
		l, err := q.DeadLetters().Get(t.Context(), "0")
		require.NoError(t, err)
		require.Equal(t, "reason 0", l.Error)
		for _, id := range []string{"alive", "unknown"} {
			_, err = q.DeadLetters().Get(t.Context(), id)
			require.ErrorIs(t, err, ErrNotFound)
			require.ErrorIs(t, q.DeadLetters().Requeue(t.Context(), id), ErrNotFound)
			require.ErrorIs(t, q.DeadLetters().Delete(t.Context(), id), ErrNotFound)
		}
		_, err = q.DeadLetters().Get(t.Context(), "")
		require.ErrorContains(t, err, "ID is empty: want that of a job")
		requireStats(t, q, Stats{Waiting: 1, Dead: 1})
	})
}

// A crash between the two writes of a requeue leaves the job in both places.
func TestRequeueAfterACrashInTheMiddle(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		bury(t, q, 1)
		m, err := q.c.findDead(t.Context(), "0")
		require.NoError(t, err)
		d := &delivery{token: "0", seq: m.Sequence, data: m.Data}
		require.NoError(t, q.c.move(t.Context(), d, q.c.message(d, ready, header{})))
		requireStats(t, q, Stats{Waiting: 1, Dead: 1})
		n, err := q.DeadLetters().RequeueFunc(t.Context(), func(DeadLetter[string]) bool { return true })
		require.NoError(t, err)
		require.Equal(t, 1, n)
		requireStats(t, q, Stats{Waiting: 1})
	})
}

func TestPayloadThatCannotBeDecodedIsKept(t *testing.T) {
	bubble(t, Options{MaxAttempts: 2}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		numbers, err := Open[int](t.Context(), e.JetStream(), "q", Options{})
		require.NoError(t, err)
		_, err = numbers.Enqueue(t.Context(), 42, ID("n"))
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err = q.Dequeue(ctx)
		require.ErrorIs(t, err, ErrEmpty, "it goes the way of a failed attempt")
		all := deadLetters(t, q)
		require.Len(t, all, 1)
		require.Equal(t, "42", string(all[0].Payload))
		require.Equal(t, ReasonUndecodable, all[0].Reason)
		require.Error(t, all[0].Undecodable)
		require.Contains(t, all[0].Error, "decode the payload: json: cannot unmarshal number")

		// A worker that can read it takes it up.
		require.NoError(t, q.DeadLetters().Requeue(t.Context(), "n"))
		entry, err := numbers.Dequeue(t.Context())
		require.NoError(t, err)
		require.Equal(t, 42, entry.Value)
	})
}

func TestJobOfANewerVersionIsLeftForAnotherWorker(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		m := nats.NewMsg("jobs.q.q.ready.0.new")
		m.Header.Set("Job-Version", "2")
		m.Header.Set("Job-Future", "kept")
		m.Header.Set("Job-Unknown-Since", time.Now().Add(-22*time.Hour).Format(time.RFC3339Nano))
		m.Data = []byte("?")
		_, err := e.JetStream().PublishMsg(t.Context(), m)
		require.NoError(t, err)
		work(t, q, JobOptions{}, func(context.Context, *Entry[string]) error { t.Error("was run"); return nil })
		time.Sleep(time.Hour + 30*time.Second)
		requireStats(t, q, Stats{Later: 1})
		last, err := q.c.find(t.Context(), "new")
		require.NoError(t, err)
		h, err := last.header()
		require.NoError(t, err)
		require.Equal(t, "kept", h.get("Job-Future"))
		require.Equal(t, "2", h.get("Job-Version"))
		require.Equal(t, "?", string(last.Data))
		time.Sleep(2 * time.Hour)
		all := deadLetters(t, q)
		require.Len(t, all, 1)
		require.Contains(t, all[0].Error, "the job has version 2 and this worker understands 1: upgrade the worker")
	})
}

func TestHeaderThatCannotBeUnderstoodMakesTheJobDead(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		m := nats.NewMsg("jobs.q.q.ready.0.odd")
		m.Header.Set("Job-Attempt", "many")
		m.Data = []byte(`"v"`)
		_, err := e.JetStream().PublishMsg(t.Context(), m)
		require.NoError(t, err)
		work(t, q, JobOptions{}, func(context.Context, *Entry[string]) error { t.Error("was run"); return nil })
		time.Sleep(time.Minute)
		all := deadLetters(t, q)
		require.Len(t, all, 1)
		require.Equal(t, ReasonUndecodable, all[0].Reason)
		require.Contains(t, all[0].Error, `header Job-Attempt is "many"`)
		require.Equal(t, `"v"`, string(all[0].Payload))
	})
}

// What version 1 stored, as it was first released, must be read for ever.
func TestReadsWhatVersionOneWrote(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		m := nats.NewMsg("jobs.q.q.ready.0.a%2Eb")
		for k, v := range map[string]string{
			"Job-Attempt": "3", "Job-Max-Attempts": "7", "Job-Interruptions": "2", "Job-Enqueued": "1999-12-31T23:59:59.123456789Z",
			"Job-Due": "2000-01-01T00:00:00Z", "Job-Timeout": "1m30s", "Job-Retain": "2h0m0s", "Job-Correlation-Id": "c",
			"Job-Properties": `{"k":"v"}`, "Job-Error": `"oops\nagain"`,
		} {
			m.Header.Set(k, v)
		}
		m.Data = []byte(`"v"`)
		_, err := e.JetStream().PublishMsg(t.Context(), m)
		require.NoError(t, err)
		entry := dequeue(t, q)
		require.Equal(t, "a.b", entry.ID())
		require.Equal(t, 3, entry.Attempt())
		require.Equal(t, 7, entry.MaxAttempts())
		require.Equal(t, 2, entry.Interruptions())
		require.Equal(t, time.Date(1999, 12, 31, 23, 59, 59, 123456789, time.UTC), entry.Enqueued())
		require.Equal(t, time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), entry.Due())
		require.Equal(t, "c", entry.CorrelationID())
		require.Equal(t, "v", entry.Property("k"))
		require.Equal(t, "oops\nagain", entry.LastError())
		require.Equal(t, 90*time.Second, entry.d.timeout)
		require.Equal(t, 2*time.Hour, entry.d.retain)
	})
}

// A job may be delayed for longer than a worker of an older version waits for a
// newer one. That wait begins when such a worker first sees it.
func TestDelayedJobOfANewerVersionIsLeftForAnotherWorker(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		m := nats.NewMsg(q.c.names.subject(ready, 0, "x"))
		m.Header.Set(headerVersion, "2")
		m.Header.Set(headerEnqueued, time.Now().Add(-48*time.Hour).UTC().Format(time.RFC3339Nano))
		m.Header.Set(headerDue, time.Now().UTC().Format(time.RFC3339Nano))
		m.Data = []byte(`"v"`)
		require.NoError(t, q.c.publish(t.Context(), m))
		work(t, q, JobOptions{}, func(context.Context, *Entry[string]) error { t.Error("was run"); return nil })
		time.Sleep(30 * time.Second)
		requireStats(t, q, Stats{Later: 1})
	})
}

// A list that a dead connection cuts short does not look like a complete one.
func TestDeadLettersOverADeadConnectionEndWithAnError(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		near := openOn(t, e.JetStream(), Options{})
		bury(t, near, 3)
		link := e.Link()
		far := openOn(t, link.JetStream(), Options{})
		link.Cut()
		n := 0
		var end error
		for _, err := range far.DeadLetters().All(t.Context()) {
			require.NoError(t, end, "an error is the last")
			if end = err; err == nil {
				n++
			}
		}
		require.Error(t, end, "after %d of 3", n)
		link.Heal()
	})
}
