// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package jobs_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/jobs"
)

func TestStatusTellsPastPresentAndFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		job := jobs.Func(func(ctx context.Context) jobs.Result {
			info, _ := jobs.FromContext(ctx)
			time.Sleep(time.Duration(info.Instance+1) * time.Minute)
			return []jobs.Result{jobs.Failed(errBroken), jobs.CancelledWith("busy")}[info.Instance]
		})
		runner := newRunner(t, job, quiet(jobs.Options{
			Name: "clean", InitialDelay: time.Hour, Interval: 2 * time.Hour, Instances: 2,
		}))
		require.Equal(t, jobs.Status{Name: "clean"}, runner.Status())

		running := runner.Start(t.Context())
		synctest.Wait()
		require.Equal(t, jobs.Status{Name: "clean", Next: begin.Add(time.Hour)}, runner.Status())

		time.Sleep(time.Hour + time.Second)
		require.Equal(t, jobs.Status{Name: "clean", Running: 2}, runner.Status())

		time.Sleep(5 * time.Minute)
		status := runner.Status()
		require.Equal(t, begin.Add(3*time.Hour+time.Minute), status.Next, "the earlier of two")
		require.Equal(t, []int{0, 2, 1, 1}, []int{status.Running, status.Runs, status.Failed, status.Cancelled})
		require.Equal(t, jobs.Record{
			ID: status.Last[0].ID, Number: 1, Instance: 1, Started: begin.Add(time.Hour), Took: 2 * time.Minute,
			Result: jobs.CancelledWith("busy"),
		}, status.Last[0])
		require.Equal(t, 0, status.Last[1].Instance)

		running.Stop()
		require.NoError(t, running.Wait())
		require.Zero(t, runner.Status().Next, "nothing is planned after the stop")
	})
}

func TestStatusKeepsTheLastTenRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runner := newRunner(t, jobs.Func(succeed), quiet(jobs.Options{IterationLimit: 25}))
		require.NoError(t, runner.Run(t.Context()))
		status := runner.Status()
		require.Equal(t, 25, status.Runs)
		require.Len(t, status.Last, 10)
		for i, record := range status.Last {
			require.Equal(t, 25-i, record.Number)
		}
	})
}

func TestStatusIsASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runner := newRunner(t, jobs.Func(succeed), quiet(jobs.Options{IterationLimit: 10}))
		require.NoError(t, runner.Run(t.Context()))
		before := runner.Status()
		want := before.Last[0].ID

		runner.RunOnce(t.Context())
		require.Equal(t, want, before.Last[0].ID, "a later run changed it")

		before.Last[0].ID = "changed"
		require.Equal(t, want, runner.Status().Last[1].ID, "it changed the Runner")
	})
}

func TestStatusMayBeAskedWhileEverythingRuns(t *testing.T) {
	runner := newRunner(t, jobs.Func(succeed), quiet(jobs.Options{Instances: 4, IterationLimit: 200}))
	running, other := runner.Start(t.Context()), runner.Start(t.Context())
	for ended := false; !ended; {
		status := runner.Status()
		require.LessOrEqual(t, len(status.Last), 10)
		require.LessOrEqual(t, status.Running, 8)
		select {
		case <-running.Done():
			ended = true
		default:
		}
	}
	require.NoError(t, other.Wait())
	require.Equal(t, 1600, runner.Status().Runs)
	require.Zero(t, runner.Status().Running)
}
