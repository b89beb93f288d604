// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package natstest

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

func replicated(t *testing.T, js jetstream.JetStream, replicas int) {
	t.Helper()
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Replicas: replicas})
	require.NoError(t, err)
}

// publish succeeds in the end, over however many elections.
func publish(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	_, err := js.Publish(t.Context(), "s.1", nil,
		jetstream.WithRetryAttempts(int(patience/time.Second)), jetstream.WithRetryWait(time.Second))
	require.NoError(t, err)
}

func TestAClusterTakesReplicasOnEveryNodeAtOnce(t *testing.T) {
	c := StartCluster(t, 3)
	replicated(t, c.JetStream(2), 3)
	leader := c.StreamLeader("S")
	for i := range 3 {
		js := c.JetStream(i)
		require.Equal(t, c.nodes[i].name, js.Conn().ConnectedServerName())
		_, err := js.Publish(t.Context(), "s.1", nil)
		require.NoError(t, err)
		require.Equal(t, i == leader, c.nodes[i].leads("S"))
	}
}

func TestStepDownMovesTheLeadership(t *testing.T) {
	c := StartCluster(t, 3)
	js := c.NewJetStream()
	replicated(t, js, 3)
	for range 3 {
		before := c.StreamLeader("S")
		after := c.StepDown("S")
		require.NotEqual(t, before, after)
		require.Equal(t, after, c.StreamLeader("S"))
		publish(t, js)
	}
}

func TestAClusterLosesANodeAndGetsItBackWithItsData(t *testing.T) {
	c := StartCluster(t, 3)
	js := c.NewJetStream()
	replicated(t, js, 3)
	publish(t, js)

	gone := c.StreamLeader("S")
	there := c.JetStream(gone)
	c.Stop(gone)
	require.NotEqual(t, gone, c.StreamLeader("S"))
	publish(t, js)
	c.await("the connection to one node to stay with it", func() bool {
		return there.Conn().Status() == nats.RECONNECTING
	})

	c.Restart(gone)
	c.await("the data of the restarted node", func() bool { return c.nodes[gone].messages(t) == 2 })
	c.await("that connection", there.Conn().IsConnected)
}

// messages is how many the node itself holds.
func (n *node) messages(t *testing.T) (sum uint64) {
	t.Helper()
	info, err := n.srv.Jsz(&server.JSzOptions{Accounts: true, Streams: true})
	require.NoError(t, err)
	for _, account := range info.AccountDetails {
		for _, s := range account.Streams {
			sum += s.State.Msgs
		}
	}
	return sum
}

func TestRestartOfAMinorityWaitsForNobody(t *testing.T) {
	c := StartCluster(t, 3)
	for i := range 3 {
		c.Stop(i)
	}
	began := time.Now()
	c.Restart(1)
	require.Less(t, time.Since(began), patience)
	require.True(t, c.JetStream(1).Conn().IsConnected())
}
