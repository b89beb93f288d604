// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package jobs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/jobs"
)

func TestResultSaysWhatItWasMadeWith(t *testing.T) {
	for _, c := range []struct {
		result  jobs.Result
		outcome jobs.Outcome
		message string
		text    string
		err     error
	}{
		{jobs.Result{}, jobs.OutcomeSucceeded, "", "succeeded", nil},
		{jobs.Succeeded(), jobs.OutcomeSucceeded, "", "succeeded", nil},
		{jobs.SucceededWith("12 rows"), jobs.OutcomeSucceeded, "12 rows", "succeeded: 12 rows", nil},
		{jobs.Failed(io.EOF), jobs.OutcomeFailed, "EOF", "failed: EOF", io.EOF},
		{jobs.FailedWith("disk full"), jobs.OutcomeFailed, "disk full", "failed: disk full", nil},
		{jobs.Failed(context.Canceled), jobs.OutcomeFailed, "context canceled", "failed: context canceled", context.Canceled},
		{jobs.Cancelled(), jobs.OutcomeCancelled, "context canceled", "cancelled: context canceled", context.Canceled},
		{jobs.CancelledWith("busy"), jobs.OutcomeCancelled, "busy", "cancelled: busy", context.Canceled},
	} {
		t.Run(c.text, func(t *testing.T) {
			require.Equal(t, c.outcome, c.result.Outcome())
			require.Equal(t, c.outcome == jobs.OutcomeSucceeded, c.result.Succeeded())
			require.Equal(t, c.outcome == jobs.OutcomeFailed, c.result.Failed())
			require.Equal(t, c.outcome == jobs.OutcomeCancelled, c.result.Cancelled())
			require.Equal(t, c.message, c.result.Message())
			require.Equal(t, c.text, c.result.String())
			require.Equal(t, c.result.Succeeded(), c.result.Err() == nil)
			if c.err != nil {
				require.ErrorIs(t, c.result.Err(), c.err)
			}
		})
	}
}

func TestFailureWithoutAnErrorIsStillAFailure(t *testing.T) {
	require.True(t, jobs.Failed(nil).Failed())
	require.Error(t, jobs.Failed(nil).Err())
}

func TestFromErrorTellsInterruptionsFromFailures(t *testing.T) {
	for _, c := range []struct {
		err  error
		want jobs.Outcome
	}{
		{nil, jobs.OutcomeSucceeded},
		{context.Canceled, jobs.OutcomeCancelled},
		{fmt.Errorf("query: %w", context.Canceled), jobs.OutcomeCancelled},
		{errors.Join(io.EOF, context.Canceled), jobs.OutcomeCancelled},
		{jobs.ErrShutdown, jobs.OutcomeCancelled},
		{fmt.Errorf("query: %w", jobs.ErrShutdown), jobs.OutcomeCancelled},
		{context.DeadlineExceeded, jobs.OutcomeFailed},
		{io.EOF, jobs.OutcomeFailed},
		{&jobs.PanicError{Value: context.Canceled}, jobs.OutcomeFailed},
		{fmt.Errorf("step 2: %w", &jobs.PanicError{Value: jobs.ErrShutdown}), jobs.OutcomeFailed},
	} {
		t.Run(fmt.Sprint(c.err), func(t *testing.T) {
			result := jobs.FromError(c.err)
			require.Equal(t, c.want, result.Outcome())
			require.Equal(t, c.err, result.Err())
		})
	}
}

func TestErrorOfAResultMakesTheSameOutcomeAgain(t *testing.T) {
	for _, result := range []jobs.Result{
		jobs.Succeeded(), jobs.SucceededWith("ok"), jobs.Failed(io.EOF), jobs.Failed(nil), jobs.FailedWith("disk full"),
		jobs.Cancelled(), jobs.CancelledWith("busy"),
	} {
		require.Equal(t, result.Outcome(), jobs.FromError(result.Err()).Outcome(), "%v", result)
	}
}

func TestResultInALogIsAGroup(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))

	log.Info("done", "a", jobs.Succeeded(), "b", jobs.FailedWith("disk full"))

	require.Contains(t, out.String(), `a.outcome=succeeded b.outcome=failed b.message="disk full"`)
}

func TestOutcomeHasAText(t *testing.T) {
	require.Equal(t, "succeeded failed cancelled outcome(9)",
		fmt.Sprint(jobs.OutcomeSucceeded, jobs.OutcomeFailed, jobs.OutcomeCancelled, jobs.Outcome(9)))
}
