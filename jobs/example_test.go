// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jetjobs/jetjobs/jobs"
)

// A job that runs every few minutes until the process is told to stop. Here it stops after three runs.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	records := 30
	cleanUp := func(ctx context.Context) error {
		records -= 10
		fmt.Println(records, "records left")
		return nil
	}
	runner, err := jobs.NewRunner(jobs.ErrFunc(cleanUp), jobs.Options{
		Name:           "clean-up",
		Interval:       5 * time.Millisecond, // more like 5 * time.Minute
		IterationLimit: 3,
		Grace:          20 * time.Second, // for a run in progress at SIGTERM
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := runner.Run(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 20 records left
	// 10 records left
	// 0 records left
}

// A job is anything with a Run method. What it needs, it has in its fields.
type Import struct {
	lines []string
}

func (i *Import) Run(ctx context.Context) jobs.Result {
	for n := range i.lines {
		if err := ctx.Err(); err != nil {
			return jobs.FromError(err)
		}
		if i.lines[n] == "" {
			return jobs.Failed(fmt.Errorf("line %d is empty", n+1))
		}
	}
	return jobs.SucceededWith(fmt.Sprintf("imported %d lines", len(i.lines)))
}

func ExampleJob() {
	var job jobs.Job = &Import{lines: []string{"ada", "grace"}}
	fmt.Println(job.Run(context.Background()))

	job = &Import{lines: []string{"ada", ""}}
	fmt.Println(job.Run(context.Background()))
	// Output:
	// succeeded: imported 2 lines
	// failed: line 2 is empty
}

func ExampleResult() {
	for _, result := range []jobs.Result{
		jobs.Succeeded(),
		jobs.SucceededWith("sent 12 letters"),
		jobs.FailedWith("the printer is on fire"),
		jobs.CancelledWith("another instance is running"),
	} {
		fmt.Printf("%v (err: %v)\n", result, result.Err())
	}
	// Output:
	// succeeded (err: <nil>)
	// succeeded: sent 12 letters (err: <nil>)
	// failed: the printer is on fire (err: the printer is on fire)
	// cancelled: another instance is running (err: another instance is running: context canceled)
}

func ExampleFromError() {
	fmt.Println(jobs.FromError(nil))
	fmt.Println(jobs.FromError(fmt.Errorf("read: %w", io.ErrUnexpectedEOF)))
	fmt.Println(jobs.FromError(fmt.Errorf("read: %w", context.Canceled)))
	fmt.Println(jobs.FromError(context.DeadlineExceeded))
	// Output:
	// succeeded
	// failed: read: unexpected EOF
	// cancelled: read: context canceled
	// failed: context deadline exceeded
}

func ExampleRunner_RunOnce() {
	job := jobs.Func(func(context.Context) jobs.Result { return jobs.SucceededWith("sent 12 letters") })
	runner, err := jobs.NewRunner(job, jobs.Options{Name: "letters"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(runner.RunOnce(context.Background()))
	// Output: succeeded: sent 12 letters
}

// Each instance has a job of its own, here for its part of the customers.
func ExampleNewRunnerFunc() {
	parts := []string{"A-H", "I-R", "S-Z"}
	newJob := func(instance int) (jobs.Job, error) {
		if instance >= len(parts) {
			return nil, errors.New("no customers left")
		}
		return jobs.Func(func(context.Context) jobs.Result {
			fmt.Println("invoices for", parts[instance])
			return jobs.Succeeded()
		}), nil
	}
	runner, err := jobs.NewRunnerFunc(newJob, jobs.Options{
		Name: "invoices", Instances: 4, IterationLimit: 1, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(runner.Run(context.Background()))
	// Unordered output:
	// invoices for A-H
	// invoices for I-R
	// invoices for S-Z
	// jobs: "invoices": instance 3 not built: no customers left
}

func ExampleRunner_Start() {
	started := make(chan struct{}, 1)
	job := jobs.Func(func(ctx context.Context) jobs.Result {
		started <- struct{}{}
		info, _ := jobs.FromContext(ctx)
		<-info.Stopping // Grace is left for what must be finished
		return jobs.SucceededWith("finished what I had begun")
	})
	runner, err := jobs.NewRunner(job, jobs.Options{Name: "poll"})
	if err != nil {
		log.Fatal(err)
	}

	running := runner.Start(context.Background())
	<-started
	running.Stop()
	fmt.Println(running.Wait(), runner.Status().Last[0].Result)
	// Output: <nil> succeeded: finished what I had begun
}

func ExampleRunner_Status() {
	job := jobs.Func(func(ctx context.Context) jobs.Result {
		if info, _ := jobs.FromContext(ctx); info.Number == 2 {
			return jobs.FailedWith("disk full")
		}
		return jobs.Succeeded()
	})
	runner, err := jobs.NewRunner(job, jobs.Options{Name: "backup", IterationLimit: 3, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	if err := runner.Run(context.Background()); err != nil {
		log.Fatal(err)
	}

	status := runner.Status()
	fmt.Printf("%s: %d runs, %d failed\n", status.Name, status.Runs, status.Failed)
	for _, run := range status.Last {
		fmt.Println(run.Number, run.Result)
	}
	// Output:
	// backup: 3 runs, 1 failed
	// 3 succeeded
	// 2 failed: disk full
	// 1 succeeded
}

// The run is known to everything that has its context, and so is a logger that names it.
func ExampleFromContext() {
	step := func(ctx context.Context) {
		info, _ := jobs.FromContext(ctx)
		fmt.Printf("run %d of %s, instance %d\n", info.Number, info.Name, info.Instance)
		jobs.Logger(ctx).Debug("a line with the keys job and run")
	}
	job := jobs.Func(func(ctx context.Context) jobs.Result {
		step(ctx)
		return jobs.Succeeded()
	})
	runner, err := jobs.NewRunner(job, jobs.Options{Name: "backup", IterationLimit: 2})
	if err != nil {
		log.Fatal(err)
	}
	if err := runner.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output:
	// run 1 of backup, instance 0
	// run 2 of backup, instance 0
}

// A test of a job needs no Runner to put it into a run.
func ExampleNewContext() {
	ctx := jobs.NewContext(context.Background(), jobs.Info{Name: "backup", ID: "r1", Number: 1}, nil)

	info, ok := jobs.FromContext(ctx)
	fmt.Println(info.Name, info.ID, ok)
	// Output: backup r1 true
}

func ExampleWithRetry() {
	calls := 0
	flaky := jobs.ErrFunc(func(context.Context) error {
		if calls++; calls < 3 {
			return io.ErrUnexpectedEOF
		}
		return nil
	})
	job := jobs.WithRetry(flaky, jobs.RetryOptions{
		Attempts:  5,
		Delay:     time.Millisecond, // more like time.Second
		Retryable: func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) },
	})
	fmt.Println(job.Run(context.Background()))
	// Output: succeeded: after 3 attempts
}

// A panic is a failed run like another; its error has the stack.
func ExamplePanicError() {
	job := jobs.Func(func(context.Context) jobs.Result {
		var letters []string
		return jobs.SucceededWith(letters[0])
	})
	runner, err := jobs.NewRunner(job, jobs.Options{Name: "letters"})
	if err != nil {
		log.Fatal(err)
	}

	result := runner.RunOnce(context.Background())
	fmt.Println(result)
	if panicked, ok := errors.AsType[*jobs.PanicError](result.Err()); ok {
		fmt.Println("has a stack:", len(panicked.Stack) > 0)
	}
	// Output:
	// failed: panic: runtime error: index out of range [0] with length 0
	// has a stack: true
}
