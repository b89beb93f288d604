// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/queue"
)

// says waits until p has printed a text to standard error.
func says(t *testing.T, p *natstest.Process, text string) {
	t.Helper()
	limit := time.After(time.Minute)
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		_, errs := p.Output()
		if strings.Contains(errs, text) {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			require.Fail(t, "not said: "+text, errs)
		}
	}
}

func TestWaitsForResults(t *testing.T) {
	_, q := start(t)
	enqueue(t, q, "a", letter{To: "Ada", Pages: 7}, queue.Delay(time.Hour), queue.Retain(time.Hour))
	enqueue(t, q, "unkept", letter{To: "Ada"}, queue.Delay(time.Hour))
	_, errs := inspect(t, 1, words("wait letters a -timeout 50ms")...)
	require.Contains(t, errs, `job "a" is not over after 50ms`)
	_, errs = inspect(t, 1, words("wait letters unkept")...)
	require.Contains(t, errs, `job "unkept" is not retained`)
	_, errs = inspect(t, 1, words("wait letters unkept -retained -timeout 50ms")...)
	require.Contains(t, errs, "is not over")
	_, errs = inspect(t, 1, words("wait letters unknown")...)
	require.Contains(t, errs, `no job "unknown"`)

	interrupted := natstest.Spawn(t, "inspect", "wait", "letters", "a")
	says(t, interrupted, "waiting for job")
	interrupted.Signal(os.Interrupt)
	require.Equal(t, 1, interrupted.Wait())
	says(t, interrupted, "interrupt")

	waiting := natstest.Spawn(t, "inspect", "wait", "letters", "a")
	work(t, q)
	require.NoError(t, q.RunNow(t.Context(), "a"))
	require.JSONEq(t, `{"stamps":7}`, waiting.Line(t))
	require.Zero(t, waiting.Wait())
	shows(t, words("wait letters a -json"), `{"id":"a","result":{"stamps":7},"state":"done"}`)
	enqueue(t, q, "b", letter{To: "far"}, queue.Retain(time.Hour))
	shows(t, words("cancel letters b"))
	state(t, q, "b", queue.Cancelled)
	_, errs = inspect(t, 1, words("wait letters b")...)
	require.Contains(t, errs, `job "b" was cancelled`)
}

func TestWatchTellsWhatHappensUntilItIsInterrupted(t *testing.T) {
	_, q := start(t)
	work(t, q)
	watch := natstest.Spawn(t, "inspect", "watch", "letters")
	watchJSON := natstest.Spawn(t, "inspect", "watch", "letters", "-json", "-type", "dead,worker_up")
	watchOne := natstest.Spawn(t, "inspect", "watch", "letters", "-id", "second")
	watch.WaitFor(t, "worker up")
	watchJSON.WaitFor(t, `"type":"worker_up"`)
	shows(t, words("pause letters -reason lunch"))
	require.Contains(t, watch.WaitFor(t, "paused"), "lunch")
	shows(t, words("resume letters"))
	enqueue(t, q, "first", letter{To: "nobody"})
	line := watch.WaitFor(t, "dead")
	require.Regexp(t, `^\d\d:\d\d:\d\d\.\d{3}  dead         first  attempt 1  took \S+  on \S+  no such address\\nat all$`, line)
	var e queue.Event
	require.NoError(t, json.Unmarshal([]byte(watchJSON.Line(t)), &e))
	require.Equal(t, []any{queue.EventDead, "first", "letters"}, []any{e.Type, e.ID, e.Queue})
	says(t, watchOne, "watching letters")
	enqueue(t, q, "second", letter{To: "Ada"})
	watchOne.WaitFor(t, "completed    second")

	for _, p := range []*natstest.Process{watch, watchJSON, watchOne} {
		p.Signal(os.Interrupt)
		require.Zero(t, p.Wait(), "to be ended is how it ends")
		_, errs := p.Output()
		require.Regexp(t, `\d+ events, 0 missed\n$`, errs)
	}
	out, _ := watchOne.Output()
	require.NotContains(t, out, "first")
	shows(t, words("watch letters -for 50ms"), "events, 0 missed")
}

func TestMissedEventsAreShownWhereTheyAreMissing(t *testing.T) {
	var out strings.Builder
	in := &inspector{out: &out}
	require.NoError(t, in.printEvent(queue.Event{Type: queue.EventStarted, ID: "a\tb", Missed: 3}, false))
	require.Regexp(t, `^… +3 events were missed here.*\n\S+  started      a\\tb\n$`, out.String())
	out.Reset()
	in.cfg.json = true
	require.NoError(t, in.printEvent(queue.Event{Missed: 3}, true))
	require.Equal(t, `{"missed":3,"type":"missed"}`+"\n", out.String(), "also those before one that is not shown")
	out.Reset()
	in.cfg.json = false
	require.NoError(t, in.printEvent(queue.Event{Type: queue.EventMissed, Missed: 3}, true))
	require.Regexp(t, `^… +3 events were missed here.*\n$`, out.String(), "a line, and no event")
}
