// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/hosting"
	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/queue"
)

func TestMain(m *testing.M) {
	natstest.Main(m, map[string]func([]string){"worker": func([]string) { main() }})
}

// start starts the worker and returns it with the address of its health endpoint.
func start(t *testing.T, args ...string) (p *natstest.Process, url string) {
	t.Helper()
	p = natstest.Spawn(t, "worker", append([]string{"-listen", "127.0.0.1:0", "-log", "json"}, args...)...)
	line := p.WaitFor(t, "health endpoint listening")
	return p, "http://" + regexp.MustCompile(`"addr":"([^"]+)"`).FindStringSubmatch(line)[1]
}

func TestWorkerHandsBackWhatItCannotFinish(t *testing.T) {
	srv := natstest.StartProcess(t)
	t.Setenv("NATS_URL", srv.URL())
	worker, url := start(t, "-grace", "100ms")
	worker.WaitFor(t, `"msg":"ready"`)
	require.Equal(t, "ready\n", fetch(t, url+"/readyz"))

	emails, err := queue.Open[Email](t.Context(), srv.JetStream(), "emails", queue.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	_, err = emails.Enqueue(t.Context(), Email{To: "quick"})
	require.NoError(t, err)
	worker.WaitFor(t, `"msg":"delivered"`)
	_, err = emails.Enqueue(t.Context(), Email{To: "slow", Work: time.Hour})
	require.NoError(t, err)
	worker.WaitFor(t, `"to":"slow","attempt":1`)

	var status map[string]any
	require.NoError(t, json.Unmarshal([]byte(fetch(t, url+"/statusz")), &status))
	require.EqualValues(t, 1, status["reports"].(map[string]any)["queue emails"].(map[string]any)["running"])

	worker.Interrupt()
	require.Zero(t, worker.Wait())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // less than its lease
	defer cancel()
	e, err := emails.Dequeue(ctx)
	require.NoError(t, err)
	require.Equal(t, "slow", e.Value.To)
	require.Equal(t, 1, e.Attempt())
	require.Zero(t, e.Interruptions())
	require.NoError(t, e.Complete(t.Context()))
}

func TestWorkerNeedsNothingInstalled(t *testing.T) {
	t.Setenv("NATS_URL", "")
	worker, _ := start(t, "-demo", "3")
	for range 3 {
		worker.WaitFor(t, `"msg":"delivered"`)
	}
	worker.Interrupt()
	require.Zero(t, worker.Wait())
}

func TestWorkerWithAWrongConfigurationSaysSo(t *testing.T) {
	t.Setenv("GRACE", "soon")
	t.Setenv("CONCURRENCY", "many")
	worker := natstest.Spawn(t, "worker")
	require.Equal(t, hosting.ExitConfig, worker.Wait())
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	code, body := get(t, url)
	require.Equal(t, http.StatusOK, code, "%s", body)
	return body
}

func get(t *testing.T, url string) (code int, body string) {
	t.Helper()
	response, err := http.Get(url)
	require.NoError(t, err)
	defer response.Body.Close()
	all, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(all)
}
