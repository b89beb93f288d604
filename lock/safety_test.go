// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/backoff"
	"github.com/jetjobs/jetjobs/internal/natstest"
)

// A cut-off holder: a is behind a link, b is not, and waits for the same lock.
type cutOff struct {
	link *natstest.Link
	a, b *Locker
	room *room
}

func newCutOff(t testing.TB, e *natstest.Env) *cutOff {
	t.Helper()
	link := e.Link()
	return &cutOff{
		link: link, room: newRoom(t),
		a: openLocks(t, link.JetStream(), Options{Owner: "a"}),
		b: openLocks(t, e.JetStream(), Options{Owner: "b"}),
	}
}

// hold lets a hold the lock until its context ends, and returns when it did and
// why. While a holds it, fault is called; b takes the lock as soon as it can.
func (c *cutOff) hold(t testing.TB, fault func()) (lasted time.Duration, cause error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 24*time.Hour)
	defer cancel()
	var wg sync.WaitGroup
	err := c.a.Do(ctx, "x", func(ctx context.Context, fence Fence) error {
		c.room.enter(ctx, "a", fence)
		wg.Go(func() {
			require.NoError(t, c.b.Do(context.Background(), "x", func(ctx context.Context, fence Fence) error {
				c.room.enter(ctx, "b", fence)
				return nil
			}))
		})
		time.Sleep(61 * time.Second)
		began := time.Now()
		fault()
		<-ctx.Done()
		lasted, cause = time.Since(began), context.Cause(ctx)
		time.Sleep(5 * time.Minute) // does not care; b is in meanwhile
		require.Equal(t, 2, c.room.visits())
		return nil
	})
	require.ErrorIs(t, err, ErrLost)
	wg.Wait()
	return lasted, cause
}

func TestACutOffHolderEndsBeforeItsKey(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		c := newCutOff(t, e)
		lasted, cause := c.hold(t, c.link.Cut)
		require.ErrorIs(t, cause, ErrLost)
		require.Equal(t, 26*time.Second, lasted, "30 s less a tenth after the renewal a second ago")
	})
}

func TestADisconnectedHolderEndsBeforeItsKey(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		c := newCutOff(t, e)
		lasted, cause := c.hold(t, c.link.Break)
		require.ErrorIs(t, cause, ErrLost)
		require.LessOrEqual(t, lasted, 26*time.Second)
	})
}

func TestARenewalWithoutAnAnswerIsNone(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		c := newCutOff(t, e)
		lasted, cause := c.hold(t, c.link.CutReplies) // the server goes on renewing
		require.ErrorIs(t, cause, ErrLost)
		require.LessOrEqual(t, lasted, 26*time.Second)
	})
}

func TestARenewalWhoseAnswerWasLostDoesNotLoseTheLock(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		c := newCutOff(t, e)
		require.NoError(t, c.a.Do(t.Context(), "x", func(ctx context.Context, fence Fence) error {
			for range 20 {
				time.Sleep(25 * time.Second)
				c.link.CutReplies()
				time.Sleep(14 * time.Second) // at least one renewal is stored and not heard of
				c.link.Heal()
			}
			requireHeldBy(t, c.b, "x", "a")
			return ctx.Err()
		}))
		acquire(t, c.b, "x", Wait(0))
	})
}

func TestAHolderOutlivesARestartOfTheServer(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		require.NoError(t, a.Do(t.Context(), "x", func(ctx context.Context, fence Fence) error {
			for range 10 {
				time.Sleep(17 * time.Second)
				e.Restart(10 * time.Second)
			}
			time.Sleep(time.Second) // both find the server again
			requireHeldBy(t, b, "x", "a")
			return ctx.Err()
		}))
	})
}

func TestAHolderEndsWhileTheServerIsAway(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := two(t, e)
		room := newRoom(t)
		err := a.Do(t.Context(), "x", func(ctx context.Context, fence Fence) error {
			room.enter(ctx, "a", fence)
			time.Sleep(time.Minute)
			e.Stop()
			began := time.Now()
			<-ctx.Done()
			require.LessOrEqual(t, time.Since(began), 27*time.Second)
			time.Sleep(time.Minute)
			e.Begin()
			lease := acquire(t, b, "x")
			room.enter(t.Context(), "b", lease.Fence())
			return nil
		})
		require.ErrorIs(t, err, ErrLost)
		requireHeldBy(t, a, "x", "b")
	})
}

// A renewal that is late at the server must not prolong what is not held any
// more, and no release may follow it into the lock of the next.
func TestWhatArrivesLateChangesNothingForTheNext(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		c := newCutOff(t, e)
		lease := acquire(t, c.a, "x")
		_, stop := lease.Keep(t.Context())
		c.link.Cut()
		time.Sleep(20 * time.Second) // renewals are under way
		next := acquire(t, c.b, "x")
		c.link.Heal()
		stop()
		require.ErrorIs(t, lease.Release(t.Context()), ErrLost)
		time.Sleep(time.Second)
		holder, err := c.b.Holder(t.Context(), "x")
		require.NoError(t, err)
		require.Equal(t, next.Fence(), holder.Fence)
		require.NoError(t, next.Renew(t.Context()))
	})
}

func TestAHundredContendersAreNeverTwoInside(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		const processes, each, times = 10, 10, 5
		room := newRoom(t)
		var wg sync.WaitGroup
		for p := range processes {
			locks := openLocks(t, e.NewJetStream(), Options{})
			for i := range each {
				wg.Go(func() {
					who := fmt.Sprintf("%d/%d", p, i)
					for range times {
						require.NoError(t, locks.Do(t.Context(), "x", func(ctx context.Context, fence Fence) error {
							room.enter(ctx, who, fence)
							time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
							room.leave(who)
							return ctx.Err()
						}))
					}
				})
			}
		}
		began := time.Now()
		wg.Wait()
		require.Equal(t, processes*each*times, room.visits())
		require.Less(t, time.Since(began), 100*time.Second, "500 visits of 50 ms on average, and little between them")
	})
}

// Everything at once, for twenty minutes: holders that ignore their contexts for a
// while, links that are cut in either direction or broken, a server that
// restarts, and locks that are taken away.
func TestNoSeriesOfFaultsMakesTwoLiveHolders(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			natstest.Run(t, func(t *testing.T, e *natstest.Env) { faults(t, e, seed) })
		})
	}
}

func faults(t *testing.T, e *natstest.Env, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 0))
	ctx, cancel := context.WithCancel(t.Context())
	room := newRoom(t)
	var links []*natstest.Link
	var wg sync.WaitGroup
	for i := range 5 {
		link := e.Link()
		links = append(links, link)
		locks := openLocks(t, link.JetStream(), Options{TTL: time.Duration(2+3*i) * time.Second})
		patience := time.Duration(1+rnd.IntN(20)) * time.Second // without any, no fake time would pass
		wg.Go(func() {
			who := fmt.Sprint(i)
			for ctx.Err() == nil {
				locks.Do(ctx, "x", func(ctx context.Context, fence Fence) error {
					room.enter(ctx, who, fence)
					backoff.Sleep(ctx, patience)
					time.Sleep(patience / 4)
					room.leave(who)
					return nil
				})
			}
		})
	}
	for end := time.Now().Add(20 * time.Minute); time.Now().Before(end); {
		link := links[rnd.IntN(len(links))]
		switch rnd.IntN(10) {
		case 0, 1, 2:
			link.Cut()
		case 3, 4, 5:
			link.CutReplies()
		case 6, 7:
			link.Break()
		case 8:
			e.Restart(time.Duration(rnd.IntN(20)) * time.Second)
		}
		time.Sleep(time.Duration(rnd.IntN(30_000)) * time.Millisecond)
		link.Heal()
		time.Sleep(time.Duration(rnd.IntN(10_000)) * time.Millisecond)
	}
	before := room.visits()
	time.Sleep(2 * time.Minute)
	require.Greater(t, room.visits(), before+5, "and afterwards all goes on")
	cancel()
	wg.Wait()
	require.Greater(t, before, 15)
}

func TestThreeReplicas(t *testing.T) {
	c := natstest.StartCluster(t, 3)
	openAtOnce(t, c)
	r := &replicated{cluster: c, room: newRoom(t)}
	ctx, cancel := context.WithCancel(t.Context())
	for i := range 9 {
		r.contend(ctx, fmt.Sprint(i))
	}
	stream := streamOf(bucketOf("jobs"))
	r.progress("all well")
	for range 3 {
		c.StepDown(stream)
		r.progress("stepped down")
	}
	leader := c.StreamLeader(stream)
	c.Stop(leader)
	r.progress("leader stopped")
	c.Restart(leader)
	r.progress("leader back")
	cancel()
	r.wg.Wait()
}

// openAtOnce opens the bucket in six processes. A cluster leaves some of those who
// create a stream at the same time without an answer.
func openAtOnce(t *testing.T, c *natstest.Cluster) {
	t.Helper()
	errs := make(chan error)
	for i := range 6 {
		js := c.JetStream(i % 3)
		go func() {
			_, err := Open(t.Context(), js, Options{Replicas: 3})
			errs <- err
		}()
	}
	for range 6 {
		require.NoError(t, <-errs)
	}
}

// replicated is a room that is contended for while a cluster changes.
type replicated struct {
	cluster *natstest.Cluster
	room    *room
	wg      sync.WaitGroup
}

func (r *replicated) contend(ctx context.Context, who string) {
	locks := openLocks(r.room.t, r.cluster.NewJetStream(), Options{TTL: 12 * time.Second})
	r.wg.Go(func() {
		for ctx.Err() == nil {
			err := locks.Do(ctx, "x", func(ctx context.Context, fence Fence) error {
				r.room.enter(ctx, who, fence)
				defer r.room.leave(who)
				backoff.Sleep(ctx, 2*time.Millisecond)
				return nil
			})
			if ctx.Err() == nil && err != nil {
				r.room.t.Errorf("%s: %v", who, err)
			}
		}
	})
}

// progress waits until twenty more have been in the room.
func (r *replicated) progress(what string) {
	r.room.t.Helper()
	began, before := time.Now(), r.room.visits()
	for r.room.visits() < before+20 {
		require.Less(r.room.t, time.Since(began), time.Minute, what)
		time.Sleep(10 * time.Millisecond)
	}
	r.room.t.Logf("%s: 20 more after %s", what, time.Since(began).Round(time.Millisecond))
}
