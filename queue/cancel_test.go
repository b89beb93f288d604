// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

func TestCancelRemovesWhatIsNotRunning(t *testing.T) {
	for _, retain := range []time.Duration{0, time.Hour} {
		bubble(t, Options{Retain: retain}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
			enqueue(t, q, "v", ID("later"), Delay(time.Minute))
			enqueue(t, q, "v", ID("waiting"))
			for _, id := range []string{"later", "waiting"} {
				was, err := q.Cancel(t.Context(), id)
				require.NoError(t, err)
				require.Equal(t, State(id), was)
				_, err = q.Cancel(t.Context(), id)
				require.ErrorIs(t, err, ErrNotFound)
			}
			want := Stats{}
			if retain > 0 {
				want.Done = 2
			}
			requireStats(t, q, want)
			require.Equal(t, retain > 0, enqueue(t, q, "again", ID("later"), Delay(time.Hour)).Duplicate)
			time.Sleep(2 * time.Minute)
			requireEmpty(t, q)
		})
	}
}

func TestCancelTellsTheHandlerWhereverItRuns(t *testing.T) {
	for name, returns := range map[string]error{"obeys": context.Canceled, "fails": errors.New("x"), "succeeds": nil} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{Retain: time.Hour}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
				var mu sync.Mutex
				var causes []error
				var told times
				stop := work(t, openOn(t, e.NewJetStream(), Options{Retain: time.Hour}), JobOptions{Concurrency: 2}, func(ctx context.Context, _ *Entry[string]) error {
					<-ctx.Done()
					told.add()
					mu.Lock()
					defer mu.Unlock()
					causes = append(causes, context.Cause(ctx))
					return returns
				})
				work(t, q, JobOptions{}, func(ctx context.Context, e *Entry[string]) error { <-ctx.Done(); return nil })
				enqueue(t, q, "v", ID("x"))
				enqueue(t, q, "v", ID("y"))
				enqueue(t, q, "v", ID("z"))
				time.Sleep(time.Minute)
				began := time.Now()
				for _, id := range []string{"x", "y", "z"} {
					was, err := q.Cancel(t.Context(), id)
					require.NoError(t, err)
					require.Equal(t, Running, was)
				}
				require.Less(t, time.Since(began), 300*time.Millisecond)
				time.Sleep(time.Second)
				stop()
				for n, cause := range causes {
					require.ErrorIs(t, cause, ErrCancelled)
					require.WithinDuration(t, began, told.all()[n], 100*time.Millisecond)
				}
				requireStats(t, q, Stats{Done: 3})
			})
		})
	}
}

func TestCancelledJobIsNotRetried(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		runs := 0
		stop := work(t, q, JobOptions{}, func(ctx context.Context, _ *Entry[string]) error {
			runs++
			<-ctx.Done()
			return ctx.Err()
		})
		enqueue(t, q, "v", ID("x"))
		time.Sleep(time.Second)
		_, err := q.Cancel(t.Context(), "x")
		require.NoError(t, err)
		time.Sleep(time.Hour)
		stop()
		require.Equal(t, 1, runs)
		requireStats(t, q, Stats{})
	})
}

func TestCancelSaysWhatIsOver(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		bury(t, q, 1)
		_, err := q.Cancel(t.Context(), "0")
		require.ErrorIs(t, err, ErrNotFound)
		require.ErrorContains(t, err, `cancel job "0": it is dead: not found`)
		_, err = q.Cancel(t.Context(), "unknown")
		require.ErrorIs(t, err, ErrNotFound)
		_, err = q.Cancel(t.Context(), "")
		require.ErrorContains(t, err, "ID is empty: want that of a job")
		requireStats(t, q, Stats{Dead: 1})
	})
}

// Jobs are cancelled while workers take them: each one either was cancelled
// before it ran, or was told, or was over.
func TestCancelRacingTheWorkers(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		var mu sync.Mutex
		ran := map[string]bool{}
		for range 2 {
			work(t, openOn(t, e.NewJetStream(), Options{}), JobOptions{Concurrency: 2}, func(ctx context.Context, e *Entry[string]) error {
				mu.Lock()
				ran[e.ID()] = true
				mu.Unlock()
				select {
				case <-time.After(time.Millisecond):
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
		}
		was := map[string]State{}
		for range 300 {
			id := enqueue(t, q, "v", Delay(0)).ID
			time.Sleep(500 * time.Microsecond)
			w, err := q.Cancel(t.Context(), id)
			if err != nil {
				require.ErrorIs(t, err, ErrNotFound)
			}
			was[id] = w
		}
		time.Sleep(time.Minute)
		requireStats(t, q, Stats{})
		mu.Lock()
		defer mu.Unlock()
		for id, w := range was {
			switch w {
			case Waiting, Later:
				require.False(t, ran[id], "removed, and run all the same")
			case "":
				require.True(t, ran[id], "over, so it was run")
			}
		}
	})
}

// Nobody has to be waited for to cancel what waits, however busy the workers are.
func TestCancelAllOfWaitingJobsIsFast(t *testing.T) {
	bubble(t, Options{Retain: time.Hour}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		release := make(chan struct{})
		work(t, openOn(t, e.NewJetStream(), Options{}), JobOptions{}, func(ctx context.Context, _ *Entry[string]) error {
			<-release
			return nil
		})
		enqueue(t, q, "v")
		time.Sleep(time.Minute)
		const n = 2000
		_, err := q.EnqueueMany(t.Context(), Items(make([]string, n)))
		require.NoError(t, err)
		time.Sleep(time.Second) // what was buffered is handed back
		began := time.Now()
		got, err := q.CancelAll(t.Context(), Filter{States: []State{Waiting}})
		require.NoError(t, err)
		require.Less(t, time.Since(began), 10*time.Second)
		require.Equal(t, n, got)
		close(release)
		time.Sleep(time.Second)
		requireStats(t, q, Stats{Done: n})
	})
}

func TestCancelSaysHowItWasOver(t *testing.T) {
	bubble(t, Options{Retain: time.Hour}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		for _, id := range []string{"done", "dead", "cancelled"} {
			enqueue(t, q, "v", ID(id))
		}
		_, err := q.Cancel(t.Context(), "cancelled")
		require.NoError(t, err)
		_, err = NewJob(q, func(_ context.Context, e *Entry[string]) error {
			if e.ID() == "dead" {
				return Permanent(errors.New("x"))
			}
			return nil
		}, JobOptions{}).RunUntilEmpty(t.Context())
		require.NoError(t, err)
		for _, state := range []State{Done, Dead, Cancelled} {
			_, err := q.Cancel(t.Context(), string(state))
			require.ErrorIs(t, err, ErrNotFound)
			require.ErrorContains(t, err, "it is "+string(state))
			over, ok := errors.AsType[*StateError](err)
			require.True(t, ok)
			require.Equal(t, StateError{string(state), state}, *over)
		}
	})
}

// One job, its schedule due at this very moment, and three who want something else
// of it: it is cancelled or runs, once.
func TestCancelAndRunNowRaceWithTheSchedule(t *testing.T) {
	bubble(t, Options{Retain: time.Hour}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		var mu sync.Mutex
		runs, told := map[string]int{}, map[string]bool{}
		work(t, openOn(t, e.NewJetStream(), Options{Retain: time.Hour}), JobOptions{Concurrency: 4}, func(ctx context.Context, e *Entry[string]) error {
			mu.Lock()
			runs[e.ID()]++
			mu.Unlock()
			select {
			case <-ctx.Done():
				mu.Lock()
				told[e.ID()] = errors.Is(context.Cause(ctx), ErrCancelled)
				mu.Unlock()
				return ctx.Err()
			case <-time.After(time.Minute):
			}
			return nil
		})
		desks := []*Queue[string]{q, openOn(t, e.NewJetStream(), Options{}), openOn(t, e.NewJetStream(), Options{})}
		const n = 120
		was := map[string]State{}
		for i := range n {
			id := fmt.Sprint(i)
			enqueue(t, q, "v", ID(id), Delay(time.Second))
			time.Sleep(time.Second + time.Duration(i-n/2)*10*time.Millisecond)
			var group sync.WaitGroup
			var state State
			var err error
			group.Go(func() { state, err = desks[0].Cancel(t.Context(), id) })
			group.Go(func() { _ = desks[1].RunNow(t.Context(), id) })
			group.Go(func() { _ = desks[2].Reschedule(t.Context(), id, time.Now().Add(50*time.Millisecond)) })
			group.Wait()
			require.NoError(t, err, id)
			was[id] = state
		}
		time.Sleep(time.Hour / 2)
		mu.Lock()
		defer mu.Unlock()
		for id, state := range was {
			require.Equal(t, Cancelled, get(t, q, id).State, "%s was %s", id, state)
			switch state {
			case Running:
				require.LessOrEqual(t, runs[id], 1, id)
				require.Equal(t, runs[id] == 1, told[id], id)
			default:
				require.Zero(t, runs[id], "%s was %s", id, state)
			}
		}
		requireStats(t, q, Stats{Done: n})
	})
}

func TestCancelTwiceAtOnceIsOneCancel(t *testing.T) {
	bubble(t, Options{Retain: time.Hour}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		other := openOn(t, e.NewJetStream(), Options{Retain: time.Hour})
		for i := range 100 {
			enqueue(t, q, "v", ID(fmt.Sprint(i)), Delay(time.Duration(i%2)*time.Hour))
			var group sync.WaitGroup
			errs := make([]error, 2)
			for n, q := range []*Queue[string]{q, other} {
				group.Go(func() { _, errs[n] = q.Cancel(t.Context(), fmt.Sprint(i)) })
			}
			group.Wait()
			won := 0
			for _, err := range errs {
				if err == nil {
					won++
				} else {
					require.ErrorIs(t, err, ErrNotFound)
				}
			}
			require.Equal(t, 1, won)
			require.Equal(t, Cancelled, get(t, q, fmt.Sprint(i)).State)
		}
	})
}

// A distant server is an Env whose answers take a while.
type distant struct{ *natstest.Env }

func (d distant) InProcessConn() (net.Conn, error) {
	c, err := d.Env.InProcessConn()
	return distantConn{c}, err
}

type distantConn struct{ net.Conn }

func (c distantConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	time.Sleep(200 * time.Millisecond)
	return n, err
}

// Who is far away from the server, and not only from the worker, still hears the
// workers.
func TestWorkersAreHeardFromAfar(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		var told times
		work(t, openOn(t, e.JetStream(), Options{}), JobOptions{}, func(ctx context.Context, _ *Entry[string]) error {
			<-ctx.Done()
			told.add()
			return nil
		})
		far := openOn(t, e.NewJetStream(nats.InProcessServer(distant{e})), Options{})
		enqueue(t, far, "v", ID("x"))
		time.Sleep(time.Minute)
		all, err := far.Workers(t.Context())
		require.NoError(t, err)
		require.Len(t, all, 1)
		i := get(t, far, "x")
		require.Equal(t, []any{Running, all[0].ID}, []any{i.State, i.Worker})
		was, err := far.Cancel(t.Context(), "x")
		require.NoError(t, err)
		require.Equal(t, Running, was)
		time.Sleep(time.Second)
		require.Len(t, told.all(), 1)
		far.c.nc.Close()
		time.Sleep(time.Second) // what is under way arrives
	})
}

// The record that tells waiters of the end is stored though an answer is lost.
func TestRecordOfACancelledJobIsStoredOnce(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		near := openOn(t, e.JetStream(), Options{})
		link := e.Link()
		q := openOn(t, link.JetStream(), Options{})
		for name, trouble := range map[string]func(){"answer": link.CutReplies, "request": link.Cut} {
			d := &delivery{token: name, header: header{}}
			trouble()
			time.AfterFunc(time.Second, func() { link.Break(); link.Heal() })
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			require.NoError(t, q.c.record(ctx, q.c.doneMsg(d, d.kept(), time.Hour, outcomeCancelled), name))
			cancel()
			require.Equal(t, Cancelled, get(t, near, name).State)
		}
		requireStats(t, near, Stats{Done: 2})
	})
}
