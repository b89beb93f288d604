// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package cron

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/jobs"
	"github.com/jetjobs/jetjobs/lock"
)

// requireEnqueued fails unless a tick was enqueued, and not later than within.
func requireEnqueued(t *testing.T, h *host, name string, at time.Time, within time.Duration) {
	t.Helper()
	q, err := h.look(t.Context(), name)
	require.NoError(t, err)
	i, err := q.Get(t.Context(), tickID(name, at))
	require.NoError(t, err, at)
	require.LessOrEqual(t, i.Enqueued.Sub(at), within, at)
}

func TestScheduleThatFailsHoldsUpNoOtherAndRecovers(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		var log bytes.Buffer
		var good, bad diary
		h := openHost(t, e.NewJetStream(), "one", FleetOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))}).
			add("* * * * * *", "good", good.job(), FleetJobOptions{Overlap: Allow}).
			add("* * * * * *", "bad", bad.job(), FleetJobOptions{Overlap: Allow}).run()
		time.Sleep(10 * time.Second)
		began := time.Now()
		for range 5 { // somebody deletes its queue
			require.NoError(t, e.JetStream().DeleteStream(t.Context(), "jobs_q_cron-bad"))
			time.Sleep(6 * time.Second)
		}
		for at := began.Truncate(time.Second).Add(time.Second); at.Before(began.Add(30 * time.Second)); at = at.Add(time.Second) {
			requireEnqueued(t, h, "good", at, 250*time.Millisecond)
			require.Len(t, good.all()[tickID("good", at)], 1)
		}
		ran := bad.count()
		time.Sleep(10 * time.Second)
		require.GreaterOrEqual(t, bad.count(), ran+9, "its queue is made anew")
		h.stop()
		require.LessOrEqual(t, strings.Count(log.String(), "level=WARN"), 20, log.String())
	})
}

// This process was cut off when another's definition ended, and later leads.
func TestDefinitionEndsThoughItsEndWasNotHeardOf(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		var d diary
		deaf, dying := e.Link(), e.Link()
		one := openHost(t, deaf.JetStream(), "one", FleetOptions{}).add("* * * * *", "kept", d.job(), FleetJobOptions{}).run()
		two := openHost(t, dying.JetStream(), "two", FleetOptions{}).add("* * * * *", "removed", d.job(), FleetJobOptions{Overlap: Queue}).run()
		time.Sleep(90 * time.Second)
		deaf.Cut()
		dying.Cut()
		time.Sleep(10 * time.Minute) // the definition, and the mark that it has ended, are gone
		deaf.Heal()
		time.Sleep(5 * time.Minute)
		require.NotNil(t, leader(t, one))
		q, err := one.look(t.Context(), "removed")
		require.NoError(t, err)
		before, err := q.Stats(t.Context())
		require.NoError(t, err)
		time.Sleep(3 * time.Minute)
		after, err := q.Stats(t.Context())
		require.NoError(t, err)
		require.Equal(t, before.Waiting, after.Waiting, "nobody registers it, and still it is planned")
		dying.Heal()
		two.stop()
	})
}

// What a leader that died owed is planned as the schedule was when it was due.
func TestTickThatWasDueBeforeAChangeIsNotLost(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		var d diary
		link := e.Link()
		old := openHost(t, link.JetStream(), "old", FleetOptions{LeaderTTL: 20 * time.Second}).add("* * * * *", "job", d.job(), FleetJobOptions{}).run()
		time.Sleep(3*time.Minute + 55*time.Second)
		require.Equal(t, 3, d.count())
		link.Cut() // it crashes, five seconds before a tick
		time.Sleep(10 * time.Second)
		next := openHost(t, e.NewJetStream(), "new", FleetOptions{LeaderTTL: 20 * time.Second}).add("30 * * * *", "job", d.job(), FleetJobOptions{}).run()
		time.Sleep(time.Minute)
		require.Len(t, d.all()[tickID("job", time.Date(2000, 1, 1, 0, 4, 0, 0, time.UTC))], 1)
		require.Equal(t, 4, d.count())
		require.Equal(t, "30 * * * *", status(t, next, "job").Spec)
		link.Heal()
		old.stop()
	})
}

func TestHostThatStopsTakesItsScheduleAlongBeforeItsWorkEnds(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		slow := jobs.ErrFunc(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		one := openHost(t, e.NewJetStream(), "one", FleetOptions{}).add("* * * * *", "slow", slow, FleetJobOptions{Overlap: Queue}).run()
		two := openHost(t, e.NewJetStream(), "two", FleetOptions{})
		time.Sleep(61 * time.Second)
		ended := make(chan struct{})
		go func() { one.stop(); close(ended) }()
		time.Sleep(time.Second)
		s := status(t, two, "slow")
		require.Equal(t, 1, s.Running, "it has its grace")
		require.Empty(t, s.Hosts)
		require.Empty(t, s.Next)
		<-ended
	})
}

// The election is not what keeps ticks from coming twice.
func TestTwoLeadersAtOnceDoubleNothing(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		var d diary
		var hosts []*host
		for n, off := range []time.Duration{0, 700 * time.Millisecond, -300 * time.Millisecond} {
			h := openHost(t, e.NewJetStream(), string(rune('a'+n)), FleetOptions{})
			h.clock = func() time.Time { return wallNow().Add(off) }
			hosts = append(hosts, h.add("*/2 * * * * *", "job", d.job(), FleetJobOptions{Overlap: Allow}).run())
		}
		time.Sleep(5 * time.Second)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, len(hosts))
		for _, h := range hosts {
			go func() { ended <- h.lead(ctx, lock.Fence(0)) }()
		}
		first := time.Now().Add(2 * time.Second).Truncate(2 * time.Second)
		time.Sleep(2 * time.Minute)
		stop()
		for range hosts {
			require.NoError(t, <-ended)
		}
		for at := first; at.Before(first.Add(110 * time.Second)); at = at.Add(2 * time.Second) {
			require.Len(t, d.all()[tickID("job", at)], 1, at)
			requireEnqueued(t, hosts[0], "job", at, 550*time.Millisecond) // 250 ms, and by how much a clock is behind
		}
	})
}

// The queue was made for another policy.
func TestOverlapOfTheNewestDefinitionHoldsForTheQueueThatIsThere(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		var d diary
		old := openHost(t, e.NewJetStream(), "old", FleetOptions{}).add("0 * * * *", "job", d.job(), FleetJobOptions{Overlap: Allow}).run()
		time.Sleep(time.Second)
		limit := func() int {
			q, err := old.look(t.Context(), "job")
			require.NoError(t, err)
			s, err := q.Stats(t.Context())
			require.NoError(t, err)
			return s.MaxRunning
		}
		require.Zero(t, limit())
		next := openHost(t, e.NewJetStream(), "new", FleetOptions{}).add("0 * * * *", "job", d.job(), FleetJobOptions{Overlap: Queue}).run()
		time.Sleep(time.Second)
		require.Equal(t, 1, limit())
		next.stop()
		time.Sleep(time.Second)
		require.Zero(t, limit())
		require.Equal(t, Allow, status(t, old, "job").Overlap)
	})
}

func TestRescheduleHoldsOverRestartsAndChangesOfTheProgram(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		var d diary
		one := openHost(t, e.NewJetStream(), "one", FleetOptions{}).add("0 * * * *", "job", d.job(), FleetJobOptions{}).run()
		time.Sleep(time.Second)
		require.NoError(t, one.Reschedule(t.Context(), "job", "*/20 * * * *"))
		time.Sleep(time.Second)
		one.stop()
		two := openHost(t, e.NewJetStream(), "two", FleetOptions{}).add("30 * * * *", "job", d.job(), FleetJobOptions{}).run()
		time.Sleep(time.Hour)
		s := status(t, two, "job")
		require.Equal(t, []any{"*/20 * * * *", "30 * * * *", "one"}, []any{s.Spec, s.Original, s.By})
		require.Equal(t, 3, d.count())
		require.NoError(t, two.Reschedule(t.Context(), "job", ""))
		time.Sleep(time.Hour)
		require.Equal(t, 4, d.count())
	})
}

// 2026-03-29 02:00 becomes 03:00 in Paris, 2026-10-25 03:00 becomes 02:00.
func TestFleetOverAClockThatJumps(t *testing.T) {
	for name, begin := range map[string]time.Time{
		"missing hour":  time.Date(2026, 3, 28, 23, 45, 0, 0, time.UTC),
		"repeated hour": time.Date(2026, 10, 24, 23, 45, 0, 0, time.UTC),
	} {
		t.Run(name, func(t *testing.T) {
			natstest.Run(t, func(t *testing.T, e *natstest.Env) {
				off := time.Until(begin)
				var d diary
				specs := map[string]string{"daily": "30 2 * * *", "hourly": "30 * * * *", "often": "*/20 * * * *"}
				for n := range 2 {
					h := openHost(t, e.NewJetStream(), string(rune('a'+n)), FleetOptions{})
					h.clock = func() time.Time { return wallNow().Add(off) }
					for job, spec := range specs {
						h.add(spec, job, d.job(), FleetJobOptions{Zone: "Europe/Paris"})
					}
					h.run()
				}
				time.Sleep(2*time.Hour + time.Minute)
				want := 0
				for job, spec := range specs {
					s, err := Parse(spec, "Europe/Paris")
					require.NoError(t, err)
					for at := s.Next(begin); at.Before(begin.Add(2 * time.Hour)); at = s.Next(at) {
						want++
						require.Len(t, d.all()[tickID(job, at)], 1, "%s %s", job, at)
					}
				}
				require.GreaterOrEqual(t, d.count(), want)
				require.LessOrEqual(t, d.count(), want+3, "those due at the end")
				require.Equal(t, 1+2+6, want)
			})
		})
	}
}

func TestLeaderWhoseClockIsSetMakesNoStorm(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		var d diary
		var off atomic.Int64
		h := openHost(t, e.NewJetStream(), "one", FleetOptions{})
		h.clock = func() time.Time { return wallNow().Add(time.Duration(off.Load())) }
		h.add("* * * * *", "job", d.job(), FleetJobOptions{Overlap: Queue}).run()
		time.Sleep(10*time.Minute + time.Second)
		require.Equal(t, 10, d.count())
		off.Store(int64(2 * time.Hour))
		time.Sleep(10 * time.Minute)
		require.LessOrEqual(t, d.count(), 10+2+11, "the latest that it missed, and that of the last minute")
		require.GreaterOrEqual(t, d.count(), 10+10)
		ran := d.count()
		off.Store(0) // and back
		time.Sleep(3 * time.Hour)
		require.InDelta(t, ran+60, d.count(), 3, "when the clock shows what was planned last it goes on; nothing comes again")
		for id, at := range d.all() {
			require.Len(t, at, 1, id)
		}
	})
}

func TestJitterAndRunAtStartInAFleet(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		var d diary
		opts := FleetJobOptions{Jitter: 30 * time.Second, RunAtStart: true}
		var hosts []*host
		for n := range 3 {
			hosts = append(hosts, openHost(t, e.NewJetStream(), string(rune('a'+n)), FleetOptions{}).add("*/5 * * * *", "job", d.job(), opts).run())
		}
		time.Sleep(35 * time.Second)
		require.Equal(t, 1, d.count(), "once, for three of them")
		for _, h := range hosts {
			h.stop()
		}
		hosts[0] = openHost(t, e.NewJetStream(), "d", FleetOptions{}).add("*/5 * * * *", "job", d.job(), opts).run()
		time.Sleep(time.Minute)
		require.Equal(t, 1, d.count(), "and not after a restart")
		time.Sleep(time.Hour)
		require.Equal(t, 13, d.count())
		later := map[time.Duration]bool{}
		for id, at := range d.all() {
			late := at[0].Sub(tickOf(id))
			require.GreaterOrEqual(t, late, time.Duration(0))
			require.LessOrEqual(t, late, 32*time.Second, id)
			later[late.Truncate(time.Millisecond)] = true
		}
		require.Greater(t, len(later), 5)
	})
}

// A publish of a leader that was cut off may arrive after its successor's. So
// what has run is kept for a while whatever is asked for.
func TestWhatHasRunIsKeptForAnHourAtLeast(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		var d diary
		h := openHost(t, e.NewJetStream(), "one", FleetOptions{})
		require.ErrorContains(t, h.Add("@daily", "job", d.job(), FleetJobOptions{Window: time.Second, Retain: time.Minute}),
			"FleetJobOptions.Retain is 1m0s: want at least Window and 1h")
		require.ErrorContains(t, h.Add("@daily", "job", d.job(), FleetJobOptions{Jitter: -1}), "FleetJobOptions.Jitter is -1ns")
	})
}

// Skip is by what is not over yet, also for what a new leader plans together.
func TestSkipLeavesOutTicksThatANewLeaderPlansTogether(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		var d diary
		link := e.Link()
		old := openHost(t, link.JetStream(), "old", FleetOptions{LeaderTTL: 5 * time.Second}).add("0 0 * * *", "other", d.job(), FleetJobOptions{}).run()
		time.Sleep(time.Second)
		openHost(t, e.NewJetStream(), "new", FleetOptions{LeaderTTL: 5 * time.Second}).add("* * * * * *", "job", d.job(), FleetJobOptions{}).run()
		time.Sleep(10 * time.Second)
		link.Cut()
		time.Sleep(20 * time.Second)
		control := openHost(t, e.NewJetStream(), "control", FleetOptions{})
		s := status(t, control, "job")
		require.Equal(t, 30, d.count()+s.Skipped, "each tick is run, or counted as skipped: %d, %d", d.count(), s.Skipped)
		link.Heal()
		old.stop()
	})
}
