// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

// watch collects events until stop, which returns them as text.
func watch(t *testing.T, q *Queue[string]) (stop func() []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	events, err := q.Watch(ctx)
	require.NoError(t, err)
	var all []string
	var group sync.WaitGroup
	group.Go(func() {
		for e := range events {
			text := string(e.Type)
			for _, part := range []string{e.ID, e.Error} {
				if part != "" {
					text += " " + part
				}
			}
			all = append(all, text)
		}
	})
	return func() []string {
		cancel()
		group.Wait()
		return all
	}
}

func TestWatchTellsWhatHappensInAllProcesses(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		q := openOn(t, e.JetStream(), Options{Backoff: func(int) time.Duration { return time.Minute }})
		worker := openOn(t, e.NewJetStream(), Options{MaxAttempts: 2, Backoff: func(int) time.Duration { return time.Minute }})
		enqueue(t, q, "v", ID("before"), Delay(24*time.Hour)) // it heeds watchers from now on
		stopWork := work(t, worker, JobOptions{}, func(_ context.Context, e *Entry[string]) error {
			switch e.Value {
			case "fail":
				return errors.New("out of paper")
			case "snooze":
				return Snooze(24 * time.Hour)
			}
			return nil
		})
		time.Sleep(time.Second)
		stop := watch(t, openOn(t, e.NewJetStream(), Options{}))
		time.Sleep(time.Second)
		enqueue(t, q, "good", ID("good"))
		time.Sleep(time.Second)
		enqueue(t, q, "fail", ID("bad"))
		time.Sleep(2 * time.Minute)
		enqueue(t, q, "snooze", ID("tired"))
		time.Sleep(time.Second)
		_, err := q.EnqueueMany(t.Context(), []Item[string]{{Value: "v", Options: []EnqueueOption{ID("many"), Delay(time.Hour)}}})
		require.NoError(t, err)
		_, err = q.Cancel(t.Context(), "many")
		require.NoError(t, err)
		require.NoError(t, q.Pause(t.Context(), time.Time{}, "lunch"))
		require.NoError(t, q.Resume(t.Context()))
		time.Sleep(time.Second)
		stopWork()
		time.Sleep(time.Second)
		require.ElementsMatch(t, []string{ // processes have no common order
			"worker_up",
			"enqueued good", "started good", "completed good",
			"enqueued bad", "started bad", "retrying bad out of paper", "started bad", "dead bad out of paper",
			"enqueued tired", "started tired", "snoozed tired snooze",
			"enqueued many", "cancelled many", "paused lunch", "resumed", "worker_down",
		}, withoutText(stop(), "snoozed tired"))
	})
}

// withoutText cuts what follows a beginning: the text of a steering error.
func withoutText(all []string, begin string) []string {
	for i, text := range all {
		if len(text) >= len(begin) && text[:len(begin)] == begin {
			all[i] = begin + " snooze"
		}
	}
	return all
}

func TestNobodyWatchesNothingIsSent(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		var sent atomic.Int64
		_, err := e.Connect().Subscribe(q.c.names.event("*"), func(*nats.Msg) { sent.Add(1) })
		require.NoError(t, err)
		work(t, q, JobOptions{}, func(context.Context, *Entry[string]) error { return nil })
		enqueue(t, q, "v")
		time.Sleep(time.Minute)
		require.Zero(t, sent.Load())
		stop := watch(t, q)
		enqueue(t, q, "v")
		time.Sleep(time.Second)
		stop()
		require.EqualValues(t, 3, sent.Load())
		time.Sleep(heardFor)
		enqueue(t, q, "v")
		time.Sleep(time.Second)
		require.EqualValues(t, 3, sent.Load(), "the watcher has gone")
	})
}

// As an operator's command does, that ends before it could hear of any watcher.
func TestWhatAProcessChangesThatHasJustBegunIsTold(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		q := openOn(t, e.JetStream(), Options{})
		enqueue(t, q, "v", ID("a"))
		enqueue(t, q, "v", ID("b"), Property("tenant", "x"))
		stop := watch(t, q)
		fresh := func() *Queue[string] { return openOn(t, e.NewJetStream(), Options{}) }
		require.NoError(t, fresh().Pause(t.Context(), time.Time{}, "lunch"))
		_, err := fresh().Cancel(t.Context(), "a")
		require.NoError(t, err)
		_, err = fresh().CancelAll(t.Context(), Filter{Properties: map[string]string{"tenant": "x"}})
		require.NoError(t, err)
		require.NoError(t, fresh().Resume(t.Context()))
		time.Sleep(time.Second)
		require.ElementsMatch(t, []string{"paused lunch", "cancelled a", "cancelled b", "resumed"}, stop())
	})
}

func TestWatcherSeesWorkersComeAndDie(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		link := e.Link()
		q := openOn(t, link.JetStream(), Options{})
		work(t, q, JobOptions{}, func(context.Context, *Entry[string]) error { return nil })
		stop := watch(t, openOn(t, e.JetStream(), Options{}))
		time.Sleep(time.Minute)
		link.Cut()
		time.Sleep(2*announceEvery + 10*time.Millisecond)
		all := stop()
		require.Equal(t, []string{"worker_up", "worker_down"}, all)
		link.Heal()
	})
}

func TestWatchOutlivesARestart(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		q := openOn(t, e.JetStream(), Options{})
		enqueue(t, q, "v", ID("one"))
		stop := watch(t, openOn(t, e.NewJetStream(), Options{}))
		e.Restart(time.Second)
		time.Sleep(10 * time.Second)
		enqueue(t, q, "v", ID("two"))
		time.Sleep(time.Second)
		require.Contains(t, stop(), "enqueued two")
	})
}

func TestWorkersTellWhatTheyDo(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		desk := openOn(t, e.JetStream(), Options{})
		all, err := desk.Workers(t.Context())
		require.NoError(t, err)
		require.Empty(t, all)
		began := time.Now()
		stops := make([]func(), 2)
		for n := range stops {
			q := openOn(t, e.NewJetStream(), Options{})
			stops[n] = work(t, q, JobOptions{Concurrency: 3}, func(ctx context.Context, _ *Entry[string]) error {
				<-ctx.Done()
				return ctx.Err()
			})
		}
		for n := range 4 {
			enqueue(t, desk, "v", ID(fmt.Sprint(n)))
		}
		time.Sleep(time.Minute)
		all, err = desk.Workers(t.Context())
		require.NoError(t, err)
		require.Len(t, all, 2)
		running := map[string]int{}
		for _, w := range all {
			require.Equal(t, []any{host(), "q", 3, false}, []any{w.Host, w.Queue, w.Concurrency, w.Quiet})
			require.WithinDuration(t, began, w.Since, time.Second)
			require.Len(t, w.Running, w.Busy)
			for _, r := range w.Running {
				running[r.ID] = r.Attempt
				require.Equal(t, w.ID, get(t, desk, r.ID).Worker)
			}
		}
		require.Equal(t, map[string]int{"0": 1, "1": 1, "2": 1, "3": 1}, running)
		stops[0]()
		all, err = desk.Workers(t.Context())
		require.NoError(t, err)
		require.Len(t, all, 1)
		stops[1]()

		_, err = Open[string](t.Context(), e.JetStream(), "another", Options{})
		require.NoError(t, err)
		queues, err := Queues(t.Context(), e.JetStream(), "")
		require.NoError(t, err)
		require.Equal(t, []string{"another", "q"}, queues)
		queues, err = Queues(t.Context(), e.JetStream(), "elsewhere")
		require.NoError(t, err)
		require.Empty(t, queues)
	})
}

func TestWorkersAreToldToBeQuietAndToStop(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		desk := openOn(t, e.JetStream(), Options{})
		ctx := t.Context()
		for _, err := range []error{desk.QuietWorker(ctx, "nobody"), desk.ResumeWorker(ctx, "nobody"), desk.StopWorker(ctx, "nobody")} {
			require.ErrorIs(t, err, ErrNotFound)
		}
		var done times
		release := make(chan struct{})
		stop := work(t, openOn(t, e.NewJetStream(), Options{}), JobOptions{Concurrency: 2}, func(ctx context.Context, e *Entry[string]) error {
			if e.Value == "long" {
				select {
				case <-release:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			done.add()
			return nil
		})
		time.Sleep(time.Second)
		all, err := desk.Workers(ctx)
		require.NoError(t, err)
		id := all[0].ID
		require.ErrorIs(t, desk.QuietWorker(ctx, "nobody"), ErrNotFound)

		enqueue(t, desk, "long")
		time.Sleep(time.Second)
		require.NoError(t, desk.QuietWorker(ctx, id))
		time.Sleep(time.Second)
		enqueue(t, desk, "v")
		time.Sleep(10 * time.Minute)
		require.Empty(t, done.all(), "nothing new is taken")
		close(release)
		time.Sleep(time.Second)
		require.Len(t, done.all(), 1, "what it has goes on")
		all, err = desk.Workers(ctx)
		require.NoError(t, err)
		require.True(t, all[0].Quiet)
		require.NoError(t, desk.QuietWorker(ctx, id), "again does no harm")
		require.NoError(t, desk.ResumeWorker(ctx, id))
		time.Sleep(time.Second)
		require.Len(t, done.all(), 2)
		enqueue(t, desk, "v")
		time.Sleep(time.Second)
		require.Len(t, done.all(), 3)

		require.NoError(t, desk.StopWorker(ctx, id))
		time.Sleep(time.Minute)
		all, err = desk.Workers(ctx)
		require.NoError(t, err)
		require.Empty(t, all)
		enqueue(t, desk, "v")
		time.Sleep(time.Minute)
		require.Len(t, done.all(), 3)
		stop()
		requireStats(t, desk, Stats{Waiting: 1})
	})
}

// Who has done nothing yet can't know whether somebody watches. What it cancels or
// pauses is told all the same.
func TestWatcherHearsOfWhatANewcomerCancels(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		enqueue(t, openOn(t, e.JetStream(), Options{}), "v", ID("x"), Delay(time.Hour))
		stop := watch(t, openOn(t, e.NewJetStream(), Options{}))
		newcomer := openOn(t, e.NewJetStream(), Options{})
		_, err := newcomer.Cancel(t.Context(), "x")
		require.NoError(t, err)
		require.NoError(t, newcomer.Pause(t.Context(), time.Time{}, "lunch"))
		require.NoError(t, newcomer.Resume(t.Context()))
		time.Sleep(time.Second)
		require.Equal(t, []string{"cancelled x", "paused lunch", "resumed"}, stop())
	})
}

func TestWatchersLeaveNothingBehind(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		q := openOn(t, e.JetStream(), Options{})
		enqueue(t, q, "v", ID("before")) // it heeds watchers from now on
		js := e.NewJetStream()
		desk := openOn(t, js, Options{})
		before := js.Conn().NumSubscriptions()

		ctx, cancel := context.WithCancel(t.Context())
		_, err := desk.Watch(ctx) // and never looks
		require.NoError(t, err)
		leaves, err := desk.Watch(t.Context())
		require.NoError(t, err)
		stop := watch(t, desk)
		enqueue(t, q, "v", ID("one"))
		for e := range leaves {
			require.Equal(t, "one", e.ID)
			break
		}
		for range leaves {
			t.Error("it has left")
		}
		enqueue(t, q, "v", ID("two"))
		time.Sleep(time.Second)
		require.Equal(t, []string{"enqueued one", "enqueued two"}, stop(), "others watch on")
		cancel()
		time.Sleep(time.Second)
		require.Equal(t, before, js.Conn().NumSubscriptions())

		_, err = desk.Watch(ended())
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, before, js.Conn().NumSubscriptions())
	})
}

func TestWatchEndsWithItsConnection(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		js := e.NewJetStream()
		q := openOn(t, js, Options{})
		events, err := q.Watch(t.Context())
		require.NoError(t, err)
		time.AfterFunc(time.Minute, js.Conn().Close)
		began := time.Now()
		for range events {
			t.Error("nothing has happened")
		}
		require.WithinDuration(t, began.Add(time.Minute), time.Now(), 2*time.Second)
		_, err = q.Watch(t.Context())
		require.Error(t, err)
	})
}

// Nobody is there, and nobody can be asked, are two things.
func TestWorkersAreNotTakenForGoneBecauseTheServerIs(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		work(t, openOn(t, e.JetStream(), Options{}), JobOptions{}, func(context.Context, *Entry[string]) error { return nil })
		link := e.Link()
		desk := openOn(t, link.JetStream(), Options{})
		time.Sleep(time.Second) // the worker listens
		all, err := desk.Workers(t.Context())
		require.NoError(t, err)
		require.Len(t, all, 1)
		require.ErrorIs(t, desk.StopWorker(ended(), all[0].ID), context.Canceled)
		_, err = desk.Workers(ended())
		require.ErrorIs(t, err, context.Canceled)
		link.Cut()
		began := time.Now()
		_, err = desk.Workers(t.Context())
		require.ErrorIs(t, err, nats.ErrDisconnected)
		require.ErrorIs(t, desk.QuietWorker(t.Context(), all[0].ID), nats.ErrDisconnected)
		require.NotErrorIs(t, desk.ResumeWorker(t.Context(), all[0].ID), ErrNotFound)
		_, err = desk.Watch(t.Context())
		require.ErrorIs(t, err, nats.ErrDisconnected)
		require.Less(t, time.Since(began), 15*time.Second)
		link.Heal()
		time.Sleep(time.Minute)
		again, err := desk.Workers(t.Context())
		require.NoError(t, err)
		require.Len(t, again, 1, "it goes on")
	})
}

// What a worker runs may be more than a message holds.
func TestWorkerWithTooMuchToTellIsSeen(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		const n = 1500
		work(t, openOn(t, e.NewJetStream(), Options{}), JobOptions{Concurrency: n}, func(ctx context.Context, _ *Entry[string]) error {
			<-ctx.Done()
			return ctx.Err()
		})
		items := make([]Item[string], n)
		for i := range items { // JSON writes each byte as six
			items[i] = Item[string]{"v", []EnqueueOption{ID(fmt.Sprint(i) + strings.Repeat("\x01", 250))}}
		}
		_, err := q.EnqueueMany(t.Context(), items)
		require.NoError(t, err)
		time.Sleep(time.Minute)
		all, err := q.Workers(t.Context())
		require.NoError(t, err)
		require.Len(t, all, 1)
		require.Equal(t, n, all[0].Busy)
		require.Len(t, all[0].Running, mostRunning/2)
	})
}

func TestWatcherSeesJobsHandedBack(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		q := openOn(t, e.JetStream(), Options{})
		stopWork := work(t, openOn(t, e.NewJetStream(), Options{}), JobOptions{Grace: time.Second}, func(ctx context.Context, _ *Entry[string]) error {
			<-ctx.Done()
			return ctx.Err()
		})
		enqueue(t, q, "v", ID("x"))
		time.Sleep(time.Second)
		stop := watch(t, openOn(t, e.NewJetStream(), Options{}))
		stopWork()
		time.Sleep(time.Second)
		require.Equal(t, []string{"worker_up", "returned x", "worker_down"}, stop())
	})
}
