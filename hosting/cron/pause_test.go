// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package cron

import (
	"context"
	"fmt"
	"log"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/jobs"
)

func TestMain(m *testing.M) {
	natstest.Main(m, map[string]func([]string){"fleet": fleetProcess})
}

const pausedTTL = 2 * time.Second

// fleetProcess is a host in a process of its own, until it is killed.
func fleetProcess(args []string) {
	nc, err := nats.Connect(args[0], nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
	if err != nil {
		log.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		log.Fatal(err)
	}
	f, err := OpenFleet(context.Background(), js, FleetOptions{Host: args[1], LeaderTTL: pausedTTL, Logger: silent})
	if err != nil {
		log.Fatal(err)
	}
	job := jobs.ErrFunc(func(ctx context.Context) error { return nil })
	if err := f.Add("* * * * * *", "job", job, FleetJobOptions{Overlap: Allow, Missed: RunAll}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("running")
	log.Fatal(f.RunContinuous(context.Background()))
}

// The leader is stopped where it is for longer than its lease, twice, and goes on
// where it was; another is killed.
func TestPausedAndKilledLeadersMissAndDoubleNoTick(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 20 s of real time")
	}
	srv := natstest.StartProcess(t)
	control := openHost(t, srv.JetStream(), "control", FleetOptions{})
	hosts := map[string]*natstest.Process{}
	for _, name := range []string{"a", "b", "c"} {
		hosts[name] = natstest.Spawn(t, "fleet", srv.URL(), name)
		hosts[name].WaitFor(t, "running")
	}
	lead := func(not string) (name string) {
		require.Eventually(t, func() bool {
			held, err := control.Leader(t.Context())
			name = held.Owner
			return err == nil && held.Held() && name != not && hosts[name] != nil
		}, time.Minute, 20*time.Millisecond)
		return name
	}
	planned := func(at time.Time) {
		t.Helper()
		require.Eventually(t, func() bool {
			runs, err := control.History(t.Context(), "job", 1)
			return err == nil && len(runs) > 0 && !runs[0].Planned.Before(at)
		}, time.Minute, 20*time.Millisecond)
	}
	first := time.Now().Add(time.Second).Truncate(time.Second)
	lead("")
	planned(first)
	for range 2 {
		old := lead("")
		hosts[old].Pause()
		lead(old)
		planned(time.Now().Truncate(time.Second))
		hosts[old].Resume()
		planned(time.Now().Add(2 * time.Second).Truncate(time.Second))
	}
	dead := lead("")
	killed := time.Now()
	hosts[dead].Kill()
	lead(dead)
	last := time.Now().Truncate(time.Second)
	planned(last.Add(2 * time.Second))

	q, err := control.look(t.Context(), "job")
	require.NoError(t, err)
	runs, err := control.History(t.Context(), "job", 1000)
	require.NoError(t, err)
	count := map[string]int{}
	for _, r := range runs {
		count[r.ID]++
	}
	due, open := 0, []string{}
	for at := first.Add(time.Second); !at.After(last); at = at.Add(time.Second) {
		due++
		id := tickID("job", at)
		i, err := q.Get(t.Context(), id)
		require.NoError(t, err, "missed: %s", id)
		require.LessOrEqual(t, count[id], 1, "doubled: %s", id)
		if count[id] == 0 {
			open = append(open, fmt.Sprint(id, " ", i.State))
		}
		if at.After(killed) {
			require.LessOrEqual(t, i.Enqueued.Sub(at), pausedTTL+time.Second, "enqueued within the lease and a second: %s", id)
		}
	}
	t.Logf("%d ticks due, 0 missed, 0 doubled; not over, as their host was killed: %v", due, strings.Join(open, ", "))
	require.LessOrEqual(t, len(open), 2)
}
