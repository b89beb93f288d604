// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package hosting

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"github.com/jetjobs/jetjobs/hosting/cron"
	"github.com/jetjobs/jetjobs/jobs"
)

// Options say how a Host runs. The zero value is good.
type Options struct {
	// Name of the program in logs and in Status. Default: that of its file.
	Name string

	// Grace is how long jobs may go on after the host was asked to stop, before
	// their contexts end with jobs.ErrShutdown. Default 25 s; negative: none. A
	// job added with a Grace of its own keeps that. Stopping takes at most
	// StopMargin more.
	Grace time.Duration

	// Listen is the address, such as ":8080", on which Handler is served from
	// before startup until the end. Default: nothing is served.
	Listen string

	// StopWhenIdle stops the host when every job that has an IterationLimit has
	// reached it. Jobs without one are stopped then.
	StopWhenIdle bool

	// IgnoreSignals leaves SIGINT and SIGTERM to the program, and stopping to
	// the context of Run: for a Windows service, or in tests.
	IgnoreSignals bool

	// OnReady is called when everything has started, before the host is ready;
	// an error stops it. OnStopping is called when the host begins to stop, with
	// the reason; nothing has been stopped yet, and it has 4 s. Default: none.
	OnReady    func(ctx context.Context) error
	OnStopping func(reason error)

	// Logger receives what the host has to say, and is that of jobs which have
	// none. Default: slog.Default() at the time of New.
	Logger *slog.Logger
}

// A Host runs startup actions, services and jobs as one program. Add everything,
// from one goroutine, then call Run, once; adding after that panics. Status and
// Handler may be used at any time, concurrently.
type Host struct {
	opts  Options // with defaults; immutable after New
	log   *slog.Logger
	since time.Time // when New was called

	fleets map[*cron.Fleet]bool // that were added
	table  *cron.Table
	timed  bool // there are schedules in the table

	mu     sync.Mutex // guards the rest
	state  State
	reason error           // why it stops
	listen string          // the address that is served
	names  map[string]bool // of what was added, with their kinds
	added                  // grows while the host is Created: its run reads it unlocked
}

// added is what was added to a host. A copy stays as it is when more is added.
type added struct {
	actions  []*action
	services []*service
	jobs     []*hostedJob
	checks   []*check
	reports  []*report
	problems []error // what is wrong with it
}

// State is what a Host is doing.
type State string

// The states, in their order.
const (
	Created  State = "created"
	Starting State = "starting"
	Ready    State = "ready"
	Stopping State = "stopping"
	Stopped  State = "stopped"
)

// New makes a Host.
func New(opts Options) *Host {
	opts.Name = cmp.Or(opts.Name, filepath.Base(os.Args[0]))
	opts.Grace = cmp.Or(opts.Grace, 25*time.Second)
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	h := &Host{opts: opts, log: opts.Logger, since: time.Now(), names: map[string]bool{}, fleets: map[*cron.Fleet]bool{}, state: Created}
	h.table = cron.NewTable(cron.TableOptions{Grace: opts.Grace, Logger: opts.Logger})
	return h
}

// ErrConfig is matched by the error of Run and Check if something was added
// wrongly. Nothing has been started then.
var ErrConfig = errors.New("hosting: wrong configuration")

// AddStartup adds an action that must succeed before the services and the jobs of
// its wave begin. Its context ends at once when the host is asked to stop.
func (h *Host) AddStartup(name string, run func(ctx context.Context) error, opts ...StartupOption) {
	a := &action{name: name, run: run, attempts: 1}
	for _, o := range opts {
		o.applyStartup(a)
	}
	h.add("startup action", name, a.check(), func() { h.actions = append(h.actions, a) })
}

// A Service runs until its context ends: an HTTP server, a subscriber, a loop.
// Run returns soon after that. Returning nil before is the end of a service that
// has done its work; an error, or a panic, is a failure, which stops the host
// unless RestartOnFailure is given.
type Service interface {
	Run(ctx context.Context) error
}

// ServiceFunc is a function as a Service.
type ServiceFunc func(ctx context.Context) error

// Run calls f.
func (f ServiceFunc) Run(ctx context.Context) error { return f(ctx) }

// AddService adds a service.
func (h *Host) AddService(name string, s Service, opts ...ServiceOption) {
	sv := &service{name: name, svc: s, host: h}
	for _, o := range opts {
		o.applyService(sv)
	}
	var wrong error
	if isNil(s) {
		wrong = fmt.Errorf("service %q is nil", name)
	}
	h.add("service", name, wrong, func() { h.services = append(h.services, sv) })
}

// AddJob adds a job, which a jobs.Runner runs as opts say; a queue.Job runs
// continuously. Without opts.Name the job is called as its method Name says, if
// it has one.
func (h *Host) AddJob(job jobs.Job, opts jobs.Options, more ...JobOption) {
	j := &hostedJob{}
	for _, o := range more {
		o.applyJob(j)
	}
	if isNil(job) {
		job = nil // for NewRunner to find
	}
	if named, ok := job.(interface{ Name() string }); ok {
		opts.Name = cmp.Or(opts.Name, named.Name())
	}
	opts.Name = cmp.Or(opts.Name, "job")
	opts.Grace = cmp.Or(opts.Grace, h.opts.Grace)
	if opts.Logger == nil {
		opts.Logger = h.log
	}
	runner, err := jobs.NewRunner(job, opts)
	if err != nil {
		err = fmt.Errorf("job %q: %w", opts.Name, err)
	}
	j.name, j.runner, j.limited, j.grace = opts.Name, runner, opts.IterationLimit > 0, max(opts.Grace, 0)
	h.add("job", opts.Name, err, func() { h.jobs = append(h.jobs, j) })
}

// isNil reports whether there is nothing in v, or a nil pointer or function: all
// but a rare one would panic when it is used.
func isNil(v any) bool {
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Pointer, reflect.Func:
		return r.IsNil()
	}
	return false
}

// add keeps what is added, and what is wrong with it or its name.
func (h *Host) add(kind, name string, wrong error, keep func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mustBeNewLocked(kind, name)
	key := kind + " " + name
	switch {
	case name == "":
		h.problemLocked(fmt.Errorf("a %s has no name: give it one", kind))
	case h.names[key]:
		h.problemLocked(fmt.Errorf("two are added as %s %q: give each a name of its own", kind, name))
	}
	h.names[key] = true
	h.problemLocked(wrong)
	keep()
}

// mustBeNew panics once Run has begun, as nobody would look at what is added.
func (h *Host) mustBeNew(kind, name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mustBeNewLocked(kind, name)
}

func (h *Host) mustBeNewLocked(kind, name string) {
	if h.state != Created {
		panic(fmt.Sprintf("hosting: %s %q is added after Run has begun: add it before", kind, name))
	}
}

func (h *Host) problem(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.problemLocked(err)
}

func (h *Host) problemLocked(err error) {
	if err != nil {
		h.problems = append(h.problems, err)
	}
}

// Check returns all that is wrong with what was added, as Run does before it
// starts anything. The error matches ErrConfig.
func (h *Host) Check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.checkLocked()
}

func (h *Host) checkLocked() error {
	problems := h.problems
	if h.opts.StopWhenIdle && !h.anyLimited() {
		problems = append(problems[:len(problems):len(problems)],
			errors.New("Options.StopWhenIdle is set, but no job has an IterationLimit: give one to the jobs to wait for"))
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return nil
}

func (h *Host) anyLimited() bool {
	for _, j := range h.jobs {
		if j.limited {
			return true
		}
	}
	return false
}

// whatWasAdded is a copy, for those who may look at any time.
func (h *Host) whatWasAdded() added {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.added
}

func (h *Host) current() State {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state
}

func (h *Host) enter(s State) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state = s
}
