// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package hosting

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/jetjobs/jetjobs/queue"
)

// Status is a host at a moment. Its JSON is what /statusz says.
type Status struct {
	Name     string            `json:"name"`
	State    State             `json:"state"`
	Reason   string            `json:"reason,omitempty"` // why it stops
	Version  Version           `json:"version"`
	Since    time.Time         `json:"since"` // when New was called
	Listen   string            `json:"listen,omitempty"`
	Startup  []ActionStatus    `json:"startup"`
	Services []ServiceStatus   `json:"services"`
	Jobs     []JobStatus       `json:"jobs"`
	Checks   map[string]string `json:"checks"`            // "ok", or what is wrong
	Reports  map[string]any    `json:"reports,omitempty"` // by AddReport and AddQueue
}

// Version says what the program was built of.
type Version struct {
	Module   string `json:"module,omitempty"`
	Version  string `json:"version,omitempty"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`

	// Modules are jetjobs and nats.go, with their versions.
	Modules map[string]string `json:"modules"`
}

// ActionStatus is a startup action at a moment.
type ActionStatus struct {
	Name     string        `json:"name"`
	Priority int           `json:"priority"`
	State    string        `json:"state"` // waiting, running, done, failed
	Attempts int           `json:"attempts"`
	Started  time.Time     `json:"started,omitzero"`
	Took     time.Duration `json:"took_ns"`
	Error    string        `json:"error,omitempty"`
}

// ServiceStatus is a service at a moment.
type ServiceStatus struct {
	Name     string    `json:"name"`
	State    string    `json:"state"` // waiting, running, restarting, ended, stopped, failed
	Since    time.Time `json:"since,omitzero"`
	Restarts int       `json:"restarts"`
	Error    string    `json:"error,omitempty"` // of the last failure
}

// JobStatus is a job at a moment, see jobs.Status.
type JobStatus struct {
	Name      string    `json:"name"`
	Running   int       `json:"running"`
	Runs      int       `json:"runs"`
	Failed    int       `json:"failed"`
	Cancelled int       `json:"cancelled"`
	Next      time.Time `json:"next,omitzero"`
	Last      string    `json:"last,omitempty"` // the result of the last run
}

// A report is a part of the status that somebody else tells.
type report struct {
	tell func(ctx context.Context) (any, error)
	caller
}

// AddReport adds a part to /statusz: what tell returns, as JSON, under the name.
// It is called for each request, concurrently, and has 2 s; if it takes longer
// it is not called before it has returned.
func (h *Host) AddReport(name string, tell func(ctx context.Context) (any, error)) {
	var wrong error
	if tell == nil {
		wrong = fmt.Errorf("report %q: the function is nil", name)
	}
	r := &report{tell: tell, caller: caller{host: h, kind: "report", name: name}}
	h.add("report", name, wrong, func() { h.reports = append(h.reports, r) })
}

// A Queue is a queue.Queue of any type, or a workitem.Queue.
type Queue interface {
	Name() string
	Stats(ctx context.Context) (queue.Stats, error)
}

// QueueReport is what AddQueue adds to the status.
type QueueReport struct {
	Waiting    int     `json:"waiting"`
	Running    int     `json:"running"`
	Later      int     `json:"later"`
	Dead       int     `json:"dead"`
	LagSeconds float64 `json:"lag_seconds"` // how long the oldest waiting job has waited
	Paused     bool    `json:"paused"`
}

// AddQueue adds a QueueReport to /statusz, called "queue " and the queue's name.
func (h *Host) AddQueue(q Queue) {
	if isNil(q) {
		h.mustBeNew("report", "queue")
		h.problem(errors.New("a queue to report is nil"))
		return
	}
	h.AddReport("queue "+q.Name(), func(ctx context.Context) (any, error) {
		s, err := q.Stats(ctx)
		return QueueReport{s.Waiting, s.Running, s.Later, s.Dead, s.Lag().Seconds(), s.Paused}, err
	})
}

// Status returns what the host does. It runs the checks, unless they have just
// been run, and the reports: ctx limits them.
func (h *Host) Status(ctx context.Context) Status {
	h.mu.Lock()
	s := Status{
		Name: h.opts.Name, State: h.state, Since: h.since, Listen: h.listen, Version: version(),
		Startup: []ActionStatus{}, Services: []ServiceStatus{}, Jobs: []JobStatus{}, // in JSON [] and not null
	}
	if h.reason != nil {
		s.Reason = h.reason.Error()
	}
	all := h.added
	h.mu.Unlock()
	for _, a := range all.actions {
		s.Startup = append(s.Startup, a.snapshot())
	}
	for _, sv := range all.services {
		s.Services = append(s.Services, sv.snapshot())
	}
	for _, j := range all.jobs {
		s.Jobs = append(s.Jobs, j.snapshot())
	}
	s.Checks = map[string]string{}
	for name, err := range runChecks(ctx, all.checks) {
		s.Checks[name] = "ok"
		if err != nil {
			s.Checks[name] = err.Error()
		}
	}
	s.Reports = tellReports(ctx, all.reports)
	return s
}

func (j *hostedJob) snapshot() JobStatus {
	if j.runner == nil {
		return JobStatus{Name: j.name}
	}
	s := j.runner.Status()
	status := JobStatus{
		Name: s.Name, Running: s.Running, Runs: s.Runs, Failed: s.Failed, Cancelled: s.Cancelled, Next: s.Next,
	}
	if len(s.Last) > 0 {
		status.Last = s.Last[0].Result.String()
	}
	return status
}

func tellReports(ctx context.Context, reports []*report) map[string]any {
	return together(reports, func(r *report) (string, any) { return r.name, r.ask(ctx) })
}

// ask returns what the report tells, or the error as JSON.
func (r *report) ask(ctx context.Context) any {
	told := make(chan any, 1)
	err := r.call(ctx, func(ctx context.Context) error {
		part, err := r.tell(ctx)
		if err == nil {
			_, err = json.Marshal(part)
		}
		told <- part
		return err
	})
	if err != nil {
		return map[string]string{"error": err.Error()}
	}
	return <-told
}

// version reads what the linker knows.
var version = sync.OnceValue(func() Version {
	v := Version{Go: runtime.Version(), Modules: map[string]string{}}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Module, v.Version = info.Main.Path, info.Main.Version
	for _, m := range info.Deps {
		if m.Path == "github.com/jetjobs/jetjobs" || m.Path == "github.com/nats-io/nats.go" {
			v.Modules[m.Path] = m.Version
		}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Revision = s.Value
		}
	}
	return v
})
