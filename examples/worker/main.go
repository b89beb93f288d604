// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

// Command worker is a process to deploy: it works on the queue "emails", runs a job now and then, tells
// how it is over HTTP, and stops well when it is asked to. Without NATS_URL it starts a server of its own
// and needs nothing installed.
//
//	go run ./examples/worker -demo 3
//	NATS_URL=nats://127.0.0.1:4222 go run ./examples/worker -listen :8080
//
// Every flag has an environment variable as its default; -help lists them.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetjobs/jetjobs/hosting"
	"github.com/jetjobs/jetjobs/hosting/cron"
	"github.com/jetjobs/jetjobs/hosting/natsd"
	"github.com/jetjobs/jetjobs/jobs"
	"github.com/jetjobs/jetjobs/queue"
)

func main() { hosting.Main(run) }

// An Email is what the queue holds.
type Email struct {
	To   string        `json:"to"`
	Work time.Duration `json:"work,omitempty"` // how long delivering pretends to take
}

func run(ctx context.Context) error {
	cfg, err := readConfig()
	if err != nil {
		return fmt.Errorf("%w: %w", hosting.ErrConfig, err)
	}
	slog.SetDefault(cfg.logger())

	js, closeNATS, err := connect(cfg)
	if err != nil {
		return err
	}
	defer closeNATS()
	emails := &mailbox{js: js, cfg: cfg}
	if cfg.setup {
		ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
		return emails.setUp(ctx)
	}

	host := hosting.New(hosting.Options{Name: "worker", Grace: cfg.grace, Listen: cfg.listen})
	host.AddCheck("nats", hosting.Connected(js.Conn()))
	host.AddStartup("open emails", emails.open, hosting.Attempts(10)) // a minute, from when the servers are there
	host.AddStartup("demo", emails.enqueueDemo, hosting.Priority(1))
	host.AddQueue(emails)
	host.AddJob(emails, jobs.Options{})
	addSchedules(host, emails)
	return host.Run(ctx)
}

// addSchedules adds what runs by the clock.
func addSchedules(host *hosting.Host, emails *mailbox) {
	report := func(ctx context.Context) error {
		stats, err := emails.Stats(ctx)
		if err != nil {
			return err
		}
		jobs.Logger(ctx).Info("queue", "waiting", stats.Waiting, "running", stats.Running, "dead", stats.Dead, "lag", stats.Lag())
		return nil
	}
	host.AddCron("* * * * *", "report", jobs.ErrFunc(report), cron.Options{Jitter: 10 * time.Second})
}

// deliver is where the work is done. It heeds its context: when the grace is over it returns, and the job
// goes to another worker.
func deliver(ctx context.Context, e *queue.Entry[Email]) error {
	log := jobs.Logger(ctx)
	log.Info("delivering", "to", e.Value.To, "attempt", e.Attempt())
	select {
	case <-time.After(e.Value.Work):
		log.Info("delivered", "to", e.Value.To)
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// connect connects to the cluster, or starts a server in this process. The connection never gives up: a
// worker waits for its servers, and its log and /readyz say that it does.
func connect(cfg config) (jetstream.JetStream, func(), error) {
	if cfg.natsURL == "" {
		srv, err := natsd.Start(natsd.Options{Dir: cfg.dir, Listen: cfg.natsListen})
		if err != nil {
			return nil, nil, err
		}
		slog.Info("started a server in this process, as NATS_URL is not set", "url", srv.URL())
		return srv.JetStream(), srv.Close, nil
	}
	opts := []nats.Option{nats.Name("worker"), nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true), nats.ReconnectErrHandler(tellWhyNot())}
	if cfg.natsUser != "" {
		// Inboxes of its own, which is all that the user may listen to: see examples/deploy.
		opts = append(opts, nats.UserInfo(cfg.natsUser, cfg.natsPassword), nats.CustomInboxPrefix("_INBOX_"+cfg.natsUser))
	}
	nc, err := nats.Connect(cfg.natsURL, opts...)
	if err != nil {
		return nil, nil, errors.Join(errors.New("NATS_URL"), err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return js, nc.Close, nil
}
