// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

// What two writes to the bucket cost, with nothing around them: the floor of an
// acquisition and a release.
func BenchmarkRawTwoRequests(b *testing.B) {
	e := natstest.Start(b)
	locks := openLocks(b, e.JetStream(), Options{})
	ctx := context.Background()
	write := func(expect uint64, header string, data []byte) uint64 {
		m := nats.NewMsg("$KV.jobs_locks.lock.x")
		m.Header.Set("Nats-Expected-Last-Subject-Sequence", fmt.Sprint(expect))
		m.Header.Set("Nats-TTL", "30s")
		if header != "" {
			m.Header.Set("KV-Operation", header)
		}
		m.Data = data
		ack, err := locks.c.js.PublishMsg(ctx, m)
		require.NoError(b, err)
		return ack.Sequence
	}
	data := locks.c.newClaim(locks.ref("x"), defaultTTL).record.encode()
	var rev uint64
	for b.Loop() {
		rev = write(rev, "", data)
		rev = write(rev, "PURGE", nil)
	}
}

// What nats.go's own key-value interface makes of the same: Create over the
// tombstone asks twice more.
func BenchmarkKeyValueCreateDelete(b *testing.B) {
	e := natstest.Start(b)
	openLocks(b, e.JetStream(), Options{})
	ctx := context.Background()
	kv, err := e.JetStream().KeyValue(ctx, "jobs_locks")
	require.NoError(b, err)
	for b.Loop() {
		rev, err := kv.Create(ctx, "lock.x", []byte("me"), jetstream.KeyTTL(30*time.Second))
		require.NoError(b, err)
		require.NoError(b, kv.Delete(ctx, "lock.x", jetstream.LastRevision(rev)))
	}
}

func BenchmarkAcquireRelease(b *testing.B) {
	e := natstest.Start(b)
	locks := openLocks(b, e.JetStream(), Options{})
	for b.Loop() {
		release(b, acquire(b, locks, "x"))
	}
}

func BenchmarkDo(b *testing.B) {
	e := natstest.Start(b)
	locks := openLocks(b, e.JetStream(), Options{})
	for b.Loop() {
		require.NoError(b, locks.Do(context.Background(), "x", func(context.Context, Fence) error { return nil }))
	}
}

// From the call of Release in one process to the return of Acquire in another.
func BenchmarkHandOver(b *testing.B) {
	for _, waiters := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("waiters=%d", waiters), func(b *testing.B) {
			e := natstest.Start(b)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			var wg sync.WaitGroup
			var released time.Time // the lock guards these
			var took []time.Duration
			locks := openLocks(b, e.JetStream(), Options{})
			first := acquire(b, locks, "x")
			for range waiters {
				l := openLocks(b, e.NewJetStream(), Options{})
				wg.Go(func() {
					for ctx.Err() == nil {
						lease, err := l.Acquire(ctx, "x")
						if err != nil {
							return
						}
						took = append(took, time.Since(released))
						if len(took) == b.N {
							cancel()
						}
						time.Sleep(time.Millisecond) // so that all wait again
						released = time.Now()
						lease.Release(context.Background())
					}
				})
			}
			time.Sleep(100 * time.Millisecond)
			b.ResetTimer()
			released = time.Now()
			release(b, first)
			wg.Wait()
			slices.Sort(took)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}

// A hundred contenders in ten processes; an operation is a visit.
func BenchmarkHundredContenders(b *testing.B) {
	e := natstest.Start(b)
	room := newRoom(b)
	var wg sync.WaitGroup
	visits := make(chan struct{})
	for p := range 10 {
		locks := openLocks(b, e.NewJetStream(), Options{})
		for i := range 10 {
			who := fmt.Sprintf("%d/%d", p, i)
			wg.Go(func() {
				for range visits {
					err := locks.Do(context.Background(), "x", func(ctx context.Context, fence Fence) error {
						room.enter(ctx, who, fence)
						room.leave(who)
						return nil
					})
					if err != nil {
						b.Error(err)
					}
				}
			})
		}
	}
	for b.Loop() {
		visits <- struct{}{}
	}
	close(visits)
	wg.Wait()
}

func BenchmarkThrottle(b *testing.B) {
	e := natstest.Start(b)
	throttle := openLocks(b, e.JetStream(), Options{}).Throttle("x", 1_000_000_000, time.Second)
	for b.Loop() {
		require.NoError(b, throttle.Wait(context.Background()))
	}
}
