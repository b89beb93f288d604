// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

// Package natstest gives tests the real nats-server: inside a fake-time bubble,
// in real time, cut off by a Link, restarted, in a process of its own that can
// be killed, or as a cluster. Nothing here imitates NATS.
//
// In a bubble (Run) time.Sleep costs nothing and a goroutine left running fails
// the test. What makes the server work there was found by failing first:
// its access-time service must be started outside any bubble, and nats.go keeps
// timers in a package-level sync.Pool, so the pool is emptied before and after
// each bubble, and nothing that uses NATS may run in parallel with one. No TCP works in a bubble.
package natstest

import (
	"log/slog"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/hosting/natsd"
)

// The server's access-time goroutine selects on a package-level channel; begun
// inside a bubble it would keep the fake clock from ever moving.
func init() { ats.Register() }

// An Env is one nats-server with a data directory, for one test.
type Env struct {
	t    testing.TB
	fake bool // in a bubble
	dir  string
	opts natsd.Options
	js   jetstream.JetStream

	mu  sync.Mutex // guards srv
	srv *natsd.Server
}

// Run runs f in a fake-time bubble with a server of its own. It may be called
// inside a subtest; f can't call t.Run or t.Parallel.
func Run(t *testing.T, f func(t *testing.T, e *Env)) {
	t.Helper()
	dir := t.TempDir()
	Bubble(t, func(t *testing.T) {
		e := start(t, dir)
		e.fake = true
		f(t, e)
	})
}

// Bubble runs f in a fake-time bubble without a server, for tests that start
// one themselves.
func Bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	emptyPools()
	defer emptyPools() // for a test in real time that follows
	synctest.Test(t, func(t *testing.T) {
		// A server that has shut down may leave a flusher asleep for some
		// milliseconds (2.15.2); no clock would wake it once the bubble has ended.
		t.Cleanup(func() { time.Sleep(time.Second) })
		f(t)
	})
}

// emptyPools makes every sync.Pool forget what it holds: a timer of one bubble
// that is used in another, or outside, is a fatal error.
func emptyPools() {
	runtime.GC() // moves it to the pool's second generation
	runtime.GC()
}

// Start starts a server in real time, gone when the test ends.
func Start(t testing.TB) *Env {
	t.Helper()
	return start(t, t.TempDir())
}

func start(t testing.TB, dir string) *Env {
	t.Helper()
	e := &Env{t: t, dir: dir, opts: natsd.Options{
		Dir:          dir,
		SyncInterval: time.Hour, // tests kill processes, not machines
		Logger:       slog.New(slog.DiscardHandler),
	}}
	t.Cleanup(e.Stop)
	e.Begin()
	e.js = e.NewJetStream()
	return e
}

// Begin starts the server on its directory, after Stop.
func (e *Env) Begin() {
	e.t.Helper()
	srv, err := natsd.Start(e.opts)
	require.NoError(e.t, err)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.srv = srv
}

// Stop shuts the server down cleanly. Clients go on trying to reconnect.
func (e *Env) Stop() {
	e.mu.Lock()
	srv := e.srv
	e.srv = nil
	e.mu.Unlock()
	if srv == nil {
		return
	}
	if e.fake {
		// The server sleeps under a lock as it shuts down (2.15.2): a request that
		// came to wait for that lock would keep the fake clock from ever moving.
		synctest.Wait()
	}
	srv.Close()
}

// Restart stops the server, waits for gap, and starts it on the same data.
func (e *Env) Restart(gap time.Duration) {
	e.t.Helper()
	e.Stop()
	time.Sleep(gap)
	e.Begin()
}

// JetStream is a connection that most of a test can share.
func (e *Env) JetStream() jetstream.JetStream { return e.js }

// NewJetStream is JetStream on a new connection.
func (e *Env) NewJetStream(opts ...nats.Option) jetstream.JetStream {
	e.t.Helper()
	return newJetStream(e.t, e.Connect(opts...))
}

// Connect opens a connection that keeps reconnecting and is closed when the
// test ends.
func (e *Env) Connect(opts ...nats.Option) *nats.Conn {
	e.t.Helper()
	return connect(e.t, "", append([]nats.Option{nats.InProcessServer(e)}, opts...)...)
}

// InProcessConn connects to the server that runs now, so that a client finds
// the one after a restart.
func (e *Env) InProcessConn() (net.Conn, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.srv == nil {
		return nil, net.ErrClosed
	}
	return e.srv.InProcessConn()
}

func connect(t testing.TB, url string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, append([]nats.Option{
		nats.MaxReconnects(-1),
		nats.ReconnectWait(50 * time.Millisecond),
		nats.ReconnectJitter(0, 0),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // nats.go prints them otherwise
	}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	return nc
}

func newJetStream(t testing.TB, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	return js
}
