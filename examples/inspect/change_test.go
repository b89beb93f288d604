// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/queue"
)

func TestCancelsJobsByIDAndFilter(t *testing.T) {
	_, q := start(t)
	for _, id := range []string{"a1", "a2", "b1", "b2", "b3"} {
		enqueue(t, q, id, letter{To: "Ada"}, queue.Delay(time.Hour), queue.Property("kind", id[:1]))
	}
	enqueue(t, q, "running", letter{To: "far"}, queue.Retain(time.Hour))
	work(t, q)
	state(t, q, "running", queue.Running)

	shows(t, words("cancel letters a1"), "a1 was later, and is cancelled")
	shows(t, words("cancel letters running -json"), `{"id":"running","was":"running"}`)
	state(t, q, "running", queue.Cancelled)
	_, errs := inspect(t, 1, words("cancel letters a1 a2 running")...)
	require.Contains(t, errs, `no job "a1" in queue "letters"`)
	require.Contains(t, errs, `job "running" is cancelled: cancel is for jobs that are not over`)
	require.Contains(t, errs, "2 of 3 failed")

	for args, text := range map[string]string{
		"cancel letters":                      "which jobs? Give IDs, or a filter, or -all",
		"cancel letters -limit 1":             "which jobs?",
		"cancel letters b1 -prefix b":         "IDs or a filter, not both",
		"cancel letters -all -state later":    "-all means every job",
		"cancel letters -state dead":          `"dead" is none of waiting, running, later`,
		"cancel letters -after 1h -limit -1":  "want a number of at least 1",
		"requeue letters":                     "which jobs?",
		"delete letters":                      "which jobs?",
		"delete letters -property kind -all ": "want name=value",
		"list letters -limit 1e3":             "want a number of at least 1, in digits",
		"cancel letters -prefix b -limit 2x":  "want a number of at least 1, in digits", // not of 2
	} {
		_, errs := inspect(t, 2, words(args)...)
		require.Contains(t, errs, text)
		require.Equal(t, 1, strings.Count(errs, "\n"), "one line: %s", errs)
	}
	require.Len(t, ids(t, "-state", "later"), 3, "nothing was cancelled")

	shows(t, words("cancel letters -property kind=b -limit 1"), "1 cancelled")
	shows(t, words("cancel letters -state later -prefix b -json"), `{"cancelled":2}`)
	enqueue(t, q, "c", letter{To: "Ada"}, queue.Delay(time.Hour))
	shows(t, words("cancel letters -all"), "1 cancelled")
	enqueue(t, q, "d", letter{To: "Ada"}, queue.Delay(time.Hour))
	shows(t, words("cancel letters d -retain 1h"))
	require.Equal(t, []string{"running", "d"}, ids(t, "-state", "cancelled"))
	shows(t, words("list letters -state waiting,running,later"), "no job")
}

func TestReplansJobs(t *testing.T) {
	_, q := start(t)
	enqueue(t, q, "a", letter{To: "Ada", Pages: 2}, queue.Delay(time.Hour), queue.Retain(time.Hour))
	enqueue(t, q, "-b", letter{To: "Ada"}, queue.Delay(time.Hour))
	enqueue(t, q, "w", letter{To: "Ada"})
	shows(t, words("reschedule letters -- -b 48h"), "-b is due ", "in 47h59m")
	require.WithinDuration(t, time.Now().Add(48*time.Hour), state(t, q, "-b", queue.Later).Due, time.Minute)
	shows(t, words("reschedule letters a 2100-01-01T00:00:00Z"), "a is due")
	require.Equal(t, 2100, state(t, q, "a", queue.Later).Due.UTC().Year())
	_, errs := inspect(t, 1, words("run-now letters w")...)
	require.Contains(t, errs, `job "w" is waiting: this is for jobs that are later`)
	work(t, q)
	shows(t, words("run-now letters a"), "a waits for the next free worker")
	require.JSONEq(t, `{"stamps":2}`, string(state(t, q, "a", queue.Done).Result))
	_, errs = inspect(t, 1, words("reschedule letters a 5m")...)
	require.Contains(t, errs, `job "a" is done`)
	_, errs = inspect(t, 1, words("run-now letters unknown")...)
	require.Contains(t, errs, `no job "unknown"`)
	_, errs = inspect(t, 2, words("reschedule letters a soon")...)
	require.Contains(t, errs, `"soon" is no time: want 2006-01-02T15:04:05Z`)

	shows(t, words("pause letters -until 1h -reason lunch"), "letters is paused")
	shows(t, words("stats letters"), "yes, until", "lunch")
	shows(t, words("resume letters"), "letters hands out jobs")
	shows(t, words("stats letters"), "paused   no")
	_, errs = inspect(t, 2, words("pause letters -until -1h")...)
	require.Contains(t, errs, "want a time to come")
}

func TestMendsDeadJobs(t *testing.T) {
	_, q := start(t)
	keep := queue.Retain(time.Hour)
	for _, id := range []string{"d1", "d2", "d3", "d4"} {
		enqueue(t, q, id, letter{To: "nobody", Pages: 4}, keep, queue.Property("kind", "bulk"))
	}
	work(t, q)
	for _, id := range []string{"d1", "d2", "d3", "d4"} {
		state(t, q, id, queue.Dead)
	}
	shows(t, words("copy letters d1 -set to=Ada -set pages=5 -id good"), "enqueued good, a copy of d1, which is left as it was")
	good := state(t, q, "good", queue.Done)
	require.JSONEq(t, `{"stamps":5}`, string(good.Result))
	require.Equal(t, "d1", good.CopyOf)
	require.Equal(t, "bulk", good.Properties["kind"])
	shows(t, append(words("copy letters d1 -delay 1h -id later -payload"), `{"to":"Grace","pages":1}`), "enqueued later")
	require.Equal(t, letter{"Grace", 1}, state(t, q, "later", queue.Later).Value)

	for args, text := range map[string]string{
		"copy letters good":                 `job "good" is done: the payload of such a job is gone`,
		"copy letters d1 -id later":         `job "later" is later: nothing was enqueued`,
		"copy letters d1 -set lines.0.to=x": `-set lines.0.to: there is nothing that could have a "0"`,
		"copy letters none":                 `no job "none"`,
		"requeue letters later":             `job "later" is later: this is for dead jobs`,
		"delete letters none":               `no job "none"`,
		"wait letters d1":                   `job "d1" is dead (permanent) after 1 attempts: no such address; at all; inspect requeue letters d1`,
	} {
		_, errs := inspect(t, 1, words(args)...)
		require.Contains(t, errs, text)
		require.Equal(t, 1, strings.Count(errs, "\n"), "one line: %s", errs)
	}
	_, errs := inspect(t, 2, words("copy letters d1 -payload {")...)
	require.Contains(t, errs, "want JSON")

	shows(t, words("pause letters"))
	shows(t, words("requeue letters d1"), "d1 is requeued")
	shows(t, words("requeue letters -prefix d -limit 1"), "1 requeued")
	require.Len(t, ids(t, "-state", "waiting"), 2)
	dead := ids(t, "-state", "dead")
	shows(t, []string{"delete", "letters", dead[0]}, dead[0]+" is deleted")
	shows(t, words("delete letters -error address -json"), `{"deleted":1}`)
	shows(t, words("list letters -state dead"), "no job")
}

func TestCorrectionsTakeTheTypeOfWhatIsThere(t *testing.T) {
	payload := `{"n":12345678901234567890,"zip":"1","lines":[{"count":1},{"count":2}],"gone":true}`
	var all []correction
	for _, s := range []string{"zip=10001", "lines.1.count=3", "note=a=b", "gone=null", `deep={"x":[1]}`} {
		c, err := parseCorrection(s)
		require.NoError(t, err)
		all = append(all, c)
	}
	got, err := correct(json.RawMessage(payload), all)
	require.NoError(t, err)
	require.Equal(t, `{"deep":{"x":[1]},"gone":null,"lines":[{"count":1},{"count":3}],"n":12345678901234567890,"note":"a=b","zip":"10001"}`, string(got))
	for s, want := range map[string]string{
		"lines.2.count=1": `"2" is none of the 2 elements`, "zip.x=1": `nothing that could have a "x"`, "none.x=1": `nothing that could have a "x"`,
	} {
		c, err := parseCorrection(s)
		require.NoError(t, err)
		_, err = correct(json.RawMessage(payload), []correction{c})
		require.ErrorContains(t, err, want)
	}
	_, err = parseCorrection("=1")
	require.Error(t, err)
}
