// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/queue"
	"github.com/jetjobs/jetjobs/workitem"
)

func TestLooksAtJobsInEveryState(t *testing.T) {
	srv, q := start(t)
	keep := queue.Retain(time.Hour)
	enqueue(t, q, "done", letter{To: "Ada", Pages: 3}, keep)
	enqueue(t, q, "dead", letter{To: "nobody"}, queue.MaxAttempts(3))
	enqueue(t, q, "retrying", letter{To: "busy"}, queue.CorrelationID("case-1"), queue.Property("tenant", "x"))
	enqueue(t, q, "running", letter{To: "far"}, queue.Property("tenant", "y"))
	enqueue(t, q, "delayed", letter{To: "Alan"}, queue.Delay(24*time.Hour))
	enqueue(t, q, "given-up", letter{To: "Alan"}, queue.Delay(time.Hour), keep)
	work(t, q)
	state(t, q, "done", queue.Done)
	state(t, q, "dead", queue.Dead)
	state(t, q, "retrying", queue.Later)
	worker := state(t, q, "running", queue.Running).Worker
	_, err := q.Cancel(t.Context(), "given-up")
	require.NoError(t, err)
	require.NoError(t, q.Pause(t.Context(), time.Time{}, "no stamps"))
	enqueue(t, q, "waiting\n", letter{To: "Ada\x1b[31m"})

	shows(t, words("queues"), "letters\n")
	shows(t, words("stats letters"), "waiting  1\n", "running  1", "later    2", "dead     1", "done     2", "yes, until it is resumed: no stamps")
	shows(t, words("-json stats letters"), `"waiting":1,`, `"pause_reason":"no stamps"`)

	out := shows(t, words("list letters"), "queue at the post office", `permanent, no such address\nat all`, `{"stamps":3}`, "due in 23h59m")
	require.Equal(t, 8, strings.Count(out, "\n"), "a line for each, and one above:\n%s", out)
	require.Regexp(t, `(?m)^waiting\\n +waiting +1 `, out, "an ID can't break the table")
	require.NotContains(t, out, "\x1b")
	require.ElementsMatch(t, []string{"done", "dead", "retrying", "running", "delayed", "given-up", "waiting\n"}, ids(t))
	require.ElementsMatch(t, []string{"dead", "retrying", "delayed"}, ids(t, "-state", "dead,later"))
	require.Equal(t, []string{"waiting\n"}, ids(t, "-newest", "-limit", "1"))
	require.Equal(t, []string{"given-up"}, ids(t, "-prefix", "given"))
	require.Equal(t, []string{"retrying"}, ids(t, "-correlation", "case-1", "-after", "1h"))
	require.Equal(t, []string{"running"}, ids(t, "-property", "tenant=y"))
	require.Equal(t, []string{"dead"}, ids(t, "-error", "such address"))
	require.Empty(t, ids(t, "-before", "1h"))
	shows(t, words("list letters -before 2020-01-01"), "no job")

	shows(t, words("get letters running"), "state       running\n", "worker      "+worker, "tenant=y", `payload     {"to":"far"}`)
	shows(t, words("get letters retrying"), "later, retrying", "attempt      2\n", "queue at the post office", "in 59m", "case-1")
	shows(t, words("get letters dead"), "dead, permanent", "1 of 3", "no such address\n", "at all\n", `{"to":"nobody"}`)
	shows(t, words("get letters done"), "1h0m0s from its end on", `{"stamps":3}`)
	out = shows(t, words("get -json letters retrying"))
	var j job
	require.NoError(t, json.Unmarshal([]byte(out), &j))
	require.Equal(t, []any{queue.Later, 2, "case-1"}, []any{j.State, j.Attempt, j.CorrelationID})
	require.JSONEq(t, `{"to":"busy"}`, string(j.Payload))
	require.Zero(t, j.MaxAttempts, "only its workers know")

	binary, err := queue.Open[[]byte](t.Context(), srv.JetStream(), "binary", queue.Options{Codec: bytesCodec{}, Storage: jetstream.MemoryStorage, Namespace: "other"})
	require.NoError(t, err)
	_, err = binary.Enqueue(t.Context(), []byte{0, 1, 2}, queue.ID("b"))
	require.NoError(t, err)
	shows(t, words("get -namespace other binary b"), `3 bytes that are not JSON: "\x00\x01\x02"`)
	shows(t, words("get -namespace other binary b -json"), `"payload_base64":"AAEC"`)
}

type bytesCodec struct{}

func (bytesCodec) Marshal(v any) ([]byte, error)      { return v.([]byte), nil }
func (bytesCodec) Unmarshal(data []byte, v any) error { *v.(*[]byte) = data; return nil }

func TestTellsWorkersWhatToDo(t *testing.T) {
	_, q := start(t)
	shows(t, words("workers letters"), "nobody works on letters")
	work(t, q)
	enqueue(t, q, "a", letter{To: "far"})
	worker := state(t, q, "a", queue.Running).Worker
	shows(t, words("workers letters"), worker, "1 of 4", "a     1  ")
	shows(t, []string{"quiet-worker", "letters", worker}, "takes nothing new")
	var w queue.Worker
	require.NoError(t, json.Unmarshal([]byte(shows(t, words("workers letters -json"))), &w))
	require.True(t, w.Quiet)
	require.Equal(t, "a", w.Running[0].ID)
	shows(t, []string{"resume-worker", "letters", worker}, "takes jobs")
	shows(t, []string{"stop-worker", "letters", worker}, "stops")
	_, errs := inspect(t, 1, words("quiet-worker letters nobody")...)
	require.Contains(t, errs, `no worker "nobody" answers on queue "letters": inspect workers letters lists those that do`)
}

func TestShowsTheProgressOfWorkItems(t *testing.T) {
	srv := natstest.StartProcess(t)
	t.Setenv("NATS_URL", srv.URL())
	items, err := workitem.Open(t.Context(), srv.JetStream(), "items", workitem.Options{Queue: queue.Options{Logger: slog.New(slog.DiscardHandler)}})
	require.NoError(t, err)
	const kind workitem.Kind[letter] = "print"
	var handlers workitem.Handlers
	workitem.Register(&handlers, kind, func(ctx context.Context, c *workitem.Context[letter]) error {
		c.Progress(40, "page 2 of 5")
		<-ctx.Done()
		return context.Cause(ctx)
	})
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	group.Go(func() {
		_ = workitem.NewJob(items, &handlers, nil, workitem.JobOptions{Grace: -1}).RunContinuous(ctx)
	})
	for _, id := range []string{"a", "b", "c", "d"} {
		_, err = workitem.Enqueue(t.Context(), items, kind, letter{}, queue.ID(id))
		require.NoError(t, err)
	}
	limit, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		status, err := items.Status(limit, "a")
		require.NoError(t, err)
		if status.State == workitem.Progress {
			break
		}
	}
	shows(t, words("get items a"), "40% progress print: page 2 of 5")
	shows(t, words("get items a -json"), `"progress":{"queue":"items",`)
	shows(t, words("cancel items -prefix d"), "1 cancelled")
	shows(t, words("cancel items b"), "is cancelled")
	for _, id := range []string{"b", "d"} {
		status, err := items.Status(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, workitem.Cancelled, status.State, "whoever watches it is told")
	}
}
