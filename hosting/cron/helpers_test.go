// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package cron

import (
	"context"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/backoff"
	"github.com/jetjobs/jetjobs/jobs"
)

// A host is one process of a fleet, as far as a test needs it.
type host struct {
	*Fleet
	t    *testing.T
	stop func() // and wait
}

func openHost(t *testing.T, js jetstream.JetStream, name string, opts FleetOptions) *host {
	t.Helper()
	opts.Host = name
	if opts.Logger == nil {
		opts.Logger = silent
	}
	f, err := OpenFleet(t.Context(), js, opts)
	require.NoError(t, err)
	return &host{Fleet: f, t: t}
}

func (h *host) add(spec, name string, job jobs.Job, opts FleetJobOptions) *host {
	h.t.Helper()
	require.NoError(h.t, h.Add(spec, name, job, opts))
	return h
}

// run runs the fleet, again whenever it fails, as a jobs.Runner does.
func (h *host) run() *host {
	ctx, cancel := context.WithCancel(h.t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		for ctx.Err() == nil {
			if h.RunContinuous(ctx) != nil {
				backoff.Sleep(ctx, time.Second)
			}
		}
	})
	h.stop = sync.OnceFunc(func() { cancel(); group.Wait() })
	h.t.Cleanup(h.stop)
	return h
}

// A diary knows which ticks were run, and when.
type diary struct {
	mu   sync.Mutex
	runs map[string][]time.Time // by occurrence
}

func (d *diary) job() jobs.Job {
	return jobs.ErrFunc(func(ctx context.Context) error {
		info, _ := jobs.FromContext(ctx)
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.runs == nil {
			d.runs = map[string][]time.Time{}
		}
		d.runs[info.ID] = append(d.runs[info.ID], time.Now())
		return nil
	})
}

func (d *diary) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.runs)
}

func (d *diary) all() map[string][]time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.runs)
}
