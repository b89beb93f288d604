// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package hosting_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/hosting"
	"github.com/jetjobs/jetjobs/hosting/cron"
	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/jobs"
)

func TestHostRunsSchedules(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		fleet, err := cron.OpenFleet(t.Context(), e.JetStream(), cron.FleetOptions{Logger: silent, Host: "one"})
		require.NoError(t, err)
		var j journal
		h := quiet(hosting.Options{Grace: 3 * time.Second})
		h.AddCron("*/10 * * * *", "local", jobs.ErrFunc(j.action("local")), cron.Options{})
		h.AddCron("7 * * * *", "slow", jobs.ErrFunc(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }), cron.Options{})
		h.AddDistributedCron(fleet, "5 * * * *", "shared", jobs.ErrFunc(j.action("shared")), cron.FleetJobOptions{})
		h.AddDistributedCron(fleet, "6 * * * *", "shared-too", jobs.ErrFunc(j.action("shared too")), cron.FleetJobOptions{})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- h.Run(ctx) }()
		time.Sleep(15 * time.Minute)
		j.require(t, "shared", "shared too", "local")
		handle, err := h.Cron().Trigger(t.Context(), "local")
		require.NoError(t, err)
		_, err = handle.Wait(t.Context())
		require.NoError(t, err)

		body := ask(h, "/statusz").Body.String()
		for _, want := range []string{`"leader": "one"`, `"name": "shared-too"`, `"name": "local"`, `"spec": "*/10 * * * *"`} {
			require.Contains(t, body, want)
		}
		stop()
		began := time.Now()
		require.NoError(t, <-ended)
		require.WithinDuration(t, began.Add(3*time.Second), time.Now(), time.Second, "the slow one has the host's grace")
	})
}

func TestWrongSchedulesAreFoundBeforeAnythingStarts(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		fleet, err := cron.OpenFleet(t.Context(), e.JetStream(), cron.FleetOptions{Logger: silent})
		require.NoError(t, err)
		var j journal
		h := quiet(hosting.Options{})
		h.AddCron("61 * * * *", "a", jobs.ErrFunc(j.action("a")), cron.Options{})
		h.AddCron("* * * * *", "b", jobs.ErrFunc(j.action("b")), cron.Options{RunAtStart: true})
		h.AddCron("* * * * *", "b", jobs.ErrFunc(j.action("b")), cron.Options{})
		h.AddDistributedCron(fleet, "0 0 30 2 *", "c", jobs.ErrFunc(j.action("c")), cron.FleetJobOptions{})
		err = h.Run(t.Context())
		require.ErrorIs(t, err, hosting.ErrConfig)
		for _, want := range []string{`add "a": schedule "61 * * * *": minute "61" (position 1)`, `add "b": the name is taken`, `add "c": schedule "0 0 30 2 *" never fires`} {
			require.ErrorContains(t, err, want)
		}
		j.require(t)
	})
}

func TestHostRunsFleetsOfSeveralNamespaces(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		var j journal
		h := quiet(hosting.Options{})
		for _, namespace := range []string{"", "other"} {
			fleet, err := cron.OpenFleet(t.Context(), e.JetStream(), cron.FleetOptions{Logger: silent, Namespace: namespace, Host: "one"})
			require.NoError(t, err)
			h.AddDistributedCron(fleet, "5 * * * *", "shared", jobs.ErrFunc(j.action("ran in "+namespace)), cron.FleetJobOptions{})
		}
		ctx, stop := context.WithTimeout(t.Context(), 6*time.Minute)
		defer stop()
		require.NoError(t, h.Run(ctx))
		require.ElementsMatch(t, []string{"ran in ", "ran in other"}, j.lines)
	})
}

func TestFleetsThatWouldNotRunAreRefused(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		h := quiet(hosting.Options{})
		h.AddDistributedCron(nil, "5 * * * *", "nobody's", jobs.ErrFunc((&journal{}).action("x")), cron.FleetJobOptions{})
		for range 2 {
			fleet, err := cron.OpenFleet(t.Context(), e.JetStream(), cron.FleetOptions{Logger: silent})
			require.NoError(t, err)
			h.AddDistributedCron(fleet, "5 * * * *", "shared", jobs.ErrFunc((&journal{}).action("x")), cron.FleetJobOptions{})
		}
		h.AddQueue(nil)
		err := h.Check()
		require.ErrorIs(t, err, hosting.ErrConfig)
		require.ErrorContains(t, err, `distributed cron job "nobody's": the fleet is nil`)
		require.ErrorContains(t, err, `two are added as job "distributed cron"`)
		require.ErrorContains(t, err, "a queue to report is nil")
	})
}
