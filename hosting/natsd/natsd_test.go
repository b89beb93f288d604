// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package natsd_test

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/hosting/natsd"
	"github.com/jetjobs/jetjobs/internal/natstest"
)

func TestMain(m *testing.M) {
	natstest.Main(m, map[string]func([]string){
		"client": clientProgram,
		"signal": signalProgram,
		"notify": notifyProgram,
	})
}

func start(t *testing.T, opts natsd.Options) *natsd.Server {
	t.Helper()
	opts.Logger = slog.New(slog.DiscardHandler)
	s, err := natsd.Start(opts)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

// refused is the error of a Start that fails.
func refused(t *testing.T, opts natsd.Options) string {
	t.Helper()
	opts.Logger = slog.New(slog.DiscardHandler)
	s, err := natsd.Start(opts)
	if err == nil {
		s.Close()
		t.Fatal("Start has not failed")
	}
	require.Regexp(t, "^natsd: ", err)
	return err.Error()
}

func publish(t *testing.T, s *natsd.Server) {
	t.Helper()
	_, err := s.JetStream().CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
	require.NoError(t, err)
	_, err = s.JetStream().Publish(t.Context(), "s", []byte("x"))
	require.NoError(t, err)
}

func stored(t *testing.T, s *natsd.Server) int {
	t.Helper()
	st, err := s.JetStream().Stream(t.Context(), "S")
	require.NoError(t, err)
	return int(st.CachedInfo().State.Msgs)
}

func TestAStartedServerAnswersAtOnce(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T) {
		began := time.Now()
		s := start(t, natsd.Options{})
		require.True(t, s.Conn().IsConnected())
		_, err := s.JetStream().AccountInfo(t.Context())
		require.NoError(t, err)
		require.Zero(t, time.Since(began), "nothing in Start waits for time to pass")
	})
}

func TestDirKeepsTheData(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "Start")
	for i := range 3 {
		natstest.Bubble(t, func(t *testing.T) {
			s := start(t, natsd.Options{Dir: dir})
			publish(t, s)
			require.Equal(t, i+1, stored(t, s))
		})
	}
}

func TestWithoutDirNothingOutlivesClose(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	for range 2 {
		natstest.Bubble(t, func(t *testing.T) {
			s := start(t, natsd.Options{})
			publish(t, s)
			require.Equal(t, 1, stored(t, s))
			made, err := os.ReadDir(temp)
			require.NoError(t, err)
			require.Len(t, made, 1)
		})
		left, err := os.ReadDir(temp)
		require.NoError(t, err)
		require.Empty(t, left)
	}
}

func TestWritesToDirAreSyncedUnlessSyncIntervalRelaxesIt(t *testing.T) {
	config := start(t, natsd.Options{Dir: t.TempDir()}).JetStreamConfig()
	require.True(t, config.SyncAlways)

	config = start(t, natsd.Options{Dir: t.TempDir(), SyncInterval: time.Minute}).JetStreamConfig()
	require.False(t, config.SyncAlways)
	require.Equal(t, time.Minute, config.SyncInterval)

	config = start(t, natsd.Options{}).JetStreamConfig()
	require.False(t, config.SyncAlways, "nobody reads a temporary directory after a power cut")
}

func TestLimitsReachTheServer(t *testing.T) {
	s := start(t, natsd.Options{MaxStore: 1 << 20, MaxPayload: 100})
	require.EqualValues(t, 1<<20, s.JetStreamConfig().MaxStore)
	require.EqualValues(t, 100, s.Conn().MaxPayload())
	require.EqualValues(t, 1<<20, start(t, natsd.Options{}).Conn().MaxPayload(), "the default")
}

func TestAFailedStartGivesTheReasonAndLeavesNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	blocked := t.TempDir() // where the server wants a directory
	require.NoError(t, os.WriteFile(filepath.Join(blocked, "jetstream"), nil, 0o600))
	used := t.TempDir()
	start(t, natsd.Options{Dir: used})

	for name, c := range map[string]struct{ dir, want string }{
		"a file":           {file, "Options.Dir: .*file: not a directory"},
		"below a file":     {filepath.Join(file, "x"), "Options.Dir: .*file: not a directory"},
		"not writable":     {"/proc", "Options.Dir: .*"},
		"server's reason":  {blocked, "Can't start JetStream: storage directory is not a directory"},
		"in use":           {used, "Options.Dir: .* is in use by another server"},
		"in use, same dir": {used + "/../" + filepath.Base(used), "in use by another server"},
	} {
		t.Run(name, func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T) {
				require.Regexp(t, c.want, refused(t, natsd.Options{Dir: c.dir}))
			})
		})
	}
}

func TestATakenPortIsTheReason(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	dir := t.TempDir()
	reason := refused(t, natsd.Options{Dir: dir, Listen: l.Addr().String()})
	require.Contains(t, reason, l.Addr().String())
	require.Contains(t, reason, "in use")
	requireNothingRuns(t)
	start(t, natsd.Options{Dir: dir}) // which is free again
}

func TestADirHasOneServerAtATime(t *testing.T) {
	dir := t.TempDir()
	// In another process, until that is gone.
	p := natstest.Spawn(t, "natsd", dir, "127.0.0.1:0")
	p.WaitFor(t, "ready")
	require.Contains(t, refused(t, natsd.Options{Dir: dir}), "in use by another server")
	p.Kill()

	// In this one; and a refusal does not free it.
	s := start(t, natsd.Options{Dir: dir})
	for range 2 {
		require.Contains(t, refused(t, natsd.Options{Dir: dir}), "in use by another server")
	}
	p = natstest.Spawn(t, "natsd", dir, "127.0.0.1:0")
	require.Equal(t, 1, p.Wait())
	s.Close()

	// However many try.
	var wg sync.WaitGroup
	var mu sync.Mutex
	var started []*natsd.Server
	for range 8 {
		wg.Go(func() {
			s, err := natsd.Start(natsd.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
			if err == nil {
				mu.Lock()
				started = append(started, s)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, s := range started {
		s.Close()
	}
	require.Len(t, started, 1)
}

func TestStartRefusesToLeaveOutAStreamThatHasMessages(t *testing.T) {
	dir := t.TempDir()
	s := start(t, natsd.Options{Dir: dir})
	publish(t, s)
	_, err := s.JetStream().CreateStream(t.Context(), jetstream.StreamConfig{Name: "EMPTY", Subjects: []string{"e"}})
	require.NoError(t, err)
	s.Close()
	streams := filepath.Join(dir, "jetstream", "$G", "streams")
	description := filepath.Join(streams, "S", "meta.inf")
	kept, err := os.ReadFile(description)
	require.NoError(t, err)

	require.NoError(t, os.WriteFile(filepath.Join(streams, "EMPTY", "meta.inf"), []byte("damaged"), 0o600))
	start(t, natsd.Options{Dir: dir}).Close()

	require.NoError(t, os.WriteFile(description, []byte("damaged"), 0o600))
	natstest.Bubble(t, func(t *testing.T) {
		reason := refused(t, natsd.Options{Dir: dir})
		require.Contains(t, reason, filepath.Join(streams, "S"))
		require.Contains(t, reason, "checksums do not match", "the server's reason")
	})

	require.NoError(t, os.WriteFile(description, kept, 0o600))
	require.Equal(t, 1, stored(t, start(t, natsd.Options{Dir: dir})), "nothing was lost meanwhile")
}

func TestAllBadOptionsAreNamedAtOnce(t *testing.T) {
	require.Equal(t, strings.Join([]string{
		"natsd: Options.SyncInterval is -1s: want zero for the default, or more",
		"Options.MaxStore is -1: want zero for the default, or more",
		"Options.MaxPayload is -1: want zero for the default, or more",
		`Options.Listen is "4222": want host:port, such as 127.0.0.1:4222, or 127.0.0.1:0 for a free port`,
	}, "\n"), refused(t, natsd.Options{SyncInterval: -time.Second, MaxStore: -1, MaxPayload: -1, Listen: "4222"}))

	for want, opts := range map[string]natsd.Options{
		"Options.SyncInterval is 1s without Dir": {SyncInterval: time.Second},
		"the server takes at most 8388608":       {MaxPayload: 8<<20 + 1},
		`Options.Listen is "a:b"`:                {Listen: "a:b"},
		`Options.Listen is "localhost:65536"`:    {Listen: "localhost:65536"},
		`Options.Listen is "localhost:-1"`:       {Listen: "localhost:-1"},
	} {
		require.Contains(t, refused(t, opts), want)
	}
}

// clientProgram publishes to the server at the URL it is given.
func clientProgram(args []string) {
	nc, err := nats.Connect(args[0])
	if err != nil {
		panic(err)
	}
	if err := nc.Publish("from", []byte("another process")); err != nil {
		panic(err)
	}
	nc.Close() // flushes
}

func TestOtherProcessesCanJoinWithListen(t *testing.T) {
	s := start(t, natsd.Options{Listen: "127.0.0.1:0"})
	sub, err := s.Conn().SubscribeSync("from")
	require.NoError(t, err)
	require.Zero(t, natstest.Spawn(t, "client", s.URL()).Wait())
	m, err := sub.NextMsg(time.Minute)
	require.NoError(t, err)
	require.Equal(t, "another process", string(m.Data))
}

func TestURLIsConnectableHoweverListenIsSpelled(t *testing.T) {
	listens := []string{":0", "0.0.0.0:0", "localhost:0", "127.0.0.1:0"}
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil { // a machine with IPv6
		l.Close()
		listens = append(listens, "[::1]:0", "[::]:0")
	}
	for _, listen := range listens {
		s := start(t, natsd.Options{Listen: listen})
		nc, err := nats.Connect(s.URL())
		require.NoErrorf(t, err, "Listen %s, URL %s", listen, s.URL())
		nc.Close()
		require.NotContains(t, s.URL(), "0.0.0.0")
		require.NotContains(t, s.URL(), "[::]")
		s.Close()
	}
}

func TestWithoutListenNothingListens(t *testing.T) {
	sockets := func() (n int) {
		open, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("needs /proc to count sockets")
		}
		for _, f := range open {
			if to, _ := os.Readlink("/proc/self/fd/" + f.Name()); strings.HasPrefix(to, "socket:") {
				n++
			}
		}
		return n
	}
	before := sockets()
	s := start(t, natsd.Options{})
	require.Equal(t, before, sockets())
	require.Empty(t, s.URL())
	start(t, natsd.Options{Listen: "127.0.0.1:0"})
	require.Greater(t, sockets(), before, "they are counted")
}

func TestEveryCloseReturnsWhenAllIsDone(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	natstest.Bubble(t, func(t *testing.T) {
		s := start(t, natsd.Options{})
		publish(t, s)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				s.Close()
				if left, _ := os.ReadDir(temp); len(left) != 0 {
					t.Error("Close has returned too early")
				}
			})
		}
		wg.Wait()
		s.Close()
	})
}

func TestConnectionsAfterClose(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T) {
		s := start(t, natsd.Options{})
		keeps, err := s.Connect(nats.MaxReconnects(-1))
		require.NoError(t, err)
		defer keeps.Close()
		gives, err := s.Connect(nats.NoReconnect())
		require.NoError(t, err)
		s.Close()
		time.Sleep(time.Hour)
		require.Equal(t, nats.RECONNECTING, keeps.Status())
		require.ErrorIs(t, gives.Publish("x", nil), nats.ErrConnectionClosed)
		require.ErrorIs(t, s.Conn().Publish("x", nil), nats.ErrConnectionClosed)
		_, err = s.Connect()
		require.Error(t, err)
		require.Empty(t, s.URL())
	})
}

func TestCloseLeavesNoGoroutine(t *testing.T) {
	s := start(t, natsd.Options{Listen: "127.0.0.1:0"})
	nc, err := nats.Connect(s.URL())
	require.NoError(t, err)
	publish(t, s)
	s.Close()
	nc.Close()
	requireNothingRuns(t)
}

// requireNothingRuns waits until no goroutine of a server or a client is left,
// where a bubble, which would see to that, can't have TCP.
func requireNothingRuns(t *testing.T) {
	t.Helper()
	limit := time.Now().Add(time.Minute)
	for {
		left := ""
		buf := make([]byte, 1<<20)
		for _, stack := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			// The access-time service runs for as long as natstest is linked.
			if strings.Contains(stack, "nats-io/") && !strings.Contains(stack, "server/ats.") {
				left += stack + "\n\n"
			}
		}
		if left == "" {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("still running:\n%s", left)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
