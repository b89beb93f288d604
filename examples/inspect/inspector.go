// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetjobs/jetjobs/queue"
	"github.com/jetjobs/jetjobs/workitem"
)

// config is what every command takes, from flags or the environment.
type config struct {
	url, user, password, creds string
	namespace                  string
	json                       bool
}

func configFromEnv() config {
	return config{
		url:       cmp.Or(os.Getenv("NATS_URL"), nats.DefaultURL),
		user:      os.Getenv("NATS_USER"),
		password:  os.Getenv("NATS_PASSWORD"), // not a flag: others could see it
		creds:     os.Getenv("NATS_CREDS"),
		namespace: "jobs",
	}
}

// define adds the flags, with what is known so far as their defaults, so that they may
// stand before or after the command.
func (c *config) define(fs *flag.FlagSet) {
	fs.StringVar(&c.url, "url", c.url, "`servers`, comma-separated ($NATS_URL)")
	fs.Lookup("url").DefValue = hideUser(c.url)
	fs.StringVar(&c.user, "user", c.user, "user `name`, with its password in $NATS_PASSWORD ($NATS_USER)")
	fs.StringVar(&c.creds, "creds", c.creds, "credentials `file` ($NATS_CREDS)")
	fs.StringVar(&c.namespace, "namespace", c.namespace, "`namespace` of the queues")
	fs.BoolVar(&c.json, "json", c.json, "print JSON, one value a line")
}

// An inspector is one run of the program.
type inspector struct {
	cfg      config
	out, err io.Writer // what was asked for, and what there is to say about it

	dial   dialer
	retain time.Duration // what Options.Retain of the workers is taken to be
	nc     *nats.Conn    // nil until connect
	js     jetstream.JetStream
	denied atomic.Pointer[error] // the last thing that the server did not permit
}

func (in *inspector) connect() (err error) {
	opts := []nats.Option{
		nats.Name("inspect"),
		nats.MaxReconnects(-1), // a watch outlives its server, and changes to its users
		nats.ReconnectWait(time.Second),
		nats.IgnoreAuthErrorAbort(),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) {
				in.denied.Store(&err)
			}
		}),
		nats.DisconnectErrHandler(func(*nats.Conn, error) { in.note("the connection is lost; trying again") }),
		nats.ReconnectHandler(func(nc *nats.Conn) { in.note("connected again, to %s", nc.ConnectedUrlRedacted()) }),
		nats.NoCallbacksAfterClientClose(),
	}
	if in.cfg.user != "" {
		// Inboxes of its own, which is all that the user may listen to: see examples/deploy.
		opts = append(opts, nats.UserInfo(in.cfg.user, in.cfg.password), nats.CustomInboxPrefix("_INBOX_"+in.cfg.user))
	}
	if in.cfg.creds != "" {
		opts = append(opts, nats.UserCredentials(in.cfg.creds))
	}
	if in.nc, err = in.dial(in.cfg.url, opts...); err != nil {
		return &connectError{in.cfg.url, err}
	}
	in.js, err = jetstream.New(in.nc)
	return err
}

func (in *inspector) close() {
	if in.nc != nil {
		in.nc.Close()
	}
}

// An opened queue is one of any type, and one of work items if items is not nil.
type opened struct {
	*queue.Queue[json.RawMessage]
	items *workitem.Queue
}

// unsaid stands for a number of attempts that only the workers know.
const unsaid = 1_000_000

// open opens a queue that is there.
func (in *inspector) open(ctx context.Context, name string) (*opened, error) {
	if err := in.connect(); err != nil {
		return nil, err
	}
	opts := queue.Options{
		Namespace:   in.cfg.namespace,
		MustExist:   true,
		MaxAttempts: unsaid,
		Retain:      in.retain,
		Timeout:     10 * time.Second,
		Logger:      slog.New(slog.DiscardHandler),
	}
	q := &opened{}
	var err error
	if q.Queue, err = queue.Open[json.RawMessage](ctx, in.js, name, opts); errors.Is(err, queue.ErrNotFound) {
		there, err := queue.Queues(ctx, in.js, in.cfg.namespace)
		if err != nil {
			return nil, err
		}
		return nil, &unknownQueueError{name, in.cfg.namespace, there}
	}
	if err != nil {
		return nil, err
	}
	// Beside a queue of work items stands a stream with their progress.
	_, err = in.js.Stream(ctx, in.cfg.namespace+"_status_"+name)
	switch {
	case err == nil:
		q.items, err = workitem.Open(ctx, in.js, name, workitem.Options{Queue: opts})
	case errors.Is(err, jetstream.ErrStreamNotFound):
		err = nil
	}
	return q, err
}

// cancel ends a job; that of a work item is also told to who watches it.
func (q *opened) cancel(ctx context.Context, id string) (queue.State, error) {
	if q.items != nil {
		return q.items.Cancel(ctx, id)
	}
	return q.Cancel(ctx, id)
}

// onQueue is the action of a command whose first argument is a queue.
func onQueue(do func(ctx context.Context, in *inspector, q *opened, args []string) error) action {
	return func(ctx context.Context, in *inspector, args []string) error {
		q, err := in.open(ctx, args[0])
		if err != nil {
			return err
		}
		return do(ctx, in, q, args[1:])
	}
}

// checked is an action that is not begun if its arguments make no sense.
func checked(check func(args []string) error, act action) action {
	return func(ctx context.Context, in *inspector, args []string) error {
		if err := check(args); err != nil {
			return err
		}
		return act(ctx, in, args)
	}
}

// note says something that is not what was asked for.
func (in *inspector) note(format string, args ...any) {
	fmt.Fprintf(in.err, format+"\n", args...)
}

// tell prints what was done, as a line or as JSON.
func (in *inspector) tell(done map[string]any, format string, args ...any) error {
	if in.cfg.json {
		return in.printJSON(done)
	}
	_, err := fmt.Fprintf(in.out, format+"\n", args...)
	return err
}

func (in *inspector) printJSON(v any) error {
	return json.NewEncoder(in.out).Encode(v)
}
