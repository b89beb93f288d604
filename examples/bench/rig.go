// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetjobs/jetjobs/queue"
)

// The systems that take turns.
const (
	byRaw      = "raw"
	bySubjects = "raw+subjects"
	byJSON     = "raw+json"
	byQueue    = "queue"
)

// A rig is the server and everything that a run makes there. Its methods are for
// one goroutine at a time, but for those that say otherwise.
type rig struct {
	cfg      config
	srv      *server
	conns    []*nats.Conn
	js       jetstream.JetStream
	log      *slog.Logger
	text     text
	progress *progress

	streams []string // on the server, ours to remove
	opened  int      // systems
	models  map[int]model
}

// newRig connects, and refuses what the server has already or can't do.
func newRig(ctx context.Context, cfg config) (*rig, error) {
	srv, err := startServer(cfg)
	if err != nil {
		return nil, err
	}
	r := &rig{cfg: cfg, srv: srv, text: newText(cfg.payload), progress: newProgress(os.Stderr), models: map[int]model{}}
	r.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if r.js, err = r.connect(); err == nil {
		err = cfg.checkServer(r.conn().MaxPayload(), r.js.StreamNames(ctx))
	}
	if err == nil {
		err = r.anchor(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// anchor makes a stream that stays until the end: with the last stream of an account
// the server removes its directory, perhaps just as the next one is made (2.15.2).
func (r *rig) anchor(ctx context.Context) error {
	name := r.cfg.queue + "-anchor"
	r.streams = append(r.streams, name)
	_, err := r.js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name}})
	return err
}

func (r *rig) conn() *nats.Conn { return r.conns[0] }

// connect makes another connection, which lives as long as the rig.
func (r *rig) connect() (jetstream.JetStream, error) {
	nc, err := r.srv.connect()
	if err != nil {
		return nil, err
	}
	r.conns = append(r.conns, nc)
	return jetstream.New(nc)
}

// second is JetStream on a connection of its own, as another process has it.
func (r *rig) second() (jetstream.JetStream, error) {
	if len(r.conns) > 1 {
		return jetstream.New(r.conns[1])
	}
	return r.connect()
}

// close removes what is left on the server, and ends the one that was started.
func (r *rig) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	err := r.remove(ctx, 0)
	for _, nc := range r.conns {
		nc.Close()
	}
	return errors.Join(err, r.srv.close())
}

// remove removes the streams but the first n.
func (r *rig) remove(ctx context.Context, n int) error {
	var errs []error
	for _, stream := range r.streams[n:] {
		err := r.js.DeleteStream(ctx, stream)
		if errors.Is(err, jetstream.ErrStreamNotFound) && sleep(ctx, 100*time.Millisecond) == nil {
			err = r.js.DeleteStream(ctx, stream) // an interrupted request may have made it in between
		}
		if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			errs = append(errs, fmt.Errorf("stream %s is left on the server: %w; run: nats stream rm %s", stream, err, stream))
		}
	}
	r.streams = r.streams[:n]
	return errors.Join(errs...)
}

// A setup is what a system is opened with.
type setup struct {
	priorities int           // default: 1
	retain     time.Duration // default: nothing is retained
	advance    int           // how many jobs raw takes in advance; default: what it drains fastest with
}

// retryDelay is how long a job waits that has failed.
const retryDelay = 100 * time.Millisecond

// open opens a system, with nothing in it.
func (r *rig) open(ctx context.Context, by string, s setup) (system, error) {
	r.opened++
	k := strconv.Itoa(r.opened)
	if by == byQueue {
		return r.openQueue(ctx, r.js, r.cfg.queue+"-"+k, s)
	}
	m, err := r.model(ctx, r.cfg.queue+"-"+k, s.priorities)
	if err != nil {
		return nil, err
	}
	return r.openRaw(ctx, r.cfg.queue+"-raw-"+k, by, s, m)
}

func (r *rig) openQueue(ctx context.Context, js jetstream.JetStream, name string, s setup) (*queueSystem, error) {
	r.streams = append(r.streams, "jobs_q_"+name) // before it is made: also a failure may leave it
	q, err := queue.Open[string](ctx, js, name, queue.Options{
		Replicas:   r.cfg.replicas,
		Priorities: s.priorities,
		Retain:     s.retain,
		Backoff:    func(int) time.Duration { return retryDelay },
		Codec:      r.cfg.codec(),
		Logger:     r.log,
	})
	return &queueSystem{rig: r, setup: s, q: q}, err
}

// with opens a system, has it used, and removes it.
func (r *rig) with(ctx context.Context, by string, s setup, use func(system) error) error {
	return r.withAll(ctx, by, s, 1, func(all []system) error { return use(all[0]) })
}

// withAll is with for several at a time. What is there when ctx ends is left to
// close.
func (r *rig) withAll(ctx context.Context, by string, s setup, n int, use func([]system) error) error {
	before := len(r.streams)
	systems := make([]system, n)
	for i := range systems {
		var err error
		if systems[i], err = r.open(ctx, by, s); err != nil {
			return err
		}
	}
	err := use(systems)
	if ctx.Err() != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	return errors.Join(err, r.remove(ctx, before))
}
