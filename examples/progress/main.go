// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

// Progress imports four files at once and shows how far each is: workers report, and
// this program watches, as any other could. One import fails half way and is tried
// again. It needs nothing installed:
//
//	go run ./examples/progress
//
// With NATS_URL set it does the same on that server, and cleans up after itself. When
// the output is no terminal it has a line for each change instead of bars.
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
	"github.com/jetjobs/jetjobs/workitem"
)

// An Import is what the items are about.
type Import struct {
	File string
	Rows int
}

// ImportCSV is what they are called on the wire.
const ImportCSV workitem.Kind[Import] = "import-csv"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	show := newLines(os.Stdout)
	if isTerminal(os.Stdout) {
		show = newBars(os.Stdout)
	}
	if err := run(ctx, show, os.Getenv("NATS_URL")); err != nil {
		fmt.Fprintln(os.Stderr, "progress:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, show display, url string) error {
	js, closeServer, err := connect(url)
	if err != nil {
		return err
	}
	defer closeServer()
	items, err := workitem.Open(ctx, js, "progress-example", workitem.Options{Queue: queue.Options{
		MaxAttempts: 3,
		Backoff:     func(int) time.Duration { return 500 * time.Millisecond },
		Logger:      slog.New(slog.DiscardHandler), // this program says it all itself
	}})
	if err != nil {
		return err
	}
	defer items.Delete(context.WithoutCancel(ctx))

	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	var handlers workitem.Handlers
	workitem.Register(&handlers, ImportCSV, importCSV)
	var workers sync.WaitGroup
	defer workers.Wait()
	working, stopWorkers := context.WithCancel(ctx)
	defer stopWorkers()
	workers.Go(func() {
		_ = workitem.NewJob(items, &handlers, nil, workitem.JobOptions{Concurrency: 4}).RunContinuous(working)
	})
	return watchAll(ctx, items, show)
}

// importCSV reports every row; at most ten reports a second are sent.
func importCSV(ctx context.Context, c *workitem.Context[Import]) error {
	for row := range c.Value.Rows {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(2 * time.Millisecond): // the work
		}
		c.Progress(100*row/c.Value.Rows, fmt.Sprintf("row %d of %d", row+1, c.Value.Rows))
		if c.Value.File == "invoices.csv" && c.Attempt() == 1 && row == c.Value.Rows/2 {
			return errors.New("the connection to the ledger broke")
		}
	}
	return nil
}

// watchAll enqueues the imports and shows each until its end.
func watchAll(ctx context.Context, items *workitem.Queue, show display) error {
	imports := []Import{{"customers.csv", 400}, {"orders.csv", 900}, {"invoices.csv", 500}, {"products.csv", 150}}
	var watchers sync.WaitGroup
	defer watchers.Wait()
	for i, one := range imports {
		receipt, err := workitem.Enqueue(ctx, items, ImportCSV, one)
		if err != nil {
			return err
		}
		watchers.Go(func() {
			for status, err := range items.Watch(ctx, receipt.ID) {
				if err != nil {
					status.State, status.Error = workitem.Failed, err.Error()
				}
				show.update(i, one.File, status)
			}
		})
	}
	watchers.Wait()
	return show.end(ctx, len(imports))
}

// connect starts a server in this process, or uses the one at url.
func connect(url string) (js jetstream.JetStream, closeServer func(), err error) {
	if url == "" {
		srv, err := natsd.Start(natsd.Options{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return nil, nil, err
		}
		return srv.JetStream(), srv.Close, nil
	}
	nc, err := nats.Connect(url)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to NATS_URL %s: %w", url, err)
	}
	js, err = jetstream.New(nc)
	return js, nc.Close, err
}

// isTerminal reports whether a program can move the cursor there.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

// A display shows statuses. Its methods may be called concurrently.
type display interface {
	update(line int, name string, s workitem.Status)
	end(ctx context.Context, want int) error
}

var (
	_ display = (*bars)(nil)
	_ display = (*lines)(nil)
)

// tally counts what came to an end.
type tally struct {
	out io.Writer

	mu        sync.Mutex // guards the rest, and out
	completed int
	failed    int
}

func (t *tally) countLocked(s workitem.Status) {
	switch {
	case s.State == workitem.Completed:
		t.completed++
	case s.State.Final():
		t.failed++
	}
}

func (t *tally) end(ctx context.Context, want int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, "%d imported, %d failed\n", t.completed, t.failed)
	if t.completed < want && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}
