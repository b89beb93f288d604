// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/hosting/cron"
	"github.com/jetjobs/jetjobs/jobs"
	"github.com/jetjobs/jetjobs/queue"
)

// fleet opens the distributed cron of a user, with the job of nats/users.conf.
func (u *user) fleet(t *testing.T, overlap cron.Overlap, ran func()) *cron.Fleet {
	t.Helper()
	f, err := cron.OpenFleet(t.Context(), u.js, cron.FleetOptions{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	err = f.Add("@every 1s", "nightly-report", jobs.ErrFunc(func(context.Context) error { ran(); return nil }), cron.FleetJobOptions{Overlap: overlap})
	require.NoError(t, err)
	return f
}

func TestSchedulerMayRunDistributedCronAndNoMore(t *testing.T) {
	srv := startServer(t, false)
	operator := connect(t, srv, "operator", "secret-of-OPERATOR")
	scheduler := connect(t, srv, "scheduler", "secret-of-SCHEDULER")
	require.NoError(t, operator.fleet(t, cron.Queue, nil).Prepare(t.Context()))

	ctx, cancel := context.WithTimeout(t.Context(), 5*patient)
	defer cancel()
	ran := make(chan struct{}, 1000)
	tick := func() { // one from now on
		t.Helper()
		for len(ran) > 0 {
			<-ran
		}
		select {
		case <-ran:
		case <-ctx.Done():
			scheduler.requireClean(t)
			require.FailNow(t, "no tick has come")
		}
	}
	host := func(overlap cron.Overlap) (stop func()) {
		fleet, ended := scheduler.fleet(t, overlap, func() { ran <- struct{}{} }), make(chan error, 1)
		ctx, cancel := context.WithCancel(ctx)
		go func() { ended <- fleet.RunContinuous(ctx) }()
		return func() {
			cancel()
			require.NoError(t, <-ended)
		}
	}
	leader := host(cron.Queue)
	tick()
	follower := host(cron.Queue)
	tick()
	leader()
	tick()
	tick()
	for _, u := range []*user{scheduler, operator} {
		control := u.fleet(t, cron.Queue, nil)
		require.NoError(t, control.Disable(ctx, "nightly-report", "a test"))
		h, err := control.Trigger(ctx, "nightly-report")
		require.NoError(t, err)
		_, err = h.Wait(ctx)
		require.NoError(t, err)
		require.NoError(t, control.Reschedule(ctx, "nightly-report", "@every 2s"))
		require.NoError(t, control.Enable(ctx, "nightly-report"))
		all, err := control.List(ctx)
		require.NoError(t, err)
		require.Len(t, all, 1)
		require.NotEmpty(t, all[0].Last)
		_, err = control.History(ctx, "nightly-report", 10)
		require.NoError(t, err)
		_, err = control.Leader(ctx)
		require.NoError(t, err)
	}
	q, err := queue.Open[any](ctx, operator.js, "cron-nightly-report", queue.Options{MustExist: true, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.NoError(t, q.SetMaxRunning(ctx, 0))
	newer := host(cron.Allow)
	follower()
	tick()
	tick()
	newer()
	scheduler.requireClean(t)
	operator.requireClean(t)

	for _, subject := range []string{
		"$JS.API.STREAM.CREATE.KV_jobs_cron", "$JS.API.STREAM.UPDATE.KV_jobs_cron", "$JS.API.STREAM.DELETE.KV_jobs_cron",
		"$JS.API.STREAM.PURGE.KV_jobs_locks", "$KV.jobs_locks.lock.other", "$JS.API.STREAM.CREATE.jobs_q_cron-nightly-report",
		"$JS.API.CONSUMER.CREATE.jobs_q_cron-nightly-report.work_0.jobs.q.cron-nightly-report.ready.0.*",
		"$JS.API.STREAM.PURGE.jobs_q_cron-nightly-report", "jobs.q.cron-other.ready.0.x", "jobs.q.emails.ready.0.x",
	} {
		scheduler.requireDenied(t, subject)
	}
}
