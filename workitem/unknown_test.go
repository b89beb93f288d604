// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package workitem

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/queue"
)

func TestUnknownKindIsLeftForAWorkerThatKnowsIt(t *testing.T) {
	log := &logBuffer{}
	opts := Options{Queue: queue.Options{Logger: slog.New(slog.NewTextHandler(log, nil)), MaxAttempts: 1}}
	bubble(t, opts, func(t *testing.T, e *natstest.Env, q *Queue) {
		old := new(Handlers)
		Register(old, "other", func(context.Context, *Context[load]) error { return nil })
		id := enqueue(t, q, "a.csv", queue.Delay(6*time.Hour)) // counts from when it was first met
		wait := watching(t, q, id)
		work(t, q, old, JobOptions{Concurrency: 4, UnknownFor: 2 * time.Hour})
		time.Sleep(7*time.Hour + 50*time.Minute)
		s := latest(t, q, id)
		require.Equal(t, Queued, s.State)
		require.Contains(t, s.Message, `kind "load" is not known`)
		require.Equal(t, 1, strings.Count(log.String(), "left for another worker"), "once, not each time")

		work(t, q, knows(func(_ context.Context, c *Context[load]) error {
			require.Equal(t, 1, c.Attempt())
			return nil
		}), JobOptions{})
		all := wait()
		require.Equal(t, Completed, all[len(all)-1].State)
	})
}

func TestKindThatNobodyKnowsIsDeadWithTheReason(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		id := enqueue(t, q, "a.csv")
		began := time.Now()
		wait := watching(t, q, id)
		work(t, q, new(Handlers), JobOptions{UnknownFor: 3 * time.Hour})
		work(t, q, new(Handlers), JobOptions{UnknownFor: 3 * time.Hour})
		all := wait()
		require.InDelta(t, 3*time.Hour, time.Since(began), float64(5*time.Second))
		end := all[len(all)-1]
		require.Equal(t, Failed, end.State)
		require.Contains(t, end.Error, `kind "load" is not known`)
		require.Contains(t, end.Error, "3h0m0s (JobOptions.UnknownFor)")
		letter, err := q.Jobs().DeadLetters().Get(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, end.Error, letter.Error)
		require.Equal(t, "load", letter.Value.Kind, "nothing is lost")
		require.JSONEq(t, `{"file":"a.csv"}`, string(letter.Value.Data))
	})
}

func TestItemOfALaterReleaseIsLeftForAnotherWorker(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		raw, err := queue.Open[map[string]any](t.Context(), e.JetStream(), "q", queue.Options{})
		require.NoError(t, err)
		_, err = raw.Enqueue(t.Context(), map[string]any{"v": 2, "kind": "load", "what": "ever"}, queue.ID("x"))
		require.NoError(t, err)
		wait := watching(t, q, "x")
		work(t, q, knows(slowly), JobOptions{UnknownFor: time.Hour})
		all := wait()
		require.Contains(t, all[0].Message, "version 2 and the worker that had it understands 1")
		require.Equal(t, Failed, all[len(all)-1].State)
	})
}

func TestValueThatCanNotBeDecodedGoesTheWayOfFailures(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		r, err := Enqueue(t.Context(), q, "load", "not an object", queue.MaxAttempts(2))
		require.NoError(t, err)
		wait := watching(t, q, r.ID)
		work(t, q, knows(slowly), JobOptions{})
		all := wait()
		require.Equal(t, []State{Queued, Retrying, Failed}, states(all))
		require.Contains(t, all[2].Error, `decode the value of kind "load"`)
	})
}
