// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package hosting_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/hosting"
	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/jobs"
	"github.com/jetjobs/jetjobs/queue"
)

// ask returns what the handler answers.
func ask(h *hosting.Host, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func TestHostIsReadyOnlyBetweenStartupAndTheOrderToStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := quiet(hosting.Options{})
		requireState := func(code int, want string) {
			w := ask(h, "/readyz")
			require.Equal(t, code, w.Code)
			require.Contains(t, w.Body.String(), want)
			require.Equal(t, code != 200, w.Header().Get("Retry-After") != "")
			require.Equal(t, 200, ask(h, "/healthz").Code, "alive all the time")
		}
		requireState(503, "the host is created")
		h.AddStartup("slow", func(context.Context) error { time.Sleep(time.Minute); return nil })
		h.AddJob(jobs.ErrFunc(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }), jobs.Options{})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- h.Run(ctx) }()
		time.Sleep(time.Second)
		requireState(503, "the host is starting")
		time.Sleep(time.Minute)
		requireState(200, "ready")
		stop()
		time.Sleep(time.Second)
		requireState(503, "the host is stopping")
		require.NoError(t, <-ended)
		requireState(503, "the host is stopped")
	})
}

func TestReadyzSaysWhatStartupWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		h := quiet(hosting.Options{})
		h.AddStartup("done", func(context.Context) error { return nil }, hosting.Priority(-1))
		h.AddStartup("slow", func(context.Context) error { time.Sleep(time.Minute); return nil })
		h.AddStartup("flaky", func(context.Context) error {
			if tries++; tries < 9 {
				return errTest
			}
			return nil
		}, hosting.Attempts(9))
		h.AddStartup("later", func(context.Context) error { return nil }, hosting.Priority(1))
		h.AddCheck("disk", func(context.Context) error { return errTest })
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- h.Run(ctx) }()
		synctest.Wait()
		require.Equal(t, "the host is starting\nstartup action \"slow\": running\nstartup action \"flaky\": out of luck\ndisk: out of luck\n",
			ask(h, "/readyz").Body.String())
		time.Sleep(2 * time.Minute)
		require.Equal(t, "disk: out of luck\n", ask(h, "/readyz").Body.String())
		stop()
		require.NoError(t, <-ended)
	})
}

func TestChecksDecideWhetherTheHostIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		var broken atomic.Pointer[error]
		release := make(chan struct{})
		h := quiet(hosting.Options{})
		h.AddCheck("disk", func(context.Context) error {
			asked.Add(1)
			if err := broken.Load(); err != nil {
				return *err
			}
			return nil
		})
		slow := false
		h.AddCheck("deaf", func(context.Context) error {
			if slow {
				<-release
			}
			return nil
		})
		h.AddCheck("panics", func(context.Context) error {
			if slow {
				panic("boom")
			}
			return nil
		})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- h.Run(ctx) }()
		synctest.Wait()
		for range 100 {
			require.Equal(t, 200, ask(h, "/readyz").Code)
		}
		require.EqualValues(t, 1, asked.Load(), "a hundred probes at once ask once")

		time.Sleep(2 * time.Second)
		err := errTest
		broken.Store(&err)
		slow = true
		began := time.Now()
		w := ask(h, "/readyz")
		require.Equal(t, 2*time.Second, time.Since(began))
		require.Equal(t, 503, w.Code)
		require.Equal(t, "deaf: no answer within 2s\ndisk: out of luck\npanics: panic: boom\n", w.Body.String())
		close(release)
		stop()
		require.NoError(t, <-ended)
	})
}

func TestStatusTellsEverything(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		q, err := queue.Open[string](t.Context(), e.JetStream(), "emails", queue.Options{Logger: silent})
		require.NoError(t, err)
		_, err = q.Enqueue(t.Context(), "v", queue.Delay(time.Hour))
		require.NoError(t, err)

		h := quiet(hosting.Options{Name: "shop"})
		h.AddStartup("migrate", func(context.Context) error { return nil })
		h.AddService("api", (&journal{}).service("api"))
		h.AddJob(queue.NewJob(q, func(context.Context, *queue.Entry[string]) error { return nil }, queue.JobOptions{}), jobs.Options{})
		h.AddJob(jobs.ErrFunc(func(context.Context) error { return errTest }), jobs.Options{Name: "clean-up", Interval: time.Hour})
		h.AddCheck("nats", hosting.Connected(e.JetStream().Conn()))
		h.AddQueue(q)
		h.AddReport("broken", func(context.Context) (any, error) { return nil, errTest })
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- h.Run(ctx) }()
		time.Sleep(time.Second)

		w := ask(h, "/statusz")
		require.Equal(t, "application/json", w.Header().Get("Content-Type"))
		var s hosting.Status
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &s))
		require.Equal(t, "shop", s.Name)
		require.Equal(t, hosting.Ready, s.State)
		require.NotEmpty(t, s.Version.Go)
		require.Equal(t, "done", s.Startup[0].State)
		require.Equal(t, "running", s.Services[0].State)
		require.Equal(t, "emails", s.Jobs[0].Name, "a queue's job has its name")
		require.Equal(t, 1, s.Jobs[0].Running)
		require.Equal(t, 1, s.Jobs[1].Failed)
		require.Equal(t, "failed: out of luck", s.Jobs[1].Last)
		require.Equal(t, map[string]string{"nats": "ok"}, s.Checks)
		require.EqualValues(t, 1, s.Reports["queue emails"].(map[string]any)["later"])
		require.Equal(t, map[string]any{"error": "out of luck"}, s.Reports["broken"])

		e.Stop()
		time.Sleep(5 * time.Second)
		require.Contains(t, ask(h, "/readyz").Body.String(), "nats: the connection to NATS is RECONNECTING")
		e.Begin()
		time.Sleep(5 * time.Second)
		require.Equal(t, 200, ask(h, "/readyz").Code)
		stop()
		require.NoError(t, <-ended)
	})
}

func TestListenServesFromStartupToTheEnd(t *testing.T) {
	h := quiet(hosting.Options{Listen: "127.0.0.1:0"})
	get := func() (int, string) {
		r, err := http.Get("http://" + h.Status(t.Context()).Listen + "/readyz")
		require.NoError(t, err)
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		return r.StatusCode, string(body)
	}
	h.AddStartup("look", func(context.Context) error {
		code, body := get()
		require.Equal(t, 503, code)
		require.Contains(t, body, "starting")
		return nil
	})
	ctx, stop := context.WithCancel(t.Context())
	h.AddService("look", hosting.ServiceFunc(func(ctx context.Context) error {
		<-ctx.Done()
		code, body := get()
		require.Equal(t, 503, code)
		require.Contains(t, body, "stopping")
		return nil
	}))
	ended := make(chan error)
	go func() { ended <- h.Run(ctx) }()
	require.Eventually(t, func() bool { return h.Status(t.Context()).State == hosting.Ready }, time.Minute, time.Millisecond)
	code, _ := get()
	require.Equal(t, 200, code)
	taken := h.Status(t.Context()).Listen

	err := quiet(hosting.Options{Listen: taken}).Run(t.Context())
	require.ErrorContains(t, err, `hosting: Options.Listen "`+taken+`": `)
	require.True(t, strings.Contains(err.Error(), "in use") || strings.Contains(err.Error(), "Only one usage"))
	stop()
	require.NoError(t, <-ended)
	_, err = http.Get("http://" + taken + "/healthz")
	require.Error(t, err, "nobody listens any more")
}
