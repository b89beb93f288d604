// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package jobs_test

import (
	"bytes"
	"context"
	"log/slog"
	"runtime/pprof"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/jobs"
)

func TestContextSaysWhichRunItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := make(chan jobs.Info, 100)
		job := jobs.Func(func(ctx context.Context) jobs.Result {
			info, ok := jobs.FromContext(ctx)
			require.True(t, ok)
			label, _ := pprof.Label(ctx, "run")
			require.Equal(t, info.ID, label)
			seen <- info
			return jobs.Succeeded()
		})
		runner := newRunner(t, job, quiet(jobs.Options{Name: "clean", Instances: 2, IterationLimit: 3}))

		require.NoError(t, runner.Run(t.Context()))
		close(seen)

		ids, numbers := make(map[string]bool), make(map[int][]int)
		for info := range seen {
			require.Equal(t, "clean", info.Name)
			require.Regexp(t, "^[a-z2-7]{12}$", info.ID)
			ids[info.ID] = true
			numbers[info.Instance] = append(numbers[info.Instance], info.Number)
		}
		require.Len(t, ids, 6)
		require.Equal(t, map[int][]int{0: {1, 2, 3}, 1: {1, 2, 3}}, numbers)
	})
}

func TestNameIsJobUnlessGiven(t *testing.T) {
	runner := newRunner(t, jobs.Func(func(ctx context.Context) jobs.Result {
		info, _ := jobs.FromContext(ctx)
		return jobs.SucceededWith(info.Name)
	}), quiet(jobs.Options{}))
	require.Equal(t, "job", runner.RunOnce(t.Context()).Message())
	require.Equal(t, "job", runner.Status().Name)
}

func TestLoggerOfARunSaysWhichRunItIs(t *testing.T) {
	log := newLogbook()
	runner := newRunner(t, jobs.Func(func(ctx context.Context) jobs.Result {
		jobs.Logger(ctx).Info("hello")
		return jobs.Succeeded()
	}), jobs.Options{Name: "clean", Logger: log.logger()})

	require.True(t, runner.RunOnce(t.Context()).Succeeded())

	line := log.find("hello")[0]
	require.Equal(t, "clean", line.attrs["job"].String())
	require.Equal(t, runner.Status().Last[0].ID, line.attrs["run"].String())
}

func TestOutsideOfARunThereIsNoInfoAndTheDefaultLogger(t *testing.T) {
	_, ok := jobs.FromContext(t.Context())
	require.False(t, ok)
	require.Same(t, slog.Default(), jobs.Logger(t.Context()))
}

func TestNewContextBringsItsOwnInfoAndLogger(t *testing.T) {
	log := newLogbook()
	made := 0
	info := jobs.Info{Name: "emails", ID: "order-7", Number: 2}
	ctx := jobs.NewContext(t.Context(), info, func() *slog.Logger {
		made++
		return log.logger().With("queue", "emails", "id", "order-7")
	})

	got, ok := jobs.FromContext(ctx)
	require.True(t, ok)
	require.Equal(t, info, got)
	require.Zero(t, made, "a logger nobody asked for")
	jobs.Logger(ctx).Info("hello")
	require.Equal(t, "order-7", log.find("hello")[0].attrs["id"].String())
}

func TestDefaultLoggerIsTheOneAtTheTimeOfWriting(t *testing.T) {
	runner := newRunner(t, jobs.Func(func(ctx context.Context) jobs.Result {
		jobs.Logger(ctx).Info("hello")
		return jobs.Succeeded()
	}), jobs.Options{Name: "clean", IterationLimit: 1})
	var out bytes.Buffer
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, nil)))

	require.NoError(t, runner.Run(t.Context()))
	jobs.Logger(jobs.NewContext(t.Context(), jobs.Info{Name: "by hand", ID: "r1"}, nil)).Info("hello")

	require.Contains(t, out.String(), `msg="job started" job=clean`)
	require.Contains(t, out.String(), "msg=hello job=clean run=")
	require.Contains(t, out.String(), `msg=hello job="by hand" run=r1`)
}

func TestLogHandlerAddsTheKeysOfARun(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(jobs.NewLogHandler(slog.NewTextHandler(&log, nil)))
	var id string
	runner := newRunner(t, jobs.ErrFunc(func(ctx context.Context) error {
		info, _ := jobs.FromContext(ctx)
		id = info.ID
		logger.InfoContext(ctx, "in")
		return nil
	}), quiet(jobs.Options{Name: "import"}))
	runner.RunOnce(t.Context())
	require.Contains(t, log.String(), "msg=in job=import run="+id)
}
