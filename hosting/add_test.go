// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package hosting_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/hosting"
	"github.com/jetjobs/jetjobs/hosting/cron"
	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/jobs"
)

func TestWhateverIsAddedAfterRunHasBegunPanics(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		fleet, err := cron.OpenFleet(t.Context(), e.JetStream(), cron.FleetOptions{Logger: silent})
		require.NoError(t, err)
		h := quiet(hosting.Options{})
		job := jobs.ErrFunc(func(context.Context) error { return nil })
		h.AddCron("0 3 * * *", "first", job, cron.Options{}) // the table and the fleet themselves are there
		h.AddDistributedCron(fleet, "0 3 * * *", "first", job, cron.FleetJobOptions{})
		late := map[string]func(){
			`startup action "late"`:       func() { h.AddStartup("late", job) },
			`service "late"`:              func() { h.AddService("late", hosting.ServiceFunc(job)) },
			`job "late"`:                  func() { h.AddJob(job, jobs.Options{Name: "late"}) },
			`check "late"`:                func() { h.AddCheck("late", job) },
			`report "late"`:               func() { h.AddReport("late", func(context.Context) (any, error) { return nil, nil }) },
			`report "queue"`:              func() { h.AddQueue(nil) },
			`cron job "late"`:             func() { h.AddCron("no schedule", "late", job, cron.Options{}) },
			`distributed cron job "late"`: func() { h.AddDistributedCron(fleet, "0 3 * * *", "late", job, cron.FleetJobOptions{}) },
			`distributed cron job "none"`: func() { h.AddDistributedCron(nil, "0 3 * * *", "none", job, cron.FleetJobOptions{}) },
		}
		ctx, stop := context.WithCancel(t.Context())
		h.AddStartup("look", func(context.Context) error {
			defer stop()
			for what, add := range late {
				require.PanicsWithValue(t, "hosting: "+what+" is added after Run has begun: add it before", add)
			}
			return nil
		})
		require.NoError(t, h.Run(ctx))
		require.Len(t, h.Status(t.Context()).Startup, 1)
	})
}

func TestStatusMayBeAskedWhileThingsAreAdded(t *testing.T) {
	h := quiet(hosting.Options{})
	var j journal
	var asking sync.WaitGroup
	asked, added := make(chan struct{}), make(chan struct{})
	asking.Go(func() {
		for first := true; ; first = false {
			h.Status(t.Context())
			ask(h, "/readyz")
			if first {
				close(asked)
			}
			select {
			case <-added:
				return
			default:
			}
		}
	})
	<-asked
	for i := range 100 {
		name := fmt.Sprint(i)
		h.AddStartup(name, j.action(name))
		h.AddService(name, j.service(name))
		h.AddJob(jobs.ErrFunc(j.action(name)), jobs.Options{Name: name})
		h.AddCheck(name, func(context.Context) error { return nil })
		h.AddReport(name, func(context.Context) (any, error) { return i, nil })
	}
	close(added)
	asking.Wait()
	s := h.Status(t.Context())
	require.Len(t, s.Startup, 100)
	require.Len(t, s.Services, 100)
	require.Len(t, s.Jobs, 100)
	require.Len(t, s.Checks, 100)
	require.Len(t, s.Reports, 100)
}
