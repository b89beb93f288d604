// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"testing"

	"github.com/stretchr/testify/require"
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
