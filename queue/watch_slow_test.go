// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

func TestSlowWatcherKnowsHowMuchItMissed(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v") // it heeds watchers from now on
		events, err := q.Watch(t.Context())
		require.NoError(t, err)
		const n = 10_000
		_, err = q.EnqueueMany(t.Context(), Items(make([]string, n), Delay(time.Hour)))
		require.NoError(t, err)
		time.Sleep(time.Second)
		got, missed := 0, 0
		for e := range events {
			if got++; got == 8192 {
				enqueue(t, q, "last", ID("last"))
				time.Sleep(time.Second)
			}
			missed += e.Missed
			if e.ID == "last" {
				break
			}
		}
		require.Positive(t, missed)
		require.Equal(t, n+1, got+missed)
	})
}

// It may be the last thing that happens for a long time.
func TestSlowWatcherIsToldWhatItMissedThoughNothingFollows(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v") // it heeds watchers from now on
		ctx, cancel := context.WithCancel(t.Context())
		events, err := q.Watch(ctx)
		require.NoError(t, err)
		const n = 10_000
		_, err = q.EnqueueMany(t.Context(), Items(make([]string, n), Delay(time.Hour)))
		require.NoError(t, err)
		time.Sleep(time.Second)
		time.AfterFunc(time.Minute, cancel)
		began, got, missed := time.Now(), 0, 0
		for e := range events {
			if e.Type != EventMissed {
				require.Zero(t, e.Missed, "nothing is told twice")
				got++
				continue
			}
			missed += e.Missed
			require.Equal(t, "q", e.Queue)
			require.Less(t, time.Since(began), 10*time.Millisecond, "as soon as the rest is taken")
		}
		require.Equal(t, 8192, got)
		require.Equal(t, n, got+missed)
	})
}

// What nats.go drops is found out once a second, when who watches may wait already.
func TestWatcherThatWaitsIsToldWhatTheConnectionDropped(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		w := newWatcher(q.c)
		require.NoError(t, w.begin(t.Context()))
		defer w.end()
		nc := e.Connect(nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		slow, err := nc.SubscribeSync("news")
		require.NoError(t, err)
		require.NoError(t, slow.SetPendingLimits(1, -1))
		for range 5 {
			require.NoError(t, nc.Publish("news", nil))
		}
		require.NoError(t, nc.Flush())
		time.AfterFunc(time.Hour, func() { w.countDropped([]*nats.Subscription{slow}) })
		event, ok := w.next()
		require.True(t, ok)
		require.Equal(t, []any{EventMissed, 4}, []any{event.Type, event.Missed})
	})
}
