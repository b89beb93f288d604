// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package natstest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

func stored(t *testing.T, e *Env) int {
	t.Helper()
	s, err := e.JetStream().Stream(t.Context(), "S")
	require.NoError(t, err)
	return int(s.CachedInfo().State.Msgs)
}

// tryPublish publishes once and gives up after a second.
func tryPublish(t *testing.T, js jetstream.JetStream) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := js.Publish(ctx, "s.1", nil)
	return err
}

// echo answers "echo" over nc for as long as the server knows of nc.
func echo(t *testing.T, nc *nats.Conn) {
	t.Helper()
	_, err := nc.Subscribe("echo", func(m *nats.Msg) { m.Respond(nil) })
	require.NoError(t, err)
	require.NoError(t, nc.Flush())
}

func ask(e *Env) error {
	_, err := e.JetStream().Conn().Request("echo", nil, time.Second)
	return err
}

func refuses(t *testing.T, link *Link) {
	t.Helper()
	_, err := link.InProcessConn()
	require.Error(t, err)
}

func TestACutLinkHoldsAndAHealedOneDelivers(t *testing.T) {
	Run(t, func(t *testing.T, e *Env) {
		workQueue(t, e.JetStream())
		link := e.Link()
		far := link.JetStream()
		require.NoError(t, tryPublish(t, far))

		link.CutReplies()
		refuses(t, link)
		require.ErrorIs(t, tryPublish(t, far), context.DeadlineExceeded)
		require.Equal(t, 2, stored(t, e), "stored, though the answer was lost")

		link.Cut()
		refuses(t, link)
		require.ErrorIs(t, tryPublish(t, far), context.DeadlineExceeded)
		require.Equal(t, 2, stored(t, e))
		link.Heal()
		time.Sleep(time.Second)
		require.Equal(t, 3, stored(t, e), "late, but delivered")
	})
}

func TestACutLinkTellsNeitherSideThatTheOtherClosed(t *testing.T) {
	Run(t, func(t *testing.T, e *Env) {
		link := e.Link()
		stays, closes := link.JetStream().Conn(), link.JetStream().Conn()
		echo(t, closes)
		require.NoError(t, ask(e))

		link.Cut()
		closes.Close()
		require.ErrorIs(t, ask(e), nats.ErrTimeout, "the server still has its subscription")
		link.Heal()
		time.Sleep(time.Second)
		require.ErrorIs(t, ask(e), nats.ErrNoResponders)

		link.Cut()
		e.Stop()
		time.Sleep(10 * time.Second)
		require.Equal(t, nats.CONNECTED, stays.Status())
		link.Heal()
		time.Sleep(time.Second)
		require.Equal(t, nats.RECONNECTING, stays.Status())
	})
}

func TestWhatAClosedConnectionSentArrivesLate(t *testing.T) {
	Run(t, func(t *testing.T, e *Env) {
		workQueue(t, e.JetStream())
		link := e.Link()
		far := link.JetStream()
		link.Cut()
		require.ErrorIs(t, tryPublish(t, far), context.DeadlineExceeded)
		far.Conn().Close()
		time.Sleep(time.Minute) // after six the server gives the connection up, and what it sent
		require.Zero(t, stored(t, e))
		link.Heal()
		time.Sleep(time.Second)
		require.Equal(t, 1, stored(t, e))
	})
}

func TestABrokenLinkTellsBothSidesAndLosesWhatItHeld(t *testing.T) {
	Run(t, func(t *testing.T, e *Env) {
		workQueue(t, e.JetStream())
		link := e.Link()
		far := link.JetStream()
		echo(t, far.Conn())
		link.Cut()
		require.ErrorIs(t, tryPublish(t, far), context.DeadlineExceeded)

		link.Break()
		time.Sleep(time.Second)
		require.ErrorIs(t, ask(e), nats.ErrNoResponders)
		require.Equal(t, nats.RECONNECTING, far.Conn().Status())
		refuses(t, link)

		link.Heal()
		time.Sleep(time.Second)
		require.Zero(t, stored(t, e))
		require.NoError(t, tryPublish(t, far))
		require.NoError(t, ask(e))
	})
}

// A goroutine left behind fails the bubble.
func TestATestMayEndWithItsLinkInAnyState(t *testing.T) {
	for name, do := range map[string]func(*Link){
		"healthy": (*Link).Heal, "cut": (*Link).Cut, "replies cut": (*Link).CutReplies, "broken": (*Link).Break,
	} {
		t.Run(name, func(t *testing.T) {
			Run(t, func(t *testing.T, e *Env) {
				workQueue(t, e.JetStream())
				link := e.Link()
				open, closed := link.JetStream(), link.JetStream()
				do(link)
				for _, js := range []jetstream.JetStream{open, closed} {
					err := tryPublish(t, js)
					require.Equal(t, name == "healthy", err == nil)
				}
				closed.Conn().Close()
				e.Stop()
			})
		})
	}
}

// For the race detector, and for a wake-up that gets lost.
func TestALinkUnderChangeEndsHealthy(t *testing.T) {
	e := Start(t)
	workQueue(t, e.JetStream())
	link := e.Link()
	var wg sync.WaitGroup
	var all []*nats.Conn
	for range 4 {
		js := link.JetStream()
		all = append(all, js.Conn())
		wg.Go(func() {
			for range 20 {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
				js.Publish(ctx, "s.1", nil)
				cancel()
			}
		})
	}
	for range 10 {
		for _, change := range []func(*Link){(*Link).Cut, (*Link).Heal, (*Link).CutReplies, (*Link).Break, (*Link).Heal} {
			time.Sleep(time.Millisecond)
			change(link)
		}
	}
	wg.Wait()
	for _, nc := range all {
		// Once more if it was about to notice a Break.
		if nc.FlushTimeout(patience) != nil {
			require.NoError(t, nc.FlushTimeout(patience))
		}
	}
}
