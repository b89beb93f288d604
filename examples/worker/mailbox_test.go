// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/hosting"
	"github.com/jetjobs/jetjobs/internal/natstest"
)

// waitForAll waits until each of the patterns has been printed, in any order, and returns their groups.
func waitForAll(t *testing.T, p *natstest.Process, patterns ...string) []string {
	t.Helper()
	groups, missing := make([]string, len(patterns)), len(patterns)
	for missing > 0 {
		line := p.Line(t)
		for i, pattern := range patterns {
			if found := regexp.MustCompile(pattern).FindStringSubmatch(line); found != nil && groups[i] == "" {
				groups[i] = found[len(found)-1]
				missing--
			}
		}
	}
	return groups
}

func TestWorkerIsAliveWhileItWaitsForItsServers(t *testing.T) {
	srv := natstest.StartProcess(t)
	srv.Kill()
	t.Setenv("NATS_URL", srv.URL())
	waiting := func() (worker *natstest.Process, url string) {
		worker = natstest.Spawn(t, "worker", "-listen", "127.0.0.1:0", "-log", "json")
		found := waitForAll(t, worker, `"health endpoint listening","addr":"([^"]+)"`,
			`"waiting for NATS","servers":\["`+regexp.QuoteMeta(srv.URL())+`"\],"err":".+"`)
		url = "http://" + found[0]
		require.Equal(t, "alive\n", fetch(t, url+"/healthz"))
		code, body := get(t, url+"/readyz")
		require.Equal(t, http.StatusServiceUnavailable, code)
		require.Contains(t, body, "the host is starting\n")
		require.Contains(t, body, "nats: the connection to NATS is RECONNECTING\n")
		require.Contains(t, fetch(t, url+"/statusz"), "the queue is not open yet")
		return worker, url
	}
	stopped, _ := waiting()
	began := time.Now()
	stopped.Interrupt()
	require.Zero(t, stopped.Wait())
	require.Less(t, time.Since(began), 10*time.Second, "nothing has its grace")

	worker, url := waiting()
	srv.Restart()
	worker.WaitFor(t, `"msg":"ready"`)
	require.Equal(t, "ready\n", fetch(t, url+"/readyz"))
	require.Contains(t, fetch(t, url+"/statusz"), `"lag_seconds"`)
	worker.Interrupt()
	require.Zero(t, worker.Wait())
}

func TestSetupThatIsStoppedHasFailed(t *testing.T) {
	srv := natstest.StartProcess(t)
	srv.Kill()
	t.Setenv("NATS_URL", srv.URL())
	setup := natstest.Spawn(t, "worker", "-setup", "-log", "json")
	waitForAll(t, setup, "waiting for NATS", "creating the queue")
	setup.Interrupt()
	require.Equal(t, hosting.ExitFailed, setup.Wait(), "else whoever deploys would go on without the queue")
	out, _ := setup.Output()
	require.True(t, strings.Contains(out, `"ended"`) && strings.Contains(out, srv.URL()), "%s", out)
}

func TestSetupDoesNotWaitForEver(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		emails := cutOff(t, e)
		began := time.Now()
		err := emails.setUp(t.Context())
		require.ErrorContains(t, err, "waiting for NATS at [")
		require.ErrorContains(t, err, "took longer than 30s")
		require.Equal(t, setUpWithin, time.Since(began))
	})
}

func TestNobodyWaitsForAConnectionThatHasEnded(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		emails := cutOff(t, e)
		time.AfterFunc(time.Second, emails.js.Conn().Close)
		began := time.Now()
		require.ErrorContains(t, emails.setUp(t.Context()), "the connection to NATS has ended")
		require.Equal(t, time.Second, time.Since(began))
	})
}

// cutOff is a mailbox whose server has gone.
func cutOff(t *testing.T, e *natstest.Env) *mailbox {
	t.Helper()
	emails := &mailbox{js: e.NewJetStream()}
	changed := emails.js.Conn().StatusChanged(nats.RECONNECTING)
	e.Stop()
	<-changed
	return emails
}
