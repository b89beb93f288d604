// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

// Command bench measures the queue beside raw JetStream, on your machine or
// against your own cluster. With nothing installed but Go:
//
//	go run ./examples/bench
//	go run ./examples/bench -workload enqueue,drain -jobs 200000 -rounds 5
//	go run ./examples/bench -url nats://127.0.0.1:4222 -replicas 3 -json
//
// Raw is the shortest program on nats.go for the same effect, on a stream and
// consumers of the same configuration, in the same run:
//
//	raw           all messages on one subject
//	raw+subjects  a subject for each, as the queue has it
//	raw+json      raw, and decodes the payload as the queue does
//
// The systems take turns, in another order each round, and each turn has a stream
// of its own. Times depend on the machine and on what else it does: compare
// ratios. The table has the ratio of the medians and, behind it, the median,
// least and largest of the ratios round by round; if these are far apart the
// machine was too busy to tell.
//
// By default the server is a process of its own on loopback, with file storage in
// a temporary directory, so that its processor time is told apart from the
// client's. What can't be known is n/a: a server elsewhere (-url) does not tell
// its processor time and memory, and with one in this process (-embedded) they
// are counted as the client's. Lateness against a server elsewhere includes the
// difference of the clocks.
//
// It makes streams named after -queue, refuses to run when there are such, and
// removes them at the end, also after Ctrl-C. The exit code is 2 when a flag is
// refused, and 1 when something failed or was interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == serveCommand {
		if err := serve(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench: server:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(exitCode(run()))
}

// exitCode says what went wrong and returns the code for it.
func exitCode(err error) int {
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errRefused):
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "bench: interrupted; nothing is left on the server")
		return 1
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	return 1
}

func run() (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once

	cfg, err := readConfig(os.Args[1:])
	if err != nil {
		return err
	}
	r, err := newRig(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() {
		if left := r.close(); left != nil {
			err = left // which is worse than what ended the run
		}
	}()

	results, err := r.runAll(ctx, cfg.workloads)
	if len(results) > 0 {
		err = errors.Join(err, newReport(r, results).print(os.Stdout, cfg.json))
	}
	return err
}
