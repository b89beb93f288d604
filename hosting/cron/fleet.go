// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package cron

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetjobs/jetjobs/jobs"
	"github.com/jetjobs/jetjobs/lock"
	"github.com/jetjobs/jetjobs/queue"
)

// FleetOptions say where a Fleet keeps its schedules. The zero value is good.
type FleetOptions struct {
	// Namespace is the beginning of what it makes on the server. Default "jobs".
	Namespace string

	// Replicas is how many servers of a cluster keep bucket and queues, when they
	// are made: 1, 3 or 5. Default 1.
	Replicas int

	// LeaderTTL is how long nobody plans ticks after the leader crashed; what was
	// due meanwhile is planned then. At least a second, in whole ones. Default 10 s.
	LeaderTTL time.Duration

	// Host names this process in the history. Default: host name and process ID,
	// such as "web-1-4711".
	Host string

	// Logger receives what the fleet has to say. Default: slog.Default().
	Logger *slog.Logger
}

// Missed says what becomes of ticks that nobody planned within a minute, because
// no host was up. Ticks that are less late, as after the crash of a leader, are
// planned in any case.
type Missed string

// The policies. RunOnce, the default, makes up for the latest one, RunAll for each,
// at most 1,000, within FleetJobOptions.Window; RunNone for none.
const (
	RunOnce Missed = "once"
	RunAll  Missed = "all"
	RunNone Missed = "none"
)

// FleetJobOptions say how a job of a Fleet runs. The zero value is good.
type FleetJobOptions struct {
	// Zone is the name of the time zone whose clock counts. Default UTC.
	Zone string

	// Overlap is what happens to a tick while an occurrence waits, runs or is to
	// be retried anywhere. Default Skip.
	Overlap Overlap

	// Missed is what becomes of ticks while no host is up, for those not older than
	// Window. Default RunOnce, and 24 h.
	Missed Missed
	Window time.Duration

	// MaxAttempts is how often an occurrence is tried, with Backoff in between, see
	// queue.Options. Default 3.
	MaxAttempts int
	Backoff     func(attempt int) time.Duration

	// Timeout ends the context of an attempt. Default: none.
	Timeout time.Duration

	// Concurrency is how many occurrences this process may run at a time. Default
	// 1, or 10 if Overlap is Allow.
	Concurrency int

	// Retain is how long runs are kept as history, at least Window. Default 7 days.
	Retain time.Duration
}

func (o FleetJobOptions) withDefaults() FleetJobOptions {
	o.Overlap = cmp.Or(o.Overlap, Skip)
	o.Missed = cmp.Or(o.Missed, RunOnce)
	o.Window = cmp.Or(o.Window, 24*time.Hour)
	o.MaxAttempts = cmp.Or(o.MaxAttempts, 3)
	o.Retain = cmp.Or(o.Retain, max(7*24*time.Hour, o.Window))
	if o.Concurrency == 0 {
		o.Concurrency = 1
		if o.Overlap == Allow {
			o.Concurrency = 10
		}
	}
	return o
}

func (o FleetJobOptions) check() error {
	errs := []error{o.Overlap.check()}
	bad := func(field string, value any, want string) {
		errs = append(errs, fmt.Errorf("FleetJobOptions.%s is %v: want %s", field, value, want))
	}
	switch o.Missed {
	case "", RunOnce, RunAll, RunNone:
	default:
		bad("Missed", o.Missed, "RunOnce, RunAll or RunNone")
	}
	if o.Window < 0 {
		bad("Window", o.Window, "zero for 24h, or more")
	}
	if o.Retain < 0 || o.Retain > 0 && o.Retain < cmp.Or(o.Window, 24*time.Hour) {
		bad("Retain", o.Retain, "at least Window, or zero for 7 days: the history shows which ticks have run")
	}
	if o.MaxAttempts < 0 {
		bad("MaxAttempts", o.MaxAttempts, "1 or more, or zero for 3")
	}
	if o.Timeout < 0 {
		bad("Timeout", o.Timeout, "zero for none, or more")
	}
	if o.Concurrency < 0 {
		bad("Concurrency", o.Concurrency, "1 or more, or zero for the default")
	}
	return errors.Join(errs...)
}

// A Fleet runs jobs by the clock once in all processes that add them. It is a
// jobs.Continuous job; without running it is a Control of what others run. Its
// methods may be called concurrently; add everything before it runs.
type Fleet struct {
	js     jetstream.JetStream
	opts   FleetOptions // with defaults
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
	opts.Replicas = cmp.Or(opts.Replicas, 1)
	opts.LeaderTTL = cmp.Or(opts.LeaderTTL, 10*time.Second)
	opts.Host = cmp.Or(opts.Host, defaultHost())
	f := &Fleet{
		js: js, opts: opts, log: opts.Logger, view: newView(), clock: wallNow, since: wallNow(),
		jobs: map[string]*fleetJob{}, queues: map[string]*queue.Queue[tick]{}, warned: map[string]string{},
	}
	if f.log == nil {
		f.log = slog.Default()
	}
	var err error
	f.locks, err = lock.Open(ctx, js, lock.Options{
		Namespace: opts.Namespace, Replicas: opts.Replicas, Owner: opts.Host, Logger: opts.Logger,
	})
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
		Attempts: opts.MaxAttempts, Retain: opts.Retain, Host: f.opts.Host, Since: f.since,
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

// run runs all parts until ctx ends or one of them fails.
func (f *Fleet) run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var parts sync.WaitGroup
	var once sync.Once
	var failed error
	begin := func(part func(context.Context) error) {
		parts.Go(func() {
			if err := part(ctx); err != nil {
				once.Do(func() { failed = err })
				stop(err)
			}
		})
	}
	defer parts.Wait()
	seen := make(chan struct{})
	begin(func(ctx context.Context) error { return f.view.watch(ctx, f.kv, sync.OnceFunc(func() { close(seen) })) })
	if err := f.register(ctx); err != nil {
		stop(err)
		return err
	}
	defer f.unregister(context.WithoutCancel(ctx))
	for _, j := range f.jobs {
		q, err := f.queue(ctx, j.name, j.def)
		if err != nil {
			stop(err)
			return err
		}
		work := queue.NewJob(q, f.handler(j), queue.JobOptions{Concurrency: j.opts.Concurrency, Timeout: j.opts.Timeout})
		begin(work.RunContinuous)
	}
	begin(f.renew)
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

// register stores the definitions of this host.
func (f *Fleet) register(ctx context.Context) error {
	for _, j := range f.jobs {
		key := defKey + j.name + "." + keyToken(f.opts.Host)
		if err := putFor(ctx, f.js, f.kv.Bucket(), key, j.def, definitionTTL); err != nil {
			return fmt.Errorf("register %q: %w", j.name, err)
		}
	}
	return nil
}

// renew keeps the definitions alive, and tells of those that don't hold.
func (f *Fleet) renew(ctx context.Context) error {
	every := time.NewTicker(renewEvery)
	defer every.Stop()
	for {
		f.compare()
		_, changed := f.view.all()
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-every.C:
			try, cancel := context.WithTimeout(ctx, renewEvery/2)
			if err := f.register(try); err != nil && ctx.Err() == nil {
				f.log.Warn("schedules are not renewed; they end if this goes on for a minute", "err", err)
			}
			cancel()
		}
	}
}

// compare warns, once for each, of a definition by another host that holds in
// place of ours.
func (f *Fleet) compare() {
	all, _ := f.view.all()
	for _, s := range all {
		j := f.jobs[s.name]
		d, ok := s.definition()
		if j == nil || !ok {
			continue
		}
		theirs := d
		theirs.Host, theirs.Since = j.def.Host, j.def.Since
		if theirs == j.def {
			delete(f.warned, s.name)
			continue
		}
		text := fmt.Sprintf("%+v", d)
		if f.warned[s.name] == text {
			continue
		}
		f.warned[s.name] = text
		f.log.Warn("another host, which started later, defines the job differently: its definition holds",
			"job", s.name, "host", d.Host, "theirs", d.Spec+" "+d.Zone, "ours", j.def.Spec+" "+j.def.Zone)
	}
}

// unregister takes the definitions of this host away.
func (f *Fleet) unregister(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, j := range f.jobs {
		if err := f.kv.Purge(ctx, defKey+j.name+"."+keyToken(f.opts.Host), jetstream.PurgeTTL(definitionTTL)); err != nil {
			f.log.Debug("schedule not taken away; it ends by itself", "job", j.name, "err", err)
		}
	}
}

// keyToken makes a host's name fit for a key.
func keyToken(host string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, host)
}

// queue opens the queue of a job, and creates it as its definition wants it.
func (f *Fleet) queue(ctx context.Context, name string, d definition) (*queue.Queue[tick], error) {
	f.mu.Lock()
	q := f.queues[name]
	f.mu.Unlock()
	if q != nil {
		return q, nil
	}
	opts := queue.Options{Namespace: f.opts.Namespace, Replicas: f.opts.Replicas, Retain: d.Retain, MaxRunning: maxRunning(d.Overlap), Logger: f.opts.Logger}
	if j := f.jobs[name]; j != nil {
		opts.MaxAttempts, opts.Backoff = j.opts.MaxAttempts, j.opts.Backoff
	}
	q, err := queue.Open[tick](ctx, f.js, queueOf(name), opts)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queues[name] = q
	return q, nil
}

// maxRunning is what an overlap policy allows at a time, zero for any number.
func maxRunning(o Overlap) int {
	if o == Allow {
		return 0
	}
	return 1
}
