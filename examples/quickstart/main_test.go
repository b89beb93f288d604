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
	for what, n := range map[string]int{
		"stored": 6, "not stored: it is there already": 1, "delivered": 4, "mail server busy: try again": 2,
		"no such address: give up": 1, "kept until somebody requeues": 1, "waiting 0, running 0, later 0, dead 1": 1,
	} {
		require.Equal(t, n, strings.Count(out, what), "%q in:\n%s", what, out)
	}
}

func TestQuickstartRunsAsAProgram(t *testing.T) {
	program := filepath.Join(t.TempDir(), "quickstart")
	built, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, "%s", built)
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), "NATS_URL=")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	requireStory(t, string(out))
}

func TestQuickstartRunsOnAServerElsewhereAndCleansUp(t *testing.T) {
	srv, err := natsd.Start(natsd.Options{Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	defer srv.Close()
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out, srv.URL()))
	requireStory(t, out.String())
	_, err = srv.JetStream().Stream(t.Context(), "jobs_q_quickstart-emails")
	require.ErrorIs(t, err, jetstream.ErrStreamNotFound)
}

func TestQuickstartSaysWhichServerItCannotReach(t *testing.T) {
	err := run(t.Context(), &bytes.Buffer{}, "nats://127.0.0.1:1")
	require.ErrorContains(t, err, "connect to NATS_URL nats://127.0.0.1:1")
}
