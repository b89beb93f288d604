// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/queue"
)

func TestMain(m *testing.M) {
	natstest.Main(m, map[string]func([]string){"inspect": func([]string) { main() }})
}

// inspect runs the program to its end, which must have this exit code.
func inspect(t *testing.T, code int, args ...string) (out, errs string) {
	t.Helper()
	p := natstest.Spawn(t, "inspect", args...)
	got := p.Wait()
	out, errs = p.Output()
	require.Equal(t, code, got, "inspect %s:\n%s%s", strings.Join(args, " "), out, errs)
	return out, errs
}

// shows is inspect of what succeeds; its output must have each of these texts.
func shows(t *testing.T, args []string, want ...string) string {
	t.Helper()
	out, errs := inspect(t, 0, args...)
	for _, text := range want {
		require.Contains(t, out+errs, text)
	}
	return out
}

func words(s string) []string { return strings.Fields(s) }

// A letter is what the jobs of these tests are about; its To says what its handler does.
type letter struct {
	To    string `json:"to"`
	Pages int    `json:"pages,omitempty"`
}

// start starts a server that the program finds, with a queue of letters.
func start(t *testing.T) (*natstest.ServerProcess, *queue.Queue[letter]) {
	t.Helper()
	srv := natstest.StartProcess(t)
	t.Setenv("NATS_URL", srv.URL())
	return srv, open(t, srv.JetStream(), "letters", queue.Options{})
}

func open(t *testing.T, js jetstream.JetStream, name string, opts queue.Options) *queue.Queue[letter] {
	t.Helper()
	opts.Logger = slog.New(slog.DiscardHandler)
	q, err := queue.Open[letter](t.Context(), js, name, opts)
	require.NoError(t, err)
	return q
}

func enqueue(t *testing.T, q *queue.Queue[letter], id string, l letter, opts ...queue.EnqueueOption) {
	t.Helper()
	r, err := q.Enqueue(t.Context(), l, append(opts, queue.ID(id))...)
	require.NoError(t, err)
	require.False(t, r.Duplicate, id)
}

// work works on q until the test ends, four letters at a time.
func work(t *testing.T, q *queue.Queue[letter]) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { _ = queue.NewJob(q, deliver, queue.JobOptions{Concurrency: 4, Grace: -1}).RunContinuous(ctx) })
	t.Cleanup(func() {
		stop()
		group.Wait()
	})
}

func deliver(ctx context.Context, e *queue.Entry[letter]) error {
	switch e.Value.To {
	case "nobody":
		return queue.Permanent(errors.New("no such address\nat all"))
	case "busy":
		return queue.RetryAfter(time.Hour, errors.New("queue at the post office"))
	case "far":
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return e.SetResult(map[string]int{"stamps": e.Value.Pages})
}

// state waits until a job is in a state.
func state(t *testing.T, q *queue.Queue[letter], id string, want queue.State) queue.Info[letter] {
	t.Helper()
	limit, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		info, err := q.Get(limit, id)
		require.NoError(t, err, id)
		if info.State == want && (want != queue.Running || info.Worker != "") {
			return info
		}
		<-tick.C
	}
}

// ids are those of a list, in its order.
func ids(t *testing.T, args ...string) (all []string) {
	t.Helper()
	out, _ := inspect(t, 0, append([]string{"list", "letters", "-json"}, args...)...)
	for d := json.NewDecoder(strings.NewReader(out)); d.More(); {
		var j job
		require.NoError(t, d.Decode(&j))
		all = append(all, j.ID)
	}
	return all
}

func TestCreatesNothingAndSaysWhatThereIs(t *testing.T) {
	srv, _ := start(t)
	before := streams(t, srv.JetStream())
	for _, c := range commands {
		if !strings.HasPrefix(c.args, "QUEUE") {
			continue
		}
		args := strings.NewReplacer("[ID...]", "x", "TIME", "1h").Replace(c.args)
		_, errs := inspect(t, 1, append([]string{c.name, "leters"}, words(args)[1:]...)...)
		require.Equal(t, `inspect: no queue "leters" in the namespace "jobs"; there are: letters`+"\n", errs)
	}
	_, errs := inspect(t, 1, words("list letters -namespace staging")...)
	require.Contains(t, errs, `the namespace "staging" has none at all`)
	require.Equal(t, before, streams(t, srv.JetStream()))
}

func streams(t *testing.T, js jetstream.JetStream) (all []string) {
	t.Helper()
	names := js.StreamNames(t.Context())
	for name := range names.Name() {
		all = append(all, name)
	}
	require.NoError(t, names.Err())
	return all
}

func TestSaysWhatItDoesNotUnderstand(t *testing.T) {
	t.Setenv("NATS_URL", "nats://me:secret@127.0.0.1:1")
	for args, want := range map[string]string{
		"":                                     "usage: inspect [flags] COMMAND",
		"-nonsense":                            "flag provided but not defined: -nonsense (see inspect -h)",
		"lst letters":                          `no command "lst" (see inspect -h)`,
		"get letters":                          "get: ID is missing (see inspect get -h)",
		"get letters a b":                      `get: "b" is too much`,
		"list letters -state x":                `"x" is none of waiting, running, later, done, dead, cancelled`,
		"watch letters -for x":                 "watch: invalid value",
		"watch letters -for -1s":               "watch: invalid value \"-1s\" for flag -for: want a time such as 90s or 1h, and none below zero",
		"wait letters a -timeout -5s":          "none below zero",
		"copy letters a -delay -5s":            "none below zero",
		"cancel letters a -retain -5s":         "none below zero",
		"list letters -after 5m -before 10m":   "want -after to be the earlier one",
		"cancel letters -after 5m -before 10m": "want -after to be the earlier one",
		"delete letters -after 2020-01-01 -before 2020-01-01": "-after is 2020-01-01 00:00:00 and -before is 2020-01-01 00:00:00: want -after to be the earlier one",
		"watch letters -type ded":                             `"ded" is none of ["enqueued"`,
	} {
		_, errs := inspect(t, 2, words(args)...)
		require.Contains(t, errs, want)
	}
	_, errs := inspect(t, 1, words("list letters")...)
	require.Equal(t, "inspect: no NATS server answers at nats://127.0.0.1:1: start it, or give another -url or NATS_URL (inspect -demo needs none)\n", errs)
	out := shows(t, words("-h"), "run-now QUEUE ID", "-demo", "reschedule QUEUE ID TIME")
	require.NotContains(t, out, "secret")
	shows(t, words("list -h"), "usage: inspect list QUEUE [flags]", "-correlation ID")
}

func TestDemoNeedsNothingInstalledAndStaysIfAskedTo(t *testing.T) {
	t.Setenv("NATS_URL", "nats://127.0.0.1:1")
	staying := natstest.Spawn(t, "inspect", "-demo", "-stay")
	out := shows(t, words("-demo"))
	for _, s := range story {
		require.Contains(t, out, "$ inspect "+s.command+"\n")
		require.Contains(t, out, s.await)
	}
	require.Contains(t, out, "40% progress import-csv: row 400 of 1000")
	require.Contains(t, out, `{"parcel":"parcel of order-1005"}`)
	require.Contains(t, out, "order-1002 was running, and is cancelled\n    | ")
	require.Equal(t, 1, strings.Count(out, "exit code"), "only what is meant to fails")

	t.Setenv("NATS_URL", strings.TrimPrefix(staying.WaitFor(t, "export NATS_URL="), "export NATS_URL="))
	shows(t, words("list orders"), "order-1006")
	staying.Signal(os.Interrupt)
	require.Zero(t, staying.Wait())
}

func TestFlagsMayStandAnywhere(t *testing.T) {
	for _, one := range []struct{ args, want string }{
		{"a b -x 1", "a b"}, {"-x 1 a b", "a b"}, {"a -x=1 b", "a b"}, {"-x 1 -- -a b", "-a b"}, {"a -x 1 -- -x 2 --", "a -x 2 --"},
	} {
		fs := flag.NewFlagSet("", flag.ContinueOnError)
		x := fs.Int("x", 0, "")
		rest, err := parseMixed(fs, words(one.args))
		require.NoError(t, err, one.args)
		require.Equal(t, 1, *x, one.args)
		require.Equal(t, words(one.want), rest, one.args)
	}
}

func TestPasswordsAreNotShown(t *testing.T) {
	require.Equal(t, "nats://a:1,tls://b:2,c", hideUser("nats://me:p@ss@a:1,tls://token@b:2,me:x@c"))
}
