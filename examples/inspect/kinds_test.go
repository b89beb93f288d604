// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/queue"
	"github.com/jetjobs/jetjobs/workitem"
)

func TestSelectsWorkItemsByKind(t *testing.T) {
	srv, q := start(t)
	quiet := queue.Options{Logger: slog.New(slog.DiscardHandler)}
	items, err := workitem.Open(t.Context(), srv.JetStream(), "items", workitem.Options{Queue: quiet})
	require.NoError(t, err)
	put := func(kind workitem.Kind[letter], id string, opts ...queue.EnqueueOption) {
		_, err := workitem.Enqueue(t.Context(), items, kind, letter{}, append(opts, queue.ID(id))...)
		require.NoError(t, err)
	}
	put("print", "printed", queue.Retain(time.Hour))
	put("post", "posted", queue.Retain(time.Hour))
	put("post", "returned")
	var handlers workitem.Handlers
	workitem.Register(&handlers, "print", func(context.Context, *workitem.Context[letter]) error { return nil })
	workitem.Register(&handlers, "post", func(_ context.Context, c *workitem.Context[letter]) error {
		if c.ID() == "returned" {
			return queue.Permanent(errors.New("no such address"))
		}
		return nil
	})
	_, err = workitem.NewJob(items, &handlers, nil, workitem.JobOptions{}).RunUntilEmpty(t.Context())
	require.NoError(t, err)
	for _, kind := range []workitem.Kind[letter]{"print", "post"} {
		for _, n := range []string{"1", "2"} {
			put(kind, string(kind)+n, queue.Delay(time.Hour))
		}
	}
	ids := func(args string) (all []string) {
		out := shows(t, words("list items -json "+args))
		for d := json.NewDecoder(strings.NewReader(out)); d.More(); {
			var j job
			require.NoError(t, d.Decode(&j))
			require.NotEmpty(t, j.Kind, "also of those that are done: %s", j.ID)
			all = append(all, j.ID)
		}
		return all
	}
	require.Len(t, ids(""), 7)
	require.Equal(t, []string{"posted", "returned", "post1", "post2"}, ids("-kind post"))
	require.Equal(t, []string{"post2", "post1"}, ids("-kind post -newest -limit 2"))
	require.Len(t, ids("-kind post -kind print"), 7)
	require.Equal(t, []string{"print1", "print2"}, ids("-kind print -state later"))

	out := shows(t, words("list items"))
	require.Regexp(t, `^ID +KIND +STATE +ATTEMPT `, out)
	require.Regexp(t, `(?m)^printed +print +done +1 `, out)
	require.Regexp(t, `(?m)^post1 +post +later +1 `, out)
	shows(t, words("get items printed"), "kind      print\n")
	shows(t, words("get items post1 -json"), `"kind":"post"`)

	shows(t, words("cancel items -kind print"), "2 cancelled")
	require.Equal(t, []string{"printed"}, ids("-kind print -state done"))
	status, err := items.Status(t.Context(), "print1")
	require.NoError(t, err)
	require.Equal(t, workitem.Cancelled, status.State, "whoever watches it is told")
	shows(t, words("delete items -kind print"), "0 deleted")
	shows(t, words("delete items -kind post"), "1 deleted")
	require.Equal(t, []string{"posted", "post1", "post2"}, ids("-kind post"))

	enqueue(t, q, "a", letter{To: "Ada"})
	require.NotContains(t, shows(t, words("list letters")), "KIND")
	for _, command := range []string{"list", "cancel", "requeue"} {
		_, errs := inspect(t, 1, command, "letters", "-kind", "post")
		require.Contains(t, errs, `-kind is for work items, and the jobs of queue "letters" are none`)
	}
	_, errs := inspect(t, 2, "cancel", "items", "-kind", "")
	require.Contains(t, errs, "want the name of one")
	state(t, q, "a", queue.Waiting)
}
