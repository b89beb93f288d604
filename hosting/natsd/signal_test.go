// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package natsd_test

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/hosting/natsd"
	"github.com/jetjobs/jetjobs/internal/natstest"
)

// signalProgram runs a server on a directory, handles no signal, and sends
// itself one.
func signalProgram(args []string) {
	if _, err := natsd.Start(natsd.Options{Dir: args[0]}); err != nil {
		panic(err)
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		panic(err)
	}
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		panic(err)
	}
	if err := self.Signal(syscall.Signal(n)); err != nil {
		panic(err)
	}
	select {}
}

// notifyProgram runs a server and goes on using it after a signal.
func notifyProgram([]string) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	s, err := natsd.Start(natsd.Options{})
	if err != nil {
		panic(err)
	}
	fmt.Println("ready")
	<-signals
	if _, err := s.JetStream().AccountInfo(context.Background()); err != nil {
		panic(err)
	}
	s.Close()
	os.Exit(42)
}

func TestNoSignalHandlerIsInstalled(t *testing.T) {
	// With one the server would exit, with a code, instead of being killed.
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		require.Equalf(t, -1, natstest.Spawn(t, "signal", t.TempDir(), strconv.Itoa(int(s))).Wait(), "%v", s)
	}
}

func TestStoppingAtASignalIsUpToTheProgram(t *testing.T) {
	p := natstest.Spawn(t, "notify")
	p.WaitFor(t, "ready")
	p.Interrupt()
	require.Equal(t, 42, p.Wait())
}
