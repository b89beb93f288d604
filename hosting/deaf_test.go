// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package hosting_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/hosting"
	"github.com/jetjobs/jetjobs/jobs"
)

// What ignores its context can be an action or a hook as well, and all together.
func TestRunReturnsThoughActionsAndHooksIgnoreTheirContexts(t *testing.T) {
	const grace = 20 * time.Second
	for name, add := range map[string]func(opts hosting.Options, wait func()) *hosting.Host{
		`action "deaf"`: func(opts hosting.Options, wait func()) *hosting.Host {
			h := quiet(opts)
			h.AddStartup("deaf", func(context.Context) error { wait(); return nil }, hosting.Attempts(3), hosting.AfterStartup())
			return h
		},
		`hook "OnReady"`: func(opts hosting.Options, wait func()) *hosting.Host {
			opts.OnReady = func(context.Context) error { wait(); return nil }
			return quiet(opts)
		},
		`hook "OnStopping"`: func(opts hosting.Options, wait func()) *hosting.Host {
			opts.OnStopping = func(error) { wait() }
			return quiet(opts)
		},
		`action "deaf", hook "OnStopping"`: func(opts hosting.Options, wait func()) *hosting.Host {
			opts.OnStopping = func(error) { wait() }
			h := quiet(opts)
			h.AddStartup("deaf", func(context.Context) error { wait(); return nil }, hosting.AfterStartup())
			return h
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				h := add(hosting.Options{Grace: grace}, func() { <-release })
				var j journal
				h.AddService("good", j.service("good"))
				ends := make(chan time.Duration, 1)
				h.AddJob(jobs.ErrFunc(func(ctx context.Context) error { // it uses all of its grace
					info, _ := jobs.FromContext(ctx)
					<-info.Stopping
					told := time.Now()
					<-ctx.Done()
					time.Sleep(100 * time.Millisecond)
					ends <- time.Since(told)
					return ctx.Err()
				}), jobs.Options{Name: "slow job"})
				ctx, stop := context.WithTimeout(t.Context(), time.Second)
				defer stop()
				began := time.Now()
				err := h.Run(ctx)
				require.ErrorIs(t, err, hosting.ErrStuck)
				require.EqualError(t, err, hosting.ErrStuck.Error()+": "+name)
				require.LessOrEqual(t, time.Since(began), time.Second+grace+hosting.StopMargin)
				require.Equal(t, grace+100*time.Millisecond, <-ends, "the grace is not cut by it")
				require.Equal(t, hosting.ExitCut, hosting.ExitCode(err))
				j.require(t, "good starts", "good ends")
				close(release)
				synctest.Wait()
				j.require(t, "good starts", "good ends")
			})
		})
	}
}

func TestActionThatIgnoresItsTimeoutStopsTheHostAndIsNotTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var tries atomic.Int64
		h := quiet(hosting.Options{})
		h.AddStartup("deaf", func(context.Context) error { tries.Add(1); <-release; return nil }, hosting.Timeout(time.Second), hosting.Attempts(3))
		began := time.Now()
		err := h.Run(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, hosting.ErrStuck)
		require.ErrorContains(t, err, `startup action "deaf": took longer than its Timeout 1s`)
		require.LessOrEqual(t, time.Since(began), time.Second+hosting.StopMargin)
		require.EqualValues(t, 1, tries.Load())
		close(release)
	})
}

func TestOnlyTheActionThatFailedIsBlamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := quiet(hosting.Options{})
		h.AddStartup("beside", func(ctx context.Context) error {
			<-ctx.Done()
			return fmt.Errorf("waiting: %w", context.Cause(ctx))
		})
		h.AddStartup("migrate", func(context.Context) error { time.Sleep(time.Second); return errTest })
		require.EqualError(t, h.Run(t.Context()), `hosting: startup action "migrate": out of luck`)
	})
}

func TestHostThatIsStoppedWhileItStartsIsNeverReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		h := hosting.New(hosting.Options{IgnoreSignals: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		h.AddStartup("long", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		require.NoError(t, h.Run(ctx))
		require.NotContains(t, log.String(), "msg=ready")
		require.Contains(t, log.String(), "msg=stopping")
	})
}

func TestReportThatDoesNotAnswerHoldsUpNobodyAndDoesNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		deaf := func() { <-release }
		h := quiet(hosting.Options{})
		h.AddReport("deaf", func(context.Context) (any, error) { deaf(); return "late", nil })
		h.AddReport("panics", func(context.Context) (any, error) { panic("boom") })
		h.AddReport("no JSON", func(context.Context) (any, error) { return func() {}, nil })
		h.AddReport("good", func(context.Context) (any, error) { return "told", nil })
		h.AddCheck("deaf", func(context.Context) error { deaf(); return nil })
		began := time.Now()
		var s hosting.Status
		require.NoError(t, json.Unmarshal(ask(h, "/statusz").Body.Bytes(), &s))
		require.LessOrEqual(t, time.Since(began), 4*time.Second)
		require.Equal(t, "told", s.Reports["good"])
		require.Equal(t, map[string]any{"error": "no answer within 2s"}, s.Reports["deaf"])
		require.Equal(t, map[string]any{"error": "panic: boom"}, s.Reports["panics"])
		require.Contains(t, s.Reports["no JSON"].(map[string]any)["error"], "unsupported type")

		synctest.Wait()
		before := runtime.NumGoroutine()
		for range 100 {
			time.Sleep(10 * time.Second)
			ask(h, "/statusz")
			require.Equal(t, 503, ask(h, "/readyz").Code)
		}
		synctest.Wait()
		require.LessOrEqual(t, runtime.NumGoroutine(), before+5)
		close(release)
		synctest.Wait()
		time.Sleep(2 * time.Second)
		require.NoError(t, json.Unmarshal(ask(h, "/statusz").Body.Bytes(), &s))
		require.Equal(t, "late", s.Reports["deaf"], "it is asked again")
		require.Equal(t, "ok", s.Checks["deaf"])
	})
}

// A goroutine of a request must not go on after Run has returned.
func TestRunWaitsForTheRequestsItServes(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := free.Addr().String()
	free.Close()
	asked, ended := make(chan struct{}), false
	h := quiet(hosting.Options{Listen: addr})
	h.AddReport("slow", func(ctx context.Context) (any, error) {
		close(asked)
		<-ctx.Done()
		ended = true // a data race if nobody waits
		return nil, ctx.Err()
	})
	var client sync.WaitGroup
	h.AddService("client", hosting.ServiceFunc(func(context.Context) error {
		client.Go(func() {
			if r, err := http.Get("http://" + addr + "/statusz"); err == nil {
				r.Body.Close()
			}
		})
		return nil
	}))
	ctx, stop := context.WithCancel(t.Context())
	result := make(chan error)
	go func() { result <- h.Run(ctx) }()
	<-asked
	began := time.Now()
	stop()
	require.NoError(t, <-result)
	require.True(t, ended)
	require.Less(t, time.Since(began), time.Second, "the request is not waited for until it gives up by itself")
	client.Wait()
}
