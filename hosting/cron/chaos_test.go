// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package cron

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/queue"
)

var (
	chaosTime = flag.Duration("chaos", 10*time.Minute, "how long, in fake time, leaders come and go in TestChaos")
	chaosSeed = flag.Uint64("chaos-seed", 0, "seed of TestChaos; 0 takes a new one each time")
)

// Three hosts, whose clocks differ by up to a second, share a schedule while
// leaders are cut off, stopped and replaced, and the server restarts. Each due
// tick has one occurrence, and each of them has been run.
func TestChaosMissesAndDoublesNoTick(t *testing.T) {
	seed := *chaosSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-chaos-seed=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		var d diary
		const hosts = 3
		links := make([]*natstest.Link, hosts)
		all := make([]*host, hosts)
		begin := func(n int) {
			links[n] = e.Link()
			h := openHost(t, links[n].JetStream(), fmt.Sprint("host-", n, "-", random.IntN(1000)), FleetOptions{LeaderTTL: 5 * time.Second})
			off := time.Duration(n-1) * 500 * time.Millisecond
			h.clock = func() time.Time { return wallNow().Add(off) }
			all[n] = h.add("*/2 * * * * *", "job", d.job(), FleetJobOptions{Overlap: Allow, Missed: RunAll}).run()
		}
		for n := range hosts {
			begin(n)
		}
		time.Sleep(10 * time.Second)
		first := time.Now().Truncate(2 * time.Second)
		troubles := map[string]int{}
		for end := time.Now().Add(*chaosTime); time.Now().Before(end); time.Sleep(time.Duration(10+random.IntN(20)) * time.Second) {
			n := 0
			for i, h := range all {
				if _, leads := h.leader.Term(); leads {
					n = i
				}
			}
			switch trouble := []string{"cut off", "stopped", "cut off and replaced", "server restarted"}[random.IntN(4)]; trouble {
			case "cut off":
				troubles[trouble]++
				links[n].Cut()
				time.Sleep(time.Duration(1+random.IntN(15)) * time.Second)
				links[n].Heal()
			case "stopped":
				troubles[trouble]++
				all[n].stop()
				time.Sleep(time.Duration(random.IntN(5)) * time.Second)
				begin(n)
			case "cut off and replaced":
				troubles[trouble]++
				links[n].Cut()
				old, link := all[n], links[n]
				begin(n)
				time.Sleep(20 * time.Second)
				link.Heal()
				old.stop()
			case "server restarted":
				troubles[trouble]++
				e.Restart(time.Duration(random.IntN(3)) * time.Second)
			}
		}
		last := time.Now().Truncate(2 * time.Second)
		time.Sleep(2 * time.Minute) // leases of those that were cut off end

		q, err := queue.Open[tick](t.Context(), e.JetStream(), queueOf("job"), queue.Options{Logger: silent})
		require.NoError(t, err)
		occurrences := map[string]int{}
		for i, err := range q.List(context.Background(), queue.Filter{}) {
			require.NoError(t, err)
			occurrences[i.ID]++
			if !tickOf(i.ID).After(last) {
				require.Equal(t, queue.Done, i.State, i.ID)
			}
		}
		due, missed, doubled, again := 0, 0, 0, 0
		for at := first; !at.After(last); at = at.Add(2 * time.Second) {
			due++
			id := tickID("job", at)
			if occurrences[id] == 0 || len(d.all()[id]) == 0 {
				missed++
			}
			if occurrences[id] > 1 {
				doubled++
			}
			if len(d.all()[id]) > 1 {
				again++
			}
		}
		t.Logf("%v: %d ticks due, %d missed, %d doubled; %d run again because their host was cut off before it could say that it had finished",
			troubles, due, missed, doubled, again)
		require.Zero(t, missed)
		require.Zero(t, doubled)
		require.LessOrEqual(t, again, troubles["cut off"]+troubles["cut off and replaced"]+troubles["server restarted"])
	})
}
