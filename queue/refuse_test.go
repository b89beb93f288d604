// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

// lookers are all calls that look at jobs or change them, for job "x".
func lookers(q *Queue[string]) map[string]func(context.Context) error {
	last := func(ctx context.Context, f Filter) (err error) {
		for _, err = range q.List(ctx, f) {
		}
		return err
	}
	return map[string]func(context.Context) error{
		"Get":          func(ctx context.Context) error { _, err := q.Get(ctx, "x"); return err },
		"List":         func(ctx context.Context) error { return last(ctx, Filter{}) },
		"List newest":  func(ctx context.Context) error { return last(ctx, Filter{Newest: true}) },
		"Cancel":       func(ctx context.Context) error { _, err := q.Cancel(ctx, "x"); return err },
		"CancelAll":    func(ctx context.Context) error { _, err := q.CancelAll(ctx, Filter{All: true}); return err },
		"RunNow":       func(ctx context.Context) error { return q.RunNow(ctx, "x") },
		"Reschedule":   func(ctx context.Context) error { return q.Reschedule(ctx, "x", time.Now()) },
		"EnqueueCopy":  func(ctx context.Context) error { _, err := q.EnqueueCopy(ctx, "x", nil); return err },
		"Stats":        func(ctx context.Context) error { _, err := q.Stats(ctx); return err },
		"Workers":      func(ctx context.Context) error { _, err := q.Workers(ctx); return err },
		"QuietWorker":  func(ctx context.Context) error { return q.QuietWorker(ctx, "x") },
		"Watch":        func(ctx context.Context) error { _, err := q.Watch(ctx); return err },
		"Pause":        func(ctx context.Context) error { return q.Pause(ctx, time.Time{}, "") },
		"Resume":       func(ctx context.Context) error { return q.Resume(ctx) },
		"Requeue":      func(ctx context.Context) error { return q.DeadLetters().Requeue(ctx, "x") },
		"Delete dead":  func(ctx context.Context) error { return q.DeadLetters().Delete(ctx, "x") },
		"Requeue many": func(ctx context.Context) error { _, err := q.DeadLetters().RequeueFunc(ctx, all); return err },
		"Delete many":  func(ctx context.Context) error { _, err := q.DeadLetters().DeleteFunc(ctx, all); return err },
		"List dead": func(ctx context.Context) (err error) {
			for _, err = range q.DeadLetters().All(ctx) {
			}
			return err
		},
	}
}

func all(DeadLetter[string]) bool { return true }

// Without a deadline too, nothing waits for a server that is away for longer than
// Options.Timeout, and nothing at all once the connection is closed.
func TestNothingHangsWhenTheServerIsAway(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		enqueue(t, openOn(t, e.JetStream(), Options{}), "v", ID("x"), Delay(100*time.Hour))
		link := e.Link()
		js := link.JetStream()
		q := openOn(t, js, Options{Timeout: 10 * time.Second})
		link.Cut()
		for name, call := range lookers(q) {
			began := time.Now()
			require.Error(t, call(t.Context()), name)
			require.LessOrEqual(t, time.Since(began), 21*time.Second, name)
		}
		for name, call := range lookers(q) {
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := call(ctx); name != "List" && name != "List newest" && name != "List dead" {
				require.Error(t, err, name)
			}
			require.LessOrEqual(t, time.Since(began), time.Second+time.Millisecond, name)
			cancel()
		}
		js.Conn().Close()
		for name, call := range lookers(q) {
			began := time.Now()
			require.Error(t, call(t.Context()), name)
			require.Less(t, time.Since(began), time.Second, name)
		}
		link.Heal()
	})
}

func TestNothingHangsWhenTheQueueIsDeleted(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		require.NoError(t, q.Delete(t.Context()))
		for name, call := range lookers(q) {
			began, err := time.Now(), call(t.Context())
			require.LessOrEqual(t, time.Since(began), 31*time.Second, name)
			if name != "Workers" && name != "Watch" { // who speak with processes, not with the stream
				require.Error(t, err, name)
			}
		}
	})
}

// A call that changes many jobs waits for none of them for ever.
func TestChangingManyEndsWhenTheServerGoesAway(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		near := openOn(t, e.JetStream(), Options{})
		bury(t, near, 5)
		enqueue(t, near, "v", Delay(time.Hour))
		link := e.Link()
		q := openOn(t, link.JetStream(), Options{Timeout: 10 * time.Second})
		cut := func(DeadLetter[string]) bool { link.Cut(); return true }
		for name, call := range map[string]func() (int, error){
			"RequeueFunc": func() (int, error) { return q.DeadLetters().RequeueFunc(t.Context(), cut) },
			"DeleteFunc":  func() (int, error) { return q.DeadLetters().DeleteFunc(t.Context(), cut) },
		} {
			began := time.Now()
			n, err := call()
			require.Error(t, err, name)
			require.Zero(t, n, name)
			require.LessOrEqual(t, time.Since(began), 11*time.Second, name)
			link.Break() // what it still had to say is lost
			link.Heal()
			time.Sleep(time.Minute)
		}
	})
}

func TestGetOfWhatIsNotOurs(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		_, err := e.JetStream().Publish(t.Context(), q.c.names.subject(ready, 0, "x"), []byte(`{"not":"a string"}`))
		require.NoError(t, err)
		i := get(t, q, "x")
		require.Equal(t, Waiting, i.State)
		require.Error(t, i.Undecodable)
		require.Equal(t, []any{"", `{"not":"a string"}`}, []any{i.Value, string(i.Payload)})
		for i, err := range q.List(t.Context(), Filter{}) {
			require.NoError(t, err)
			require.Error(t, i.Undecodable)
		}
		_, err = q.EnqueueCopy(t.Context(), "x", func(*string) error { return nil })
		require.ErrorContains(t, err, "decode")
		r, err := q.EnqueueCopy(t.Context(), "x", nil)
		require.NoError(t, err)
		require.Equal(t, i.Payload, get(t, q, r.ID).Payload)
		was, err := q.Cancel(t.Context(), "x")
		require.NoError(t, err)
		require.Equal(t, Waiting, was)
	})
}

// Of many who want a later job to run now, or a dead one to be tried again, at the
// same moment, it runs once.
func TestManyWhoWantTheSameGetItOnce(t *testing.T) {
	bubble(t, Options{MaxAttempts: 1}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		var runs times
		work(t, openOn(t, e.NewJetStream(), Options{MaxAttempts: 1}), JobOptions{Concurrency: 4}, func(_ context.Context, e *Entry[string]) error {
			if runs.add(); e.Value == "dies" {
				return errors.New("x")
			}
			return nil
		})
		desks := make([]*Queue[string], 4)
		for n := range desks {
			desks[n] = openOn(t, e.NewJetStream(), Options{})
		}
		at := func(call func(*Queue[string]) error) {
			done := make(chan error, len(desks))
			for _, q := range desks {
				go func() { done <- call(q) }()
			}
			for range desks {
				if err := <-done; err != nil && !errors.Is(err, ErrNotFound) {
					_, ok := errors.AsType[*StateError](err)
					require.True(t, ok, err)
				}
			}
			time.Sleep(time.Second)
		}
		for n := range 30 {
			id := fmt.Sprint(n)
			enqueue(t, q, "v", ID(id), Delay(time.Hour))
			at(func(q *Queue[string]) error { return q.RunNow(t.Context(), id) })
			require.Len(t, runs.all(), n+1, "run now")
		}
		before := len(runs.all())
		for n := range 30 {
			id := fmt.Sprint("dead", n)
			enqueue(t, q, "dies", ID(id), MaxAttempts(1))
			time.Sleep(time.Second)
			at(func(q *Queue[string]) error { return q.DeadLetters().Requeue(t.Context(), id) })
			require.GreaterOrEqual(t, len(runs.all()), before+2, "requeue")
			requireStats(t, q, Stats{Dead: n + 1})
			before = len(runs.all())
		}
	})
}
