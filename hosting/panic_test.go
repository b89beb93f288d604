// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package hosting_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/hosting"
	"github.com/jetjobs/jetjobs/hosting/cron"
	"github.com/jetjobs/jetjobs/jobs"
)

//go:noinline
func explode() { panic("boom") }

func explodes(context.Context) error { explode(); return nil }

func TestEveryPanicIsLoggedWithItsStack(t *testing.T) {
	for name, add := range map[string]func(h *hosting.Host){
		"startup action": func(h *hosting.Host) { h.AddStartup("a", explodes) },
		"tried again":    func(h *hosting.Host) { h.AddStartup("a", explodes, hosting.Attempts(2)) },
		"service":        func(h *hosting.Host) { h.AddService("s", hosting.ServiceFunc(explodes)) },
		"restarted":      func(h *hosting.Host) { h.AddService("s", hosting.ServiceFunc(explodes), hosting.RestartOnFailure()) },
		"as it stops": func(h *hosting.Host) {
			h.AddService("s", hosting.ServiceFunc(func(ctx context.Context) error { <-ctx.Done(); explode(); return nil }))
		},
		"job":   func(h *hosting.Host) { h.AddJob(jobs.ErrFunc(explodes), jobs.Options{Interval: time.Second}) },
		"cron":  func(h *hosting.Host) { h.AddCron("* * * * * *", "c", jobs.ErrFunc(explodes), cron.Options{}) },
		"check": func(h *hosting.Host) { h.AddCheck("c", explodes) },
		"report": func(h *hosting.Host) {
			h.AddReport("r", func(ctx context.Context) (any, error) { return nil, explodes(ctx) })
		},
	} {
		t.Run(name, func(t *testing.T) { requireStack(t, hosting.Options{}, add) })
	}
	nothing := func(*hosting.Host) {}
	t.Run("OnReady", func(t *testing.T) { requireStack(t, hosting.Options{OnReady: explodes}, nothing) })
	t.Run("OnStopping", func(t *testing.T) { requireStack(t, hosting.Options{OnStopping: func(error) { explode() }}, nothing) })
}

// requireStack runs a host in which something panics.
func requireStack(t *testing.T, opts hosting.Options, add func(*hosting.Host)) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		opts.IgnoreSignals, opts.Logger = true, slog.New(slog.NewTextHandler(&log, nil))
		h := hosting.New(opts)
		add(h)
		ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
		defer stop()
		ended := make(chan error, 1)
		go func() { ended <- h.Run(ctx) }()
		synctest.Wait()
		h.Status(t.Context())
		<-ended // its error is not the matter here
		stacks := 0
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, "hosting_test.explode(") {
				stacks++
				require.Contains(t, line, " stack=")
				require.Contains(t, line, "boom")
			}
		}
		require.Positive(t, stacks, "%s", log.String())
	})
}

func TestPanicsOfProbesAreLoggedOnceInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		h := hosting.New(hosting.Options{IgnoreSignals: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		panics := true
		h.AddCheck("moody", func(context.Context) error {
			if panics {
				explode()
			}
			return nil
		})
		for _, panics = range []bool{true, true, false, true, true} {
			h.Status(t.Context())
			time.Sleep(time.Minute)
		}
		require.Equal(t, 2, strings.Count(log.String(), "check panicked"))
	})
}
