// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

// holderProgram holds a lock in a process of its own. While its context is live it
// says so, with the time before it looked; then why it is not.
func holderProgram(args []string) {
	exitIf := func(err error) {
		if err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
	}
	nc, err := nats.Connect(args[0], nats.MaxReconnects(-1))
	exitIf(err)
	js, err := jetstream.New(nc)
	exitIf(err)
	ttl, err := time.ParseDuration(args[1])
	exitIf(err)
	locks, err := Open(context.Background(), js, Options{TTL: ttl, Logger: slog.New(slog.DiscardHandler)})
	exitIf(err)
	err = locks.Do(context.Background(), "x", func(ctx context.Context, fence Fence) error {
		fmt.Println("holds", uint64(fence))
		for {
			looked := time.Now()
			if ctx.Err() != nil {
				fmt.Println("ended:", context.Cause(ctx))
				return nil
			}
			fmt.Println("live", looked.UnixNano())
			time.Sleep(10 * time.Millisecond)
		}
	})
	fmt.Println("returned:", err)
}

func number(t *testing.T, line string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(line[strings.LastIndexByte(line, ' ')+1:], 10, 64)
	require.NoError(t, err)
	return n
}

func TestAPausedHolderFindsItsContextEndedWhenItWakes(t *testing.T) {
	s := natstest.StartProcess(t)
	first := natstest.Spawn(t, "holder", s.URL(), "2s")
	fence := number(t, first.WaitFor(t, "holds"))
	first.WaitFor(t, "live")
	first.Pause()
	second := natstest.Spawn(t, "holder", s.URL(), "2s")
	began := time.Now()
	next := number(t, second.WaitFor(t, "holds"))
	t.Logf("the next holder has it %s after the pause", time.Since(began).Round(time.Millisecond))
	require.Greater(t, next, fence)
	second.WaitFor(t, "live")

	woke := time.Now()
	first.Resume()
	for line := ""; !strings.HasPrefix(line, "ended"); {
		line = first.Line(t)
		if strings.HasPrefix(line, "live") {
			looked := time.Unix(0, int64(number(t, line)))
			require.True(t, looked.Before(woke), "it looked %s after it woke, and thought that it still held the lock", looked.Sub(woke))
		} else {
			require.Equal(t, "ended: the lock was lost", line)
			t.Logf("the paused holder has printed its loss %s after it woke", time.Since(woke).Round(time.Microsecond))
		}
	}
	require.Contains(t, first.WaitFor(t, "returned"), ErrLost.Error())
	second.WaitFor(t, "live")
}

func TestAKilledHolderIsSucceededWithinItsTTL(t *testing.T) {
	s := natstest.StartProcess(t)
	first := natstest.Spawn(t, "holder", s.URL(), "2s")
	fence := number(t, first.WaitFor(t, "holds"))
	second := natstest.Spawn(t, "holder", s.URL(), "2s")
	first.Kill()
	began := time.Now()
	require.Greater(t, number(t, second.WaitFor(t, "holds")), fence)
	require.Less(t, time.Since(began), 4*time.Second, "2 s, on a busy machine")
}

func TestAHolderOutlivesACrashOfTheServer(t *testing.T) {
	s := natstest.StartProcess(t)
	first := natstest.Spawn(t, "holder", s.URL(), "20s")
	first.WaitFor(t, "holds")
	s.Kill()
	s.Restart()
	locks := openLocks(t, s.JetStream(), Options{})
	held, err := locks.IsHeld(t.Context(), "x")
	require.NoError(t, err)
	require.True(t, held)
	for range 100 {
		require.Contains(t, first.Line(t), "live")
	}
}
