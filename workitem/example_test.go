// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package workitem_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"time"

	"github.com/jetjobs/jetjobs/hosting/natsd"
	"github.com/jetjobs/jetjobs/lock"
	"github.com/jetjobs/jetjobs/queue"
	"github.com/jetjobs/jetjobs/workitem"
)

type Import struct{ File, Account string }

const ImportCSV workitem.Kind[Import] = "import-csv"

// serve opens a queue on a server in this process. To use a cluster, connect to it
// and give Open that connection's JetStream.
func serve(opts workitem.Options) (srv *natsd.Server, items *workitem.Queue) {
	srv, err := natsd.Start(natsd.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	opts.Queue.Logger = slog.New(slog.DiscardHandler)
	items, err = workitem.Open(context.Background(), srv.JetStream(), "items", opts)
	if err != nil {
		log.Fatal(err)
	}
	return srv, items
}

// enqueue stores an item and returns its ID.
func enqueue(items *workitem.Queue, i Import, opts ...queue.EnqueueOption) string {
	receipt, err := workitem.Enqueue(context.Background(), items, ImportCSV, i, opts...)
	if err != nil {
		log.Fatal(err)
	}
	return receipt.ID
}

// work has everything done that waits.
func work(items *workitem.Queue, handlers *workitem.Handlers) {
	if _, err := workitem.NewJob(items, handlers, nil, workitem.JobOptions{}).RunUntilEmpty(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// The main idea: a handler reports, and anybody watches.
func Example() {
	srv, items := serve(workitem.Options{})
	defer srv.Close()

	var handlers workitem.Handlers
	workitem.Register(&handlers, ImportCSV, func(ctx context.Context, c *workitem.Context[Import]) error {
		c.Progress(50, "half of "+c.Value.File)
		time.Sleep(50 * time.Millisecond) // the work
		return nil
	})
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error)
	go func() {
		stopped <- workitem.NewJob(items, &handlers, nil, workitem.JobOptions{Concurrency: 4}).RunContinuous(ctx)
	}()

	id := enqueue(items, Import{File: "a.csv"}, queue.Delay(200*time.Millisecond))
	for status, err := range items.Watch(ctx, id) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s %d%% %q\n", status.State, status.Percent, status.Message)
	}
	stop()
	fmt.Println("stopped", <-stopped)
	// Output:
	// queued 0% ""
	// started 0% ""
	// progress 50% "half of a.csv"
	// completed 100% "half of a.csv"
	// stopped <nil>
}

// Report sends a value of your own with the progress; a late watcher gets it too.
func ExampleContext_Report() {
	srv, items := serve(workitem.Options{})
	defer srv.Close()
	var handlers workitem.Handlers
	workitem.Register(&handlers, ImportCSV, func(ctx context.Context, c *workitem.Context[Import]) error {
		return c.Report(90, "almost", map[string]int{"rows": 1200, "skipped": 3})
	})
	id := enqueue(items, Import{File: "a.csv"})
	work(items, &handlers)

	status, err := items.Status(context.Background(), id)
	fmt.Println(status.State, string(status.Data), err)
	// Output: completed {"rows":1200,"skipped":3} <nil>
}

// A failed attempt is told with its error, and tried again.
func ExampleQueue_Watch() {
	srv, items := serve(workitem.Options{Queue: queue.Options{
		MaxAttempts: 2, Backoff: func(int) time.Duration { return time.Millisecond },
	}})
	defer srv.Close()
	var handlers workitem.Handlers
	workitem.Register(&handlers, ImportCSV, func(ctx context.Context, c *workitem.Context[Import]) error {
		if c.LastAttempt() {
			return queue.Permanent(errors.New("no such file"))
		}
		return errors.New("the disk is busy")
	})
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error)
	go func() { stopped <- workitem.NewJob(items, &handlers, nil, workitem.JobOptions{}).RunContinuous(ctx) }()
	id := enqueue(items, Import{File: "a.csv"}, queue.Delay(200*time.Millisecond))
	for status, err := range items.Watch(ctx, id) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s, attempt %d, %q\n", status.State, status.Attempt, status.Error)
	}
	stop()
	<-stopped
	// Output:
	// queued, attempt 0, ""
	// started, attempt 1, ""
	// retrying, attempt 1, "the disk is busy"
	// started, attempt 2, "the disk is busy"
	// failed, attempt 2, "no such file"
}

// Cancel reaches the handler wherever it runs.
func ExampleQueue_Cancel() {
	srv, items := serve(workitem.Options{})
	defer srv.Close()
	ctx := context.Background()
	began := make(chan string)
	var handlers workitem.Handlers
	workitem.Register(&handlers, ImportCSV, func(ctx context.Context, c *workitem.Context[Import]) error {
		began <- c.ID()
		<-ctx.Done()
		fmt.Println("handler:", context.Cause(ctx))
		return ctx.Err()
	})
	enqueue(items, Import{File: "a.csv"})
	ended := make(chan struct{})
	go func() { work(items, &handlers); close(ended) }()
	id := <-began
	was, err := items.Cancel(ctx, id)
	fmt.Println("it was", was, err)
	<-ended
	status, _ := items.Status(ctx, id)
	fmt.Println(status.State)
	// Unordered output:
	// it was running <nil>
	// handler: the job was cancelled
	// cancelled
}

// LockBy keeps the items of one account apart; the fence tells a late holder.
func ExampleLockBy() {
	srv, items := serve(workitem.Options{})
	defer srv.Close()
	locks, err := lock.Open(context.Background(), srv.JetStream(), lock.Options{})
	if err != nil {
		log.Fatal(err)
	}
	var last uint64
	var handlers workitem.Handlers
	workitem.Register(&handlers, ImportCSV, func(ctx context.Context, c *workitem.Context[Import]) error {
		fmt.Println(c.Value.File, c.Fence() > last)
		last = c.Fence()
		return nil
	}, workitem.LockBy(locks, func(i Import) string { return i.Account }))
	enqueue(items, Import{File: "a.csv", Account: "ada"})
	enqueue(items, Import{File: "b.csv", Account: "ada"})
	work(items, &handlers)
	// Output:
	// a.csv true
	// b.csv true
}

// A renamed kind still takes the items that wait under its old name.
func ExampleAlias() {
	srv, items := serve(workitem.Options{})
	defer srv.Close()
	enqueue(items, Import{File: "a.csv"}) // import-csv

	var handlers workitem.Handlers
	workitem.Register(&handlers, "import-file", func(ctx context.Context, c *workitem.Context[Import]) error {
		fmt.Println(c.Kind(), c.Value.File)
		return nil
	}, workitem.Alias("import-csv"))
	work(items, &handlers)
	// Output: import-csv a.csv
}

// A handler is a function; its test needs no server.
func ExampleContext() {
	importCSV := func(ctx context.Context, c *workitem.Context[Import]) error {
		c.Progress(50, "half")
		fmt.Println("imported", c.Value.File)
		return nil
	}
	err := importCSV(context.Background(), &workitem.Context[Import]{Value: Import{File: "a.csv"}})
	fmt.Println(err)
	// Output:
	// imported a.csv
	// <nil>
}
