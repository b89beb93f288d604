// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package cron

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jetjobs/jetjobs/jobs"
)

// Options say how a job of a Table runs. The zero value is good.
type Options struct {
	// Zone is the name of the time zone whose clock counts. Default UTC.
	Zone string

	// Overlap is what happens to a tick while the job runs. Default Skip.
	Overlap Overlap

	// Jitter is how much later than its tick a run may begin, at random, so that
	// many processes don't all begin in the same second. Default 0.
	Jitter time.Duration

	// Timeout ends the context of a run. Default: none.
	Timeout time.Duration

	// RunAtStart runs the job once when the table begins to run. Default: not
	// before the first tick.
	RunAtStart bool
}

// TableOptions say how a Table runs. The zero value is good.
type TableOptions struct {
	// Grace is how long runs may go on after the table was asked to stop. Default:
	// that of the jobs.Runner or host, or 25 s without one; negative: none.
	Grace time.Duration

	// Logger receives what the table has to say. Default: slog.Default().
	Logger *slog.Logger
}

// A Table runs jobs of this process by the clock. Each process that has one runs
// them: for once in a whole fleet take a Fleet. It is a jobs.Continuous job. Its
// methods may be called concurrently.
type Table struct {
	opts TableOptions
	log  *slog.Logger

	mu      sync.Mutex // guards the rest; never held while a job runs
	entries map[string]*entry
	running *session // nil while the table does not run
}

// NewTable makes an empty Table.
func NewTable(opts TableOptions) *Table {
	t := &Table{opts: opts, log: opts.Logger, entries: map[string]*entry{}}
	if t.log == nil {
		t.log = slog.Default()
	}
	return t
}

// Add adds a job with its schedule, see Parse; while the table runs it begins at
// once. The error names all that is wrong.
func (t *Table) Add(spec, name string, job jobs.Job, opts Options) error {
	e, err := newEntry(t, spec, name, job, opts)
	if err != nil {
		return fmt.Errorf("cron: add %q: %w", name, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.entries[name] != nil {
		return fmt.Errorf("cron: add %q: the name is taken: give each job its own", name)
	}
	t.entries[name] = e
	if t.running != nil {
		t.running.begin(e)
	}
	return nil
}

func newEntry(t *Table, spec, name string, job jobs.Job, opts Options) (*entry, error) {
	var errs []error
	if name == "" {
		errs = append(errs, errors.New("the name is empty"))
	}
	s, err := parse(spec, opts.Zone)
	errs = append(errs, err, opts.Overlap.check())
	if opts.Jitter < 0 {
		errs = append(errs, fmt.Errorf("Options.Jitter is %s: want zero for none, or more", opts.Jitter))
	}
	if opts.Timeout < 0 {
		errs = append(errs, fmt.Errorf("Options.Timeout is %s: want zero for none, or more", opts.Timeout))
	}
	if opts.Timeout > 0 && job != nil {
		job = withTimeout(job, opts.Timeout)
	}
	_, err = jobs.NewRunner(job, jobs.Options{})
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	opts.Overlap = cmp.Or(opts.Overlap, Skip)
	return &entry{
		table: t, name: name, opts: opts, job: job,
		schedule: s, original: s, enabled: true, changed: make(chan struct{}, 1),
	}, nil
}

// withTimeout limits each run of a job.
func withTimeout(job jobs.Job, timeout time.Duration) jobs.Job {
	return jobs.Func(func(ctx context.Context) jobs.Result {
		late := fmt.Errorf("took longer than its timeout %s: %w", timeout, context.DeadlineExceeded)
		limited, cancel := context.WithTimeoutCause(ctx, timeout, late)
		defer cancel()
		result := job.Run(limited)
		if result.Failed() && context.Cause(limited) == late {
			return jobs.Failed(errors.Join(late, result.Err()))
		}
		return result
	})
}

// A session is one call of RunContinuous.
type session struct {
	ctx     context.Context
	grace   time.Duration  // as jobs.Options has it
	entries sync.WaitGroup // their loops, and all their runs
}

func (s *session) begin(e *entry) { s.entries.Go(func() { e.loop(s) }) }

// runOnce runs the job of an entry.
func (s *session) runOnce(e *entry) jobs.Result {
	runner, err := jobs.NewRunner(e.job, jobs.Options{Name: e.name, Grace: s.grace, Logger: e.table.opts.Logger})
	if err != nil {
		return jobs.Failed(err)
	}
	return runner.RunOnce(s.ctx)
}

// RunContinuous runs each job when it is due, until ctx ends. Then runs in
// progress have TableOptions.Grace to finish, and it returns nil when all have
// ended.
func (t *Table) RunContinuous(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &session{ctx: ctx, grace: t.opts.Grace}
	if info, ok := jobs.FromContext(ctx); ok && s.grace == 0 {
		s.grace = cmp.Or(info.Grace, -1)
	}
	t.mu.Lock()
	if t.running != nil {
		t.mu.Unlock()
		return errors.New("cron: the table runs already")
	}
	t.running = s
	for _, e := range t.entries {
		s.begin(e)
	}
	t.mu.Unlock()
	<-ctx.Done()
	t.mu.Lock()
	t.running = nil // nothing is added or triggered any more
	t.mu.Unlock()
	s.entries.Wait()
	return nil
}

// Run is RunContinuous as a jobs.Job.
func (t *Table) Run(ctx context.Context) jobs.Result { return jobs.FromError(t.RunContinuous(ctx)) }

// Name returns "cron".
func (t *Table) Name() string { return "cron" }

var _ interface {
	Control
	jobs.Job
	jobs.Continuous
} = (*Table)(nil)

// List returns all schedules, by name.
func (t *Table) List(context.Context) ([]Status, error) {
	t.mu.Lock()
	entries := slices.Collect(maps.Values(t.entries))
	t.mu.Unlock()
	slices.SortFunc(entries, func(a, b *entry) int { return cmp.Compare(a.name, b.name) })
	all := make([]Status, len(entries))
	for i, e := range entries {
		all[i] = e.status(time.Now())
	}
	return all, nil
}

// Trigger runs a job now, in this process. It fails with ErrRunning while the job
// runs if Overlap is Skip; if it is Queue the run waits for its turn.
func (t *Table) Trigger(_ context.Context, name string) (*Handle, error) {
	e, err := t.find("trigger", name)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.running
	if s == nil {
		return nil, fmt.Errorf("cron: trigger %q: the table does not run", name)
	}
	run := newRun(time.Time{})
	if !e.start(s, run) {
		return nil, fmt.Errorf("cron: trigger %q: %w", name, ErrRunning)
	}
	return run.handle(), nil
}

// Enable makes a schedule fire again, from now on.
func (t *Table) Enable(_ context.Context, name string) error {
	return t.change("enable", name, func(e *entry) error {
		e.enabled, e.why, e.since = true, "", time.Now()
		return nil
	})
}

// Disable stops a schedule from firing, until Enable or the end of the process.
func (t *Table) Disable(_ context.Context, name, why string) error {
	return t.change("disable", name, func(e *entry) error {
		e.enabled, e.why, e.since = false, why, time.Now()
		return nil
	})
}

// Reschedule gives a job another expression, until the end of the process.
func (t *Table) Reschedule(_ context.Context, name, spec string) error {
	return t.change("reschedule", name, func(e *entry) error {
		if spec == "" {
			spec = e.original.Spec()
		}
		s, err := parse(spec, e.opts.Zone)
		if err != nil {
			return err
		}
		e.schedule, e.since = s, time.Now()
		return nil
	})
}

// change changes an entry, which counts from now on.
func (t *Table) change(what, name string, do func(*entry) error) error {
	e, err := t.find(what, name)
	if err != nil {
		return err
	}
	e.mu.Lock()
	err = do(e)
	e.mu.Unlock()
	if err != nil {
		return fmt.Errorf("cron: %s %q: %w", what, name, err)
	}
	t.log.Info("schedule changed: "+what, "job", name)
	select {
	case e.changed <- struct{}{}:
	default:
	}
	return nil
}

func (t *Table) find(what, name string) (*entry, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.entries[name]; e != nil {
		return e, nil
	}
	return nil, fmt.Errorf("cron: %s %q: %w", what, name, ErrNotFound)
}
