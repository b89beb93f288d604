// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

// Command leader lets three candidates run for leader. Each leader stops after a
// while, in order, and the next one leads within milliseconds; an observer that
// is no candidate sees it all. It takes a second.
//
//	go run ./examples/leader
package main

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetjobs/jetjobs/hosting/natsd"
	"github.com/jetjobs/jetjobs/lock"
)

func main() {
	log.SetFlags(0)
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	quiet := slog.New(slog.DiscardHandler)
	srv, err := natsd.Start(natsd.Options{Logger: quiet})
	if err != nil {
		return err
	}
	defer srv.Close()
	open := func(owner string) (*lock.Locker, error) {
		nc, err := srv.Connect() // each has a connection of its own, as if it were a process
		if err != nil {
			return nil, err
		}
		js, err := jetstream.New(nc)
		if err != nil {
			return nil, err
		}
		return lock.Open(ctx, js, lock.Options{Owner: owner, TTL: 5 * time.Second, Logger: quiet})
	}

	var wg sync.WaitGroup
	for _, name := range []string{"ada", "grace", "barbara"} {
		locks, err := open(name)
		if err != nil {
			return err
		}
		c := &candidate{name: name}
		if c.election, err = lock.NewElection(locks, "scheduler", c.lead, lock.ElectionOptions{}); err != nil {
			return err
		}
		wg.Go(func() { c.run(ctx) })
	}

	watching, stop := context.WithCancel(ctx)
	defer stop()
	locks, err := open("observer")
	if err != nil {
		return err
	}
	var observer sync.WaitGroup
	observer.Go(func() { observe(watching, locks) })
	wg.Wait()
	stop()
	observer.Wait()
	fmt.Println("nobody is left")
	return nil
}

// A candidate leads once, for a while, and then stops.
type candidate struct {
	name     string
	election *lock.Election
	stop     context.CancelFunc
}

func (c *candidate) run(ctx context.Context) {
	ctx, c.stop = context.WithCancel(ctx)
	if err := c.election.Run(ctx); err != nil {
		fmt.Printf("%s: %v\n", c.name, err)
	}
}

// lead is what only one may do. Its term is a fence: give it to whatever it
// writes to.
func (c *candidate) lead(ctx context.Context, term lock.Fence) error {
	fmt.Printf("%s leads in term %d\n", c.name, term)
	time.AfterFunc(300*time.Millisecond, c.stop) // as a deploy would
	<-ctx.Done()
	fmt.Printf("%s resigns\n", c.name)
	return nil
}

// observe prints how long there was no leader.
func observe(ctx context.Context, locks *lock.Locker) {
	first := true
	var vacant time.Time // zero: there was a leader when last seen, or never one
	for leader, err := range locks.Watch(ctx, "scheduler") {
		switch {
		case err != nil:
			fmt.Println("observer:", err)
		case !leader.Held() && first:
			fmt.Println("observer: nobody leads")
		case !leader.Held():
			vacant = time.Now()
		case vacant.IsZero():
			fmt.Printf("observer: %s leads\n", leader.Owner)
		default:
			fmt.Printf("observer: %s leads, after %s without a leader\n", leader.Owner, time.Since(vacant).Round(100*time.Microsecond))
			vacant = time.Time{}
		}
		first = false
	}
}
