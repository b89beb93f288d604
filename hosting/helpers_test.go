// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package hosting_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/hosting"
	"github.com/jetjobs/jetjobs/internal/natstest"
)

func TestMain(m *testing.M) {
	natstest.Main(m, map[string]func([]string){"host": signalledHost})
}

var (
	errTest = errors.New("out of luck")
	silent  = slog.New(slog.DiscardHandler)
)

// quiet is a host of a test: no signals, no log.
func quiet(opts hosting.Options) *hosting.Host {
	opts.IgnoreSignals = true
	opts.Logger = silent
	return hosting.New(opts)
}

// A journal keeps what happened, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

func (j *journal) require(t *testing.T, want ...string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	require.Equal(t, want, j.lines)
}

// service is one that tells the journal when it starts and ends.
func (j *journal) service(name string) hosting.Service {
	return hosting.ServiceFunc(func(ctx context.Context) error {
		j.add(name + " starts")
		<-ctx.Done()
		j.add(name + " ends")
		return nil
	})
}

func (j *journal) action(name string) func(context.Context) error {
	return func(context.Context) error {
		j.add(name)
		return nil
	}
}
