// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

// Command inspect lists, watches and changes the jobs of any queue on any NATS, from a
// terminal or a script. To see it at work with nothing installed:
//
//	go run ./examples/inspect -demo
//
// On a server of yours:
//
//	export NATS_URL=nats://127.0.0.1:4222
//	go run ./examples/inspect queues
//	go run ./examples/inspect list orders -state dead,later
//	go run ./examples/inspect watch orders
//
// inspect -h lists the commands, inspect list -h the flags of one. Payloads and results
// are shown as JSON, whatever Go type they have. It creates no queue and takes no job;
// only stats leaves something behind, the three counters that the server keeps for an
// hour. It exits with 0, with 1 if what was asked for failed, and with 2 if it was not
// understood.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/nats-io/nats.go"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr, nats.Connect))
}

// A dialer connects to NATS: nats.Connect, or the demo's.
type dialer func(url string, opts ...nats.Option) (*nats.Conn, error)

// A command is what follows the program's name. Its setup defines flags and returns
// what to do once they are parsed.
type command struct {
	name, args, about string
	setup             func(*flag.FlagSet) action
}

type action func(ctx context.Context, in *inspector, args []string) error

var commands = []command{
	{"queues", "", "the queues of the namespace", queues},
	{"stats", "QUEUE", "how many jobs stand where, and whether the queue is paused", stats},
	{"list", "QUEUE", "jobs, by state and filter", list},
	{"get", "QUEUE ID", "all that is known of a job", get},
	{"watch", "QUEUE", "what happens, as it happens", watch},
	{"wait", "QUEUE ID", "wait for the end of a job, and print its result", wait},
	{"cancel", "QUEUE [ID...]", "end jobs that wait, run or are due later: by ID or filter", cancel},
	{"run-now", "QUEUE ID", "run a job now that is due later", runNow},
	{"reschedule", "QUEUE ID TIME", "make a job that is due later due at another time", reschedule},
	{"copy", "QUEUE ID", "enqueue a copy of a job, corrected by -set or -payload", enqueueCopy},
	{"requeue", "QUEUE [ID...]", "let dead jobs run again: by ID or filter", requeue},
	{"delete", "QUEUE [ID...]", "remove dead jobs for ever: by ID or filter", deleteDead},
	{"workers", "QUEUE", "who works on the queue, and on what", workers},
	{"quiet-worker", "QUEUE WORKER", "let a worker take nothing new", quietWorker},
	{"resume-worker", "QUEUE WORKER", "end quiet-worker", resumeWorker},
	{"stop-worker", "QUEUE WORKER", "let a worker finish and stop", stopWorker},
	{"pause", "QUEUE", "hand out nothing, to any worker", pause},
	{"resume", "QUEUE", "end a pause", resume},
}

// run is the program; it returns its exit code.
func run(ctx context.Context, args []string, out, errs io.Writer, dial dialer) int {
	in := &inspector{cfg: configFromEnv(), out: out, err: errs, dial: dial}
	defer in.close()
	err := in.dispatch(ctx, args)
	wrong, isUsage := errors.AsType[*usageError](err)
	switch {
	case err == nil:
		return 0
	case isUsage:
		fmt.Fprintf(errs, "inspect: %s\n", wrong)
		return 2
	}
	fmt.Fprintf(errs, "inspect: %s\n", in.explain(err))
	return 1
}

func (in *inspector) dispatch(ctx context.Context, args []string) error {
	top := flag.NewFlagSet("inspect", flag.ContinueOnError)
	demonstrate := top.Bool("demo", false, "show all of it on a server in this process")
	stay := top.Bool("stay", false, "with -demo: go on until Ctrl-C, for you to try it from another terminal")
	in.cfg.define(top)
	top.SetOutput(io.Discard)
	err := top.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		printUsage(in.out, top)
		return nil
	case err != nil:
		return &usageError{text: err.Error(), see: "inspect -h"}
	case *demonstrate:
		return demo(ctx, in.out, *stay)
	case top.NArg() == 0:
		printUsage(in.err, top)
		return &usageError{text: "what to do?", see: "inspect -demo, or one of the commands above"}
	}
	for _, c := range commands {
		if c.name == top.Arg(0) {
			return in.do(ctx, c, top.Args()[1:])
		}
	}
	return &usageError{text: fmt.Sprintf("no command %q", top.Arg(0)), see: "inspect -h"}
}

// do parses what follows the command's name, and does it.
func (in *inspector) do(ctx context.Context, c command, args []string) error {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	act := c.setup(fs)
	in.cfg.define(fs)
	fs.SetOutput(io.Discard)
	args, err := parseMixed(fs, args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(in.out, "usage: inspect %s %s [flags]\n\n%s\n\n", c.name, c.args, c.about)
		fs.SetOutput(in.out)
		fs.PrintDefaults()
		return nil
	}
	if err != nil {
		err = &usageError{text: err.Error()}
	} else if err = c.checkArgs(args); err == nil {
		err = act(ctx, in, args)
	}
	if wrong, ok := errors.AsType[*usageError](err); ok {
		return &usageError{text: c.name + ": " + wrong.text, see: "inspect " + c.name + " -h"}
	}
	return err
}

// checkArgs compares what was given with the words of c.args.
func (c command) checkArgs(args []string) error {
	want, any := strings.Fields(c.args), false
	if n := len(want); n > 0 && want[n-1] == "[ID...]" {
		want, any = want[:n-1], true
	}
	if len(args) < len(want) {
		return misused("%s is missing", want[len(args)])
	}
	if len(args) > len(want) && !any {
		return misused("%q is too much", args[len(want)])
	}
	return nil
}

// parseMixed parses flags before, between and after the arguments, as people type
// them. What follows a -- is no flag.
func parseMixed(fs *flag.FlagSet, args []string) (rest []string, err error) {
	for {
		if err := fs.Parse(args); err != nil {
			return nil, err
		}
		if fs.NArg() == 0 {
			return rest, nil
		}
		if n := len(args) - fs.NArg(); n > 0 && args[n-1] == "--" {
			return append(rest, fs.Args()...), nil
		}
		rest, args = append(rest, fs.Arg(0)), fs.Args()[1:]
	}
}

func printUsage(out io.Writer, top *flag.FlagSet) {
	fmt.Fprint(out, "usage: inspect [flags] COMMAND [arguments and flags]\n\ncommands:\n")
	t := newTable(out)
	for _, c := range commands {
		t.row("  "+strings.TrimSpace(c.name+" "+c.args), c.about)
	}
	t.flush()
	fmt.Fprint(out, "\nflags:\n")
	top.SetOutput(out)
	top.PrintDefaults()
}
