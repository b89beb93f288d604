// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package jobs_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/jobs"
)

var errBroken = errors.New("broken")

func newRunner(t *testing.T, job jobs.Job, opts jobs.Options) *jobs.Runner {
	t.Helper()
	runner, err := jobs.NewRunner(job, opts)
	require.NoError(t, err)
	return runner
}

// runFor runs the runner and stops it after d.
func runFor(t *testing.T, runner *jobs.Runner, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	require.NoError(t, runner.Run(ctx))
}

// times remembers when it was told to, as durations since it was made.
type times struct {
	begin time.Time

	mu  sync.Mutex // guards the rest
	all []time.Duration
}

func newTimes() *times { return &times{begin: time.Now()} }

func (c *times) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, time.Since(c.begin))
}

func (c *times) list() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all
}

// gaps are the durations between one time and the next.
func (c *times) gaps() []time.Duration {
	var gaps []time.Duration
	all := c.list()
	for i := range all[1:] {
		gaps = append(gaps, all[i+1]-all[i])
	}
	return gaps
}

// A logbook is a slog.Handler that keeps its lines.
type logbook struct {
	attrs []slog.Attr
	pages *logPages
}

type logPages struct {
	mu    sync.Mutex // guards the rest
	lines []logLine
}

type logLine struct {
	level   slog.Level
	message string
	attrs   map[string]slog.Value
	at      time.Time
}

func newLogbook() logbook { return logbook{pages: &logPages{}} }

func (b logbook) logger() *slog.Logger { return slog.New(b) }

func (b logbook) Enabled(context.Context, slog.Level) bool { return true }

func (b logbook) WithGroup(string) slog.Handler { panic("no groups here") }

func (b logbook) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logbook{append(b.attrs[:len(b.attrs):len(b.attrs)], attrs...), b.pages}
}

func (b logbook) Handle(_ context.Context, r slog.Record) error {
	line := logLine{r.Level, r.Message, map[string]slog.Value{}, r.Time}
	keep := func(a slog.Attr) bool { line.attrs[a.Key] = a.Value; return true }
	for _, a := range b.attrs {
		keep(a)
	}
	r.Attrs(keep)
	b.pages.mu.Lock()
	defer b.pages.mu.Unlock()
	b.pages.lines = append(b.pages.lines, line)
	return nil
}

// find returns the lines with this message.
func (b logbook) find(message string) []logLine {
	b.pages.mu.Lock()
	defer b.pages.mu.Unlock()
	var found []logLine
	for _, line := range b.pages.lines {
		if line.message == message {
			found = append(found, line)
		}
	}
	return found
}

// quiet are options without a word in the test's output.
func quiet(opts jobs.Options) jobs.Options {
	opts.Logger = slog.New(slog.DiscardHandler)
	return opts
}
