// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package jobs

import (
	"context"
	"crypto/rand"
	"log/slog"
	"strings"
	"time"
)

// Info says which run a context belongs to.
type Info struct {
	Name     string // of the job
	ID       string // of the run: short, random, unique
	Number   int    // of the run within its instance, from 1
	Instance int    // index of the instance, from 0 to Options.Instances − 1
	Queue    string // if the run is a job of a queue: ID is the job's, and Number the attempt

	// Stopping is closed when the Runner is asked to stop: Grace is left until the context of the run
	// ends. A run that works through a long list may look here whether to take the next item.
	Stopping <-chan struct{}
	Grace    time.Duration // never negative

	// Cut is closed when Handle.Cut ends Grace before its time. A Continuous job, whose own context ends
	// at Stopping, looks here; nil if it can't happen.
	Cut <-chan struct{}
}

type infoKey struct{}

// A runContext carries what belongs to a run, in one piece.
type runContext struct {
	context.Context
	info   Info
	logger func() *slog.Logger
}

func (c *runContext) Value(key any) any {
	if key == (infoKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// NewContext returns a context that belongs to the run described by info. It is for those who run
// jobs in another way than by a Runner, and for tests of jobs.
//
// Logger returns what the function logger returns, which is called for every use: where many short
// runs never log, none of them pays for a logger. Nil stands for slog.Default with the keys job
// and run.
func NewContext(ctx context.Context, info Info, logger func() *slog.Logger) context.Context {
	if logger == nil {
		logger = func() *slog.Logger { return slog.With("job", info.Name, "run", info.ID) }
	}
	return &runContext{ctx, info, logger}
}

// FromContext returns the description of the run that ctx belongs to, and whether there is one.
func FromContext(ctx context.Context) (Info, bool) {
	if v, ok := ctx.Value(infoKey{}).(*runContext); ok {
		return v.info, true
	}
	return Info{}, false
}

// Logger returns the logger of the run that ctx belongs to, whose lines say which run they are
// from; outside of a run it returns slog.Default().
func Logger(ctx context.Context) *slog.Logger {
	if v, ok := ctx.Value(infoKey{}).(*runContext); ok {
		return v.logger()
	}
	return slog.Default()
}

// newRunID returns 12 characters with 60 random bits: a million runs share an ID with a chance of
// one in two million.
func newRunID() string { return strings.ToLower(rand.Text()[:12]) }
