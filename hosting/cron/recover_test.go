// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package cron

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/jobs"
	"github.com/jetjobs/jetjobs/queue"
)

func deleteStreams(t *testing.T, js jetstream.JetStream, names ...string) {
	t.Helper()
	for _, name := range names {
		require.NoError(t, js.DeleteStream(t.Context(), name))
	}
}

func TestFleetRecoversWhenWhatItStoresIsGone(t *testing.T) {
	for _, gone := range [][]string{
		{"KV_jobs_cron"}, {"KV_jobs_locks"}, {"jobs_q_cron-job"},
		{"KV_jobs_cron", "KV_jobs_locks", "jobs_q_cron-job"}, // as if the server came back empty
	} {
		for _, others := range []time.Duration{0, 2 * time.Second, 2 * time.Minute} { // when another process makes the buckets anew
			t.Run(fmt.Sprint(gone, others), func(t *testing.T) {
				natstest.Run(t, func(t *testing.T, e *natstest.Env) {
					var d diary
					js := e.NewJetStream()
					h := openHost(t, js, "one", FleetOptions{}).add("*/2 * * * * *", "job", d.job(), FleetJobOptions{}).run()
					time.Sleep(10 * time.Second)
					require.Positive(t, d.count())
					deleteStreams(t, js, gone...)
					if others > 0 {
						time.Sleep(others)
						openHost(t, e.NewJetStream(), "control", FleetOptions{})
					}
					time.Sleep(25 * time.Second) // 20 s, and the patience of who runs it again
					before := d.count()
					time.Sleep(time.Minute)
					require.InDelta(t, before+30, d.count(), 1)
					require.NoError(t, h.Disable(t.Context(), "job", "it is controlled as ever"))
				})
			})
		}
	}
}

func TestErrorOfAFleetIsTheCauseAndNotWhatFollows(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		for n := range 20 {
			js := e.NewJetStream()
			h := openHost(t, js, fmt.Sprint("h", n), FleetOptions{}).add("* * * * *", "job", nothing, FleetJobOptions{})
			js.Conn().Close()
			err := h.RunContinuous(t.Context())
			require.ErrorContains(t, err, "connection closed")
			require.NotErrorIs(t, err, context.Canceled)
			require.True(t, jobs.FromError(err).Failed())
		}
	})
}

var nothing = jobs.ErrFunc(func(context.Context) error { return nil })

func TestFleetLeavesNoSubscriptionBehind(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		js := e.NewJetStream()
		_, err := js.AccountInfo(t.Context()) // nats.go's own subscription to answers
		require.NoError(t, err)
		before := js.Conn().NumSubscriptions()
		for range 3 {
			h := openHost(t, js, "one", FleetOptions{}).add("* * * * * *", "job", nothing, FleetJobOptions{}).run()
			time.Sleep(10 * time.Second)
			require.Greater(t, js.Conn().NumSubscriptions(), before)
			h.stop()
			time.Sleep(10 * time.Second)
			synctest.Wait()
			require.Equal(t, before, js.Conn().NumSubscriptions())
		}
	})
}

func TestListTellsWhatItCan(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		var d diary
		js := e.NewJetStream()
		keep := openHost(t, js, "keep", FleetOptions{}).add("* * * * *", "kept", d.job(), FleetJobOptions{}).run()
		old := openHost(t, e.NewJetStream(), "old", FleetOptions{}).add("* * * * *", "removed", d.job(), FleetJobOptions{}).run()
		time.Sleep(2 * time.Minute)
		old.stop()
		require.NotEmpty(t, status(t, keep, "removed").Last)
		deleteStreams(t, js, "jobs_q_cron-removed")
		require.Contains(t, status(t, keep, "removed").Problem, "stream not found", "once")
		newer := definition{Spec: "0 0 L * *", Zone: "UTC", Host: "newer", Since: time.Now()} // that this version can't read
		require.NoError(t, putFor(t.Context(), js, "jobs_cron", "def.unreadable.newer", newer, time.Hour))
		time.Sleep(time.Minute)

		for _, h := range []*host{keep, openHost(t, e.NewJetStream(), "fresh", FleetOptions{})} {
			all, err := h.List(t.Context())
			require.NoError(t, err)
			require.Len(t, all, 3)
			require.Equal(t, []string{"kept", "", "keep"}, []string{all[0].Name, all[0].Problem, all[0].Hosts[0]})
			require.NotEmpty(t, all[0].Last)
			require.Equal(t, []string{"removed", ""}, []string{all[1].Name, all[1].Problem})
			require.Empty(t, all[1].Last)
			require.Contains(t, all[2].Problem, "0 0 L * *")
			_, err = h.History(t.Context(), "removed", 10)
			require.ErrorIs(t, err, ErrNotFound)
		}
		_, err := js.Stream(t.Context(), "jobs_q_cron-removed")
		require.ErrorIs(t, err, jetstream.ErrStreamNotFound, "looking makes nothing")
	})
}

func TestHistoryOfFailuresTellsWhereAndHowLong(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		var log bytes.Buffer
		slow := func(end func() error) jobs.Job {
			return jobs.ErrFunc(func(context.Context) error { time.Sleep(7 * time.Second); return end() })
		}
		h := openHost(t, e.NewJetStream(), "web: 1 after all", FleetOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))}).
			add("0 0 1 1 *", "bad", slow(func() error { return errTest }), FleetJobOptions{MaxAttempts: 1}).
			add("0 0 1 1 *", "panics", slow(func() error { panic(queue.Permanent(errTest)) }), FleetJobOptions{MaxAttempts: 2, Backoff: func(int) time.Duration { return 0 }}).
			run()
		time.Sleep(2 * time.Second)
		for name, want := range map[string]Run{"bad": {Message: "out of luck", Attempt: 1}, "panics": {Message: "panic: out of luck", Attempt: 2}} {
			began := time.Now()
			handle, err := h.Trigger(t.Context(), name)
			require.NoError(t, err)
			r, err := handle.Wait(t.Context())
			require.NoError(t, err)
			require.Equal(t, []any{"failed", want.Message, want.Attempt, "web: 1 after all"}, []any{r.Outcome, r.Message, r.Attempt, r.Host})
			require.InDelta(t, 7*time.Second, r.Took, float64(100*time.Millisecond))
			require.WithinDuration(t, began.Add(time.Duration(want.Attempt-1)*7*time.Second), r.Started, time.Second)
		}
		h.stop()
		require.Contains(t, log.String(), "recover_test.go", "the stack")
	})
}

func TestHostsMayHaveTheSameName(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		var d diary
		opts := FleetJobOptions{Overlap: Allow}
		one := openHost(t, e.NewJetStream(), "web", FleetOptions{}).add("* * * * * *", "job", d.job(), opts).run()
		time.Sleep(25 * time.Second)
		two := openHost(t, e.NewJetStream(), "web", FleetOptions{}).add("* * * * * *", "job", d.job(), opts).run()
		time.Sleep(12 * time.Second)
		require.Equal(t, []string{"web", "web"}, status(t, two, "job").Hosts)
		began := time.Now().Truncate(time.Second)
		one.stop()
		time.Sleep(time.Minute)
		for n := range 50 {
			requireEnqueued(t, two, "job", began.Add(time.Duration(n+2)*time.Second), 250*time.Millisecond)
		}
	})
}

func TestEnabledScheduleCountsByTheClockOfTheLeader(t *testing.T) {
	for _, off := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(off.String(), func(t *testing.T) {
			natstest.Run(t, func(t *testing.T, e *natstest.Env) {
				var d diary
				h := openHost(t, e.NewJetStream(), "one", FleetOptions{}).add("*/5 * * * *", "job", d.job(), FleetJobOptions{Missed: RunAll}).run()
				laptop := openHost(t, e.NewJetStream(), "laptop", FleetOptions{})
				laptop.clock = func() time.Time { return wallNow().Add(off) }
				time.Sleep(11 * time.Minute)
				require.NoError(t, h.Disable(t.Context(), "job", "x"))
				time.Sleep(61 * time.Minute)
				before := d.count()
				require.NoError(t, laptop.Enable(t.Context(), "job"))
				time.Sleep(5 * time.Second)
				require.Equal(t, before, d.count(), "what was due meanwhile is left out")
				time.Sleep(50 * time.Minute)
				require.Equal(t, before+10, d.count())
			})
		})
	}
}

func TestEnableLosesNoTickWhileNobodyLeads(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		var d diary
		h := openHost(t, e.NewJetStream(), "one", FleetOptions{}).add("*/5 * * * * *", "job", d.job(), FleetJobOptions{Overlap: Allow}).run()
		control := openHost(t, e.NewJetStream(), "control", FleetOptions{})
		time.Sleep(8 * time.Second)
		require.NoError(t, control.Disable(t.Context(), "job", "x"))
		h.stop()
		time.Sleep(30 * time.Second)
		require.NoError(t, control.Enable(t.Context(), "job"))
		enabled, before := time.Now(), d.count()
		time.Sleep(30 * time.Second)
		h.run()
		time.Sleep(time.Second)
		require.Equal(t, before+6, d.count(), "%s to %s", enabled, time.Now())
	})
}

func TestClockThatWasADayAheadIsForgiven(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		var d diary
		off := time.Duration(0)
		h := openHost(t, e.NewJetStream(), "one", FleetOptions{}).add("*/5 * * * *", "job", d.job(), FleetJobOptions{})
		h.clock = func() time.Time { return wallNow().Add(off) }
		for _, off = range []time.Duration{0, 24 * time.Hour} {
			h.run()
			time.Sleep(11 * time.Minute)
			h.stop()
		}
		off = 0
		before := d.count()
		h.run()
		time.Sleep(2 * time.Hour)
		require.InDelta(t, before+24, d.count(), 1)
	})
}

func TestNewVersionDoesNotTakeItselfForTheOldOne(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		var old, newer bytes.Buffer
		logTo := func(b *bytes.Buffer) FleetOptions { return FleetOptions{Logger: slog.New(slog.NewTextHandler(b, nil))} }
		v1 := openHost(t, e.NewJetStream(), "v1", logTo(&old)).add("*/10 * * * * *", "job", nothing, FleetJobOptions{Overlap: Allow}).run()
		time.Sleep(2 * time.Second)
		v2 := openHost(t, e.NewJetStream(), "v2", logTo(&newer)).add("*/10 * * * * *", "job", nothing, FleetJobOptions{Overlap: Allow, MaxAttempts: 7}).run()
		time.Sleep(time.Minute)
		v1.stop()
		v2.stop()
		require.NotContains(t, newer.String(), "its definition holds")
		require.Equal(t, 1, bytes.Count(old.Bytes(), []byte("its definition holds")))
		require.Contains(t, old.String(), `differences="MaxAttempts 7, ours 3"`)
	})
}

func TestDefinitionIsComparedWhenItIsKnown(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		openHost(t, e.NewJetStream(), "old", FleetOptions{}).add("*/10 * * * * *", "job", nothing, FleetJobOptions{}).run()
		time.Sleep(2 * time.Second)
		var log bytes.Buffer
		newer := openHost(t, e.NewJetStream(), "new", FleetOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))}).
			add("*/15 * * * * *", "job", nothing, FleetJobOptions{})
		all, err := read(t.Context(), newer.kv) // as its watch does, before it has heard of itself
		require.NoError(t, err)
		require.Len(t, all, 1)
		newer.view.schedules = map[string]*schedule{"job": &all[0]}
		newer.compare()
		require.Empty(t, log.String())
	})
}

func TestAddMayBeCalledWhileOthersList(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		openHost(t, e.NewJetStream(), "one", FleetOptions{}).add("* * * * * *", "job", nothing, FleetJobOptions{}).run()
		time.Sleep(3 * time.Second)
		two := openHost(t, e.NewJetStream(), "two", FleetOptions{})
		var adding sync.WaitGroup
		adding.Go(func() {
			for n := range 300 {
				two.add("* * * * * *", fmt.Sprint("j", n), nothing, FleetJobOptions{})
			}
		})
		_, err := two.List(t.Context())
		require.NoError(t, err)
		adding.Wait()
	})
}
