// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package cron_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"time"

	"github.com/jetjobs/jetjobs/hosting/cron"
	"github.com/jetjobs/jetjobs/hosting/natsd"
	"github.com/jetjobs/jetjobs/jobs"
)

// A schedule can be tried before it is used: here the night in which a zone's clock
// jumps from two to three.
func ExampleParse() {
	s, err := cron.Parse("30 2 * * *", "Europe/Paris")
	if err != nil {
		log.Fatal(err)
	}
	for _, next := range s.NextN(time.Date(2026, 3, 28, 0, 0, 0, 0, time.UTC), 3) {
		fmt.Println(next.Format("Mon 2 Jan 15:04 MST"))
	}
	_, err = cron.Parse("30 25 * * *", "Europe/Paris")
	fmt.Println(err)
	// Output:
	// Sat 28 Mar 02:30 CET
	// Sun 29 Mar 03:00 CEST
	// Mon 30 Mar 02:30 CEST
	// cron: schedule "30 25 * * *": hour "25" (position 4): end of range (25) above maximum (23): 25
}

// A fleet runs a job once in all processes that add it, and any process can trigger it.
func ExampleFleet() {
	quiet := slog.New(slog.DiscardHandler)
	srv, err := natsd.Start(natsd.Options{Logger: quiet}) // or connect to a cluster
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	ctx, stop := context.WithCancel(context.Background())
	fleet, err := cron.OpenFleet(ctx, srv.JetStream(), cron.FleetOptions{Host: "web-1", Logger: quiet})
	if err != nil {
		log.Fatal(err)
	}
	report := jobs.Func(func(context.Context) jobs.Result { return jobs.SucceededWith("12 pages") })
	if err := fleet.Add("0 3 * * *", "report", report, cron.FleetJobOptions{}); err != nil {
		log.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- fleet.RunContinuous(ctx) }()

	control, err := cron.OpenFleet(ctx, srv.JetStream(), cron.FleetOptions{Logger: quiet}) // in any process
	if err != nil {
		log.Fatal(err)
	}
	handle, err := control.Trigger(ctx, "report")
	for err != nil { // until web-1 has registered it
		time.Sleep(10 * time.Millisecond)
		handle, err = control.Trigger(ctx, "report")
	}
	run, err := handle.Wait(ctx)
	fmt.Println(run.Outcome, run.Message, run.Host, err)
	stop()
	fmt.Println(<-ended)
	// Output:
	// succeeded 12 pages web-1 <nil>
	// <nil>
}
