// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

// Quickstart shows the main job: durable jobs are enqueued, worked on, retried,
// delayed, recognised as duplicates and, when nothing helps, kept as dead
// letters. It needs nothing installed:
//
//	go run ./examples/quickstart
//
// With NATS_URL set it does the same on that server, and cleans up after itself.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetjobs/jetjobs/hosting/natsd"
	"github.com/jetjobs/jetjobs/queue"
)

// An Email is what the jobs are about.
type Email struct {
	To      string
	Subject string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, os.Getenv("NATS_URL")); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, url string) error {
	js, where, closeServer, err := connect(url)
	if err != nil {
		return err
	}
	defer closeServer()
	say := narrator(out)
	say("server", "%s", where)

	emails, err := queue.Open[Email](ctx, js, "quickstart-emails", queue.Options{
		MaxAttempts: 3,
		Backoff:     func(attempt int) time.Duration { return time.Duration(attempt) * 500 * time.Millisecond },
		Logger:      slog.New(slog.DiscardHandler), // this program says it all itself
	})
	if err != nil {
		return err
	}
	defer emails.Delete(context.WithoutCancel(ctx))

	if err := enqueue(ctx, emails, say); err != nil {
		return err
	}
	if err := work(ctx, emails, say); err != nil {
		return err
	}
	return mourn(ctx, emails, say)
}

// connect starts a server in this process, or uses the one at url.
func connect(url string) (js jetstream.JetStream, where string, closeServer func(), err error) {
	if url == "" {
		srv, err := natsd.Start(natsd.Options{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return nil, "", nil, err
		}
		return srv.JetStream(), "nats-server " + srv.Conn().ConnectedServerVersion() + " with JetStream, inside this process", srv.Close, nil
	}
	nc, err := nats.Connect(url)
	if err != nil {
		return nil, "", nil, fmt.Errorf("connect to NATS_URL %s: %w", url, err)
	}
	js, err = jetstream.New(nc)
	return js, "nats-server " + nc.ConnectedServerVersion() + " at " + nc.ConnectedUrlRedacted(), nc.Close, err
}

// enqueue stores five jobs. From here on the server keeps them, whatever becomes
// of this process.
func enqueue(ctx context.Context, emails *queue.Queue[Email], say teller) error {
	for _, one := range []struct {
		why   string
		email Email
		opts  []queue.EnqueueOption
	}{
		{"a plain job", Email{"ada@example.com", "Welcome"}, nil},
		{"will fail twice", Email{"grace@example.com", "Your invoice"}, nil},
		{"due in 2 seconds", Email{"alan@example.com", "Reminder"}, []queue.EnqueueOption{queue.Delay(2 * time.Second)}},
		{"unique by its ID", Email{"edsger@example.com", "Newsletter"}, []queue.EnqueueOption{queue.ID("newsletter:edsger")}},
		{"the same ID again", Email{"edsger@example.com", "Newsletter"}, []queue.EnqueueOption{queue.ID("newsletter:edsger")}},
		{"can never succeed", Email{"nobody", "Hello?"}, nil},
	} {
		receipt, err := emails.Enqueue(ctx, one.email, one.opts...)
		if err != nil {
			return err
		}
		result := "stored"
		if receipt.Duplicate {
			result = "not stored: it is there already"
		}
		say("enqueue", "%-20s %-18s %s", one.email.To, one.why, result)
	}
	return nil
}

// work runs four handlers at a time until five jobs have come to their end.
func work(ctx context.Context, emails *queue.Queue[Email], say teller) error {
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	ended := make(chan struct{}, 16)
	deliver := func(_ context.Context, e *queue.Entry[Email]) error {
		err := send(e)
		switch {
		case err == nil:
			say("work", "%-20s %-18s delivered", e.Value.To, attempt(e))
			ended <- struct{}{}
		case errors.Is(err, errNoAddress):
			say("work", "%-20s %-18s %v: give up", e.Value.To, attempt(e), err)
			ended <- struct{}{}
			return queue.Permanent(err)
		default:
			say("work", "%-20s %-18s %v: try again", e.Value.To, attempt(e), err)
		}
		return err
	}
	go func() {
		for range 5 {
			select {
			case <-ended:
			case <-ctx.Done():
				return
			}
		}
		stop()
	}()
	return queue.NewJob(emails, deliver, queue.JobOptions{Concurrency: 4}).RunContinuous(ctx)
}

var (
	errNoAddress = errors.New("no such address")
	errBusy      = errors.New("mail server busy")
)

// send plays the mail server.
func send(e *queue.Entry[Email]) error {
	switch {
	case e.Value.To == "nobody":
		return errNoAddress
	case e.Value.To == "grace@example.com" && !e.LastAttempt():
		return errBusy
	}
	return nil
}

func attempt(e *queue.Entry[Email]) string {
	return fmt.Sprintf("attempt %d of %d", e.Attempt(), e.MaxAttempts())
}

// mourn shows what failed for good, and the numbers of the queue.
func mourn(ctx context.Context, emails *queue.Queue[Email], say teller) error {
	for letter, err := range emails.DeadLetters().All(ctx) {
		if err != nil {
			return err
		}
		say("dead", "%-20s %-18s %s; kept until somebody requeues or deletes it", letter.Value.To, fmt.Sprintf("after %d attempt", letter.Attempts), letter.Error)
	}
	stats, err := emails.Stats(ctx)
	if err != nil {
		return err
	}
	say("stats", "waiting %d, running %d, later %d, dead %d", stats.Waiting, stats.Running, stats.Later, stats.Dead)
	return ctx.Err()
}

type teller func(what, format string, args ...any)

// narrator prints each line with the time since the beginning. Handlers call it
// at the same time.
func narrator(out io.Writer) teller {
	began := time.Now()
	var mu sync.Mutex
	return func(what, format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(out, "%5.2fs  %-8s %s\n", time.Since(began).Seconds(), what, fmt.Sprintf(format, args...))
	}
}
