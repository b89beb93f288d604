// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

// A job is on its way to the far worker when the network fails. However late it
// arrives, its lease counts from the pull that it answers, so the far worker does
// not hold it together with the near one, which gets it when that lease is over.
func TestLateArrivalIsNotRunBesideAnotherWorker(t *testing.T) {
	for _, outage := range []time.Duration{8 * time.Second, 12 * time.Second, 16 * time.Second} {
		t.Run(outage.String(), func(t *testing.T) {
			natstest.Run(t, func(t *testing.T, e *natstest.Env) {
				near := openOn(t, e.JetStream(), Options{Lease: 10 * time.Second})
				link := e.Link()
				far := openOn(t, link.JetStream(), Options{})
				var running, finished atomic.Int64
				handle := func(ctx context.Context, _ *Entry[string]) error {
					if running.Add(1) > 1 {
						t.Error("both run it at once")
					}
					defer running.Add(-1)
					select {
					case <-ctx.Done():
						return ctx.Err()
					case <-time.After(30 * time.Second):
						finished.Add(1)
						return nil
					}
				}
				stopFar := work(t, far, JobOptions{}, handle)
				time.Sleep(100 * time.Millisecond)
				link.Cut()
				enqueue(t, near, "v") // given to far; on its way
				time.Sleep(50 * time.Millisecond)
				stopNear := work(t, near, JobOptions{}, handle)
				time.Sleep(outage)
				link.Heal()
				time.Sleep(5 * time.Minute)
				stopFar()
				stopNear()
				require.EqualValues(t, 1, finished.Load())
				requireStats(t, near, Stats{})
			})
		})
	}
}

// A renewal that a short outage swallows is repeated in time, also when the lease
// is a short one.
func TestShortLeaseSurvivesAShortOutage(t *testing.T) {
	for i := range 10 {
		natstest.Run(t, func(t *testing.T, e *natstest.Env) {
			link := e.Link()
			q := openOn(t, link.JetStream(), Options{Lease: 3 * time.Second})
			enqueue(t, q, "v")
			began := time.Duration(i) * 100 * time.Millisecond // within the time between renewals
			stop := work(t, q, JobOptions{Grace: -1}, func(ctx context.Context, _ *Entry[string]) error {
				select {
				case <-ctx.Done():
					t.Errorf("outage at 5s + %s: %v", began, context.Cause(ctx))
				case <-time.After(20 * time.Second):
				}
				return nil
			})
			time.Sleep(5*time.Second + began)
			link.Cut()
			time.Sleep(50 * time.Millisecond)
			link.Break()
			time.Sleep(50 * time.Millisecond)
			link.Heal()
			time.Sleep(30 * time.Second)
			stop()
			requireStats(t, q, Stats{})
		})
	}
}

// A stalling connection blocks its writers as a full socket buffer does. Then
// nats.go holds its mutex, and so does everyone who calls it.
type stalling struct {
	net.Conn
	server *stallingServer
}

func (s *stalling) Write(b []byte) (int, error) {
	if s.server.stalled.Load() {
		s.server.full()
		<-s.server.release
	}
	return s.Conn.Write(b)
}

type stallingServer struct {
	to      *natstest.Env
	stalled atomic.Bool
	full    func()        // the first write waits
	release chan struct{} // closed to let them go on
}

func (s *stallingServer) InProcessConn() (net.Conn, error) {
	c, err := s.to.InProcessConn()
	if err != nil {
		return nil, err
	}
	return &stalling{c, s}, nil
}

// The handler learns that its lease is over before another worker has the job,
// although every call on the connection blocks. The time is real, because in a
// bubble none passes while somebody waits for a mutex.
func TestLeaseEndsWhileASocketIsStalled(t *testing.T) {
	e := natstest.Start(t)
	full := make(chan struct{})
	s := &stallingServer{to: e, full: sync.OnceFunc(func() { close(full) }), release: make(chan struct{})}
	nc, err := nats.Connect("", nats.InProcessServer(s), nats.MaxReconnects(-1))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	near := openOn(t, e.JetStream(), Options{Lease: 2 * time.Second})
	far := openOn(t, js, Options{})
	started, told := make(chan struct{}), make(chan time.Time, 1)
	stop := work(t, far, JobOptions{Grace: time.Millisecond}, func(ctx context.Context, _ *Entry[string]) error {
		close(started)
		<-ctx.Done()
		told <- time.Now()
		return nil
	})
	enqueue(t, near, "v")
	<-started
	var group sync.WaitGroup
	release := sync.OnceFunc(func() { s.stalled.Store(false); close(s.release); group.Wait() })
	defer release()
	s.stalled.Store(true)
	group.Go(func() { nc.Publish("x", make([]byte, 100_000)) })
	<-full
	entry := dequeue(t, near) // as soon as the lease is over
	second := time.Now()
	require.Equal(t, 1, entry.Interruptions())
	select {
	case at := <-told:
		require.True(t, at.Before(second), "told %s after the second worker got the job", at.Sub(second))
	case <-time.After(3 * time.Second):
		require.Fail(t, "the first handler was not told 3 s after the second worker got the job")
	}
	require.NoError(t, entry.Complete(t.Context()))
	release()
	stop()
}

// A worker has hundreds of jobs to hand back and nobody to hand them to. It ends
// when its grace and the few seconds for the last words are over; the leases of
// what it held end by themselves.
func TestShutdownOverADeadConnectionDoesNotWaitForTheLeases(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		near := openOn(t, e.JetStream(), Options{Lease: 10 * time.Minute})
		link := e.Link()
		far := openOn(t, link.JetStream(), Options{})
		slow := make(chan bool, 1)
		stop := work(t, far, JobOptions{Grace: time.Second}, func(ctx context.Context, e *Entry[string]) error {
			if e.Value == "slow" {
				link.Cut()
				slow <- true
				<-ctx.Done()
				return ctx.Err()
			}
			time.Sleep(time.Millisecond)
			return nil
		})
		values := make([]string, 900)
		values[400] = "slow"
		_, err := near.EnqueueMany(t.Context(), Items(values))
		require.NoError(t, err)
		<-slow
		time.Sleep(10 * time.Second)
		began := time.Now()
		stop()
		require.Less(t, time.Since(began), 20*time.Second)
		link.Heal()
	})
}

// The connection is closed just when an ack has been sent and not confirmed yet.
func TestWorkerOnAClosedConnectionEndsAtOnce(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		q := openOn(t, e.JetStream(), Options{})
		ended := make(chan error, 1)
		go func() {
			ended <- NewJob(q, func(context.Context, *Entry[string]) error { return nil }, JobOptions{}).RunContinuous(t.Context())
		}()
		enqueue(t, q, "v")
		time.Sleep(20 * time.Millisecond) // less than the acker's flushEvery
		q.c.nc.Close()
		began := time.Now()
		require.ErrorIs(t, <-ended, nats.ErrConnectionClosed)
		require.Less(t, time.Since(began), time.Second)
	})
}

// No pull is open while all slots are busy, so the server tells nobody that the
// queue is gone. The worker finds it out when it asks for more.
func TestBusyWorkerEndsWhenTheQueueIsDeleted(t *testing.T) {
	for _, retain := range []time.Duration{0, time.Hour} { // with one there is a record to be stored, and nowhere to store it
		t.Run(retain.String(), func(t *testing.T) {
			bubble(t, Options{Retain: retain}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				ended := make(chan error, 1)
				started := make(chan bool)
				go func() {
					ended <- NewJob(q, func(context.Context, *Entry[string]) error {
						started <- true
						time.Sleep(10 * time.Second)
						return nil
					}, JobOptions{}).RunContinuous(ctx)
				}()
				enqueue(t, q, "v")
				<-started
				began := time.Now()
				time.Sleep(time.Second)
				require.NoError(t, q.Delete(t.Context()))
				require.ErrorIs(t, <-ended, errConsumerDeleted)
				require.Less(t, time.Since(began), 15*time.Second, "the handler took 10 s")
			})
		})
	}
}

// The answer to a retry's move is lost, and before the move is sent again another
// worker has done the job. The repetition finds it gone and stores nothing.
func TestRepeatedMoveDoesNotBringBackADoneJob(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		near := openOn(t, e.JetStream(), Options{})
		link := e.Link()
		far := openOn(t, link.JetStream(), Options{})
		enqueue(t, near, "v", ID("x"))
		entry := dequeue(t, far)
		link.CutReplies()
		var completed atomic.Int64
		work(t, near, JobOptions{}, func(context.Context, *Entry[string]) error { completed.Add(1); return nil })
		time.AfterFunc(3*time.Second, link.Heal)
		require.NoError(t, entry.Abandon(t.Context(), RetryAfter(0, errors.New("x"))))
		time.Sleep(time.Hour)
		require.EqualValues(t, 1, completed.Load())
		requireStats(t, near, Stats{})
	})
}

// The server does not fence acks (2.15.2): one that is late acknowledges the job
// for whoever holds it. So an ack that waits behind a flush is dropped when its
// lease ends meanwhile.
func TestAckIsNotSentAfterItsLease(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		near := openOn(t, e.JetStream(), Options{Lease: time.Second})
		link := e.Link()
		far := openOn(t, link.JetStream(), Options{})
		a := newAcker(far.c)
		enqueue(t, near, "v")
		d := dequeue(t, far).d
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { a.run(ctx) })
		link.CutReplies()
		require.NoError(t, a.ack(t.Context(), &delivery{reply: "x", lease: lease{confirmed: time.Now()}}))
		time.Sleep(100 * time.Millisecond) // its flush waits for an answer
		require.NoError(t, a.ack(t.Context(), d))
		time.Sleep(1100 * time.Millisecond) // the lease of d is over
		holder := dequeue(t, near)
		require.Equal(t, 1, holder.Interruptions())
		require.NoError(t, holder.Renew(t.Context()))
		time.Sleep(850 * time.Millisecond)
		require.NoError(t, holder.Renew(t.Context()))
		time.Sleep(300 * time.Millisecond) // the flush has ended
		requireStats(t, near, Stats{Running: 1})
		cancel()
		link.Heal()
		group.Wait()
	})
}

// A worker holds hundreds of jobs in advance, and one of them ends its process
// again and again. That one dies, and none of those beside it, started or not.
func TestPoisonDoesNotBuryWhatItsWorkersHeldInAdvance(t *testing.T) {
	bubble(t, Options{Lease: 10 * time.Second, MaxInterruptions: 3}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		values := make([]string, 3000)
		values[1000] = "poison"
		_, err := q.EnqueueMany(t.Context(), Items(values))
		require.NoError(t, err)
		for range 8 {
			victim := openOn(t, e.NewJetStream(), Options{MaxInterruptions: 3})
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				// Ends with an error when the connection does.
				_ = NewJob(victim, func(ctx context.Context, e *Entry[string]) error {
					if e.Value == "poison" {
						victim.c.nc.Close() // the process dies
						<-ctx.Done()
					}
					time.Sleep(100 * time.Microsecond)
					return nil
				}, JobOptions{Concurrency: 4, Grace: -1}).RunContinuous(ctx)
			}()
			time.Sleep(time.Minute)
			cancel()
			time.Sleep(time.Minute)
		}
		all := deadLetters(t, q)
		require.Len(t, all, 1)
		require.Equal(t, "poison", all[0].Value)
		require.Equal(t, ReasonInterrupted, all[0].Reason)
		requireStats(t, q, Stats{Dead: 1})
	})
}
