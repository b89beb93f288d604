// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package deploy

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWorkerRunsWithThesePermissions(t *testing.T) {
	srv := startServer(t, true)
	exe := filepath.Join(t.TempDir(), "worker")
	out, err := exec.Command("go", "build", "-o", exe, "../worker").CombinedOutput()
	require.NoError(t, err, "%s", out)
	run := func(user string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), exe, args...)
		cmd.Env = append(os.Environ(), "NATS_URL="+srv.ClientURL(), "NATS_USER="+user,
			"NATS_PASSWORD=secret-of-"+strings.ToUpper(user), "LISTEN=127.0.0.1:0", "LOG_FORMAT=json")
		return cmd
	}
	out, err = run("operator", "-setup").CombinedOutput()
	require.NoError(t, err, "%s", out)

	worker := run("worker", "-demo", "1")
	worker.Cancel = func() error { return worker.Process.Kill() }
	stdout, err := worker.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, worker.Start())
	var log strings.Builder
	lines := bufio.NewScanner(io.TeeReader(stdout, &log))
	limit := time.AfterFunc(time.Minute, func() { worker.Process.Kill() }) // ends the lines
	defer limit.Stop()
	addr := regexp.MustCompile(`"addr":"([^"]+)"`).FindStringSubmatch(waitFor(t, lines, "health endpoint listening"))[1]
	waitFor(t, lines, `"msg":"delivered"`)

	status := get(t, "http://"+addr+"/statusz", http.StatusOK)
	require.Contains(t, status, `"lag_seconds"`, "worker may ask for the numbers")
	require.Contains(t, status, `"github.com/nats-io/nats.go": "v`, "versions")
	require.Equal(t, "ready\n", get(t, "http://"+addr+"/readyz", http.StatusOK))
	require.NoError(t, worker.Process.Signal(syscall.SIGTERM))
	for lines.Scan() {
	}
	require.NoError(t, worker.Wait())
	require.NotContains(t, log.String(), "ermissions")
}

func waitFor(t *testing.T, lines *bufio.Scanner, text string) string {
	t.Helper()
	for lines.Scan() {
		if strings.Contains(lines.Text(), text) {
			return lines.Text()
		}
	}
	t.Fatalf("the worker has not printed %q", text)
	return ""
}

func get(t *testing.T, url string, code int) string {
	t.Helper()
	response, err := http.Get(url)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, code, response.StatusCode, "%s", body)
	return string(body)
}
