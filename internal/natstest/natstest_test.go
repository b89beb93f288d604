// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package natstest

import (
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

func TestRealTimeMayFollowABubbleAndGoBeforeOne(t *testing.T) {
	e := Start(t)
	for range 5 {
		require.NoError(t, e.Connect().Flush())
		Run(t, func(t *testing.T, e *Env) {
			require.NoError(t, e.Connect().Flush())
			link := e.Link()
			far := link.JetStream().Conn()
			link.Cut()
			began := time.Now()
			require.ErrorIs(t, far.FlushTimeout(50*time.Second), nats.ErrTimeout)
			require.Equal(t, 50*time.Second, time.Since(began), "by the timer of this bubble")
		})
	}
	require.NoError(t, e.Connect().Flush())
}

func TestBubbleOutlivesWhatStillSleeps(t *testing.T) {
	woke := false
	Bubble(t, func(*testing.T) {
		go func() {
			time.Sleep(10 * time.Millisecond) // as a server's flusher does
			woke = true
		}()
	})
	require.True(t, woke)
}
