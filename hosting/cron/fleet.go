// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package cron

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetjobs/jetjobs/internal/backoff"
	"github.com/jetjobs/jetjobs/jobs"
	"github.com/jetjobs/jetjobs/lock"
	"github.com/jetjobs/jetjobs/queue"
)

// A Fleet runs jobs by the clock once in all processes that add them. It is a
// jobs.Continuous job; without running it is a Control of what others run. Its
// methods may be called concurrently; add everything before it runs.
type Fleet struct {
	js     jetstream.JetStream
	opts   FleetOptions // with defaults
	key    string       // of this process, in the keys of its definitions
	log    *slog.Logger
	kv     jetstream.KeyValue
	locks  *lock.Locker
	view   *view
	clock  func() time.Time // wall time; a test's may be wrong
	since  time.Time
	leader *lock.Election

	mu      sync.Mutex // guards the rest
	jobs    map[string]*fleetJob
	queues  map[string]*queue.Queue[tick]
	running bool
	warned  map[string]string // by name, of which other definition
}

// A fleetJob is a job that this process can run.
type fleetJob struct {
	name string
	job  jobs.Job
	opts FleetJobOptions // with defaults
	def  definition
}

// A tick is what the queue of a job holds.
type tick struct {
	Planned time.Time `json:"planned,omitzero"` // zero if it was triggered by hand
	By      string    `json:"by"`               // who enqueued it
}

// OpenFleet opens the schedules of a namespace, and creates their bucket and that
// of the locks if they are not there.
func OpenFleet(ctx context.Context, js jetstream.JetStream, opts FleetOptions) (*Fleet, error) {
	opts.Namespace = cmp.Or(opts.Namespace, defaultNamespace)
	opts.LeaderTTL = cmp.Or(opts.LeaderTTL, 10*time.Second)
	opts.Host = cmp.Or(opts.Host, defaultHost())
	f := &Fleet{
		js: js, opts: opts, key: keyToken(opts.Host) + "-" + newID()[:8], log: opts.Logger, view: newView(), clock: wallNow, since: wallNow(),
		jobs: map[string]*fleetJob{}, queues: map[string]*queue.Queue[tick]{}, warned: map[string]string{},
	}
	if f.log == nil {
		f.log = slog.Default()
	}
	var err error
	f.locks, err = f.openLocks(ctx)
	if err == nil {
		f.leader, err = lock.NewElection(f.locks, "cron", f.lead, lock.ElectionOptions{TTL: opts.LeaderTTL})
	}
	if err == nil {
		f.kv, err = openBucket(ctx, js, opts)
	}
	if err != nil {
		return nil, fmt.Errorf("cron: open fleet: %w", err)
	}
	return f, nil
}

// openLocks makes the bucket of the locks if it is not there.
func (f *Fleet) openLocks(ctx context.Context) (*lock.Locker, error) {
	return lock.Open(ctx, f.js, lock.Options{
		Namespace: f.opts.Namespace, Replicas: f.opts.Replicas, Owner: f.opts.Host, Logger: f.opts.Logger,
	})
}

func defaultHost() string {
	host, err := os.Hostname()
	if err != nil {
		host = "host"
	}
	return fmt.Sprintf("%s-%d-%s", host, os.Getpid(), newID()[:4])
}

// Add adds a job with its schedule, see Parse. All processes that add a job of
// this name share its ticks. The error names all that is wrong.
func (f *Fleet) Add(spec, name string, job jobs.Job, opts FleetJobOptions) error {
	s, err := parse(spec, opts.Zone)
	_, jobErr := jobs.NewRunner(job, jobs.Options{})
	if err := errors.Join(checkName(name), err, opts.check(), jobErr); err != nil {
		return fmt.Errorf("cron: add %q: %w", name, err)
	}
	opts = opts.withDefaults()
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.jobs[name] != nil:
		return fmt.Errorf("cron: add %q: the name is taken: give each job its own", name)
	case f.running:
		return fmt.Errorf("cron: add %q: the fleet runs already: add it before", name)
	}
	f.jobs[name] = &fleetJob{name, job, opts, definition{
		Spec: s.Spec(), Zone: s.Zone(), Overlap: opts.Overlap, Missed: opts.Missed, Window: opts.Window,
		Attempts: opts.MaxAttempts, Retain: opts.Retain, Jitter: opts.Jitter, RunAtStart: opts.RunAtStart, Host: f.opts.Host, Since: f.since,
	}}
	return nil
}

// Name returns "distributed cron", with the namespace if that is not "jobs".
func (f *Fleet) Name() string {
	if f.opts.Namespace == defaultNamespace {
		return "distributed cron"
	}
	return "distributed cron " + f.opts.Namespace
}

// Run is RunContinuous as a jobs.Job.
func (f *Fleet) Run(ctx context.Context) jobs.Result { return jobs.FromError(f.RunContinuous(ctx)) }

// Prepare creates the queues of the jobs that were added, as RunContinuous does,
// and runs nothing: for a step of a deployment with the permissions of an
// operator, so that hosts need none to create. It may be repeated.
func (f *Fleet) Prepare(ctx context.Context) error {
	for _, j := range f.jobs {
		if _, err := f.queue(ctx, j.name, j.def); err != nil {
			return fmt.Errorf("cron: prepare %q: %w", j.name, err)
		}
	}
	return nil
}

// RunContinuous registers the jobs, takes part in the election of the host that
// plans the ticks, and works on what is due, until ctx ends. Then it resigns, and
// what runs has the Grace of the jobs.Runner or host, as with a queue.Job. The
// error is that of a server that refuses, or of a closed connection.
func (f *Fleet) RunContinuous(ctx context.Context) error {
	f.mu.Lock()
	if f.running {
		f.mu.Unlock()
		return errors.New("cron: the fleet runs already")
	}
	f.running = true
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.running = false
	}()
	if err := f.run(ctx); err != nil {
		return fmt.Errorf("cron: fleet: %w", err)
	}
	return nil
}

// run runs all parts until ctx ends or one of them fails, and returns the error
// of that one.
func (f *Fleet) run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var parts sync.WaitGroup
	var once sync.Once
	var failed error
	fail := func(err error) {
		once.Do(func() {
			failed = err
			stop(err)
		})
	}
	begin := func(part func(context.Context) error) {
		parts.Go(func() {
			if err := part(ctx); err != nil {
				fail(err)
			}
		})
	}
	defer f.closeQueues()
	defer parts.Wait()
	made, err := f.open(ctx)
	if err != nil {
		return err
	}
	seen := make(chan struct{})
	begin(func(ctx context.Context) error { return f.view.watch(ctx, f.kv, sync.OnceFunc(func() { close(seen) })) })
	for _, j := range f.jobs { // before others hear of them, and find no queue
		q, err := f.queue(ctx, j.name, j.def)
		if err != nil {
			fail(err)
			return failed
		}
		begin(func(ctx context.Context) error { return f.work(ctx, j, q) })
	}
	if err := f.register(ctx); err != nil {
		f.unregister(context.WithoutCancel(ctx))
		fail(err)
		return failed
	}
	begin(func(ctx context.Context) error { return f.renew(ctx, made) })
	begin(func(ctx context.Context) error {
		select {
		case <-seen:
			return f.leader.Run(ctx)
		case <-ctx.Done():
			return nil
		}
	})
	parts.Wait()
	return failed
}

// open makes the buckets if they are not there any more, forgets what this process
// knew of another one, and returns when that of the schedules was made.
func (f *Fleet) open(ctx context.Context) (made time.Time, err error) {
	f.view.reset()
	if _, err := openBucket(ctx, f.js, f.opts); err != nil {
		return made, err
	}
	if _, err := f.openLocks(ctx); err != nil {
		return made, err
	}
	return bucketMade(ctx, f.js, f.opts)
}

// work works on the occurrences of a job until ctx ends. A queue that fails, as
// when somebody has deleted it, is opened anew and holds up no other job.
func (f *Fleet) work(ctx context.Context, j *fleetJob, q *queue.Queue[tick]) error {
	for failures := 1; ; failures++ {
		began := time.Now()
		err := queue.NewJob(q, f.handler(j), queue.JobOptions{Concurrency: j.opts.Concurrency, Timeout: j.opts.Timeout}).RunContinuous(ctx)
		if err == nil || ctx.Err() != nil || f.js.Conn().IsClosed() {
			return err
		}
		if time.Since(began) > time.Minute {
			failures = 1
		}
		f.log.Warn("occurrences are not taken; it is tried again", "job", j.name, "err", err)
		for opened := false; !opened; failures++ {
			if !backoff.Sleep(ctx, retries.Delay(failures, rand.Float64)) {
				return nil
			}
			f.forget(j.name)
			if again, err := f.queue(ctx, j.name, j.def); err == nil {
				q, opened = again, true
			}
		}
	}
}
