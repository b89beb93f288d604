// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/wirename"
)

func TestNames(t *testing.T) {
	n := newNames("jobs", "orders")
	require.Equal(t, "jobs_q_orders", n.stream)
	require.Equal(t, "jobs.q.orders.>", n.all())
	require.Equal(t, "jobs.q.orders.later.3.x", n.subject(later, 3, "x"))
	require.Equal(t, "jobs.q.orders.*.*.x", n.filter("x"))
	require.Equal(t, "jobs.q.orders.ready.0.*", n.lane(0))
	require.Equal(t, "jobs.q.orders.dead.*.*", n.state(dead))

	state, priority, token, ok := n.parse("jobs.q.orders.dead.12.a%2Eb")
	require.Equal(t, []any{"dead", 12, "a%2Eb", true}, []any{state, priority, token, ok})
	for _, bad := range []string{"", "jobs.q.orders.", "jobs.q.orders.dead.1", "jobs.q.orders.dead.1.", "jobs.q.orders.dead.x.y", "jobs.q.other.dead.1.x", "jobs.q.orders.dead.1.x.y"} {
		_, _, _, ok := n.parse(bad)
		require.False(t, ok, bad)
	}
}

func TestMadeIDsSortByTimeAndDiffer(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var ids []string
	for i := range 1000 {
		ids = append(ids, newID(now.Add(time.Duration(i)*time.Millisecond)))
	}
	require.True(t, slices.IsSorted(ids))
	seen := map[string]bool{}
	for range 100_000 {
		id := newID(now)
		require.Len(t, id, 24)
		require.Equal(t, id, wirename.Encode(id))
		require.False(t, seen[id])
		seen[id] = true
	}
	// It sorts over the whole range of time.
	require.Less(t, newID(time.Unix(0, 0)), newID(now))
	require.Less(t, newID(now), newID(endOfTime))
}
