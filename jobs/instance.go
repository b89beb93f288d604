// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package jobs

import (
	"context"
	"errors"
	"log/slog"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jetjobs/jetjobs/internal/guard"
)

// An instance runs its job, one run after the other, within one session.
type instance struct {
	job      Job
	index    int
	number   int // of the last run
	failures int // runs in a row that did not succeed

	current atomic.Pointer[Info] // the run in progress, or nil
}

// loop runs the job until the session stops or the limit is reached.
func (in *instance) loop(s *session) {
	limit := s.opts.IterationLimit
	next := in.next(s)
	for proceed := in.wait(s, s.opts.InitialDelay); proceed; {
		record := next()
		in.log(s, record)
		if limit > 0 && in.number >= limit {
			return
		}
		proceed = in.wait(s, in.gap(s, record))
	}
}

// once runs the job once and leaves the result to the caller.
func (in *instance) once(s *session) Result {
	return in.run(s, s.work, in.job.Run).Result
}

// steady is how long a Continuous job must have gone on for its failure to be the first in a row.
const steady = time.Minute

var errEnded = errors.New("RunContinuous returned although it was not asked to")

// next returns the function that does the next run: the job's own loop if it has one that may be
// used, else one unit of work.
func (in *instance) next(s *session) func() Record {
	continuous, ok := in.job.(Continuous)
	if !ok || s.opts.Interval > 0 || s.opts.IterationLimit > 0 {
		return func() Record { return in.run(s, s.work, in.job.Run) }
	}
	loop := func(ctx context.Context) Result {
		err := continuous.RunContinuous(ctx)
		if err == nil && ctx.Err() == nil {
			err = errEnded
		}
		return FromError(err)
	}
	return func() Record {
		record := in.run(s, s.ctx, loop) // its ctx ends at once, because it sees to Grace itself
		if record.Took >= steady {
			in.failures = 0
		}
		return record
	}
}

// run does one run under ctx, and records it.
func (in *instance) run(s *session, ctx context.Context, work func(context.Context) Result) Record {
	in.number++
	info := Info{
		Name: s.opts.Name, ID: newRunID(), Number: in.number, Instance: in.index,
		Stopping: s.ctx.Done(), Grace: s.opts.Grace, Cut: s.short,
	}
	logger := sync.OnceValue(func() *slog.Logger { return s.opts.logger().With("job", info.Name, "run", info.ID) })
	ctx, end := context.WithCancel(NewContext(ctx, info, logger)) // what a run leaves behind ends with it
	defer end()

	in.current.Store(&info)
	s.history.begin()
	record := Record{ID: info.ID, Number: info.Number, Instance: info.Instance, Started: time.Now()}
	record.Result = call(ctx, func(ctx context.Context) (result Result) {
		pprof.Do(ctx, pprof.Labels("job", info.Name, "run", info.ID), func(ctx context.Context) { result = work(ctx) })
		return result
	})
	record.Took = time.Since(record.Started)
	s.history.end(record)
	in.current.Store(nil)
	return record
}

// gap returns how long to wait after the run.
func (in *instance) gap(s *session, record Record) time.Duration {
	if record.Result.Succeeded() {
		in.failures = 0
		return s.opts.Interval
	}
	in.failures++
	return max(s.opts.Interval, in.backoff(s), minBackoff)
}

// backoff asks Options.Backoff, which is code of the user's and may panic.
func (in *instance) backoff(s *session) (delay time.Duration) {
	err := guard.Call(func() error { delay = s.opts.Backoff(in.failures); return nil })
	if err != nil {
		delay = Options{}.withDefaults().Backoff(in.failures)
		s.opts.logger().Warn("Options.Backoff panicked; using the default", "job", s.opts.Name, "err", err)
	}
	return delay
}

// wait waits for d and reports whether another run may start.
func (in *instance) wait(s *session, d time.Duration) bool {
	if d > 0 {
		s.history.plan(in, time.Now().Add(d))
		defer s.history.unplan(in)
	}
	return pause(s.ctx.Done(), nil, d)
}

// log writes one line about the run: a warning if somebody should know that it did not succeed.
func (in *instance) log(s *session, record Record) {
	level, result := slog.LevelWarn, record.Result
	attrs := []slog.Attr{
		slog.String("job", s.opts.Name), slog.String("run", record.ID), slog.Duration("took", record.Took),
	}
	switch {
	case result.Succeeded() && result.Message() == "":
		level = slog.LevelDebug
	case result.Succeeded():
		level = slog.LevelInfo
		attrs = append(attrs, slog.String("message", result.Message()))
	case result.Cancelled() && s.ctx.Err() != nil: // by the shutdown
		level = slog.LevelInfo
		fallthrough
	default:
		attrs = append(attrs, slog.Any("err", result.Err()))
	}
	if panicked, ok := errors.AsType[*PanicError](result.Err()); ok {
		attrs = append(attrs, slog.String("stack", string(panicked.Stack)))
	}
	s.opts.logger().LogAttrs(s.work, level, "job "+result.Outcome().String(), attrs...)
}
