// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package jobs_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/jobs"
)

func TestEveryProblemWithOptionsIsNamedAtOnce(t *testing.T) {
	opts := jobs.Options{Interval: -5 * time.Second, InitialDelay: -1, IterationLimit: -2, Instances: -3}
	want := "jobs: Options.Interval is -5s: want zero or more; zero runs again at once\n" +
		"jobs: Options.InitialDelay is -1ns: want zero or more; zero begins at once\n" +
		"jobs: Options.IterationLimit is -2: want zero or more; zero means no limit\n" +
		"jobs: Options.Instances is -3: want zero or more; zero means one"

	_, err := jobs.NewRunner(nil, opts)
	require.EqualError(t, err, "jobs: job is nil: want a Job\n"+want)

	_, err = jobs.NewRunnerFunc(nil, opts)
	require.EqualError(t, err, "jobs: factory is nil: want a function that returns a Job\n"+want)
}

func TestNilFunctionIsNoJob(t *testing.T) {
	for _, job := range []jobs.Job{nil, jobs.Func(nil), jobs.ErrFunc(nil)} {
		_, err := jobs.NewRunner(job, jobs.Options{})
		require.EqualError(t, err, "jobs: job is nil: want a Job")
		require.Panics(t, func() { jobs.WithRetry(job, jobs.RetryOptions{}) })
	}
}

func TestEveryProblemWithRetryOptionsIsNamedAtOnce(t *testing.T) {
	want := "jobs: WithRetry: job is nil: want a Job\n" +
		"jobs: RetryOptions.Attempts is -1: want zero or more; zero means 3\n" +
		"jobs: RetryOptions.Delay is -1s: want zero or more; zero means 1s\n" +
		"jobs: RetryOptions.MaxDelay is -2s: want zero or more; zero means 1m\n" +
		"jobs: RetryOptions.Multiplier is 0.5: want 1 or more; zero means 2\n" +
		"jobs: RetryOptions.Jitter is 1.5: want 1 or less; zero means 0.1, negative none"
	require.PanicsWithError(t, want, func() {
		jobs.WithRetry(nil, jobs.RetryOptions{
			Attempts: -1, Delay: -time.Second, MaxDelay: -2 * time.Second, Multiplier: 0.5, Jitter: 1.5,
		})
	})
	require.Panics(t, func() {
		jobs.WithRetry(jobs.Func(succeed), jobs.RetryOptions{Multiplier: math.NaN()})
	})
	require.Panics(t, func() {
		jobs.WithRetry(jobs.Func(succeed), jobs.RetryOptions{Jitter: math.NaN()})
	})
}
