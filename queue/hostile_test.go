// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

// Dequeue never calls checkTaken: expired, moved, poison and newer-version
// jobs are handed to manual users.
func TestDequeueHandsOutExpiredJobs(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v", Expires(time.Now().Add(time.Minute)))
		time.Sleep(time.Hour)
		_, err := q.Dequeue(ended())
		require.ErrorIs(t, err, ErrEmpty)
		requireStats(t, q, Stats{Dead: 1})
	})
}

func TestDequeueHandsOutMovedJobs(t *testing.T) {
	bubble(t, Options{Lease: 10 * time.Second}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v", ID("x"), Retain(time.Hour))
		d := dequeue(t, q).d
		_, err := q.c.settle(t.Context(), d, settlement{verdict: completeJob}, func(context.Context, *delivery) error { return nil })
		require.NoError(t, err) // done is stored; the process dies before the ack
		time.Sleep(time.Minute)
		e, err := q.Dequeue(ended())
		if err == nil {
			t.Fatalf("the completed job was handed out again, attempt %d, interruptions %d", e.Attempt(), e.Interruptions())
		}
	})
}

func TestDequeueNeverBuriesPoison(t *testing.T) {
	bubble(t, Options{Lease: 10 * time.Second, MaxInterruptions: 2}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v", ID("x"))
		for range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			q.Dequeue(ctx) // and crash
			cancel()
			time.Sleep(time.Minute)
		}
		requireStats(t, q, Stats{Dead: 1})
	})
}

// What the server sent before an outage is counted from a pull that was
// asked for long after it, so a worker believes in a lease that has ended.
func TestLeaseOfALateArrival(t *testing.T) {
	for _, outage := range []time.Duration{8 * time.Second, 12 * time.Second, 16 * time.Second} {
		t.Run(outage.String(), func(t *testing.T) {
			natstest.Run(t, func(t *testing.T, e *natstest.Env) {
				near := openOn(t, e.JetStream(), Options{Lease: 10 * time.Second})
				link := e.Link()
				far := openOn(t, link.JetStream(), Options{})
				var farStart, farEnd, nearStart, nearEnd time.Time
				var cause error
				work(t, far, JobOptions{}, func(ctx context.Context, _ *Entry[string]) error {
					farStart = time.Now()
					select {
					case <-ctx.Done():
						cause = context.Cause(ctx)
					case <-time.After(30 * time.Second):
					}
					farEnd = time.Now()
					return nil
				})
				time.Sleep(100 * time.Millisecond)
				link.Cut()
				enqueue(t, near, "v") // given to far; on its way
				time.Sleep(50 * time.Millisecond)
				stop := work(t, near, JobOptions{}, func(ctx context.Context, e *Entry[string]) error {
					nearStart = time.Now()
					time.Sleep(30 * time.Second)
					nearEnd = time.Now()
					return nil
				})
				time.Sleep(outage)
				link.Heal()
				time.Sleep(5 * time.Minute)
				stop()
				t.Logf("far %s to %s (%v), near %s to %s", farStart, farEnd, cause, nearStart, nearEnd)
				if !farStart.IsZero() && !nearStart.IsZero() && farStart.Before(nearEnd) && nearStart.Before(farEnd) {
					t.Errorf("both ran at once for %s, and the first was not told: %v", minTime(farEnd, nearEnd).Sub(maxTime(farStart, nearStart)), cause)
				}
			})
		})
	}
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// A queue deleted while no pull is open is never noticed.
func TestWorkerHangsWhenTheQueueIsDeletedWhileBusy(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		ctx, cancel := context.WithCancel(t.Context())
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
		time.Sleep(time.Second)
		require.NoError(t, q.Delete(t.Context()))
		select {
		case err := <-ended:
			require.Error(t, err)
		case <-time.After(time.Hour):
			t.Error("still running an hour after the queue was deleted")
			cancel()
			<-ended
		}
	})
}

func TestDequeueOfADeletedQueue(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		require.NoError(t, q.Delete(t.Context()))
		_, err := q.Dequeue(ended())
		require.NotErrorIs(t, err, ErrEmpty, "the queue is gone, not empty")
	})
}

// Handing back blocks watch: with a dead connection a shutdown takes the
// rest of the lease instead of Grace + 5 s.
func TestShutdownWhileHandingBackOverADeadConnection(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		near := openOn(t, e.JetStream(), Options{Lease: 10 * time.Minute})
		link := e.Link()
		far := openOn(t, link.JetStream(), Options{})
		slow := make(chan bool, 1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() {
			done <- NewJob(far, func(ctx context.Context, e *Entry[string]) error {
				if e.Value == "slow" {
					slow <- true
					link.Cut()
					<-ctx.Done()
					return ctx.Err()
				}
				time.Sleep(time.Millisecond)
				return nil
			}, JobOptions{Grace: time.Second}).RunContinuous(ctx)
		}()
		values := make([]string, 900)
		values[400] = "slow"
		_, err := near.EnqueueMany(t.Context(), Items(values))
		require.NoError(t, err)
		<-slow
		time.Sleep(10 * time.Second)
		began := time.Now()
		cancel()
		<-done
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("shutdown took %s with a grace of 1s", took)
		}
		link.Heal()
	})
}

// A job that a handler finished is thrown away when Run's context ended
// more than five seconds before; and likewise a retained one in a worker.
func TestFinishedWorkIsThrownAwayAfterRunsContextEnded(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v")
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		r := NewJob(q, func(context.Context, *Entry[string]) error {
			time.Sleep(10 * time.Second) // can't be interrupted
			return nil
		}, JobOptions{}).Run(ctx)
		t.Log(r)
		requireStats(t, q, Stats{})
	})
}

func TestFinishedRetainedWorkIsThrownAwayAfterGrace(t *testing.T) {
	bubble(t, Options{Retain: time.Hour}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v")
		stop := work(t, q, JobOptions{Grace: time.Second}, func(context.Context, *Entry[string]) error {
			time.Sleep(20 * time.Second)
			return nil
		})
		time.Sleep(time.Second)
		stop()
		requireStats(t, q, Stats{Done: 1})
	})
}

// Races of Renew and Complete.
func TestCompleteDuringRenewIsNotSettled(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		link := e.Link()
		q := openOn(t, link.JetStream(), Options{Lease: 30 * time.Second})
		enqueue(t, q, "v")
		entry := dequeue(t, q)
		link.Cut()
		var group sync.WaitGroup
		group.Go(func() { entry.Renew(t.Context()) })
		time.Sleep(time.Second)
		time.AfterFunc(time.Second, link.Heal)
		err := entry.Complete(t.Context())
		group.Wait()
		require.NoError(t, err, "nobody has settled it")
	})
}

func TestCompleteInAHandlerRacesTheKeeper(t *testing.T) { // go test -race
	bubble(t, Options{Lease: time.Second}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		for range 20 {
			enqueue(t, q, "v")
		}
		work(t, q, JobOptions{Concurrency: 20}, func(ctx context.Context, e *Entry[string]) error {
			time.Sleep(5 * time.Second)
			return e.Complete(ctx)
		})
		time.Sleep(time.Minute)
		requireStats(t, q, Stats{})
	})
}

func TestRenewInAHandlerAfterTheLeaseIsLost(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		link := e.Link()
		q := openOn(t, link.JetStream(), Options{Lease: 10 * time.Second})
		got := make(chan error, 1)
		enqueue(t, q, "v")
		work(t, q, JobOptions{}, func(ctx context.Context, e *Entry[string]) error {
			<-ctx.Done()
			time.Sleep(5 * time.Second)
			select {
			case got <- e.Renew(context.Background()):
			default:
			}
			return nil
		})
		time.Sleep(time.Second)
		link.Cut()
		require.ErrorIs(t, <-got, ErrLeaseLost)
		link.Heal()
	})
}

// User code outside the guard ends the process.
type typedNil struct{ text string }

func (e *typedNil) Error() string { return e.text }

func TestPanicInBackoffEndsTheProcess(t *testing.T) {
	bubble(t, Options{Backoff: func(int) time.Duration { panic("boom") }}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v")
		work(t, q, JobOptions{}, func(context.Context, *Entry[string]) error { return errors.New("x") })
		time.Sleep(time.Minute)
	})
}

func TestTypedNilErrorEndsTheProcess(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v")
		work(t, q, JobOptions{}, func(context.Context, *Entry[string]) error { var e *typedNil; return e })
		time.Sleep(time.Minute)
	})
}

// The buffer's slice grows for ever while it is never empty.
func TestLaneLeaks(t *testing.T) {
	l := &lane{}
	l.push(&delivery{})
	for range 1_000_000 {
		l.push(&delivery{})
		l.pop()
	}
	require.Less(t, cap(l.queue), 1000)
}

// Limits.
func TestRetainForEver(t *testing.T) {
	for _, d := range []time.Duration{100 * 365 * 24 * time.Hour, 250 * 365 * 24 * time.Hour, 1<<63 - 1} {
		t.Run(d.String(), func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
				if _, err := q.Enqueue(t.Context(), "v", Retain(d)); err != nil {
					return // refusing is fine
				}
				var runs atomic.Int64
				work(t, q, JobOptions{}, func(context.Context, *Entry[string]) error { runs.Add(1); return nil })
				time.Sleep(time.Hour)
				require.EqualValues(t, 1, runs.Load())
				requireStats(t, q, Stats{Done: 1})
			})
		})
	}
}

func TestExpiresInAFarFuture(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		if _, err := q.Enqueue(t.Context(), "v", Expires(time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC))); err != nil {
			return
		}
		var runs atomic.Int64
		work(t, q, JobOptions{}, func(context.Context, *Entry[string]) error { runs.Add(1); return nil })
		time.Sleep(time.Minute)
		for _, l := range deadLetters(t, q) {
			t.Log(l.Reason, l.Error)
		}
		require.EqualValues(t, 1, runs.Load())
	})
}

func TestAtInAFarPast(t *testing.T) {
	for _, at := range []time.Time{time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(1, 1, 1, 0, 0, 0, 0, time.FixedZone("x", 3600)), time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC)} {
		t.Run(at.String(), func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
				_, err := q.Enqueue(t.Context(), "v", At(at))
				require.NoError(t, err)
				time.Sleep(time.Minute)
				requireStats(t, q, Stats{Waiting: 1})
			})
		})
	}
}

func TestHeaderLimit(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		_, err := q.Enqueue(t.Context(), "v", Property("k", strings.Repeat("x", 60_000)), MaxAttempts(1))
		if err != nil {
			t.Skip("refused", err)
		}
		var runs atomic.Int64
		work(t, q, JobOptions{}, func(context.Context, *Entry[string]) error {
			runs.Add(1)
			return errors.New(strings.Repeat("\x01", 2000))
		})
		time.Sleep(time.Hour)
		require.EqualValues(t, 1, runs.Load())
		requireStats(t, q, Stats{Dead: 1})
	})
}

// EnqueueMany.
func TestEnqueueManyChecksEverythingFirst(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		items := Items(make([]string, 1500))
		items[1200].Options = []EnqueueOption{ID("x")}
		items[1205].Options = []EnqueueOption{ID("x"), Replace()}
		_, err := q.EnqueueMany(t.Context(), items)
		require.Error(t, err)
		t.Log(err)
		requireStats(t, q, Stats{})
		require.ErrorContains(t, err, "item 1205")
	})
}

func TestEnqueueManyDuplicateOfWhatWasNotStored(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		link := e.Link()
		q := openOn(t, link.JetStream(), Options{Timeout: 5 * time.Second})
		link.Break()
		receipts, err := q.EnqueueMany(t.Context(), []Item[string]{
			{"a", []EnqueueOption{ID("x")}}, {"b", []EnqueueOption{ID("x")}},
		})
		require.Error(t, err)
		require.Equal(t, Receipt{}, receipts[1], "nothing of this ID is stored")
	})
}

// Options.
func TestEvenReplicas(t *testing.T) {
	require.Error(t, Options{Replicas: 2}.check())
	require.Error(t, Options{Replicas: 4}.check())
}

// The command that Open suggests replaces all metadata (natscli: cfg.Metadata = c.metadata).
func TestSetMaxRunningKeepsAPause(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		require.NoError(t, q.Pause(t.Context(), time.Time{}, "r"))
		require.NoError(t, q.SetMaxRunning(t.Context(), 5))
		s, err := q.Stats(t.Context())
		require.NoError(t, err)
		require.True(t, s.Paused)
		require.NoError(t, q.SetMaxRunning(t.Context(), 0))
		require.NoError(t, q.Pause(t.Context(), time.Now().Add(time.Hour), "r"))
		s, err = q.Stats(t.Context())
		require.NoError(t, err)
		require.True(t, s.Paused)
	})
}

// Order and hand-backs of a single worker without retries.
// A list cut short by a lost connection ends as if it were complete.
func TestListOverADeadConnection(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		near := openOn(t, e.JetStream(), Options{})
		for range 3 {
			enqueue(t, near, "v")
			require.NoError(t, dequeue(t, near).Reject(t.Context(), errors.New("x")))
		}
		link := e.Link()
		far := openOn(t, link.JetStream(), Options{})
		link.Cut()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		n := 0
		var got error
		for _, err := range far.DeadLetters().All(t.Context()) {
			if got = err; err == nil {
				n++
			}
		}
		if n < 3 && got == nil {
			t.Errorf("All yielded %d of 3 and no error", n)
		}
		_ = ctx
		link.Heal()
	})
}

// A job of a newer version that was delayed for longer than a day is dead
// at once.
func TestDelayedJobOfANewerVersion(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		m := nats.NewMsg(q.c.names.subject(ready, 0, "x"))
		m.Header.Set(headerVersion, "2")
		m.Header.Set(headerEnqueued, time.Now().Add(-48*time.Hour).UTC().Format(time.RFC3339Nano))
		m.Header.Set(headerDue, time.Now().UTC().Format(time.RFC3339Nano))
		m.Data = []byte(`"v"`)
		require.NoError(t, q.c.publish(t.Context(), m))
		work(t, q, JobOptions{}, func(context.Context, *Entry[string]) error { return nil })
		time.Sleep(30 * time.Second)
		requireStats(t, q, Stats{Later: 1})
	})
}

// A snoozed job was started.
func TestSnoozedJobIsNotExpired(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v", Expires(time.Now().Add(time.Minute)))
		var runs atomic.Int64
		work(t, q, JobOptions{}, func(context.Context, *Entry[string]) error {
			if runs.Add(1) == 1 {
				return Snooze(2 * time.Minute)
			}
			return nil
		})
		time.Sleep(time.Hour)
		for _, l := range deadLetters(t, q) {
			t.Log(l.Reason, l.Error)
		}
		require.EqualValues(t, 2, runs.Load())
	})
}

// Requeue: a crash in the middle, then the job is done: the dead letter
// that remains runs it again.
// ABA: the answer to a move is lost, and the job is done elsewhere before
// the move is tried again: it is stored a second time.
func TestMoveRepeatedAfterTheJobIsDone(t *testing.T) {
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
		require.EqualValues(t, 1, completed.Load(), "completed once, though the move was sent twice")
	})
}

// A stalled socket holds nats.go's mutex, and with it the keeper.
type stalling struct {
	net.Conn
	stalled *atomic.Bool
	release chan struct{}
}

func (s *stalling) Write(b []byte) (int, error) {
	if s.stalled.Load() {
		<-s.release // as a full socket buffer does
	}
	return s.Conn.Write(b)
}

type stallingServer struct {
	to      *natstest.Env
	stalled atomic.Bool
	release chan struct{}
}

func (s *stallingServer) InProcessConn() (net.Conn, error) {
	c, err := s.to.InProcessConn()
	if err != nil {
		return nil, err
	}
	return &stalling{c, &s.stalled, s.release}, nil
}

func TestLeaseEndsWhileASocketIsStalled(t *testing.T) { // real time
	e := natstest.Start(t)
	s := &stallingServer{to: e, release: make(chan struct{})}
	nc, err := nats.Connect("", nats.InProcessServer(s), nats.MaxReconnects(-1))
	require.NoError(t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	near := openOn(t, e.JetStream(), Options{Lease: 2 * time.Second})
	far := openOn(t, js, Options{})
	started, told := make(chan bool, 1), make(chan time.Time, 1)
	stop := work(t, far, JobOptions{Grace: time.Millisecond}, func(ctx context.Context, _ *Entry[string]) error {
		started <- true
		<-ctx.Done()
		told <- time.Now()
		return nil
	})
	enqueue(t, near, "v")
	<-started
	s.stalled.Store(true)
	go nc.Publish("x", make([]byte, 100_000))
	time.Sleep(100 * time.Millisecond)
	entry := dequeue(t, near) // real time: up to 2 s
	second := time.Now()
	require.Equal(t, 1, entry.Interruptions())
	select {
	case at := <-told:
		require.True(t, at.Before(second))
	case <-time.After(3 * time.Second):
		t.Error("the first handler was not told 3 s after the second worker got the job")
	}
	s.stalled.Store(false)
	close(s.release)
	stop()
}

// Complete goes on sending acks after the lease has ended.
func TestCompleteAfterTheLease(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		near := openOn(t, e.JetStream(), Options{Lease: 10 * time.Second})
		link := e.Link()
		far := openOn(t, link.JetStream(), Options{})
		enqueue(t, near, "v", ID("x"))
		entry := dequeue(t, far)
		link.Break()
		time.AfterFunc(20*time.Second, link.Heal)
		result := make(chan error, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		go func() { result <- entry.Complete(ctx) }()
		time.Sleep(11 * time.Second)
		holder := dequeue(t, near)
		require.Equal(t, 1, holder.Interruptions())
		require.ErrorIs(t, <-result, ErrLeaseLost)
		requireStats(t, near, Stats{Running: 1})
	})
}

// A draining worker ends although it has just handed jobs back.
// RunUntilEmpty against MaxRunning and Pause.
// A poison job takes jobs with it that were never started.
func TestPoisonBuriesOnlyItself(t *testing.T) {
	bubble(t, Options{Lease: 10 * time.Second, MaxInterruptions: 3}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		const n = 3000
		values := make([]string, n)
		values[1000] = "poison"
		_, err := q.EnqueueMany(t.Context(), Items(values))
		require.NoError(t, err)
		var started sync.Map
		for range 8 {
			victim := openOn(t, e.NewJetStream(), Options{MaxInterruptions: 3})
			ctx, cancel := context.WithCancel(t.Context())
			go NewJob(victim, func(ctx context.Context, e *Entry[string]) error {
				started.Store(e.ID(), true)
				if e.Value == "poison" {
					victim.c.nc.Close() // the process dies
					<-ctx.Done()
				}
				time.Sleep(100 * time.Microsecond)
				return nil
			}, JobOptions{Concurrency: 4, Grace: -1}).RunContinuous(ctx)
			time.Sleep(time.Minute)
			cancel()
			time.Sleep(time.Minute)
		}
		innocent, never := 0, 0
		for _, l := range deadLetters(t, q) {
			if l.Value != "poison" {
				innocent++
				if _, ok := started.Load(l.ID); !ok {
					never++
				}
			}
		}
		s, _ := q.Stats(t.Context())
		t.Logf("%+v", s)
		require.Zero(t, innocent, "%d of them never started", never)
	})
}

// Replace with another priority.
func TestReplaceWithAnotherPriority(t *testing.T) {
	bubble(t, Options{Priorities: 2}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "a", ID("x"), Delay(time.Hour), Priority(1))
		r := enqueue(t, q, "b", ID("x"), Delay(2*time.Hour), Replace())
		require.True(t, r.Replaced)
		requireStats(t, q, Stats{Later: 1})
		r = enqueue(t, q, "c", ID("x"), Replace(), Priority(1))
		require.True(t, r.Replaced)
		requireStats(t, q, Stats{Waiting: 1})
	})
}

func TestOddStrings(t *testing.T) {
	bubble(t, Options{Retain: time.Hour}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		for i, id := range []string{"a\x00b", " ", "\u2028", "<&>", "%41", "$JS", "ü\u0085x", "{{wildcard(1)}}", strings.Repeat("é ", 85), "a\tb"} {
			enqueue(t, q, "v", ID(id), CorrelationID("c\x00\x7f\u0085d"), Property("k\r\n", "\r\nNats-Rollup: all\x00"))
			e := dequeue(t, q)
			require.Equal(t, id, e.ID())
			require.Equal(t, "c\x00\x7f\u0085d", e.CorrelationID(), i)
			require.Equal(t, "\r\nNats-Rollup: all\x00", e.Property("k\r\n"))
			require.NoError(t, e.Abandon(t.Context(), RetryAfter(0, errors.New("\r\n\x00"))))
			e = dequeue(t, q)
			require.Equal(t, id, e.ID())
			require.Equal(t, "\r\n\x00", e.LastError())
			require.NoError(t, e.Reject(t.Context(), errors.New("\r\n\xff")))
			l, err := q.DeadLetters().Get(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, "c\x00\x7f\u0085d", l.CorrelationID)
			require.NoError(t, q.DeadLetters().Delete(t.Context(), id))
		}
	})
}

// Dequeue on a dead connection.
func TestDequeueEndsWithItsContext(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		link := e.Link()
		q := openOn(t, link.JetStream(), Options{})
		link.Break()
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := q.Dequeue(ctx)
		require.Error(t, err)
		require.Less(t, time.Since(began), 2*time.Second)
	})
}

// A renewal lost in a short outage is waited for longer than a short lease.
func TestShortLeaseSurvivesAShortOutage(t *testing.T) {
	lost := 0
	for i := range 10 {
		natstest.Run(t, func(t *testing.T, e *natstest.Env) {
			link := e.Link()
			q := openOn(t, link.JetStream(), Options{Lease: 3 * time.Second})
			enqueue(t, q, "v")
			var cause error
			stop := work(t, q, JobOptions{Grace: -1}, func(ctx context.Context, e *Entry[string]) error {
				select {
				case <-ctx.Done():
					cause = context.Cause(ctx)
				case <-time.After(20 * time.Second):
				}
				return nil
			})
			time.Sleep(5*time.Second + time.Duration(i)*100*time.Millisecond)
			link.Cut()
			time.Sleep(50 * time.Millisecond)
			link.Break()
			time.Sleep(50 * time.Millisecond)
			link.Heal()
			time.Sleep(30 * time.Second)
			stop()
			if cause != nil {
				lost++
			}
		})
	}
	require.Zero(t, lost, "of 10 handlers lost their lease of 3 s by an outage of 0.1 s")
}

// Priorities: one worker, one slot.
// The lease that Dequeue gives is shorter than said by the age of its pull.
func TestDequeueGivesALease(t *testing.T) {
	bubble(t, Options{Lease: 10 * time.Second}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		time.AfterFunc(2400*time.Millisecond, func() { q.Enqueue(context.Background(), "v") })
		e := dequeue(t, q)
		time.Sleep(7 * time.Second)
		require.NoError(t, e.Complete(t.Context()), "after 7 s of a lease of 10 s")
	})
}

// The first try of a default Enqueue has no expectation: if its bytes
// arrive after those of the second, over another connection, there are two jobs.
type delayed struct {
	net.Conn
	mu   sync.Mutex
	held bool
	buf  []byte
	shut bool
}

func (d *delayed) Write(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held {
		d.buf = append(d.buf, b...)
		return len(b), nil
	}
	return d.Conn.Write(b)
}

// Close is like that of TCP: what was written is still delivered.
func (d *delayed) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held {
		d.shut = true
		return d.Conn.SetReadDeadline(time.Now())
	}
	return d.Conn.Close()
}

func (d *delayed) SetReadDeadline(t time.Time) error { return d.Conn.SetReadDeadline(t) }

func (d *delayed) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held = false
	d.Conn.Write(d.buf)
	time.Sleep(100 * time.Millisecond)
	d.Conn.Close()
}

type delayingServer struct {
	to    *natstest.Env
	conns []*delayed
}

func (s *delayingServer) InProcessConn() (net.Conn, error) {
	c, err := s.to.InProcessConn()
	if err != nil {
		return nil, err
	}
	d := &delayed{Conn: c}
	s.conns = append(s.conns, d)
	return d, nil
}

// A worker whose connection is closed with an ack not confirmed flushes a
// closed connection for five seconds.
func TestWorkerOnAClosedConnectionEndsAtOnce(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		q := openOn(t, e.JetStream(), Options{})
		ended := make(chan error, 1)
		go func() {
			ended <- NewJob(q, func(context.Context, *Entry[string]) error { return nil }, JobOptions{}).RunContinuous(t.Context())
		}()
		enqueue(t, q, "v")
		time.Sleep(20 * time.Millisecond)
		q.c.nc.Close()
		began := time.Now()
		require.ErrorIs(t, <-ended, nats.ErrConnectionClosed)
		require.Less(t, time.Since(began), time.Second)
	})
}

// An ack that waited behind a flush is sent after its lease.
func TestAckBehindAFlushIsSentAfterTheLease(t *testing.T) {
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
		a.ack(t.Context(), &delivery{reply: "x", lease: lease{confirmed: time.Now()}})
		time.Sleep(100 * time.Millisecond) // the flush waits
		require.NoError(t, a.ack(t.Context(), d))
		time.Sleep(1100 * time.Millisecond) // the lease is over
		holder := dequeue(t, near)
		require.Equal(t, 1, holder.Interruptions())
		require.NoError(t, holder.Renew(t.Context()))
		time.Sleep(850 * time.Millisecond)
		require.NoError(t, holder.Renew(t.Context()))
		time.Sleep(300 * time.Millisecond)
		s, err := near.Stats(t.Context())
		require.NoError(t, err)
		cancel()
		link.Heal()
		group.Wait()
		require.Equal(t, 1, s.Running, "the holder's job was acknowledged from under it")
	})
}
