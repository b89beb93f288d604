// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

func TestLeaseIsRenewedAsLongAsAHandlerRuns(t *testing.T) {
	bubble(t, Options{Lease: 10 * time.Second}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		var runs atomic.Int64
		handle := func(ctx context.Context, _ *Entry[string]) error {
			runs.Add(1)
			time.Sleep(time.Hour)
			return ctx.Err()
		}
		work(t, q, JobOptions{}, handle)
		work(t, openOn(t, e.NewJetStream(), Options{}), JobOptions{}, handle)
		enqueue(t, q, "v")
		time.Sleep(59 * time.Minute)
		requireStats(t, q, Stats{Running: 1})
		time.Sleep(2 * time.Minute)
		require.EqualValues(t, 1, runs.Load())
		requireStats(t, q, Stats{})
	})
}

// Cut off at any moment, the first handler must have been told before the
// second one starts.
func TestLeaseEndsHereBeforeAnotherWorkerGetsTheJob(t *testing.T) {
	for after := range 12 {
		natstest.Run(t, func(t *testing.T, e *natstest.Env) {
			near := openOn(t, e.JetStream(), Options{Lease: 10 * time.Second})
			link := e.Link()
			far := openOn(t, link.JetStream(), Options{})
			var told, second time.Time
			var cause error
			stopFar := work(t, far, JobOptions{}, func(ctx context.Context, _ *Entry[string]) error {
				<-ctx.Done()
				told, cause = time.Now(), context.Cause(ctx)
				return nil // too late to succeed
			})
			enqueue(t, near, "v")
			time.Sleep(time.Duration(after)*time.Second + 100*time.Millisecond)
			link.Cut()
			stopNear := work(t, near, JobOptions{}, func(_ context.Context, e *Entry[string]) error {
				second = time.Now()
				require.Equal(t, 1, e.Attempt(), "a lost lease costs no attempt")
				require.Equal(t, 1, e.Interruptions())
				return RetryAfter(time.Hour, errors.New("x"))
			})
			time.Sleep(30 * time.Second)
			link.Heal() // what was held arrives now, late
			time.Sleep(30 * time.Minute)
			stopFar()
			stopNear()
			require.ErrorIs(t, cause, ErrLeaseLost)
			require.False(t, second.IsZero())
			require.True(t, told.Before(second), "told at %s, second start at %s", told, second)
			requireStats(t, near, Stats{Later: 1})
		})
	}
}

func TestCrashCountsAsInterruptionAndTooManyMakeTheJobDead(t *testing.T) {
	bubble(t, Options{Lease: 10 * time.Second, MaxInterruptions: 3, MaxAttempts: 1}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v", ID("killer"))
		for i := range 3 {
			victim := openOn(t, e.NewJetStream(), Options{MaxInterruptions: 3})
			entry, err := victim.Dequeue(t.Context())
			require.NoError(t, err)
			require.Equal(t, i, entry.Interruptions())
			require.Equal(t, 1, entry.Attempt())
			victim.c.nc.Close() // and is never heard of again
			time.Sleep(time.Minute)
		}
		work(t, q, JobOptions{}, func(context.Context, *Entry[string]) error {
			t.Error("started again")
			return nil
		})
		time.Sleep(time.Minute)
		all := deadLetters(t, q)
		require.Len(t, all, 1)
		require.Equal(t, ReasonInterrupted, all[0].Reason)
		require.Equal(t, 3, all[0].Interruptions)
		require.Equal(t, "interrupted 3 times by the end of its worker", all[0].Error)
	})
}

// A poisonous job kills every worker that starts it, together with all that the
// worker has just then.
func TestJobThatKillsItsWorkersDoesNotTakeItsNeighboursWithIt(t *testing.T) {
	bubble(t, Options{Lease: 2 * time.Second}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		var done atomic.Int64
		for i := range 40 {
			enqueue(t, q, fmt.Sprint("innocent", i))
			if i == 20 {
				enqueue(t, q, "poison", ID("poison"))
			}
		}
		for range 12 { // more lives than the poison can take
			own := openOn(t, e.NewJetStream(), Options{})
			kill := make(chan struct{})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				// Ends with an error when the connection does.
				_ = NewJob(own, func(ctx context.Context, e *Entry[string]) error {
					if e.Value == "poison" {
						close(kill)
						<-ctx.Done()
						return ctx.Err()
					}
					time.Sleep(100 * time.Millisecond)
					if own.c.nc.IsConnected() {
						done.Add(1)
					}
					return nil
				}, JobOptions{Concurrency: 25, Grace: -1}).RunContinuous(ctx)
			}()
			select {
			case <-kill:
				own.c.nc.Close() // at once, with all it holds
			case <-ended:
			}
			cancel()
			<-ended
			time.Sleep(10 * time.Second)
		}
		all := deadLetters(t, q)
		require.Len(t, all, 1)
		require.Equal(t, "poison", all[0].ID)
		require.GreaterOrEqual(t, done.Load(), int64(40))
		requireStats(t, q, Stats{Dead: 1})
	})
}

func TestAttemptThatEndsInOrderForgetsInterruptions(t *testing.T) {
	bubble(t, Options{Lease: time.Second}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v")
		dequeue(t, q) // and drop it
		time.Sleep(2 * time.Second)
		e := dequeue(t, q)
		require.Equal(t, 1, e.Interruptions())
		require.NoError(t, e.Abandon(t.Context(), nil))
		e = dequeue(t, q)
		require.Equal(t, 1, e.Interruptions(), "handing back keeps the count")
		require.NoError(t, e.Abandon(t.Context(), Snooze(0)))
		e = dequeue(t, q)
		require.Zero(t, e.Interruptions())
		require.NoError(t, e.Complete(t.Context()))
	})
}

// The worker has moved the job, and only its ack is lost.
func TestMoveWithALostAckIsNotDoneTwice(t *testing.T) {
	for name, s := range map[string]settlement{
		"retry":    {verdict: retryJob, delay: time.Hour, err: errors.New("x")},
		"snooze":   {verdict: snoozeJob, delay: time.Hour},
		"bury":     {verdict: buryJob, err: errors.New("x")},
		"complete": {verdict: completeJob},
		"return":   {verdict: returnJob},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{Lease: 10 * time.Second, Retain: 24 * time.Hour}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
				enqueue(t, q, "v", ID("x"))
				d := dequeue(t, q).d
				_, err := q.c.settle(t.Context(), d, s, time.Now(), func(context.Context, *delivery) error { return nil })
				require.NoError(t, err)
				runs := 0
				stop := work(t, q, JobOptions{}, func(context.Context, *Entry[string]) error { runs++; return nil })
				time.Sleep(time.Minute)
				stop()
				if s.verdict == returnJob {
					require.Equal(t, 1, runs)
				} else {
					require.Zero(t, runs)
				}
				stats, err := q.Stats(t.Context())
				require.NoError(t, err)
				require.Equal(t, 1, stats.Later+stats.Dead+stats.Done, "it is in one place: %+v", stats)
				require.Zero(t, stats.Running+stats.Waiting)
			})
		})
	}
}

// Two workers believe that they have the job; only one of their moves counts.
func TestMoveIsFenced(t *testing.T) {
	bubble(t, Options{Lease: 10 * time.Second}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v", ID("x"))
		stale := dequeue(t, q)
		time.Sleep(11 * time.Second)
		holder := dequeue(t, q)
		for _, settle := range []func() error{
			func() error { return stale.Complete(t.Context()) },
			func() error { return stale.Abandon(t.Context(), errors.New("x")) },
			func() error { return stale.Reject(t.Context(), errors.New("x")) },
			func() error { return stale.Renew(t.Context()) },
		} {
			require.ErrorIs(t, settle(), ErrLeaseLost)
		}
		require.NoError(t, holder.Abandon(t.Context(), RetryAfter(time.Hour, errors.New("mine"))))

		// Even if its clock stood still, and after the server has forgotten the
		// message IDs of moves.
		time.Sleep(5 * time.Minute)
		stale.d.lease.confirmed = time.Now()
		require.NoError(t, stale.Reject(t.Context(), errors.New("x")), "moved already, so there is nothing to do")
		requireStats(t, q, Stats{Later: 1})
	})
}

func TestEntryIsSettledOnce(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v", ID("x"))
		e := dequeue(t, q)
		require.NoError(t, e.Complete(t.Context()))
		for _, again := range []error{
			e.Complete(t.Context()), e.Abandon(t.Context(), errors.New("x")), e.Reject(t.Context(), nil), e.Renew(t.Context()),
		} {
			require.ErrorIs(t, again, ErrSettled)
			var settled *SettledError
			require.ErrorAs(t, again, &settled)
			require.Equal(t, SettledError{ID: "x", How: "completed"}, *settled)
		}
		// By a handler, which then returns something else.
		work(t, q, JobOptions{}, func(ctx context.Context, e *Entry[string]) error {
			require.NoError(t, e.Complete(ctx))
			return errors.New("x")
		})
		enqueue(t, q, "w")
		time.Sleep(time.Hour)
		requireStats(t, q, Stats{})

		enqueue(t, q, "y", Delay(time.Second))
	})
}

// A handler may settle its own entry at any time, also while its lease is being
// renewed, and can do so after an outage.
func TestHandlerMaySettleItsEntry(t *testing.T) {
	bubble(t, Options{Lease: time.Second}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		var runs atomic.Int64
		work(t, q, JobOptions{Concurrency: 20}, func(ctx context.Context, entry *Entry[string]) error {
			n := runs.Add(1)
			time.Sleep(time.Duration(n) * 33 * time.Millisecond)
			if err := entry.Renew(ctx); err != nil {
				t.Error(err)
			}
			if err := entry.Complete(ctx); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Minute)
			return errors.New("ignored: it is settled")
		})
		for range 40 {
			enqueue(t, q, "v")
		}
		time.Sleep(time.Hour)
		require.EqualValues(t, 40, runs.Load())
		requireStats(t, q, Stats{})
	})
}

func TestRacingSettlementsSettleOnce(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		for range 20 {
			enqueue(t, q, "v")
			e := dequeue(t, q)
			var good atomic.Int64
			var group sync.WaitGroup
			for i := range 8 {
				group.Go(func() {
					err := e.Complete(t.Context())
					if i%2 == 1 {
						err = e.Reject(t.Context(), errors.New("x"))
					}
					if err == nil {
						good.Add(1)
					} else if !errors.Is(err, ErrSettled) {
						t.Error(err)
					}
				})
			}
			group.Wait()
			require.LessOrEqual(t, good.Load(), int64(1))
		}
	})
}

func TestRenewGivesAFullLease(t *testing.T) {
	bubble(t, Options{Lease: 10 * time.Second}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v")
		e := dequeue(t, q)
		for range 10 {
			time.Sleep(8 * time.Second)
			require.NoError(t, e.Renew(t.Context()))
		}
		requireEmpty(t, q)
		require.NoError(t, e.Complete(t.Context()))
		requireStats(t, q, Stats{})
	})
}

// Acks that were in the socket when it broke are sent again, within the lease.
func TestAcksLostInAReconnectAreSentAgain(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		near := openOn(t, e.JetStream(), Options{Lease: 30 * time.Second})
		link := e.Link()
		far := openOn(t, link.JetStream(), Options{})
		var runs atomic.Int64
		gate := make(chan struct{})
		work(t, far, JobOptions{Concurrency: 50}, func(context.Context, *Entry[string]) error {
			runs.Add(1)
			<-gate
			return nil
		})
		_, err := near.EnqueueMany(t.Context(), Items(make([]string, 50)))
		require.NoError(t, err)
		time.Sleep(time.Second)
		link.Cut() // the client does not know yet: its acks go nowhere
		close(gate)
		time.Sleep(time.Second)
		link.Break()
		time.Sleep(time.Second)
		requireStats(t, near, Stats{Running: 50})
		link.Heal()
		time.Sleep(10 * time.Second)
		requireStats(t, near, Stats{})
		time.Sleep(time.Hour)
		require.EqualValues(t, 50, runs.Load())
	})
}

func TestWorkersResumeAfterAnOutage(t *testing.T) {
	for name, outage := range map[string]func(e *natstest.Env, l *natstest.Link){
		"server restart": func(e *natstest.Env, _ *natstest.Link) { e.Restart(20 * time.Minute) },
		"broken link":    func(_ *natstest.Env, l *natstest.Link) { l.Break(); time.Sleep(20 * time.Minute); l.Heal() },
		"silent link":    func(_ *natstest.Env, l *natstest.Link) { l.Cut(); time.Sleep(20 * time.Minute); l.Heal() },
	} {
		t.Run(name, func(t *testing.T) {
			natstest.Run(t, func(t *testing.T, e *natstest.Env) {
				near := openOn(t, e.JetStream(), Options{})
				link := e.Link()
				far := openOn(t, link.JetStream(nats.PingInterval(10*time.Second), nats.MaxPingsOutstanding(2)), Options{})
				var done atomic.Int64
				work(t, far, JobOptions{Concurrency: 4}, func(context.Context, *Entry[string]) error {
					done.Add(1)
					return nil
				})
				enqueue(t, near, "before")
				time.Sleep(time.Second)
				outage(e, link)
				for i := range 100 {
					enqueue(t, near, fmt.Sprint(i))
				}
				time.Sleep(time.Minute)
				require.EqualValues(t, 101, done.Load())
				requireStats(t, near, Stats{})
			})
		})
	}
}

func TestWorkerEndsWhenItCannotGoOn(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		handle := func(context.Context, *Entry[string]) error { return nil }
		ended := make(chan error, 1)
		go func() { ended <- NewJob(q, handle, JobOptions{}).RunContinuous(t.Context()) }()
		time.Sleep(time.Second)
		require.NoError(t, q.Delete(t.Context()))
		require.ErrorContains(t, <-ended, `queue "q": work: the queue was deleted on the server`)

		q = openOn(t, e.NewJetStream(), Options{})
		go func() { ended <- NewJob(q, handle, JobOptions{}).RunContinuous(t.Context()) }()
		time.Sleep(time.Second)
		q.c.nc.Close()
		require.ErrorIs(t, <-ended, nats.ErrConnectionClosed)
	})
}
