// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// Locks are also used through the API of another domain, as from a leaf node.
func TestLocksOfAnotherDomain(t *testing.T) {
	srv, err := server.NewServer(&server.Options{
		ServerName: "hub", DontListen: true, NoSigs: true, JetStream: true, JetStreamDomain: "hub", StoreDir: t.TempDir(),
	})
	require.NoError(t, err)
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	require.True(t, srv.ReadyForConnections(10*time.Second))
	nc, err := nats.Connect("", nats.InProcessServer(srv))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	plain, err := jetstream.New(nc)
	require.NoError(t, err)
	domain, err := jetstream.NewWithDomain(nc, "hub")
	require.NoError(t, err)
	prefix, err := jetstream.NewWithAPIPrefix(nc, "$JS.hub.API")
	require.NoError(t, err)

	var last Fence
	for _, c := range []struct {
		js   jetstream.JetStream
		want string
	}{{plain, "$KV.jobs_locks."}, {domain, "$JS.hub.API.$KV.jobs_locks."}, {prefix, "$JS.hub.API.$KV.jobs_locks."}} {
		locks := openLocks(t, c.js, Options{})
		require.Equal(t, c.want, locks.c.publish, "as nats.go does it, or it would not leave the leaf node")
		lease := acquire(t, locks, "x")
		require.Greater(t, lease.Fence(), last)
		last = lease.Fence()
		require.NoError(t, lease.Renew(t.Context()))
		released := make(chan error)
		time.AfterFunc(100*time.Millisecond, func() { released <- lease.Release(t.Context()) })
		next := acquire(t, locks, "x")
		require.NoError(t, <-released)
		release(t, next)
	}
}
