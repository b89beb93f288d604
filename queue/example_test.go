// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"time"

	"github.com/jetjobs/jetjobs/hosting/natsd"
	"github.com/jetjobs/jetjobs/queue"
)

type Email struct{ To string }

// The main job: enqueue, work until nothing is waiting.
func Example() {
	ctx := context.Background()
	srv, err := natsd.Start(natsd.Options{}) // or connect to a cluster: the rest stays the same
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()

	emails, err := queue.Open[Email](ctx, srv.JetStream(), "emails", queue.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	for _, to := range []string{"ada@example.com", "grace@example.com"} {
		if _, err := emails.Enqueue(ctx, Email{To: to}); err != nil {
			log.Fatal(err)
		}
	}
	deliver := queue.NewJob(emails, func(ctx context.Context, e *queue.Entry[Email]) error {
		fmt.Println("to", e.Value.To)
		return nil
	}, queue.JobOptions{})
	n, err := deliver.RunUntilEmpty(ctx)
	fmt.Println(n, "delivered", err)
	// Output:
	// to ada@example.com
	// to grace@example.com
	// 2 delivered <nil>
}

// openExample opens a queue of strings on a server of its own.
func openExample(opts queue.Options) (q *queue.Queue[string], done func()) {
	srv, err := natsd.Start(natsd.Options{})
	if err != nil {
		log.Fatal(err)
	}
	opts.Logger = slog.New(slog.DiscardHandler)
	q, err = queue.Open[string](context.Background(), srv.JetStream(), "example", opts)
	if err != nil {
		log.Fatal(err)
	}
	return q, srv.Close
}

// An ID makes a job unique for as long as it is anywhere in the queue.
func ExampleID() {
	q, done := openExample(queue.Options{})
	defer done()
	ctx := context.Background()
	for range 2 {
		receipt, err := q.Enqueue(ctx, "welcome ada", queue.ID("welcome:ada"))
		fmt.Println(receipt.ID, receipt.Duplicate, receipt.State, err)
	}
	// Output:
	// welcome:ada false  <nil>
	// welcome:ada true waiting <nil>
}

// Replace with a Delay is a debounce: the last of many calls counts.
func ExampleReplace() {
	q, done := openExample(queue.Options{})
	defer done()
	ctx := context.Background()
	for i := range 3 {
		receipt, err := q.Enqueue(ctx, fmt.Sprint("index version ", i), queue.ID("index"), queue.Delay(300*time.Millisecond), queue.Replace())
		fmt.Println(receipt.Replaced, err)
	}
	e, err := q.Dequeue(ctx)
	fmt.Println(e.Value, err)
	// Output:
	// false <nil>
	// true <nil>
	// true <nil>
	// index version 2 <nil>
}

// A delayed job can't be taken before it is due.
func ExampleDelay() {
	q, done := openExample(queue.Options{})
	defer done()
	ctx := context.Background()
	began := time.Now()
	if _, err := q.Enqueue(ctx, "later", queue.Delay(time.Second)); err != nil {
		log.Fatal(err)
	}
	e, err := q.Dequeue(ctx)
	fmt.Println(e.Value, time.Since(began) >= time.Second, err)
	// Output: later true <nil>
}

// What a handler returns says what becomes of its job.
func ExampleHandler() {
	q, done := openExample(queue.Options{})
	defer done()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, v := range []string{"fine", "busy", "hopeless"} {
		if _, err := q.Enqueue(ctx, v); err != nil {
			log.Fatal(err)
		}
	}
	handle := func(ctx context.Context, e *queue.Entry[string]) error {
		fmt.Println(e.Value, "attempt", e.Attempt())
		switch {
		case e.Value == "hopeless":
			return queue.Permanent(errors.New("no such address"))
		case e.Value == "busy" && e.Attempt() == 1:
			return queue.RetryAfter(0, errors.New("server busy"))
		case e.Value == "busy":
			cancel() // the last one: stop working
		}
		return nil
	}
	err := queue.NewJob(q, handle, queue.JobOptions{}).RunContinuous(ctx)
	fmt.Println(err)
	// Output:
	// fine attempt 1
	// busy attempt 1
	// hopeless attempt 1
	// busy attempt 2
	// <nil>
}

// Without a handler: take jobs and settle them yourself.
func ExampleQueue_Entries() {
	q, done := openExample(queue.Options{})
	defer done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if _, err := q.EnqueueMany(ctx, queue.Items([]string{"a", "b", "c"})); err != nil {
		log.Fatal(err)
	}
	for e, err := range q.Entries(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(e.Value, e.Complete(ctx))
		if e.Value == "c" {
			cancel()
		}
	}
	// Output:
	// a <nil>
	// b <nil>
	// c <nil>
}

// Dead letters wait for somebody to act.
func ExampleDeadLetters() {
	q, done := openExample(queue.Options{MaxAttempts: 1})
	defer done()
	ctx := context.Background()
	if _, err := q.Enqueue(ctx, "order 7", queue.ID("7")); err != nil {
		log.Fatal(err)
	}
	fails := queue.NewJob(q, func(context.Context, *queue.Entry[string]) error { return errors.New("card declined") }, queue.JobOptions{})
	if _, err := fails.RunUntilEmpty(ctx); err != nil {
		log.Fatal(err)
	}
	for letter, err := range q.DeadLetters().All(ctx) {
		fmt.Println(letter.ID, letter.Value, letter.Attempts, letter.Error, err)
	}
	fmt.Println(q.DeadLetters().Requeue(ctx, "7"))
	e, err := q.Dequeue(ctx)
	fmt.Println(e.Value, "again, attempt", e.Attempt(), err)
	// Output:
	// 7 order 7 1 card declined <nil>
	// <nil>
	// order 7 again, attempt 1 <nil>
}

// A pause holds every worker of the queue, wherever it runs.
func ExampleQueue_Pause() {
	q, done := openExample(queue.Options{})
	defer done()
	ctx := context.Background()
	if err := q.Pause(ctx, time.Now().Add(time.Hour), "the mail server moves"); err != nil {
		log.Fatal(err)
	}
	stats, err := q.Stats(ctx)
	fmt.Println(stats.Paused, stats.PauseReason, err)
	fmt.Println(q.Resume(ctx))
	// Output:
	// true the mail server moves <nil>
	// <nil>
}

// A retained job is kept with its result, and its ID stays taken.
func ExampleRetain() {
	q, done := openExample(queue.Options{})
	defer done()
	ctx := context.Background()
	if _, err := q.Enqueue(ctx, "report", queue.ID("report"), queue.Retain(time.Hour)); err != nil {
		log.Fatal(err)
	}
	job := queue.NewJob(q, func(_ context.Context, e *queue.Entry[string]) error { return e.SetResult(42) }, queue.JobOptions{})
	if _, err := job.RunUntilEmpty(ctx); err != nil {
		log.Fatal(err)
	}
	receipt, err := q.Enqueue(ctx, "report", queue.ID("report"))
	fmt.Println(receipt.Duplicate, receipt.State, err)
	// Output: true done <nil>
}
