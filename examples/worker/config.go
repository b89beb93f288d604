// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"
)

// config is what can be set from outside: by flags, whose defaults are environment variables.
type config struct {
	natsURL, natsUser, natsPassword string
	natsListen, dir                 string
	listen, logFormat               string
	replicas, concurrency, demo     int
	grace                           time.Duration
	setup                           bool
}

func readConfig() (config, error) {
	var c config
	var wrong []error
	text := func(to *string, name, variable, fallback, usage string) {
		if value, ok := os.LookupEnv(variable); ok {
			fallback = value
		}
		flag.StringVar(to, name, fallback, usage+" ($"+variable+")")
	}
	number := func(to *int, name, variable string, fallback int, usage string) {
		if value := os.Getenv(variable); value != "" {
			n, err := strconv.Atoi(value)
			if err != nil {
				wrong = append(wrong, fmt.Errorf("%s is %q: want a number", variable, value))
			}
			fallback = n
		}
		flag.IntVar(to, name, fallback, usage+" ($"+variable+")")
	}
	text(&c.natsURL, "nats", "NATS_URL", "", "servers, comma-separated; empty starts one in this process")
	text(&c.natsUser, "nats-user", "NATS_USER", "", "user name for the servers")
	c.natsPassword = os.Getenv("NATS_PASSWORD") // not a flag: others could see it
	text(&c.natsListen, "nats-listen", "NATS_LISTEN", "", "where the server in this process listens")
	text(&c.dir, "dir", "DATA_DIR", "", "data directory of the server in this process; empty for a temporary one")
	text(&c.listen, "listen", "LISTEN", "127.0.0.1:8080", "where /healthz, /readyz and /statusz are; empty for nowhere")
	text(&c.logFormat, "log", "LOG_FORMAT", "text", "text or json")
	number(&c.replicas, "replicas", "REPLICAS", 0, "replicas of a queue that is created: 1, 3 or 5")
	number(&c.concurrency, "concurrency", "CONCURRENCY", 8, "handlers at a time")
	number(&c.demo, "demo", "DEMO", 0, "emails to enqueue at the start")
	flag.BoolVar(&c.setup, "setup", false, "create the queue and end; for an operator where workers may not")
	var grace string
	text(&grace, "grace", "GRACE", "25s", "how long work may go on after SIGTERM")
	flag.Parse()

	var err error
	if c.grace, err = time.ParseDuration(grace); err != nil {
		wrong = append(wrong, fmt.Errorf("GRACE is %q: want a duration such as 25s", grace))
	}
	if c.logFormat != "text" && c.logFormat != "json" {
		wrong = append(wrong, fmt.Errorf("LOG_FORMAT is %q: want text or json", c.logFormat))
	}
	if c.concurrency < 1 {
		wrong = append(wrong, fmt.Errorf("CONCURRENCY is %d: want at least 1", c.concurrency))
	}
	return c, errors.Join(wrong...)
}

func (c config) logger() *slog.Logger {
	if c.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stdout, nil))
	}
	return slog.New(slog.NewTextHandler(os.Stdout, nil))
}
