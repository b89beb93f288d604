// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package cron

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/jobs"
	"github.com/jetjobs/jetjobs/queue"
)

// leader returns which of the hosts leads.
func leader(t *testing.T, hosts ...*host) *host {
	t.Helper()
	for range 600 {
		for _, h := range hosts {
			if _, leads := h.leader.Term(); leads {
				return h
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("nobody leads")
	return nil
}
func TestOneOfManyHostsRunsEachTickInTime(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		var d diary
		for n := range 3 {
			openHost(t, e.NewJetStream(), fmt.Sprint("host-", n), FleetOptions{}).add("*/10 * * * * *", "job", d.job(), FleetJobOptions{}).run()
		}
		time.Sleep(10*time.Minute + 5*time.Second)
		require.Equal(t, 60, d.count())
		for id, at := range d.all() {
			require.Len(t, at, 1, id)
			late := at[0].Sub(tickOf(id))
			require.GreaterOrEqual(t, late, time.Duration(0), id)
			require.LessOrEqual(t, late, 250*time.Millisecond, id)
		}
	})
}

func TestPrepareCreatesTheQueuesAndRunsNothing(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		var ran diary
		h := openHost(t, e.JetStream(), "h", FleetOptions{}).add("@every 1s", "report", ran.job(), FleetJobOptions{})
		for range 2 {
			require.NoError(t, h.Prepare(t.Context()))
		}
		_, err := queue.Open[tick](t.Context(), e.JetStream(), queueOf("report"), queue.Options{MustExist: true, MaxRunning: 1, Logger: silent})
		require.NoError(t, err)
		time.Sleep(time.Hour)
		require.Zero(t, ran.count())
		all, err := h.List(t.Context())
		require.NoError(t, err)
		require.Empty(t, all, "nobody has registered it")

		h.run()
		time.Sleep(time.Minute)
		require.Positive(t, ran.count())
		h.stop()
		require.NoError(t, e.JetStream().DeleteStream(t.Context(), "jobs_q_cron-report"))
		_, err = e.JetStream().CreateStream(t.Context(), jetstream.StreamConfig{Name: "jobs_q_cron-report", Subjects: []string{"x"}})
		require.NoError(t, err)
		again := openHost(t, e.JetStream(), "again", FleetOptions{}).add("@every 1s", "report", ran.job(), FleetJobOptions{})
		require.ErrorContains(t, again.Prepare(t.Context()), `cron: prepare "report": `)
	})
}

func TestNewLeaderPlansWhatWasDueMeanwhile(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		var d diary
		links := map[*host]*natstest.Link{}
		var hosts []*host
		for n := range 3 {
			link := e.Link()
			h := openHost(t, link.JetStream(), fmt.Sprint("host-", n), FleetOptions{LeaderTTL: 5 * time.Second}).
				add("* * * * * *", "job", d.job(), FleetJobOptions{Overlap: Allow}).run()
			links[h], hosts = link, append(hosts, h)
		}
		old := leader(t, hosts...)
		time.Sleep(10 * time.Second)
		cut := time.Now()
		links[old].Cut()
		time.Sleep(time.Minute)
		links[old].Heal()
		time.Sleep(time.Minute)
		for tick := cut.Add(-5 * time.Second).Truncate(time.Second); tick.Before(cut.Add(2 * time.Minute)); tick = tick.Add(time.Second) {
			at := d.all()[tickID("job", tick)]
			require.NotEmpty(t, at, tick)
			if tick.After(cut) {
				// The lease, a second, and what a job on the cut host waits for its lease.
				require.LessOrEqual(t, at[0].Sub(tick), 6*time.Second+30*time.Second, tick)
			}
		}
	})
}

func TestMissedTicksAreMadeUpForAsThePolicySays(t *testing.T) {
	for missed, want := range map[Missed]int{RunOnce: 1, RunAll: 12, RunNone: 0} {
		t.Run(string(missed), func(t *testing.T) {
			natstest.Run(t, func(t *testing.T, e *natstest.Env) {
				var d diary
				opts := FleetJobOptions{Missed: missed, Window: 2 * time.Hour, Overlap: Queue}
				first := openHost(t, e.NewJetStream(), "one", FleetOptions{}).add("*/10 * * * *", "job", d.job(), opts).run()
				time.Sleep(time.Second)
				first.stop()
				require.Zero(t, d.count(), "a first registration makes up for nothing")
				time.Sleep(3*time.Hour + 5*time.Minute) // all hosts are down
				openHost(t, e.NewJetStream(), "two", FleetOptions{}).add("*/10 * * * *", "job", d.job(), opts).run()
				time.Sleep(time.Minute)
				require.Equal(t, want, d.count())
				time.Sleep(5 * time.Minute)
				require.Equal(t, want+1, d.count(), "and it goes on")
			})
		})
	}
}

func TestOverlapInTheFleetIsAsChosen(t *testing.T) {
	for overlap, want := range map[Overlap]struct{ started, most, skipped int }{
		Skip:  {2, 1, 4},
		Allow: {6, 3, 0},
		Queue: {3, 1, 0},
	} {
		t.Run(string(overlap), func(t *testing.T) {
			natstest.Run(t, func(t *testing.T, e *natstest.Env) {
				var started, now, most atomic.Int64
				job := jobs.ErrFunc(func(context.Context) error {
					started.Add(1)
					most.Store(max(most.Load(), now.Add(1)))
					defer now.Add(-1)
					time.Sleep(149 * time.Second)
					return nil
				})
				var hosts []*host
				for n := range 2 {
					hosts = append(hosts, openHost(t, e.NewJetStream(), fmt.Sprint("host-", n), FleetOptions{}).add("* * * * *", "slow", job, FleetJobOptions{Overlap: overlap}).run())
				}
				time.Sleep(6*time.Minute + time.Second)
				require.EqualValues(t, want.started, started.Load())
				require.EqualValues(t, want.most, most.Load())
				s := status(t, hosts[0], "slow")
				require.Equal(t, want.skipped, s.Skipped)
				require.Equal(t, overlap, s.Overlap)
				for _, h := range hosts {
					h.stop()
				}
			})
		})
	}
}

func TestFleetIsControlledFromAnyProcess(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		ctx := t.Context()
		var d diary
		worker := openHost(t, e.NewJetStream(), "worker", FleetOptions{}).add("0 * * * *", "job", d.job(), FleetJobOptions{}).run()
		desk := openHost(t, e.NewJetStream(), "desk", FleetOptions{}) // runs nothing
		time.Sleep(90 * time.Minute)
		require.Equal(t, 1, d.count())

		s := status(t, desk, "job")
		require.Equal(t, []string{"worker"}, s.Hosts)
		require.True(t, s.Enabled)
		require.Len(t, s.Next, 5)
		require.Equal(t, time.Date(2000, 1, 1, 2, 0, 0, 0, time.UTC), s.Next[0])
		require.Len(t, s.Last, 1)
		require.Equal(t, []any{"succeeded", "worker", 1}, []any{s.Last[0].Outcome, s.Last[0].Host, s.Last[0].Attempt})
		require.Equal(t, time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC), s.Last[0].Planned)
		held, err := desk.Leader(ctx)
		require.NoError(t, err)
		require.Equal(t, "worker", held.Owner)

		h, err := desk.Trigger(ctx, "job")
		require.NoError(t, err)
		r, err := h.Wait(ctx)
		require.NoError(t, err)
		require.Equal(t, []any{h.ID, "succeeded", "worker", time.Time{}}, []any{r.ID, r.Outcome, r.Host, r.Planned})
		require.Equal(t, 2, d.count())

		require.NoError(t, desk.Disable(ctx, "job", "too expensive"))
		time.Sleep(time.Hour)
		worker.stop()
		worker = openHost(t, e.NewJetStream(), "worker-2", FleetOptions{}).add("0 * * * *", "job", d.job(), FleetJobOptions{}).run()
		time.Sleep(time.Hour)
		require.Equal(t, 2, d.count(), "also over a restart")
		s = status(t, worker, "job")
		require.Equal(t, []any{false, "too expensive", "desk"}, []any{s.Enabled, s.Why, s.By})
		require.Empty(t, s.Next)
		require.NoError(t, worker.Enable(ctx, "job"))
		time.Sleep(time.Minute)
		require.Equal(t, 2, d.count(), "what was due meanwhile is left out")

		require.ErrorContains(t, desk.Reschedule(ctx, "job", "0 99 * * *"), `hour "99" (position 3)`)
		require.NoError(t, desk.Reschedule(ctx, "job", "*/10 * * * *"))
		began := d.count()
		time.Sleep(20 * time.Minute)
		require.Equal(t, began+2, d.count())
		s = status(t, desk, "job")
		require.Equal(t, []any{"*/10 * * * *", "0 * * * *"}, []any{s.Spec, s.Original})
		require.NoError(t, desk.Reschedule(ctx, "job", ""))
		require.Empty(t, status(t, desk, "job").Original)

		runs, err := desk.History(ctx, "job", 3)
		require.NoError(t, err)
		require.Len(t, runs, 3)
		require.True(t, runs[0].Started.After(runs[1].Started))
		_, err = desk.History(ctx, "nobody", 3)
		for _, err := range []error{err, desk.Enable(ctx, "nobody"), desk.Disable(ctx, "nobody", ""), desk.Reschedule(ctx, "nobody", "@daily")} {
			require.ErrorIs(t, err, ErrNotFound)
		}
		_, err = desk.Trigger(ctx, "nobody")
		require.ErrorIs(t, err, ErrNotFound)
	})
}

func TestRemovedJobEndsAndItsHistoryStays(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		var d diary
		link := e.Link()
		one := openHost(t, link.JetStream(), "one", FleetOptions{}).add("* * * * *", "old", d.job(), FleetJobOptions{}).run()
		two := openHost(t, e.NewJetStream(), "two", FleetOptions{}).add("* * * * *", "new", d.job(), FleetJobOptions{}).run()
		time.Sleep(150 * time.Second)
		require.Len(t, status(t, two, "old").Last, 2)
		link.Cut() // it crashes
		time.Sleep(5 * time.Minute)
		s := status(t, two, "old")
		require.Empty(t, s.Hosts)
		require.Empty(t, s.Next)
		require.GreaterOrEqual(t, len(s.Last), 2)
		queued, err := queue.Open[tick](t.Context(), e.JetStream(), queueOf("old"), queue.Options{Logger: silent})
		require.NoError(t, err)
		stats, err := queued.Stats(t.Context())
		require.NoError(t, err)
		require.LessOrEqual(t, stats.Waiting+stats.Running, 2, "its ticks end within a minute or so")
		_, err = two.Trigger(t.Context(), "old")
		require.ErrorIs(t, err, ErrNotFound)
		link.Heal()
		one.stop()
	})
}

func TestDefinitionOfTheHostThatStartedLastHolds(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		var d diary
		var log bytes.Buffer
		old := openHost(t, e.NewJetStream(), "old", FleetOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))}).
			add("0 * * * *", "job", d.job(), FleetJobOptions{}).run()
		time.Sleep(90 * time.Minute)
		require.Equal(t, 1, d.count())
		canary := openHost(t, e.NewJetStream(), "canary", FleetOptions{}).add("*/10 * * * *", "job", d.job(), FleetJobOptions{Overlap: Allow}).run()
		time.Sleep(time.Second)
		require.Equal(t, 1, d.count(), "a changed schedule counts from now")
		time.Sleep(31 * time.Minute)
		require.Equal(t, 4, d.count())
		require.Equal(t, []string{"canary", "old"}, status(t, old, "job").Hosts)
		require.Equal(t, "*/10 * * * *", status(t, old, "job").Spec)
		canary.stop() // rolled back
		time.Sleep(time.Second)
		require.Equal(t, "0 * * * *", status(t, old, "job").Spec)
		time.Sleep(time.Hour)
		require.Equal(t, 5, d.count())
		require.Equal(t, Skip, status(t, old, "job").Overlap)
		old.stop()
		require.Equal(t, 1, strings.Count(log.String(), "another host, which started later, defines the job differently"), log.String())
	})
}

// A leader may end after each of its three writes.
func TestTickOfALeaderThatDidNotComeToItsEnd(t *testing.T) {
	for _, enqueued := range []bool{false, true} {
		t.Run(fmt.Sprint("enqueued ", enqueued), func(t *testing.T) {
			natstest.Run(t, func(t *testing.T, e *natstest.Env) {
				var d diary
				h := openHost(t, e.NewJetStream(), "one", FleetOptions{}).add("0 0 * * *", "job", d.job(), FleetJobOptions{}).run()
				time.Sleep(time.Minute)
				h.stop()
				s, err := h.find(t.Context(), "job")
				require.NoError(t, err)
				q, err := h.look(t.Context(), "job")
				require.NoError(t, err)
				lost := time.Date(2000, 1, 1, 0, 0, 30, 0, time.UTC)
				st := s.state
				st.Intent, st.Planned = lost, lost.Add(-time.Minute)
				require.NoError(t, h.write(t.Context(), &s, st))
				if enqueued {
					_, err = q.Enqueue(t.Context(), tick{}, queue.ID(tickID("job", lost)), queue.Retain(time.Hour))
					require.NoError(t, err)
				}
				next := openHost(t, e.NewJetStream(), "two", FleetOptions{}).add("0 0 * * *", "job", d.job(), FleetJobOptions{}).run()
				time.Sleep(time.Minute)
				require.Len(t, d.all()[tickID("job", lost)], 1)
				require.Equal(t, 1, d.count())
				s, err = next.find(t.Context(), "job")
				require.NoError(t, err)
				require.True(t, s.state.Intent.IsZero())
				require.True(t, s.state.Planned.Equal(lost))
			})
		})
	}
}

func TestStaleWriterDoesNotOverwriteTheState(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		var d diary
		h := openHost(t, e.NewJetStream(), "one", FleetOptions{}).add("@daily", "job", d.job(), FleetJobOptions{}).run()
		time.Sleep(time.Second)
		stale, err := h.find(t.Context(), "job")
		require.NoError(t, err)
		require.NoError(t, h.Disable(t.Context(), "job", "first"))
		require.ErrorIs(t, h.write(t.Context(), &stale, state{Why: "second"}), errMoved)
		stale.rev = 0
		require.ErrorIs(t, h.write(t.Context(), &stale, state{Why: "third"}), errMoved)
		require.Equal(t, "first", status(t, h, "job").Why)
	})
}

func TestOccurrenceCutShortRunsOnAnotherHost(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		job := func(name string) jobs.Job {
			return jobs.ErrFunc(func(ctx context.Context) error {
				if name == "one" {
					<-ctx.Done()
				}
				return ctx.Err()
			})
		}
		one := openHost(t, e.NewJetStream(), "one", FleetOptions{}).add("0 * * * *", "job", job("one"), FleetJobOptions{MaxAttempts: 1}).run()
		time.Sleep(61 * time.Minute)
		two := openHost(t, e.NewJetStream(), "two", FleetOptions{}).add("0 * * * *", "job", job("two"), FleetJobOptions{MaxAttempts: 1}).run()
		time.Sleep(time.Second)
		one.stop()
		time.Sleep(time.Second)
		last := status(t, two, "job").Last
		require.Len(t, last, 1)
		require.Equal(t, []any{"succeeded", "two", 1}, []any{last[0].Outcome, last[0].Host, last[0].Attempt})
	})
}

func TestFailedOccurrenceIsTriedAgainAndToldOf(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		var tries atomic.Int64
		h := openHost(t, e.NewJetStream(), "one", FleetOptions{}).
			add("0 * * * *", "bad", jobs.ErrFunc(func(context.Context) error { tries.Add(1); return errTest }),
				FleetJobOptions{MaxAttempts: 2, Backoff: func(int) time.Duration { return time.Minute }}).
			add("0 * * * *", "idle", jobs.Func(func(context.Context) jobs.Result { return jobs.CancelledWith("nothing to do") }), FleetJobOptions{}).
			run()
		time.Sleep(65 * time.Minute)
		require.EqualValues(t, 2, tries.Load())
		last := status(t, h, "bad").Last[0]
		require.Equal(t, []any{"failed", "out of luck", "one", 2}, []any{last.Outcome, last.Message, last.Host, last.Attempt})
		last = status(t, h, "idle").Last[0]
		require.Equal(t, []any{"cancelled", "nothing to do"}, []any{last.Outcome, last.Message})

		trigger, err := h.Trigger(t.Context(), "bad")
		require.NoError(t, err)
		_, err = h.Trigger(t.Context(), "bad")
		require.ErrorIs(t, err, ErrRunning)
		r, err := trigger.Wait(t.Context())
		require.NoError(t, err, "a job that failed is no error of Wait")
		require.Equal(t, "failed", r.Outcome)
	})
}

func TestOldFailuresAreRemoved(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		h := openHost(t, e.NewJetStream(), "one", FleetOptions{}).
			add("30 * * * *", "bad", jobs.ErrFunc(func(context.Context) error { return errTest }), FleetJobOptions{MaxAttempts: 1, Window: time.Hour, Retain: 3 * time.Hour}).
			run()
		time.Sleep(10*time.Hour + 10*time.Minute)
		runs, err := h.History(t.Context(), "bad", 100)
		require.NoError(t, err)
		require.Len(t, runs, 3)
	})
}

func TestWrongFleetJobsAreRefused(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		h := openHost(t, e.NewJetStream(), "one", FleetOptions{})
		err := h.Add("61 * * * *", "no.dots", nil, FleetJobOptions{
			Zone: "Nowhere", Overlap: "maybe", Missed: "never", Window: -1, MaxAttempts: -1, Timeout: -1, Concurrency: -1,
		})
		for _, want := range []string{
			`the name is "no.dots": want at most 64 letters`, `minute "61" (position 1)`, `zone "Nowhere"`, `Options.Overlap is "maybe"`,
			"FleetJobOptions.Missed is never", "FleetJobOptions.Window is -1ns",
			"FleetJobOptions.MaxAttempts is -1", "FleetJobOptions.Timeout is -1ns", "FleetJobOptions.Concurrency is -1", "job is nil",
		} {
			require.ErrorContains(t, err, want)
		}
		var d diary
		require.ErrorContains(t, h.Add("@daily", "a", d.job(), FleetJobOptions{Retain: time.Hour}),
			"FleetJobOptions.Retain is 1h0m0s: want at least Window")
		h.add("@daily", "a", d.job(), FleetJobOptions{})
		require.ErrorContains(t, h.Add("@daily", "a", d.job(), FleetJobOptions{}), "the name is taken")
		h.run()
		time.Sleep(time.Second)
		require.ErrorContains(t, h.Add("@daily", "b", d.job(), FleetJobOptions{}), "runs already")
		require.ErrorContains(t, h.RunContinuous(t.Context()), "runs already")
		_, err = OpenFleet(t.Context(), e.JetStream(), FleetOptions{Namespace: "no.dots"})
		require.ErrorContains(t, err, "no.dots")
	})
}

func TestDueTicks(t *testing.T) {
	minutely, err := Parse("* * * * *", "")
	require.NoError(t, err)
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		planned, now time.Duration // since noon
		missed       Missed
		window       time.Duration
		want         []int // minutes since noon
	}{
		{0, 59 * time.Second, RunOnce, time.Hour, nil},
		{0, time.Minute, RunOnce, time.Hour, []int{1}},
		{0, 90 * time.Second, RunNone, time.Hour, []int{1}},                  // late, not missed
		{0, 4 * time.Minute, RunNone, time.Hour, []int{3, 4}},                // those on time
		{0, 4 * time.Minute, RunOnce, time.Hour, []int{2, 3, 4}},             // and the latest that was missed
		{0, 4 * time.Minute, RunAll, time.Hour, []int{1, 2, 3, 4}},           // all of them
		{0, 4 * time.Minute, RunAll, 2*time.Minute + 1, []int{2, 3, 4}},      // within the window
		{0, 4 * time.Minute, RunAll, time.Second, []int{3, 4}},               // which on-time ones don't need
		{0, 240 * time.Hour, RunOnce, time.Hour, []int{14398, 14399, 14400}}, // a long time
		{time.Hour, time.Minute, RunAll, time.Hour, nil},                     // the clock was set back
	} {
		ticks, next := dueTicks(minutely, noon.Add(c.planned), noon.Add(c.now), c.missed, c.window)
		var got []int
		for _, tick := range ticks {
			got = append(got, int(tick.Sub(noon)/time.Minute))
		}
		require.Equal(t, c.want, got, "%+v", c)
		require.True(t, next.After(noon.Add(c.now)))
	}
	ticks, _ := dueTicks(minutely, noon, noon.Add(10*24*time.Hour), RunAll, 20*24*time.Hour)
	require.LessOrEqual(t, len(ticks), mostMissed+2)
}
