// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// errRefused is matched by errors that a change of the flags mends.
var errRefused = errors.New("refused")

// config is what the flags say.
type config struct {
	url, creds  string
	embedded    bool
	sync        bool
	queue       string
	jobs        int
	payload     int
	producers   int
	concurrency int
	replicas    int
	workloads   []workload
	rounds      int
	json        bool
	plain       bool
	quick, long bool
}

// minPayload has room for the number of a job.
const minPayload = 32

func readConfig(args []string) (config, error) {
	c := config{queue: "bench-" + time.Now().UTC().Format("20060102-150405")}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are told once, by main
	flags.StringVar(&c.url, "url", "", "servers, comma-separated; empty starts one on this machine")
	flags.StringVar(&c.creds, "creds", "", "credentials file for -url")
	flags.BoolVar(&c.embedded, "embedded", false, "start the server in this process, not in one of its own")
	flags.BoolVar(&c.sync, "sync", false, "have the server that is started sync every write (sync_interval: always)")
	flags.StringVar(&c.queue, "queue", c.queue, "what the queues and streams it makes are named after")
	flags.IntVar(&c.jobs, "jobs", 20_000, "jobs of a turn; some workloads take a fraction")
	flags.IntVar(&c.payload, "payload", 200, "bytes of a job")
	flags.IntVar(&c.producers, "producers", 64, "callers that enqueue at a time")
	flags.IntVar(&c.concurrency, "concurrency", 100, "handlers that run at a time")
	flags.IntVar(&c.replicas, "replicas", 1, "copies of each stream: 1, 3 or 5")
	names := flags.String("workload", "all", "names or their first words, comma-separated")
	flags.IntVar(&c.rounds, "rounds", 3, "turns of each system; slow workloads take fewer")
	flags.BoolVar(&c.plain, "plain", false, "the queue hands payloads on as they are, without JSON, as raw does")
	flags.BoolVar(&c.json, "json", false, "print JSON, with every sample")
	flags.BoolVar(&c.quick, "quick", false, "a few seconds, to see that it works: figures mean nothing")
	flags.BoolVar(&c.long, "long", false, "longer turns, and a million waiting jobs")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		help(flags)
		return c, err
	case err != nil:
		return c, fmt.Errorf("%w: %w; -help lists the flags", errRefused, err)
	}
	if c.quick {
		c.hurry(flags)
	}
	err := c.check(flags.Args())
	var unknown error
	c.workloads, unknown = selectWorkloads(*names, c)
	if err = errors.Join(err, unknown); err != nil {
		return c, fmt.Errorf("%w: %w", errRefused, err)
	}
	return c, nil
}

// hurry makes what was not asked for as small as it can be.
func (c *config) hurry(flags *flag.FlagSet) {
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if !given["jobs"] {
		c.jobs = 500
	}
	if !given["rounds"] {
		c.rounds = 1
	}
}

// queueName is what every stream may be named after.
var queueName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,48}$`)

// check reports everything that is wrong at once.
func (c *config) check(rest []string) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(rest) > 0 {
		bad("argument %q is not a flag: want only flags; -help lists them", rest[0])
	}
	for _, n := range []struct {
		flag             string
		value, low, high int
	}{
		{"jobs", c.jobs, 100, 10_000_000},
		{"payload", c.payload, minPayload, 64 << 20},
		{"producers", c.producers, 1, 10_000},
		{"concurrency", c.concurrency, 1, 10_000},
		{"rounds", c.rounds, 1, 1_000},
	} {
		if n.value < n.low || n.value > n.high {
			bad("-%s is %d: want %d to %d", n.flag, n.value, n.low, n.high)
		}
	}
	if !queueName.MatchString(c.queue) {
		bad("-queue is %q: want 1 to 48 letters, digits, - and _; leave it out for a name of its own", c.queue)
	}
	switch {
	case c.replicas != 1 && c.replicas != 3 && c.replicas != 5:
		bad("-replicas is %d: want 1, 3 or 5", c.replicas)
	case c.replicas > 1 && c.url == "":
		bad("-replicas is %d without -url: the server that is started here is alone; give the -url of a cluster, or want 1", c.replicas)
	}
	if c.url != "" && c.embedded {
		bad("-embedded is true with -url %q: want one of them", c.url)
	}
	if c.url != "" && c.sync {
		bad("-sync is true with -url %q: that server has its own sync_interval; leave -sync out", c.url)
	}
	if c.url == "" && c.creds != "" {
		bad("-creds is %q without -url: the server that is started here wants none; leave it out", c.creds)
	}
	if c.quick && c.long {
		bad("-quick is true with -long: want one of them")
	}
	return errors.Join(errs...)
}

// checkServer refuses what the server would, and names that are taken.
func (c *config) checkServer(maxPayload int64, streams jetstream.StreamNameLister) error {
	if int64(c.payload) > maxPayload {
		return fmt.Errorf("%w: -payload is %d: want at most %d, which is all that the server takes", errRefused, c.payload, maxPayload)
	}
	for name := range streams.Name() {
		if name == "jobs_q_"+c.queue || strings.HasPrefix(name, "jobs_q_"+c.queue+"-") || strings.HasPrefix(name, c.queue+"-raw-") || name == c.queue+"-anchor" {
			return fmt.Errorf("%w: -queue is %q: the server has a stream %s already, and what is there is not touched; want another name, or leave -queue out", errRefused, c.queue, name)
		}
	}
	return streams.Err()
}

// span is how long something takes that takes its time.
func (c *config) span(normal time.Duration) time.Duration {
	switch {
	case c.quick:
		return normal / 10
	case c.long:
		return normal * 4
	}
	return normal
}

// scaled is how many something is done with whose number is part of its name.
func (c *config) scaled(n int) int {
	if c.quick {
		return n / 50
	}
	return n
}

func help(flags *flag.FlagSet) {
	fmt.Fprintln(os.Stderr, "bench measures the queue beside raw JetStream. Flags:")
	flags.SetOutput(os.Stderr)
	flags.PrintDefaults()
	fmt.Fprintln(os.Stderr, "\nWorkloads:")
	for _, w := range workloads() {
		fmt.Fprintf(os.Stderr, "  %-20s %s\n", w.name, w.doc)
	}
}
