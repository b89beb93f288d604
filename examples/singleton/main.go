// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

// Command singleton runs one job in three processes, never in two at a time. It
// kills the process that is at it, and shows who takes over, when, and why what
// the dead one may still have sent does no harm. It takes some five seconds.
//
//	go run ./examples/singleton
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
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetjobs/jetjobs/hosting/natsd"
	"github.com/jetjobs/jetjobs/jobs"
	"github.com/jetjobs/jetjobs/lock"
)

// ttl is how long the lock outlives a process that has crashed.
const ttl = 2 * time.Second

func main() {
	log.SetFlags(0)
	var err error
	if len(os.Args) == 3 && os.Args[1] == "worker" {
		err = worker(os.Args[2])
	} else {
		err = demonstrate()
	}
	if err != nil {
		log.Fatal(err)
	}
}

// worker is what a process of yours would do: connect, and run the job under its
// lock. It stops when its standard input ends.
func worker(url string) error {
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
	locks, err := lock.Open(ctx, js, lock.Options{TTL: ttl})
	if err != nil {
		return err
	}
	// Each run waits for its turn. Without Wait it would be cancelled while
	// another is at it, and tried again later.
	report := lock.NewJob(locks, "report", jobs.ErrFunc(writeReport), lock.Wait(time.Minute))
	runner, err := jobs.NewRunner(report, jobs.Options{
		Name: "report", Interval: 100 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	return runner.Run(ctx)
}

func writeReport(ctx context.Context) error {
	fence, _ := lock.FenceFromContext(ctx)
	fmt.Println("begins", uint64(fence))
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(300 * time.Millisecond):
	}
	fmt.Println("ends", uint64(fence))
	return nil
}

// A process is one of the workers.
type process struct {
	number int
	cmd    *exec.Cmd
	stdin  io.Closer
}

// An event is a line that a worker has printed.
type event struct {
	by    *process
	what  string // begins or ends
	fence uint64
}

func demonstrate() error {
	srv, err := natsd.Start(natsd.Options{Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer srv.Close()

	events := make(chan event)
	for number := range 3 {
		p, err := start(number+1, srv.URL(), events)
		if err != nil {
			return err
		}
		defer p.cmd.Wait()
		defer p.stdin.Close()
	}
	return watch(events)
}

func start(number int, url string, events chan<- event) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{number: number, cmd: exec.Command(exe, "worker", url)}
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
			e := event{by: p}
			fmt.Sscan(lines.Text(), &e.what, &e.fence)
			events <- e
		}
	}()
	return p, p.cmd.Start()
}

// watch prints what the workers do, kills the one that begins the fourth run, and
// returns after the seventh.
func watch(events <-chan event) error {
	var running, killed event
	var when time.Time
	limit := time.After(time.Minute)
	for runs := 0; runs < 7; {
		var e event
		select {
		case e = <-events:
		case <-limit:
			return errors.New("the workers have stopped working")
		}
		if e.what == "ends" {
			running = event{}
			continue
		}
		if running.by != nil && running.by != killed.by {
			return fmt.Errorf("processes %d and %d run at the same time", running.by.number, e.by.number)
		}
		running = e
		runs++
		fmt.Printf("process %d runs the job, fence %d\n", e.by.number, e.fence)
		switch {
		case runs == 4:
			killed, when = e, time.Now()
			fmt.Printf("kill -9 process %d\n", e.by.number)
			if err := e.by.cmd.Process.Kill(); err != nil {
				return err
			}
		case runs == 5:
			fmt.Printf("it took over after %.1f s: the lock outlives a crash by its TTL, %s\n", time.Since(when).Seconds(), ttl)
			fmt.Printf("what process %d may still have sent has fence %d, and is refused by whoever has seen %d\n",
				killed.by.number, killed.fence, e.fence)
		}
	}
	fmt.Println("done")
	return nil
}
