// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package natstest

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

func workQueue(t *testing.T, js jetstream.JetStream) jetstream.Consumer {
	t.Helper()
	ctx := t.Context()
	_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Retention: jetstream.WorkQueuePolicy})
	require.NoError(t, err)
	c, err := js.CreateConsumer(ctx, "S", jetstream.ConsumerConfig{Durable: "c", AckPolicy: jetstream.AckExplicitPolicy, AckWait: 10 * time.Minute})
	require.NoError(t, err)
	return c
}

func TestFakeTimePassesForTheRealServer(t *testing.T) {
	for range 3 {
		Run(t, func(t *testing.T, e *Env) {
			began := time.Now()
			c := workQueue(t, e.JetStream())
			_, err := e.JetStream().Publish(t.Context(), "s.1", nil)
			require.NoError(t, err)
			first, err := c.Next(jetstream.FetchMaxWait(time.Second))
			require.NoError(t, err)
			again, err := c.Next(jetstream.FetchMaxWait(time.Hour))
			require.NoError(t, err, "the lease of 10 minutes ends")
			require.Equal(t, first.Subject(), again.Subject())
			require.WithinDuration(t, began.Add(10*time.Minute), time.Now(), time.Second)
		})
	}
}

func TestMessagesOutliveARestart(t *testing.T) {
	Run(t, func(t *testing.T, e *Env) {
		c := workQueue(t, e.JetStream())
		_, err := e.JetStream().Publish(t.Context(), "s.1", []byte("kept"))
		require.NoError(t, err)
		e.Restart(10 * time.Second)
		m, err := c.Next(jetstream.FetchMaxWait(time.Minute))
		require.NoError(t, err)
		require.Equal(t, "kept", string(m.Data()))
	})
}

func TestACutLinkHoldsAndAHealedOneDelivers(t *testing.T) {
	Run(t, func(t *testing.T, e *Env) {
		workQueue(t, e.JetStream())
		link := e.Link()
		far := link.JetStream()
		stored := func() uint64 {
			s, err := e.JetStream().Stream(t.Context(), "S")
			require.NoError(t, err)
			return s.CachedInfo().State.Msgs
		}
		publish := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := far.Publish(ctx, "s.1", nil)
			return err
		}
		require.NoError(t, publish())

		link.CutReplies()
		require.ErrorIs(t, publish(), context.DeadlineExceeded)
		require.EqualValues(t, 2, stored(), "stored, though the answer was lost")

		link.Cut()
		require.ErrorIs(t, publish(), context.DeadlineExceeded)
		require.EqualValues(t, 2, stored())
		link.Heal()
		require.NoError(t, far.Conn().FlushTimeout(time.Second))
		require.EqualValues(t, 3, stored(), "late, but delivered")

		link.Break()
		time.Sleep(time.Second)
		require.Equal(t, nats.RECONNECTING, far.Conn().Status())
		link.Heal()
		time.Sleep(time.Second)
		require.NoError(t, publish())
	})
}

func TestRealTimeServer(t *testing.T) {
	e := Start(t)
	require.True(t, e.Connect().IsConnected())
}
