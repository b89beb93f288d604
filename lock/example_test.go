// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"time"

	"github.com/jetjobs/jetjobs/hosting/natsd"
	"github.com/jetjobs/jetjobs/jobs"
	"github.com/jetjobs/jetjobs/lock"
)

// locker opens locks on a server in this process. To use a cluster, connect to it
// and give Open that connection's JetStream.
func locker(opts lock.Options) (locks *lock.Locker, stop func()) {
	srv, err := natsd.Start(natsd.Options{})
	if err != nil {
		log.Fatal(err)
	}
	opts.Logger = slog.New(slog.DiscardHandler)
	locks, err = lock.Open(context.Background(), srv.JetStream(), opts)
	if err != nil {
		log.Fatal(err)
	}
	return locks, srv.Close
}

// A table is what a lock protects. It refuses what comes with a smaller fence than
// it has seen, as in UPDATE … WHERE fence <= $1.
type table struct {
	fence lock.Fence
	state string
}

func (t *table) write(state string, fence lock.Fence) error {
	if fence < t.fence {
		return errors.New("refused: a later holder was here")
	}
	t.fence, t.state = fence, state
	return nil
}

func ExampleLocker_Do() {
	locks, stop := locker(lock.Options{})
	defer stop()
	ctx := context.Background()

	var invoices table
	var late lock.Fence
	for _, state := range []string{"sent", "paid"} {
		err := locks.Do(ctx, "invoices", func(ctx context.Context, fence lock.Fence) error {
			if late == 0 {
				late = fence
			}
			return invoices.write(state, fence)
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(invoices.state)
	// What the first holder had sent arrives now.
	fmt.Println(invoices.write("sent", late))
	// Output:
	// paid
	// refused: a later holder was here
}

func ExampleLocker_TryDo() {
	locks, stop := locker(lock.Options{Owner: "web-1"})
	defer stop()
	ctx := context.Background()

	err := locks.Do(ctx, "invoices", func(ctx context.Context, _ lock.Fence) error {
		return locks.TryDo(ctx, "invoices", func(context.Context, lock.Fence) error {
			fmt.Println("never both")
			return nil
		})
	})
	if held, ok := errors.AsType[*lock.HeldError](err); ok {
		fmt.Println("busy:", held.Owner)
	}
	// Output: busy: web-1
}

func ExampleLocker_DoAll() {
	locks, stop := locker(lock.Options{})
	defer stop()

	err := locks.DoAll(context.Background(), []string{"account-7", "account-3"},
		func(ctx context.Context, fences map[string]lock.Fence) error {
			fmt.Println("holding", len(fences), "locks, taken in byte order:", fences["account-3"] < fences["account-7"])
			return nil
		})
	if err != nil {
		log.Fatal(err)
	}
	// Output: holding 2 locks, taken in byte order: true
}

func ExampleLease() {
	locks, stop := locker(lock.Options{})
	defer stop()
	ctx := context.Background()

	lease, err := locks.Acquire(ctx, "printer", lock.TTL(time.Minute), lock.Wait(10*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	defer lease.Release(ctx)

	if err := lease.Renew(ctx); err != nil {
		log.Fatal(err) // after ErrLost the printer is somebody else's
	}
	fmt.Println("held:", lease.Held(), "for", time.Until(lease.Deadline()).Round(time.Second))

	fmt.Println("release:", lease.Release(ctx))
	fmt.Println("held:", lease.Held())
	// Output:
	// held: true for 54s
	// release: <nil>
	// held: false
}

func ExampleNewJob() {
	locks, stop := locker(lock.Options{Owner: "web-1"})
	defer stop()
	ctx := context.Background()

	report := lock.NewJob(locks, "nightly-report", jobs.ErrFunc(func(ctx context.Context) error {
		_, ok := lock.FenceFromContext(ctx)
		fmt.Println("running with a fence:", ok)
		return nil
	}))
	fmt.Println(report.Run(ctx).Outcome())

	_, err := locks.Acquire(ctx, "nightly-report")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Run(ctx).Outcome(), "while another has it")
	// Output:
	// running with a fence: true
	// succeeded
	// cancelled while another has it
}

// At most once an hour, in whichever process comes first.
func ExampleNoRelease() {
	locks, stop := locker(lock.Options{})
	defer stop()
	for range 3 {
		err := locks.TryDo(context.Background(), "hourly", func(context.Context, lock.Fence) error {
			fmt.Println("done")
			return nil
		}, lock.TTL(time.Hour), lock.NoRelease())
		fmt.Println("held:", errors.Is(err, lock.ErrHeld))
	}
	// Output:
	// done
	// held: false
	// held: true
	// held: true
}

func ExampleElection() {
	locks, stop := locker(lock.Options{Owner: "web-1"})
	defer stop()
	ctx, resign := context.WithCancel(context.Background())

	leading := make(chan bool)
	election, err := lock.NewElection(locks, "scheduler", func(ctx context.Context, term lock.Fence) error {
		leading <- true
		<-ctx.Done()
		return nil
	}, lock.ElectionOptions{})
	if err != nil {
		log.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- election.Run(ctx) }()

	fmt.Println("leading:", <-leading)
	for leader, err := range election.Observe(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		if leader.Held() {
			fmt.Println("observed:", leader.Owner)
			break
		}
	}
	resign()
	fmt.Println("stopped:", <-done)
	// Output:
	// leading: true
	// observed: web-1
	// stopped: <nil>
}

func ExampleThrottle() {
	locks, stop := locker(lock.Options{})
	defer stop()
	ctx := context.Background()

	api := locks.Throttle("weather-api", 2, time.Minute) // for all processes together
	for range 3 {
		err := api.Try(ctx)
		if throttled, ok := errors.AsType[*lock.ThrottledError](err); ok {
			fmt.Println("again in", throttled.RetryAfter.Round(time.Second))
			continue
		}
		fmt.Println("call:", err)
	}
	// Output:
	// call: <nil>
	// call: <nil>
	// again in 1m0s
}
