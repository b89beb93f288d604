// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

func newMsg(subject, data string) *nats.Msg { return &nats.Msg{Subject: subject, Data: []byte(data)} }

func TestAnswerToAnEarlierCallIsTakenByNoOther(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		nc := e.JetStream().Conn()
		p := publisher{nc: nc}
		var late *nats.Msg
		_, err := nc.Subscribe("slow", func(m *nats.Msg) {
			if late == nil {
				late = m // answered only when the place is another call's
				return
			}
			require.NoError(t, late.Respond([]byte(`{"stream":"jobs_q_x","seq":1}`)))
			require.NoError(t, m.Respond([]byte("second")))
			require.NoError(t, m.Respond([]byte("second, again")))
		})
		require.NoError(t, err)

		_, err = p.publish(t.Context(), newMsg("slow", ""), time.Second)
		require.ErrorIs(t, err, nats.ErrTimeout)
		answer, err := p.publish(t.Context(), newMsg("slow", ""), time.Second)
		require.NoError(t, err)
		require.Equal(t, "second", string(answer.Data))
		require.Len(t, p.all, 1)
		_, err = p.publish(t.Context(), newMsg("nobody", ""), time.Second)
		require.ErrorIs(t, err, nats.ErrNoResponders)

		ended, end := context.WithCancel(t.Context())
		end()
		_, err = p.publish(ended, newMsg("slow", ""), time.Second)
		require.ErrorIs(t, err, context.Canceled)
		_, err = nc.Subscribe("silent", func(*nats.Msg) { nc.Close() })
		require.NoError(t, err)
		_, err = p.publish(t.Context(), newMsg("silent", ""), time.Hour)
		require.ErrorIs(t, err, nats.ErrConnectionClosed)
		_, err = p.publish(t.Context(), newMsg("slow", ""), time.Second)
		require.ErrorIs(t, err, nats.ErrConnectionClosed)
		require.Len(t, p.free, 1)
	})
}

// Calls that give up at all moments, also in that of their answer, take each
// other's place and never each other's answer.
func TestManyCallsGetTheirOwnAnswers(t *testing.T) {
	nc := natstest.Start(t).JetStream().Conn()
	_, err := nc.Subscribe("echo", func(m *nats.Msg) { _ = m.Respond(m.Data) })
	require.NoError(t, err)
	p := publisher{nc: nc}
	const callers, calls = 32, 200
	var group sync.WaitGroup
	for caller := range callers {
		group.Go(func() {
			for call := range calls {
				text := fmt.Sprint(caller, " ", call)
				ctx, cancel := context.WithTimeout(t.Context(), rand.N(time.Millisecond))
				if call%2 == 0 {
					ctx = t.Context()
				}
				answer, err := p.publish(ctx, newMsg("echo", text), time.Minute)
				cancel()
				if call%2 == 0 && err != nil || err == nil && string(answer.Data) != text {
					t.Errorf("call %q is answered %v, %v", text, answer, err)
				}
			}
		})
	}
	group.Wait()
	require.LessOrEqual(t, len(p.all), callers)
	require.Len(t, p.free, len(p.all))
}

func TestCloseGivesBackTheSubscriptions(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, _ *Queue[string]) {
		nc := e.Connect()
		js, err := jetstream.New(nc)
		require.NoError(t, err)
		q := openOn(t, js, Options{})
		_, err = q.Stats(t.Context()) // nats.go's own subscription to answers
		require.NoError(t, err)
		before := nc.NumSubscriptions()
		q.Close() // before it was used
		for range 3 {
			enqueue(t, q, "v")
			dequeue(t, q)
			require.Greater(t, nc.NumSubscriptions(), before)
			q.Close()
			q.Close()
			synctest.Wait()
			require.Equal(t, before, nc.NumSubscriptions())
		}

		var calls sync.WaitGroup
		for range 8 {
			calls.Go(func() {
				for range 200 {
					_, err := q.Enqueue(t.Context(), "v")
					require.NoError(t, err, "one that is in use stays")
				}
			})
		}
		for range 200 {
			q.Close()
		}
		calls.Wait()
		requireStats(t, q, Stats{Waiting: 1600, Running: 3})
	})
}
