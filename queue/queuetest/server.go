// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queuetest

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

// Start starts a server for the test, which is gone when it ends, and returns a
// connection. It takes some 10 ms, and may be used by tests in parallel.
func Start(t testing.TB) jetstream.JetStream {
	t.Helper()
	return natstest.Start(t).JetStream()
}

// Run runs f in fake time with a server of its own.
func Run(t *testing.T, f func(t *testing.T, js jetstream.JetStream)) {
	t.Helper()
	natstest.Run(t, func(t *testing.T, e *natstest.Env) { f(t, e.JetStream()) })
}
