// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

// A candidate runs for leader in a process of its own.
type candidate struct {
	*Election
	link *natstest.Link
	stop context.CancelFunc
	done chan error
}

func run(t *testing.T, e *natstest.Env, who string, room *room) *candidate {
	t.Helper()
	c := &candidate{link: e.Link(), done: make(chan error, 1)}
	locks := openLocks(t, c.link.JetStream(), Options{Owner: who})
	var err error
	c.Election, err = NewElection(locks, "leader", func(ctx context.Context, term Fence) error {
		room.enter(ctx, who, term)
		defer room.leave(who)
		<-ctx.Done()
		return ctx.Err()
	}, ElectionOptions{TTL: 10 * time.Second})
	require.NoError(t, err)
	var ctx context.Context
	ctx, c.stop = context.WithCancel(t.Context())
	go func() { c.done <- c.Run(ctx) }()
	return c
}

func TestALeaderThatStopsIsSucceededAtOnceByOneWithALargerTerm(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		room := newRoom(t)
		var candidates []*candidate
		for _, who := range []string{"a", "b", "c", "d"} {
			candidates = append(candidates, run(t, e, who, room))
		}
		for n := range candidates {
			time.Sleep(time.Hour)
			require.Equal(t, n+1, room.visits(), "leaders stay")
			var leader *candidate
			for _, c := range candidates {
				if term, leads := c.Term(); leads {
					require.Nil(t, leader)
					leader = c
					require.Equal(t, room.last, term)
					holder, err := candidates[0].Leader(t.Context())
					require.NoError(t, err)
					require.Equal(t, term, holder.Fence)
				}
			}
			require.NotNil(t, leader)
			began := time.Now()
			leader.stop()
			require.NoError(t, <-leader.done)
			_, leads := leader.Term()
			require.False(t, leads)
			time.Sleep(time.Millisecond)
			if n < len(candidates)-1 {
				require.Equal(t, n+2, room.visits())
				require.Less(t, time.Since(began), 100*time.Millisecond)
			}
		}
	})
}

func TestAnElectionThatIsStoppedAsItIsWonIsResigned(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		for range 100 {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			election, err := NewElection(a, "leader", func(ctx context.Context, _ Fence) error { <-ctx.Done(); return nil }, ElectionOptions{})
			require.NoError(t, err)
			var wg sync.WaitGroup
			wg.Go(func() { require.NoError(t, election.Run(ctx)) })
			for leader := range b.Watch(ctx, "leader") {
				if leader.Held() {
					cancel()
				}
			}
			wg.Wait()
			release(t, acquire(t, b, "leader", Wait(0)))
		}
	})
}

func TestALeaderThatIsCutOffIsSucceededAfterItsContextHasEnded(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		room := newRoom(t)
		a := run(t, e, "a", room)
		time.Sleep(time.Second)
		b := run(t, e, "b", room)
		time.Sleep(time.Hour)
		a.link.Cut()
		time.Sleep(10500 * time.Millisecond)
		require.Equal(t, 2, room.visits())
		_, leads := a.Term()
		require.False(t, leads)
		_, leads = b.Term()
		require.True(t, leads)
		a.link.Heal()
		time.Sleep(time.Minute)
		b.stop()
		require.NoError(t, <-b.done)
		time.Sleep(time.Second)
		require.Equal(t, 3, room.visits(), "who was cut off runs again")
		a.stop()
		require.NoError(t, <-a.done)
	})
}

func TestALeaderWhoseFunctionReturnsRunsAgainAfterAWhile(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		for name, result := range map[string]func() error{
			"nil":   func() error { return nil },
			"error": func() error { return errors.New("no") },
			"panic": func() error { panic("boom") },
		} {
			locks := openLocks(t, e.JetStream(), Options{})
			terms := 0
			var last Fence
			election, err := NewElection(locks, name, func(ctx context.Context, term Fence) error {
				require.Greater(t, term, last)
				last = term
				terms++
				return result()
			}, ElectionOptions{})
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			require.NoError(t, election.Run(ctx))
			cancel()
			require.Greater(t, terms, 10)
			require.Less(t, terms, 100)
			held, err := locks.IsHeld(t.Context(), name)
			require.NoError(t, err)
			require.False(t, held, "others may lead meanwhile")
		}
	})
}

func TestOthersObserveWhoLeads(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		room := newRoom(t)
		locks := openLocks(t, e.JetStream(), Options{})
		observer, err := NewElection(locks, "leader", nothing, ElectionOptions{})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var seen []string
		var wg sync.WaitGroup
		wg.Go(func() {
			for leader, err := range observer.Observe(ctx) {
				require.NoError(t, err)
				seen = append(seen, leader.Owner)
			}
		})
		time.Sleep(time.Minute)
		a := run(t, e, "a", room)
		time.Sleep(time.Minute)
		a.stop()
		<-a.done
		time.Sleep(time.Minute)
		b := run(t, e, "b", room)
		time.Sleep(time.Minute)
		b.link.Cut()
		time.Sleep(time.Minute)
		cancel()
		wg.Wait()
		require.Equal(t, []string{"", "a", "", "b", ""}, seen)
		b.stop()
		b.link.Heal()
		<-b.done
	})
}

func TestAnElectionEndsWithItsConnection(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		locks := openLocks(t, e.NewJetStream(), Options{})
		election, err := NewElection(locks, "leader", func(ctx context.Context, term Fence) error {
			locks.c.nc.Close()
			<-ctx.Done()
			return nil
		}, ElectionOptions{})
		require.NoError(t, err)
		require.ErrorIs(t, election.Run(t.Context()), nats.ErrConnectionClosed)
		_, err = NewElection(locks, "", nil, ElectionOptions{TTL: time.Millisecond})
		require.ErrorContains(t, err, "the name is empty")
		require.ErrorContains(t, err, "ElectionOptions.TTL is 1ms")
		require.ErrorContains(t, err, "lead is nil")
	})
}

func nothing(context.Context, Fence) error { return nil }
