// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package apilevel

import (
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

func TestServerOfTodayIsNewEnough(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		require.NoError(t, Check(t.Context(), e.JetStream(), "schedules"))
	})
}

func TestOldServerIsRefusedWithTheVersionNeeded(t *testing.T) {
	require.EqualError(t, check("2.11.9", 1, "message schedules"),
		"nats-server 2.11.9 has JetStream API level 1: want level 2 (nats-server 2.12 or newer), for message schedules")
	require.NoError(t, check("2.12.0", 2, ""))
}

func TestServerWithoutJetStreamIsExplained(t *testing.T) {
	srv, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true})
	require.NoError(t, err)
	srv.Start()
	defer srv.Shutdown()
	nc, err := nats.Connect("", nats.InProcessServer(srv))
	require.NoError(t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	require.ErrorContains(t, Check(t.Context(), js, "schedules"), "start nats-server with -js")
}
