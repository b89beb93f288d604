// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package cron

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/queue"
)

// On three replicas, while the leaders of all three streams step down and a node
// stops, each tick has one occurrence.
func TestFleetOnThreeReplicas(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 15 s of real time")
	}
	c := natstest.StartCluster(t, 3)
	var d diary
	var hosts []*host
	for n := range 3 {
		hosts = append(hosts, openHost(t, c.NewJetStream(), fmt.Sprint("host-", n), FleetOptions{Replicas: 3, LeaderTTL: 2 * time.Second}).
			add("* * * * * *", "job", d.job(), FleetJobOptions{Overlap: Allow, Missed: RunAll}).run())
	}
	require.Eventually(t, func() bool { return d.count() > 1 }, time.Minute, 10*time.Millisecond)
	first := time.Now().Truncate(time.Second)
	for _, stream := range []string{"KV_jobs_cron", "KV_jobs_locks", "jobs_q_cron-job"} {
		c.StepDown(stream)
		reached := d.count() + 2
		require.Eventually(t, func() bool { return d.count() >= reached }, time.Minute, 10*time.Millisecond, stream)
	}
	down := c.StreamLeader("KV_jobs_cron")
	c.Stop(down)
	reached := d.count() + 5
	require.Eventually(t, func() bool { return d.count() >= reached }, time.Minute, 10*time.Millisecond)
	c.Restart(down)
	last := time.Now().Truncate(time.Second)
	reached = d.count() + 2
	require.Eventually(t, func() bool { return d.count() >= reached }, time.Minute, 10*time.Millisecond)

	// Who only controls need not know how many replicas there are.
	control := openHost(t, c.NewJetStream(), "control", FleetOptions{})
	require.Len(t, status(t, control, "job").Hosts, 3)
	h, err := control.Trigger(t.Context(), "job")
	require.NoError(t, err)
	_, err = h.Wait(t.Context())
	require.NoError(t, err)

	q, err := queue.Open[tick](t.Context(), c.NewJetStream(), queueOf("job"), queue.Options{Logger: silent})
	require.NoError(t, err)
	records := map[string][]queue.State{} // in the order in which they were stored
	for i, err := range q.List(t.Context(), queue.Filter{}) {
		require.NoError(t, err)
		records[i.ID] = append(records[i.ID], i.State)
	}
	for at := first; !at.After(last); at = at.Add(time.Second) {
		requireOneOccurrence(t, records[tickID("job", at)], at)
	}
	for _, h := range hosts {
		h.stop()
	}
}

// requireOneOccurrence fails unless the records are those of one job that is done.
// A second one would have a record as it was enqueued and one as it was done. What
// the first one was moved from may still be there: when the stream's leader
// changes between the ack and the delete, the server deletes it half a minute later.
func requireOneOccurrence(t *testing.T, records []queue.State, at time.Time) {
	t.Helper()
	require.NotEmpty(t, records, at)
	last := len(records) - 1
	require.Equal(t, queue.Done, records[last], "%s: %v", at, records)
	require.LessOrEqual(t, last, 1, "%s: %v", at, records)
	if last == 1 {
		require.Contains(t, []queue.State{queue.Running, queue.Waiting}, records[0], at)
	}
}
