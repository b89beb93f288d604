// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package natstest

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/hosting/natsd"
)

// A ServerProcess is one nats-server in a process of its own, listening on
// loopback, so that it can crash (Kill), hang (Pause, Resume) or stop cleanly
// (Interrupt, then Wait). Its methods are for one goroutine at a time.
type ServerProcess struct {
	*Process // the current one; Restart replaces it

	t      testing.TB
	dir    string
	listen string
	sync   time.Duration
}

// StartProcess starts a server in a process of its own and waits until it is
// ready. It is gone when the test ends.
func StartProcess(t testing.TB) *ServerProcess {
	t.Helper()
	return startProcess(t, time.Hour) // tests kill processes, not machines
}

// StartSyncingProcess is StartProcess with a server that syncs every write to
// disk before it acknowledges it.
func StartSyncingProcess(t testing.TB) *ServerProcess {
	t.Helper()
	return startProcess(t, 0)
}

func startProcess(t testing.TB, sync time.Duration) *ServerProcess {
	t.Helper()
	s := &ServerProcess{t: t, dir: t.TempDir(), listen: freeAddr(t), sync: sync}
	s.begin()
	return s
}

// URL is where clients connect; it survives Restart.
func (s *ServerProcess) URL() string { return "nats://" + s.listen }

// Connect opens a connection that keeps reconnecting and is closed when the
// test ends.
func (s *ServerProcess) Connect(opts ...nats.Option) *nats.Conn {
	s.t.Helper()
	return connect(s.t, s.URL(), opts...)
}

// JetStream is JetStream on a new connection.
func (s *ServerProcess) JetStream(opts ...nats.Option) jetstream.JetStream {
	s.t.Helper()
	return newJetStream(s.t, s.Connect(opts...))
}

// Restart starts the server again with the same data and address, and waits
// until it is ready. One that still runs is killed first.
func (s *ServerProcess) Restart() {
	s.t.Helper()
	s.Kill()
	s.begin()
}

func (s *ServerProcess) begin() {
	s.t.Helper()
	s.Process = Spawn(s.t, "natsd", s.dir, s.listen, s.sync.String())
	s.WaitFor(s.t, "ready")
}

// runServer is the program "natsd": a server on the directory and the address
// it is given, which syncs as often as a third argument says, until SIGTERM.
func runServer(args []string) {
	sync := time.Hour // tests kill processes, not machines
	if len(args) > 2 {
		var err error
		if sync, err = time.ParseDuration(args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	srv, err := natsd.Start(natsd.Options{
		Dir:          args[0],
		Listen:       args[1],
		SyncInterval: sync,
		Logger:       slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ready at", srv.URL())
	<-stop
	srv.Close()
}

// givenAddrs are those that freeAddr has returned: they are free until somebody
// begins to listen, and one server needs several.
var givenAddrs sync.Map

// freeAddr is an address on loopback that nothing listens on. Its port is below
// the range that systems take outgoing ports from: a client that reconnects to
// a server that is down would sooner or later get that very port for its own
// end, reach itself, and keep the server from coming back.
func freeAddr(t testing.TB) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(10_000+rand.IntN(20_000))))
		if err != nil {
			continue
		}
		require.NoError(t, l.Close())
		if _, given := givenAddrs.LoadOrStore(l.Addr().String(), true); !given {
			return l.Addr().String()
		}
	}
	t.Fatal("natstest: no free port")
	return ""
}
