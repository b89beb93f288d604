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

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/queue"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == serveCommand {
		main() // started by a program that a test has started
		return
	}
	natstest.Main(m, map[string]func([]string){"bench": func([]string) { main() }})
}

// bench runs the program to its end and returns its report.
func bench(t *testing.T, args ...string) report {
	t.Helper()
	p := natstest.Spawn(t, "bench", append([]string{"-quick", "-json"}, args...)...)
	var r report
	require.NoError(t, json.Unmarshal([]byte(p.WaitFor(t, `"workloads"`)), &r))
	require.Zero(t, p.Wait())
	return r
}

func requireRatios(t *testing.T, w workloadReport) {
	t.Helper()
	n := 0
	for _, m := range w.Metrics {
		n += len(m.Ratios)
		for _, r := range m.Ratios {
			require.Positive(t, r.OfMedians, "%s, %s", w.Name, m.Name)
			require.LessOrEqual(t, r.Pairwise.Min, r.Pairwise.Median)
			require.LessOrEqual(t, r.Pairwise.Median, r.Pairwise.Max)
		}
	}
	require.NotZero(t, n, "%s has no ratio", w.Name)
}

func TestEveryWorkloadHasARatioAndNothingIsLeftOnTheServer(t *testing.T) {
	t.Parallel()
	srv := natstest.StartProcess(t)
	js := srv.JetStream()
	theirs, err := queue.Open[string](t.Context(), js, "orders", queue.Options{})
	require.NoError(t, err)
	_, err = theirs.Enqueue(t.Context(), "not ours")
	require.NoError(t, err)

	r := bench(t, "-url", srv.URL())
	require.Equal(t, "elsewhere", r.Server.Where)
	done := map[string]workloadReport{}
	for _, w := range r.Workloads {
		done[w.Name] = w
	}
	for _, w := range workloads() {
		switch {
		case w.long:
			require.NotContains(t, done, w.name)
		case w.memory:
			require.Contains(t, done[w.name].Skipped, "leaving out -url")
		default:
			requireRatios(t, done[w.name])
		}
	}
	for _, m := range done["delayed"].Metrics {
		if m.Name == early {
			require.Zero(t, m.Systems[byQueue].Max)
		}
	}

	require.Equal(t, []string{"jobs_q_orders"}, streams(t, js))
	stats, err := theirs.Stats(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, stats.Waiting)
}

func streams(t *testing.T, js jetstream.JetStream) (names []string) {
	t.Helper()
	list := js.StreamNames(t.Context())
	for name := range list.Name() {
		names = append(names, name)
	}
	require.NoError(t, list.Err())
	return names
}

func TestServerOfItsOwnTellsWhatItUses(t *testing.T) {
	t.Parallel()
	r := bench(t, "-workload", "drain,idle,memory")
	known := map[string]bool{}
	for _, w := range r.Workloads {
		require.Empty(t, w.Skipped)
		for _, m := range w.Metrics {
			known[w.Name+" "+m.Name] = m.Systems[byQueue] != nil
		}
	}
	for _, want := range []string{"drain " + clientCPU, "drain " + serverCPU, "idle " + serverIdle,
		"memory-waiting " + serverMemory, "memory-delayed " + serverMemory, "memory-retained " + serverMemory} {
		require.True(t, known[want], want)
	}
}

func TestServerThatSyncs(t *testing.T) {
	t.Parallel()
	r := bench(t, "-workload", "enqueue-many", "-sync")
	require.Equal(t, "always", r.Server.Sync)
	requireRatios(t, r.Workloads[0])
}

func TestServerInTheProcess(t *testing.T) {
	t.Parallel()
	r := bench(t, "-workload", "drain", "-embedded")
	require.Equal(t, "in this process", r.Server.Where)
	requireRatios(t, r.Workloads[0])
}

func TestInterruptedItLeavesNothingOnTheServer(t *testing.T) {
	t.Parallel()
	srv := natstest.StartProcess(t)
	js := srv.JetStream()
	p := natstest.Spawn(t, "bench", "-url", srv.URL(), "-workload", "drain", "-jobs", "10000000")
	for limit := time.Now().Add(20 * time.Second); len(streams(t, js)) == 0; {
		require.True(t, time.Now().Before(limit), "it has begun nothing")
		time.Sleep(5 * time.Millisecond)
	}
	p.Interrupt()
	require.Equal(t, 1, p.Wait())
	require.Empty(t, streams(t, js))
}

func TestWrongFlagsAreRefusedWithTheRemedy(t *testing.T) {
	for args, want := range map[string]string{
		"-jobs 3":                     "-jobs is 3: want 100 to 10000000",
		"-jobs many":                  `invalid value "many" for flag -jobs: parse error; -help lists the flags`,
		"-payload 3":                  "-payload is 3: want 32 to ",
		"-producers 0":                "-producers is 0: want 1 to ",
		"-concurrency -1":             "-concurrency is -1: want 1 to ",
		"-rounds 0":                   "-rounds is 0: want 1 to ",
		"-replicas 2":                 "-replicas is 2: want 1, 3 or 5",
		"-replicas 3":                 "-replicas is 3 without -url",
		"-queue a.b":                  `-queue is "a.b": want 1 to 48 letters`,
		"-workload enqueue,naps":      `-workload has "naps": want all, or some of enqueue-one, `,
		"-workload growth-waiting-1m": `-workload is "growth-waiting-1m": it takes long; add -long`,
		"-url x -embedded":            `-embedded is true with -url "x": want one of them`,
		"-url x -sync":                `-sync is true with -url "x": that server has its own`,
		"-creds x":                    `-creds is "x" without -url`,
		"-quick -long":                "-quick is true with -long: want one of them",
		"drain":                       `argument "drain" is not a flag`,
		"-flag":                       "flag provided but not defined: -flag; -help lists the flags",
		"-rounds 0 -replicas 4":       "-rounds is 0: want 1 to 1000\n-replicas is 4: want 1, 3 or 5",
	} {
		_, err := readConfig(strings.Fields(args))
		require.ErrorIs(t, err, errRefused, args)
		require.ErrorContains(t, err, want, args)
	}
	require.Equal(t, 2, natstest.Spawn(t, "bench", "-jobs", "3").Wait())
}

func TestQueuesThatAreThereAreNotTouched(t *testing.T) {
	t.Parallel()
	srv := natstest.StartProcess(t)
	js := srv.JetStream()
	for _, name := range []string{"orders", "orders-1"} {
		_, err := queue.Open[string](t.Context(), js, name, queue.Options{})
		require.NoError(t, err)
		require.Equal(t, 2, natstest.Spawn(t, "bench", "-url", srv.URL(), "-quick", "-queue", "orders").Wait())
		require.Equal(t, []string{"jobs_q_" + name}, streams(t, js))
		require.NoError(t, js.DeleteStream(t.Context(), "jobs_q_"+name))
	}
	require.Equal(t, 2, natstest.Spawn(t, "bench", "-url", srv.URL(), "-quick", "-payload", "2000000").Wait())
}
