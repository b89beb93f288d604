// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/hosting/natsd"
)

// requireStory checks that the output tells all that the program promises.
func requireStory(t *testing.T, out string) {
	t.Helper()
	for _, file := range []string{"customers.csv", "orders.csv", "products.csv", "invoices.csv"} {
		require.Regexp(t, file+` +100%  completed`, out)
	}
	require.Regexp(t, `invoices.csv +50%  retrying: the connection to the ledger broke`, out)
	require.Regexp(t, `invoices.csv +\d+%  progress, attempt 2: row \d+ of 500`, out)
	require.Regexp(t, `orders.csv +\d+%  progress: row \d+ of 900`, out)
	require.Contains(t, out, "4 imported, 0 failed")
	require.Less(t, strings.Count(out, "\n"), 50, "a line for each change, not for each report")
	require.NotContains(t, out, "\x1b", "nothing for terminals")
}

func TestProgressRunsAsAProgram(t *testing.T) {
	program := filepath.Join(t.TempDir(), "progress")
	built, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, "%s", built)
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), "NATS_URL=")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	requireStory(t, string(out))
}

func TestProgressRunsOnAServerElsewhereAndCleansUp(t *testing.T) {
	srv, err := natsd.Start(natsd.Options{Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	defer srv.Close()
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), newLines(&out), srv.URL()))
	requireStory(t, out.String())
	for _, stream := range []string{"jobs_q_progress-example", "jobs_status_progress-example"} {
		_, err = srv.JetStream().Stream(t.Context(), stream)
		require.ErrorIs(t, err, jetstream.ErrStreamNotFound)
	}
}

func TestBarsAreDrawnOverEachOther(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), newBars(&out), ""))
	drawn := out.String()
	require.Contains(t, drawn, "\x1b[4A", "back to the first of four lines")
	require.Contains(t, drawn, strings.Repeat("█", 15)+strings.Repeat("░", 15)+"  50% retrying  the connection to the ledger broke")
	last := drawn[strings.LastIndex(drawn, "\x1b[4A"):]
	require.Equal(t, 4, strings.Count(last, strings.Repeat("█", 30)+" 100% completed"))
	require.Contains(t, last, "4 imported, 0 failed")
}

func TestProgressSaysWhichServerItCannotReach(t *testing.T) {
	err := run(t.Context(), newLines(&bytes.Buffer{}), "nats://127.0.0.1:1")
	require.ErrorContains(t, err, "connect to NATS_URL nats://127.0.0.1:1")
}
