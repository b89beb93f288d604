// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package hosting

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetjobs/jetjobs/internal/guard"
)

const (
	// checkTimeout is how long a check may take.
	checkTimeout = 2 * time.Second
	// toHeed is the end of that, after its context has ended.
	toHeed = 100 * time.Millisecond
	// checkKept is how long its answer is good for, so that many probes cost no
	// more than one.
	checkKept = time.Second
)

// A check tells whether the host can do its work.
type check struct {
	run func(ctx context.Context) error
	caller

	mu   sync.Mutex // guards the rest; held while the check runs, so that it runs once
	at   time.Time
	last error
}

// AddCheck adds a check without which the host is not ready. It runs when
// somebody asks, at most once a second, and has failed after 2 s.
func (h *Host) AddCheck(name string, run func(ctx context.Context) error) {
	var wrong error
	if run == nil {
		wrong = fmt.Errorf("check %q: the function is nil", name)
	}
	c := &check{run: run, caller: caller{host: h, kind: "check", name: name}}
	h.add("check", name, wrong, func() { h.checks = append(h.checks, c) })
}

// Connected is a check that the connection to NATS answers.
func Connected(nc *nats.Conn) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		if !nc.IsConnected() {
			return fmt.Errorf("the connection to NATS is %s", nc.Status())
		}
		return nc.FlushWithContext(ctx)
	}
}

// AwaitConnected is a startup action that waits until a connection to NATS, which was
// opened with nats.RetryOnFailedConnect, is there. It fails if there never will be one,
// as after a wrong password.
func AwaitConnected(nc *nats.Conn) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		changed := nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
		defer nc.RemoveStatusListener(changed)
		for !nc.IsConnected() {
			if nc.IsClosed() {
				return fmt.Errorf("the connection to NATS has ended: %w", cmp.Or(nc.LastError(), nats.ErrConnectionClosed))
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return fmt.Errorf("waiting for NATS at %s: %w", nc.Servers(), context.Cause(ctx))
			}
		}
		return nil
	}
}

// runChecks runs the checks together and returns what each says.
func runChecks(ctx context.Context, checks []*check) map[string]error {
	return together(checks, func(c *check) (string, error) { return c.name, c.ask(ctx) })
}

// together asks all at once, and returns the answers by name.
func together[T, A any](all []T, ask func(T) (name string, answer A)) map[string]A {
	var mu sync.Mutex
	answers := map[string]A{}
	var group sync.WaitGroup
	for _, one := range all {
		group.Go(func() {
			name, answer := ask(one)
			mu.Lock()
			defer mu.Unlock()
			answers[name] = answer
		})
	}
	group.Wait()
	return answers
}

func (c *check) ask(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.at.IsZero() && time.Since(c.at) < checkKept {
		return c.last
	}
	// Its own time, not that of a probe that went away: others wait for it too.
	c.last = c.call(context.WithoutCancel(ctx), c.run)
	c.at = time.Now()
	return c.last
}

// A caller calls what may not answer in time.
type caller struct {
	host       *Host
	kind, name string

	left     atomic.Int32 // calls that were given up and go on
	panicked atomic.Bool  // the last one that ended
}

// call calls f, which has checkTimeout. If it ignores that, it is left behind,
// and not called again before it has returned: probes come for ever.
func (c *caller) call(ctx context.Context, f func(context.Context) error) error {
	if c.left.Load() > 0 {
		return fmt.Errorf("no answer: the last call goes on, though it had %s", checkTimeout)
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout-toHeed)
	defer cancel()
	end := make(chan error, 1)
	go guard.Settle(func() error { return f(ctx) }, func(err error) {
		c.logPanic(err)
		end <- err
	})
	select {
	case err := <-end:
		return err
	case <-ctx.Done():
	}
	over := time.NewTimer(toHeed)
	defer over.Stop()
	select {
	case err := <-end:
		return err
	case <-over.C:
	}
	c.left.Add(1)
	go func() {
		<-end
		c.left.Add(-1)
	}()
	return fmt.Errorf("no answer within %s", checkTimeout)
}

// logPanic logs the first panic of a row: probes come for ever.
func (c *caller) logPanic(err error) {
	_, panicked := errors.AsType[*guard.PanicError](err)
	if !c.panicked.Swap(panicked) {
		c.host.logPanic(c.kind, c.name, err)
	}
}

// Handler serves
//
//   - /healthz: 200 as long as the process can answer. It says nothing of NATS:
//     restarting a process does not mend its server.
//   - /readyz: 200 when startup is over and every check passes; else 503 with
//     Retry-After, which startup actions are under way, and which check says
//     what. While the host stops, 503.
//   - /statusz: Status as JSON. It tells errors and names: keep it inside.
//
// It may be used without Options.Listen, in a server of your own.
func (h *Host) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "alive")
	})
	mux.HandleFunc("GET /readyz", h.serveReady)
	mux.HandleFunc("GET /statusz", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(h.Status(r.Context())) // the client is gone if it fails
	})
	return mux
}

func (h *Host) serveReady(w http.ResponseWriter, r *http.Request) {
	wrong := h.notReady(r.Context())
	if len(wrong) == 0 {
		fmt.Fprintln(w, "ready")
		return
	}
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
	for _, line := range wrong {
		fmt.Fprintln(w, line)
	}
}

// notReady returns why the host is not ready, one line each.
func (h *Host) notReady(ctx context.Context) (wrong []string) {
	state, all := h.current(), h.whatWasAdded()
	if state != Ready {
		wrong = append(wrong, fmt.Sprintf("the host is %s", state))
	}
	if state != Starting && state != Ready {
		return wrong
	}
	if state == Starting {
		for _, a := range all.actions {
			if s := a.snapshot(); s.State == "running" || s.State == "failed" {
				wrong = append(wrong, fmt.Sprintf("startup action %q: %s", s.Name, cmp.Or(s.Error, s.State)))
			}
		}
	}
	said := runChecks(ctx, all.checks)
	for _, name := range slices.Sorted(maps.Keys(said)) {
		if said[name] != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %s", name, said[name]))
		}
	}
	return wrong
}

// serve serves Handler on Options.Listen, if it is given, until close.
func (r *run) serve() (closeListener func(), err error) {
	if r.opts.Listen == "" {
		return func() {}, nil
	}
	listener, err := net.Listen("tcp", r.opts.Listen)
	if err != nil {
		return nil, fmt.Errorf("hosting: Options.Listen %q: %w", r.opts.Listen, err)
	}
	r.mu.Lock()
	r.listen = listener.Addr().String()
	r.mu.Unlock()
	r.log.Info("health endpoint listening", "addr", listener.Addr().String())
	asked, end := context.WithCancel(r.work)
	server := &http.Server{
		Handler: r.Handler(), ReadHeaderTimeout: 5 * time.Second,
		BaseContext: func(net.Listener) context.Context { return asked },
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			r.fail(fmt.Errorf("hosting: Options.Listen %q: %w", r.opts.Listen, err))
		}
	})
	return func() {
		end() // requests give up, and Shutdown waits for them
		over, cancel := context.WithTimeout(r.work, stopMargin/5)
		defer cancel()
		if server.Shutdown(over) != nil {
			server.Close()
		}
		serving.Wait()
	}, nil
}
