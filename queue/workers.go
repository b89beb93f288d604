// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A Worker is a call of RunContinuous or RunUntilEmpty in some process.
type Worker struct {
	ID          string       `json:"id"` // host, process and six random characters
	Host        string       `json:"host"`
	PID         int          `json:"pid"`
	Version     string       `json:"version"` // of the program's module
	Queue       string       `json:"queue"`
	Job         string       `json:"job"`         // as its jobs.Runner or host calls it
	Concurrency int          `json:"concurrency"` // its slots
	Busy        int          `json:"busy"`        // of them
	Buffered    int          `json:"buffered"`    // jobs that wait for a slot
	Done        int          `json:"done"`        // jobs that handlers have had to their end
	Since       time.Time    `json:"since"`
	Quiet       bool         `json:"quiet"`   // it takes nothing new, see QuietWorker
	Running     []RunningJob `json:"running"` // at most 1,000, and no more than fit into a message
}

// A RunningJob is a job in a slot of a worker.
type RunningJob struct {
	ID      string    `json:"id"`
	Attempt int       `json:"attempt"`
	Since   time.Time `json:"since"` // when the worker got it
}

const mostRunning = 1000

// What all workers are asked on the control subjects, and what one of them, by its
// ID, is told.
const (
	watchVerb  = "watch"
	whoVerb    = "who"
	quietVerb  = "quiet"
	resumeVerb = "resume"
	stopVerb   = "stop"

	// briefly asks who is there and not what they run.
	briefly = "brief"
)

// Workers asks who works on the queue. Nothing is stored anywhere: a worker that
// has ended, however it did, does not answer. It takes 0.15 s after the last
// answer, and no time if there is no worker.
func (q *Queue[T]) Workers(ctx context.Context) ([]Worker, error) {
	ctx, cancel := q.c.bound(ctx)
	defer cancel()
	answers, err := q.c.askAll(ctx, q.c.names.control(whoVerb), nil)
	if err != nil {
		return nil, q.c.wrap("workers", err)
	}
	var all []Worker
	for _, data := range answers {
		var w Worker
		if json.Unmarshal(data, &w) == nil && w.ID != "" {
			all = append(all, w)
		}
	}
	slices.SortFunc(all, func(a, b Worker) int { return cmp.Compare(a.ID, b.ID) })
	return all, nil
}

// QuietWorker makes a worker take nothing new, until ResumeWorker or its end; it
// goes on with what it has. RunUntilEmpty then ends, with an error. The error is ErrNotFound if no worker has the ID. With
// another error the word may still arrive.
func (q *Queue[T]) QuietWorker(ctx context.Context, id string) error {
	return q.c.wrap("quiet", q.c.tellOne(ctx, quietVerb, id))
}

// ResumeWorker ends QuietWorker.
func (q *Queue[T]) ResumeWorker(ctx context.Context, id string) error {
	return q.c.wrap("resume", q.c.tellOne(ctx, resumeVerb, id))
}

// StopWorker makes a worker stop as the end of its context does: what it runs has
// the grace, and the rest goes back. RunContinuous does not return before its
// context ends, so that nobody starts it again.
func (q *Queue[T]) StopWorker(ctx context.Context, id string) error {
	return q.c.wrap("stop", q.c.tellOne(ctx, stopVerb, id))
}

// tellOne tells one worker something. It answers at once.
func (c *core) tellOne(ctx context.Context, verb, id string) error {
	one, cancel := context.WithTimeout(ctx, 10*askFor)
	defer cancel()
	_, err := c.nc.RequestWithContext(one, c.names.control(verb), []byte(id))
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, context.DeadlineExceeded): // others are there, or the server is not
		_, err = c.reach(ctx)
	case errors.Is(err, nats.ErrNoResponders):
		err = nil
	}
	return fmt.Errorf("worker %q: %w", id, cmp.Or(err, ErrNotFound))
}

// control does what another process asks of all workers or tells this one.
func (w *worker) control(verb string, m *nats.Msg) {
	if verb == whoVerb {
		most := mostRunning
		if string(m.Data) == briefly {
			most = 0
		}
		_ = m.Respond(w.answerWho(most))
		return
	}
	if string(m.Data) != w.id {
		return
	}
	switch verb {
	case quietVerb, resumeVerb:
		w.mu.Lock()
		w.quiet = verb == quietVerb
		w.mu.Unlock()
		w.nudge()
	case stopVerb:
		w.halt()
	default:
		return
	}
	w.c.log.Info("worker is told: "+verb, "worker", w.id)
	_ = m.Respond(nil)
}

// answerWho is the worker with so many running jobs, or as many as fit into a
// message.
func (w *worker) answerWho(most int) []byte {
	for {
		answer, _ := json.Marshal(w.describe(most)) // strings, numbers and times always marshal
		if limit := w.c.nc.MaxPayload(); most == 0 || limit <= 0 || int64(len(answer)) <= limit {
			return answer
		}
		most /= 2
	}
}

// describe says what this worker is and does.
func (w *worker) describe(most int) Worker {
	d := Worker{
		ID: w.id, Host: host(), PID: os.Getpid(), Version: programVersion(), Queue: w.c.names.queue, Job: w.info.Name,
		Concurrency: w.concurrency, Done: int(w.processed.Load()), Since: w.began, Running: w.keeper.inSlots(most),
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	d.Busy, d.Buffered, d.Quiet = w.running, w.buffered, w.quiet
	return d
}

// inSlots lists the jobs that handlers have.
func (k *keeper) inSlots(most int) []RunningJob {
	all := []RunningJob{}
	k.mu.Lock()
	defer k.mu.Unlock()
	for d := k.list.lease.next; d != &k.list && len(all) < most; d = d.lease.next {
		if d.run.slot.Load() != nil {
			all = append(all, RunningJob{d.id, d.attempt, d.arrived})
		}
	}
	return all
}

// hush closes the lanes of a worker that is told to be quiet; what came before
// stays. Their next use listens anew.
func (w *worker) hush() {
	w.mu.Lock()
	quiet := w.quiet
	var open []*lane
	for _, l := range w.lanes {
		if quiet && !l.stale {
			open = append(open, l)
		}
	}
	w.mu.Unlock()
	if len(open) == 0 {
		return
	}
	closeLanes(open)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range open {
		l.giveUp()
	}
}

// programVersion is that of the module of this program.
var programVersion = sync.OnceValue(func() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return ""
})

// Queues lists the queues of a namespace on the server, by name. The empty
// namespace is "jobs".
func Queues(ctx context.Context, js jetstream.JetStream, namespace string) ([]string, error) {
	prefix, subjects := namesOfAll(cmp.Or(namespace, defaultNamespace))
	var all []string
	// By its name alone jobs_q_a_q_orders may be the queue "a_q_orders" of the namespace
	// "jobs", or "orders" of "jobs_q_a". What it listens to tells.
	names := js.StreamNames(ctx, jetstream.WithStreamListSubject(subjects))
	for name := range names.Name() {
		if queue, ok := strings.CutPrefix(name, prefix); ok {
			all = append(all, queue)
		}
	}
	if err := names.Err(); err != nil {
		return nil, fmt.Errorf("queues: %w", err)
	}
	slices.Sort(all)
	return all, nil
}
