// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package hosting_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/hosting"
	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/jobs"
)

// signalledHost is a process with a host, whose job behaves as the argument says.
func signalledHost(args []string) {
	hosting.Main(func(ctx context.Context) error {
		defer fmt.Println("closed what it opened")
		h := hosting.New(hosting.Options{Grace: time.Minute, Logger: slog.New(slog.NewTextHandler(os.Stdout, nil))})
		if args[0] == "misconfigured" {
			h.AddStartup("", nil)
		}
		h.AddJob(jobs.ErrFunc(func(ctx context.Context) error {
			info, _ := jobs.FromContext(ctx)
			fmt.Println("working")
			switch args[0] {
			case "prompt":
				<-info.Stopping
				fmt.Println("finished")
				return nil
			case "slow":
				<-info.Stopping
				fmt.Println("told")
				<-ctx.Done()
				fmt.Println("ended:", context.Cause(ctx))
			case "deaf":
				<-info.Stopping
				fmt.Println("told")
				select {}
			}
			return ctx.Err()
		}), jobs.Options{})
		h.AddService("api", hosting.ServiceFunc(func(ctx context.Context) error {
			if args[0] == "failing" {
				return errors.New("port taken")
			}
			<-ctx.Done()
			return nil
		}))
		return h.Run(ctx)
	})
}

func spawn(t *testing.T, how string) *natstest.Process {
	p := natstest.Spawn(t, "host", how)
	if how != "misconfigured" && how != "failing" {
		p.WaitFor(t, "working")
	}
	return p
}

func TestSignalLetsTheWorkFinish(t *testing.T) {
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		p := spawn(t, "prompt")
		p.Signal(s)
		p.WaitFor(t, "finished")
		p.WaitFor(t, "closed what it opened")
		require.Equal(t, hosting.ExitOK, p.Wait())
	}
}

func TestSecondSignalCutsAtOnce(t *testing.T) {
	p := spawn(t, "slow")
	p.Signal(syscall.SIGTERM)
	p.WaitFor(t, "told")
	p.Signal(syscall.SIGTERM)
	p.WaitFor(t, "ended: "+jobs.ErrShutdown.Error())
	p.WaitFor(t, "closed what it opened")
	require.Equal(t, hosting.ExitCut, p.Wait())
}

func TestThirdSignalEndsTheProcess(t *testing.T) {
	p := spawn(t, "deaf")
	p.Signal(syscall.SIGTERM)
	p.WaitFor(t, "told")
	p.Signal(syscall.SIGTERM)
	p.WaitFor(t, "cut short")
	p.Signal(syscall.SIGTERM)
	require.Equal(t, -1, p.Wait(), "ended by the signal")
}

func TestMainEndsTheProcessThoughWorkIsDeaf(t *testing.T) {
	p := spawn(t, "deaf")
	p.Signal(syscall.SIGTERM)
	p.WaitFor(t, "told")
	p.Signal(syscall.SIGTERM)
	require.Equal(t, hosting.ExitCut, p.Wait())
}

func TestFailuresHaveExitCodes(t *testing.T) {
	require.Equal(t, hosting.ExitFailed, spawn(t, "failing").Wait())
	require.Equal(t, hosting.ExitConfig, spawn(t, "misconfigured").Wait())
}
