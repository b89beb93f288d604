// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/jobs"
)

// notes keeps lines in their order.
type notes struct {
	mu    sync.Mutex
	lines []string
}

func (n *notes) add(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, fmt.Sprintf(format, args...))
}

func (n *notes) all() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lines
}

func noting(n *notes, name string) Middleware {
	return Middleware{
		Enqueue: func(ctx context.Context, drafts []*Draft, next func(context.Context) ([]Receipt, error)) ([]Receipt, error) {
			n.add("%s enqueues %d", name, len(drafts))
			for _, d := range drafts {
				d.SetProperty("by", d.Property("by")+name)
			}
			receipts, err := next(ctx)
			n.add("%s enqueued %d", name, len(receipts))
			return receipts, err
		},
		Work: func(ctx context.Context, task Task, next func(context.Context) error) error {
			n.add("%s begins %s", name, task.ID())
			err := next(context.WithValue(ctx, tenantKey{}, task.Property("tenant")))
			n.add("%s ends %v", name, err)
			return err
		},
	}
}

type tenantKey struct{}

func TestMiddlewareWrapsInOrder(t *testing.T) {
	var n notes
	bubble(t, Options{Middleware: []Middleware{noting(&n, "a"), {}, noting(&n, "b")}}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		r := enqueue(t, q, "v", ID("x"), Property("tenant", "acme"), Property("by", "me"))
		require.Equal(t, "x", r.ID)
		i := get(t, q, "x")
		require.Equal(t, map[string]string{"tenant": "acme", "by": "meab"}, i.Properties)
		receipts, err := q.EnqueueMany(t.Context(), Items(make([]string, 3), Delay(time.Hour)))
		require.NoError(t, err)
		require.Len(t, receipts, 3)
		stop := work(t, q, JobOptions{}, func(ctx context.Context, _ *Entry[string]) error {
			n.add("work for %v", ctx.Value(tenantKey{}))
			return nil
		})
		time.Sleep(time.Second)
		stop()
		require.Equal(t, []string{
			"a enqueues 1", "b enqueues 1", "b enqueued 1", "a enqueued 1",
			"a enqueues 3", "b enqueues 3", "b enqueued 3", "a enqueued 3",
			"a begins x", "b begins x", "work for acme", "b ends <nil>", "a ends <nil>",
		}, n.all())
	})
}

func TestMiddlewareMayRefuseAndMayPanic(t *testing.T) {
	refuse := Middleware{
		Enqueue: func(ctx context.Context, drafts []*Draft, next func(context.Context) ([]Receipt, error)) ([]Receipt, error) {
			switch d := drafts[0]; {
			case d.Value == "forbidden":
				return nil, fmt.Errorf("not you: %q %q %d", d.ID(), d.CorrelationID(), d.Priority())
			case d.Value == "explosive":
				panic("boom")
			}
			return next(ctx)
		},
		Work: func(ctx context.Context, task Task, next func(context.Context) error) error {
			switch task.ID() {
			case "skip":
				return Permanent(errors.New("skipped"))
			case "panic":
				panic("boom")
			}
			return next(ctx)
		},
	}
	bubble(t, Options{MaxAttempts: 1, Middleware: []Middleware{refuse}}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		_, err := q.Enqueue(t.Context(), "forbidden", ID("x"), CorrelationID("c"))
		require.EqualError(t, err, `queue "q": enqueue: not you: "x" "c" 0`)
		_, err = q.Enqueue(t.Context(), "explosive")
		require.ErrorContains(t, err, "panic: boom")
		_, err = q.EnqueueMany(t.Context(), Items([]string{"forbidden", "v"}))
		require.ErrorContains(t, err, "not you")
		_, err = q.Enqueue(t.Context(), "v", MaxAttempts(-1))
		require.ErrorContains(t, err, "MaxAttempts is -1")
		requireStats(t, q, Stats{})

		for _, id := range []string{"skip", "panic", "good"} {
			enqueue(t, q, "v", ID(id))
		}
		var ran notes
		stop := work(t, q, JobOptions{}, func(_ context.Context, e *Entry[string]) error {
			ran.add("%s", e.ID())
			return nil
		})
		time.Sleep(time.Second)
		stop()
		require.Equal(t, []string{"good"}, ran.all())
		require.Equal(t, ReasonPermanent, get(t, q, "skip").Reason)
		require.Equal(t, "panic: boom", get(t, q, "panic").Error)
	})
}

func TestTraceGoesWithTheJob(t *testing.T) {
	bubble(t, Options{MaxAttempts: 2, Backoff: func(int) time.Duration { return time.Minute }}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		state, err := trace.ParseTraceState("vendor=1")
		require.NoError(t, err)
		span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, TraceState: state})
		ctx := trace.ContextWithSpanContext(t.Context(), span)
		_, err = q.Enqueue(ctx, "fails", ID("one"))
		require.NoError(t, err)
		_, err = q.EnqueueMany(ctx, []Item[string]{{Value: "parent", Options: []EnqueueOption{ID("many")}}})
		require.NoError(t, err)
		enqueue(t, q, "v", ID("without"))

		var seen notes
		note := func(ctx context.Context, e *Entry[string]) {
			got := trace.SpanContextFromContext(ctx)
			seen.add("%s %d %v %v %s %v", e.ID(), e.Attempt(), got.TraceID() == span.TraceID(), got.SpanID() == span.SpanID(), got.TraceState(), got.IsRemote())
		}
		stop := work(t, q, JobOptions{Timeout: time.Minute}, func(ctx context.Context, e *Entry[string]) error {
			note(ctx, e)
			switch e.Value {
			case "fails":
				return errors.New("again")
			case "parent":
				_, err := q.Enqueue(ctx, "child", ID("child"))
				return err
			}
			return nil
		})
		time.Sleep(2 * time.Minute)
		require.NoError(t, q.DeadLetters().Requeue(t.Context(), "one"))
		time.Sleep(time.Second)
		stop()
		require.Equal(t, []string{
			"one 1 true true vendor=1 true", "many 1 true true vendor=1 true", "without 1 false false  false",
			"child 1 true true vendor=1 true", "one 2 true true vendor=1 true", "one 1 true true vendor=1 true",
		}, seen.all())
	})
}

func TestLogHandlerAddsTheKeysOfAJob(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(jobs.NewLogHandler(slog.NewTextHandler(&log, nil)))
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v", ID("x"))
		stop := work(t, q, JobOptions{}, func(ctx context.Context, _ *Entry[string]) error {
			logger.With("a", 1).WithGroup("g").InfoContext(ctx, "in", "b", 2)
			return nil
		})
		time.Sleep(time.Second)
		stop()
	})
	logger.Info("out")
	require.Contains(t, log.String(), "msg=in a=1 g.b=2 g.queue=q g.id=x g.attempt=1\n")
	require.Contains(t, log.String(), "msg=out\n")
}

// A corrected copy is enqueued like anything else.
func TestMiddlewareWrapsEnqueueCopy(t *testing.T) {
	var n notes
	refuse := Middleware{Enqueue: func(ctx context.Context, drafts []*Draft, next func(context.Context) ([]Receipt, error)) ([]Receipt, error) {
		if drafts[0].Value.(string) == "forbidden" {
			return nil, errors.New("not you")
		}
		return next(ctx)
	}}
	bubble(t, Options{Middleware: []Middleware{noting(&n, "a"), refuse}}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "v", ID("x"), Delay(time.Hour), Property("tenant", "acme"))
		_, err := q.EnqueueCopy(t.Context(), "x", func(v *string) error { *v = "forbidden"; return nil })
		require.EqualError(t, err, `queue "q": enqueue a copy: not you`)
		r, err := q.EnqueueCopy(t.Context(), "x", func(v *string) error { *v = "good"; return nil }, ID("y"))
		require.NoError(t, err)
		require.Equal(t, "y", r.ID)
		i := get(t, q, "y")
		require.Equal(t, []any{"good", "x", "acme", "aa"}, []any{i.Value, i.CopyOf, i.Properties["tenant"], i.Properties["by"]})
		requireStats(t, q, Stats{Later: 1, Waiting: 1})
	})
}

// What middleware does not pass on, the handler does not get; what it returns is
// taken for what the handler did; and it may know the type.
func TestMiddlewareDecidesForTheHandler(t *testing.T) {
	swallow := Middleware{Work: func(ctx context.Context, task Task, next func(context.Context) error) error {
		switch task.(*Entry[string]).Value {
		case "sleep":
			return Snooze(24 * time.Hour)
		case "swallow":
			_ = next(ctx)
			return nil
		case "exit":
			runtime.Goexit()
		}
		return next(ctx)
	}}
	bubble(t, Options{MaxAttempts: 1, Retain: time.Hour, Middleware: []Middleware{swallow}}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		work(t, q, JobOptions{Concurrency: 2}, func(context.Context, *Entry[string]) error { return errors.New("x") })
		for _, v := range []string{"sleep", "swallow", "exit", "fail"} {
			enqueue(t, q, v, ID(v))
		}
		time.Sleep(time.Minute)
		require.Equal(t, ReasonSnoozed, get(t, q, "sleep").Reason)
		require.Equal(t, Done, get(t, q, "swallow").State)
		require.Equal(t, Dead, get(t, q, "exit").State)
		require.Equal(t, Dead, get(t, q, "fail").State)
	})
}
