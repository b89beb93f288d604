// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

// Command cron runs one job every two seconds in three processes, once at each
// tick. It kills the process that plans the ticks and shows that none is missed
// and none comes twice. It takes some twenty seconds.
//
//	go run ./examples/cron
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetjobs/jetjobs/hosting"
	"github.com/jetjobs/jetjobs/hosting/cron"
	"github.com/jetjobs/jetjobs/hosting/natsd"
	"github.com/jetjobs/jetjobs/jobs"
)

const (
	every     = 2 * time.Second
	leaderTTL = 2 * time.Second
	killAfter = 3 // ticks
	ticks     = 9
)

func main() {
	log.SetFlags(0)
	var err error
	if len(os.Args) == 4 && os.Args[1] == "host" {
		err = host(os.Args[2], os.Args[3])
	} else {
		err = demonstrate()
	}
	if err != nil {
		log.Fatal(err)
	}
}

// host is what a process of yours would do: connect, add the schedule, run. It
// stops when its standard input ends.
func host(url, name string) error {
	nc, err := nats.Connect(url, nats.MaxReconnects(-1))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	quiet := slog.New(slog.DiscardHandler)
	fleet, err := cron.OpenFleet(ctx, js, cron.FleetOptions{Host: name, LeaderTTL: leaderTTL, Logger: quiet})
	if err != nil {
		return err
	}
	report := func(ctx context.Context) error {
		info, _ := jobs.FromContext(ctx) // the ID is the name and the tick
		_, tick, _ := strings.Cut(info.ID, "@")
		fmt.Println(tick)
		return nil
	}
	h := hosting.New(hosting.Options{Logger: quiet})
	// Skip, the default, would leave out ticks that come together after a change
	// of leader.
	h.AddDistributedCron(fleet, "*/2 * * * * *", "report", jobs.ErrFunc(report), cron.FleetJobOptions{Overlap: cron.Queue})
	return h.Run(ctx)
}

// A process is one of the hosts.
type process struct {
	name  string
	cmd   *exec.Cmd
	stdin io.Closer
}

// An event is a tick that a host has run.
type event struct {
	by   *process
	tick time.Time
	at   time.Time
}

func demonstrate() error {
	srv, err := natsd.Start(natsd.Options{Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer srv.Close()
	// A fleet that does not run is the control of what others run.
	control, err := cron.OpenFleet(context.Background(), srv.JetStream(), cron.FleetOptions{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	events := make(chan event, 100)
	var all []*process
	for number := range 3 {
		p, err := start(fmt.Sprint("process ", number+1), srv.URL(), events)
		if err != nil {
			return err
		}
		defer p.cmd.Wait()
		defer p.stdin.Close()
		all = append(all, p)
	}
	return watch(control, all, events)
}

func start(name, url string, events chan<- event) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{name: name, cmd: exec.Command(exe, "host", url, name)}
	p.cmd.Stderr = os.Stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if tick, err := time.Parse(time.RFC3339, lines.Text()); err == nil {
				events <- event{p, tick, time.Now()}
			}
		}
	}()
	return p, p.cmd.Start()
}

// watch prints what the hosts do, kills the leader, and counts.
func watch(control *cron.Fleet, all []*process, events <-chan event) error {
	seen := map[time.Time]int{}
	var first, last time.Time
	limit := time.After(2 * time.Minute)
	for len(seen) < ticks {
		var e event
		select {
		case e = <-events:
		case <-limit:
			return errors.New("the hosts have stopped working")
		}
		fmt.Printf("%s ran the tick of %s, %4d ms after it\n", e.by.name, e.tick.Format("15:04:05"), e.at.Sub(e.tick).Milliseconds())
		if seen[e.tick]++; first.IsZero() || e.tick.Before(first) {
			first = e.tick
		}
		if e.tick.After(last) {
			last = e.tick
		}
		if len(seen) == killAfter && e.by != nil {
			if err := killLeader(control, all); err != nil {
				return err
			}
		}
	}
	missed, doubled := 0, 0
	for tick := first; !tick.After(last); tick = tick.Add(every) {
		switch n := seen[tick]; {
		case n == 0:
			missed++
		case n > 1:
			doubled++
		}
	}
	fmt.Printf("%d ticks, %d missed, %d doubled\n", len(seen), missed, doubled)
	return nil
}

func killLeader(control *cron.Fleet, all []*process) error {
	leader, err := control.Leader(context.Background())
	if err != nil {
		return err
	}
	for _, p := range all {
		if p.name == leader.Owner {
			fmt.Printf("kill -9 %s, which plans the ticks; the next one does so after %s\n", p.name, leaderTTL)
			return p.cmd.Process.Kill()
		}
	}
	return fmt.Errorf("the leader %q is none of ours", leader.Owner)
}
