// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

type report struct{ Pages int }

// working does what the value of a job says.
func working(t *testing.T, q *Queue[string]) {
	work(t, q, JobOptions{Concurrency: 100}, func(ctx context.Context, e *Entry[string]) error {
		switch e.Value {
		case "report":
			return e.SetResult(report{e.Attempt() * 7})
		case "fail":
			return Permanent(errors.New("out of paper"))
		case "slow":
			select {
			case <-time.After(time.Hour):
				return e.SetResult(report{1})
			case <-ctx.Done():
			}
			return ctx.Err()
		}
		return nil
	})
}

func TestWaitReturnsTheResultFromAnotherProcess(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		q := openOn(t, e.JetStream(), Options{Retain: time.Hour})
		working(t, openOn(t, e.NewJetStream(), Options{Retain: time.Hour}))
		enqueue(t, q, "report", ID("x"), Delay(30*time.Minute))
		began := time.Now()
		r, err := Wait[report](t.Context(), q, "x")
		require.NoError(t, err)
		require.Equal(t, report{7}, r)
		require.WithinDuration(t, began.Add(30*time.Minute), time.Now(), time.Second)
		r, err = Wait[report](t.Context(), q, "x") // over already
		require.NoError(t, err)
		require.Equal(t, report{7}, r)

		enqueue(t, q, "nothing", ID("y"))
		r, err = Wait[report](t.Context(), q, "y")
		require.NoError(t, err)
		require.Zero(t, r, "the handler gave none")
		_, err = Wait[int](t.Context(), q, "x")
		require.ErrorContains(t, err, `decode the result of job "x"`)
	})
}

func TestWaitReturnsTheFailure(t *testing.T) {
	bubble(t, Options{Retain: time.Hour}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		working(t, q)
		enqueue(t, q, "fail", ID("x"))
		_, err := Wait[report](t.Context(), q, "x")
		failed, ok := errors.AsType[*FailedError](err)
		require.True(t, ok, err)
		require.Equal(t, FailedError{ID: "x", State: Dead, Reason: ReasonPermanent, Attempts: 1, Text: "out of paper"}, *failed)
		require.NotErrorIs(t, err, ErrCancelled)

		for _, id := range []string{"running", "later"} {
			opts := []EnqueueOption{ID(id)}
			if id == "later" {
				opts = append(opts, Delay(time.Hour))
			}
			enqueue(t, q, "slow", opts...)
			time.AfterFunc(time.Minute, func() { q.Cancel(context.Background(), id) })
			began := time.Now()
			_, err = Wait[report](t.Context(), q, id)
			require.ErrorIs(t, err, ErrCancelled)
			require.WithinDuration(t, began.Add(time.Minute), time.Now(), time.Second, "told at once")
		}
	})
}

func TestWaitRefusesWhatCannotBeWaitedFor(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		_, err := Wait[report](t.Context(), q, "nobody")
		require.ErrorIs(t, err, ErrNotFound)
		_, err = Wait[report](t.Context(), q, "")
		require.ErrorContains(t, err, "ID is empty: want that of a job")
		enqueue(t, q, "report", ID("x"))
		_, err = Wait[report](t.Context(), q, "x")
		require.ErrorContains(t, err, `job "x" is not retained, so nothing tells how it ends: enqueue it with Retain`)

		enqueue(t, q, "report", ID("kept"), Retain(time.Hour))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = Wait[report](ctx, q, "kept")
		require.ErrorIs(t, err, context.DeadlineExceeded)

		time.AfterFunc(time.Minute, func() { q.Purge(context.Background()) })
		began := time.Now()
		_, err = Wait[report](t.Context(), q, "kept")
		require.ErrorIs(t, err, ErrNotFound, "purged meanwhile")
		require.Less(t, time.Since(began), time.Minute+2*lookEvery)
		require.Zero(t, q.c.waiters.n)
		require.Nil(t, q.c.waiters.end)
	})
}

func TestEnqueueAndWait(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		working(t, q)
		r, err := EnqueueAndWait[report](t.Context(), q, "report", Delay(time.Hour))
		require.NoError(t, err)
		require.Equal(t, report{7}, r)
		_, err = EnqueueAndWait[report](t.Context(), q, "report", Priority(9))
		require.ErrorContains(t, err, "Priority is 9")
		time.Sleep(2 * time.Minute)
		requireStats(t, q, Stats{})
	})
}

func TestWaitOutlivesCutsAndRestarts(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		near := openOn(t, e.JetStream(), Options{Retain: time.Hour})
		link := e.Link()
		far := openOn(t, link.JetStream(), Options{Retain: time.Hour})
		for name, trouble := range map[string]func(){
			"cut while it ends": func() {
				link.Break()
				time.Sleep(20 * time.Second)
				link.Heal()
			},
			"restart while it ends": func() { e.Restart(20 * time.Second) },
		} {
			enqueue(t, near, "v", ID(name))
			var group sync.WaitGroup
			group.Go(func() {
				_, err := Wait[report](t.Context(), far, name)
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
			time.Sleep(time.Second)
			group.Go(trouble)
			time.Sleep(time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			for {
				n, err := NewJob(near, func(context.Context, *Entry[string]) error { return nil }, JobOptions{}).RunUntilEmpty(ctx)
				if err == nil && n == 1 {
					break
				}
				time.Sleep(time.Second)
			}
			cancel()
			group.Wait()
		}
	})
}

func TestTenThousandWaitersShareTheirSubscriptions(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		js := e.NewJetStream()
		q := openOn(t, js, Options{Retain: time.Hour})
		const n = 10_000
		items := Items(make([]string, n))
		for i := range items {
			items[i] = Item[string]{Value: "report", Options: []EnqueueOption{ID(fmt.Sprint(i))}}
		}
		_, err := q.EnqueueMany(t.Context(), items)
		require.NoError(t, err)
		before := js.Conn().NumSubscriptions()
		var group sync.WaitGroup
		for i := range n {
			group.Go(func() {
				if r, err := Wait[report](t.Context(), q, fmt.Sprint(i)); err != nil || r.Pages != 7 {
					t.Error(r, err)
				}
			})
		}
		time.Sleep(time.Second)
		require.Equal(t, before+2, js.Conn().NumSubscriptions())
		began := time.Now()
		working(t, openOn(t, e.JetStream(), Options{Retain: time.Hour}))
		group.Wait()
		require.Less(t, time.Since(began), lookEvery, "each was told")
		require.Equal(t, before, js.Conn().NumSubscriptions())
	})
}

// A word is a hint: what the stream refused has not happened.
func TestWaitBelievesTheStreamAndNotTheWord(t *testing.T) {
	bubble(t, Options{Retain: time.Hour}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "slow", ID("x"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		time.AfterFunc(time.Second, func() {
			m := nats.NewMsg(q.c.names.subject(done, 0, "x"))
			m.Header.Set("Nats-Expected-Last-Sequence", "99999")
			_ = e.JetStream().Conn().PublishMsg(m)
		})
		_, err := Wait[report](ctx, q, "x")
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// Who can't reach the server waits no longer than its own context, however many
// do.
func TestWaitEndsWithItsContextThoughTheServerIsAway(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		enqueue(t, openOn(t, e.JetStream(), Options{}), "slow", ID("x"), Retain(time.Hour))
		link := e.Link()
		q := openOn(t, link.JetStream(), Options{})
		link.Cut()
		var group sync.WaitGroup
		for n := range 100 {
			group.Go(func() {
				began, within := time.Now(), time.Duration(n+1)*time.Second/10
				ctx, cancel := context.WithTimeout(t.Context(), within)
				defer cancel()
				if _, err := Wait[report](ctx, q, "x"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > within+time.Millisecond {
					t.Error(err, time.Since(began), within)
				}
			})
		}
		group.Wait()
		link.Heal()
	})
}

func TestWaitEndsWhenThereIsNothingToWaitFor(t *testing.T) {
	for name, end := range map[string]func(q *Queue[string], nc *nats.Conn){
		"connection closed": func(_ *Queue[string], nc *nats.Conn) { nc.Close() },
		"queue deleted":     func(q *Queue[string], _ *nats.Conn) { _ = q.Delete(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			natstest.Run(t, func(t *testing.T, e *natstest.Env) {
				js := e.NewJetStream()
				q := openOn(t, js, Options{Retain: time.Hour})
				enqueue(t, q, "slow", ID("x"))
				time.AfterFunc(time.Minute, func() { end(openOn(t, e.JetStream(), Options{}), js.Conn()) })
				began := time.Now()
				_, err := Wait[report](t.Context(), q, "x")
				require.Error(t, err)
				require.Less(t, time.Since(began), time.Minute+2*lookEvery+10*time.Second, "by the next look")
				require.Nil(t, q.c.waiters.end)
			})
		})
	}
}

// A waiter costs a look when it begins and one at the end, and nothing between.
func TestWaitersAskNothingMeanwhile(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		js := e.NewJetStream()
		q := openOn(t, js, Options{Retain: time.Hour})
		const n = 1000
		items := make([]Item[string], n)
		for i := range items {
			items[i] = Item[string]{"report", []EnqueueOption{ID(fmt.Sprint(i))}}
		}
		_, err := q.EnqueueMany(t.Context(), items)
		require.NoError(t, err)
		before := js.Conn().Stats().OutMsgs
		var group sync.WaitGroup
		for i := range n {
			group.Go(func() {
				if _, err := Wait[report](t.Context(), q, fmt.Sprint(i)); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(lookEvery / 2)
		require.EqualValues(t, n, js.Conn().Stats().OutMsgs-before)
		working(t, openOn(t, e.JetStream(), Options{Retain: time.Hour}))
		group.Wait()
		require.LessOrEqual(t, js.Conn().Stats().OutMsgs-before, uint64(3*n), "the record may be told before it is stored")
	})
}
