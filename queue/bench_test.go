// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/queue"
)

// The benchmarks run the queue and, in the same process and on a stream of the
// same configuration, the shortest program on nats.go with the same effect, with
// all its messages on one subject (raw) or, as the queue's, on a subject each
// (raw+subjects):
//
//	go test ./queue -run '^$' -bench . -count 6 | benchstat -col /by -
var payload = strings.Repeat("x", 198)

func quiet(o queue.Options) queue.Options {
	o.Logger = slog.New(slog.DiscardHandler)
	return o
}

// A rig is a queue and a raw stream like it on one server.
type rig struct {
	q   *queue.Queue[string]
	js  jetstream.JetStream
	raw jetstream.Consumer
}

// newRig has a server in a process of its own, as in production.
func newRig(b *testing.B) rig { return newRigOn(b, natstest.StartProcess(b)) }

func newRigOn(b *testing.B, server *natstest.ServerProcess) rig {
	ctx := b.Context()
	js := server.JetStream()

	q, err := queue.Open[string](ctx, js, "bench", quiet(queue.Options{}))
	require.NoError(b, err)
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{
		Name: "raw", Subjects: []string{"raw.>"}, Retention: jetstream.WorkQueuePolicy,
		AllowDirect: true, AllowMsgTTL: true, AllowMsgSchedules: true, AllowAtomicPublish: true,
	})
	require.NoError(b, err)
	raw, err := js.CreateConsumer(ctx, "raw", jetstream.ConsumerConfig{
		Durable: "raw", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: -1,
	})
	require.NoError(b, err)
	return rig{q, js, raw}
}

var rawData = []byte(`"` + payload + `"`)

// oneSubject and ownSubjects name the subject of a raw message.
func oneSubject() string { return "raw.job" }

var lastSubject atomic.Int64

func ownSubjects() string {
	return "raw.job." + strconv.FormatInt(1_000_000_000_000_000_000+lastSubject.Add(1), 10)
}

func BenchmarkEnqueue(b *testing.B) {
	raw := func(subject func() string) func(*testing.B) {
		return func(b *testing.B) {
			r := newRig(b)
			b.SetParallelism(32) // 64 callers on two cores
			b.ReportAllocs()
			defer clientCPU(b)()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := r.js.Publish(b.Context(), subject(), rawData); err != nil {
						b.Error(err)
					}
				}
			})
		}
	}
	b.Run("by=raw", raw(oneSubject))
	b.Run("by=raw+subjects", raw(ownSubjects))
	b.Run("by=queue", func(b *testing.B) {
		r := newRig(b)
		b.SetParallelism(32)
		b.ReportAllocs()
		defer clientCPU(b)()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := r.q.Enqueue(b.Context(), payload); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// BenchmarkEnqueueSynced is BenchmarkEnqueue on a server that syncs every write
// to disk, with more and more callers.
func BenchmarkEnqueueSynced(b *testing.B) {
	for _, callers := range []int{1, 8, 64, 512} {
		b.Run("callers="+strconv.Itoa(callers)+"/by=raw", func(b *testing.B) {
			r := newRigOn(b, natstest.StartSyncingProcess(b))
			parallel(b, callers, func() error {
				_, err := r.js.Publish(b.Context(), "raw.job", rawData)
				return err
			})
		})
		b.Run("callers="+strconv.Itoa(callers)+"/by=queue", func(b *testing.B) {
			r := newRigOn(b, natstest.StartSyncingProcess(b))
			parallel(b, callers, func() error {
				_, err := r.q.Enqueue(b.Context(), payload)
				return err
			})
		})
	}
}

// parallel does something b.N times by so many callers.
func parallel(b *testing.B, callers int, do func() error) {
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				if err := do(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	group.Wait()
}

func (r rig) fillRaw(b *testing.B, n int, subject func() string) {
	for range n {
		_, err := r.js.PublishAsync(subject(), rawData)
		require.NoError(b, err)
	}
	<-r.js.PublishAsyncComplete()
}

// fillQueue enqueues one by one, so that no job has the headers of a batch.
func (r rig) fillQueue(b *testing.B, n int) {
	var left atomic.Int64
	left.Store(int64(n))
	var callers sync.WaitGroup
	for range 256 {
		callers.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := r.q.Enqueue(b.Context(), payload); err != nil {
					b.Error(err)
				}
			}
		})
	}
	callers.Wait()
}

func (r rig) fillMany(b *testing.B, n int) {
	values := make([]string, n)
	for i := range values {
		values[i] = payload
	}
	_, err := r.q.EnqueueMany(b.Context(), queue.Items(values))
	require.NoError(b, err)
}

func BenchmarkEnqueueMany(b *testing.B) {
	raw := func(subject func() string) func(*testing.B) {
		return func(b *testing.B) {
			r := newRig(b)
			b.ReportAllocs()
			for b.Loop() {
				batch := make([]*nats.Msg, 1000)
				for i := range batch {
					batch[i] = &nats.Msg{Subject: subject(), Data: rawData, Header: nats.Header{}}
				}
				if _, err := jetstreamext.PublishMsgBatch(b.Context(), r.js, batch); err != nil {
					b.Error(err)
				}
			}
			b.ReportMetric(float64(b.N*1000)/b.Elapsed().Seconds(), "jobs/s")
		}
	}
	b.Run("by=raw", raw(oneSubject))
	b.Run("by=raw+subjects", raw(ownSubjects))
	b.Run("by=queue", func(b *testing.B) {
		r := newRig(b)
		b.ReportAllocs()
		for b.Loop() {
			r.fillMany(b, 1000)
		}
		b.ReportMetric(float64(b.N*1000)/b.Elapsed().Seconds(), "jobs/s")
	})
}

// clientCPU reports the processor time of this process, in which the server is
// not, for each job; unlike the time that passes it does not depend on what else
// the machine does.
func clientCPU(b *testing.B) (report func()) {
	before := cpuTime()
	return func() { b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/float64(b.N), "client-ns/op") }
}

// drainSlots is how many handlers run at a time.
const drainSlots = 100

// BenchmarkDrain works on jobs that are there already, with handlers that do
// nothing. The queue decodes a JSON value for each; raw leaves the bytes alone,
// raw+json decodes them too.
func BenchmarkDrain(b *testing.B) {
	raw := func(subject func() string, handle func([]byte)) func(*testing.B) {
		return func(b *testing.B) {
			r := newRig(b)
			r.fillRaw(b, b.N, subject)
			b.ReportAllocs()
			b.ResetTimer()
			defer clientCPU(b)()
			r.drainRaw(b, b.N, handle)
		}
	}
	ignore := func([]byte) {}
	decode := func(data []byte) {
		var v string
		if err := json.Unmarshal(data, &v); err != nil {
			b.Error(err)
		}
	}
	b.Run("by=raw", raw(oneSubject, ignore))
	b.Run("by=raw+subjects", raw(ownSubjects, ignore))
	b.Run("by=raw+json", raw(oneSubject, decode))
	b.Run("by=queue", func(b *testing.B) {
		r := newRig(b)
		r.fillQueue(b, b.N)
		b.ReportAllocs()
		b.ResetTimer()
		defer clientCPU(b)()
		r.drainQueue(b, b.N)
	})
}

// drainRaw consumes with as many goroutines as the queue has slots.
func (r rig) drainRaw(b *testing.B, n int, handle func([]byte)) {
	var left atomic.Int64
	left.Store(int64(n))
	done := make(chan struct{})
	work := make(chan jetstream.Msg, 4096)
	var slots sync.WaitGroup
	for range drainSlots {
		slots.Go(func() {
			for m := range work {
				handle(m.Data())
				if err := m.Ack(); err != nil {
					b.Error(err)
				}
				if left.Add(-1) == 0 {
					close(done)
				}
			}
		})
	}
	consuming, err := r.raw.Consume(func(m jetstream.Msg) { work <- m }, jetstream.PullMaxMessages(4096))
	require.NoError(b, err)
	<-done
	consuming.Stop()
	<-consuming.Closed()
	close(work)
	slots.Wait()
	require.NoError(b, r.js.Conn().Flush())
}

func (r rig) drainQueue(b *testing.B, n int) {
	ctx, stop := context.WithCancel(b.Context())
	var left atomic.Int64
	left.Store(int64(n))
	job := queue.NewJob(r.q, func(context.Context, *queue.Entry[string]) error {
		if left.Add(-1) == 0 {
			stop()
		}
		return nil
	}, queue.JobOptions{Concurrency: drainSlots})
	require.NoError(b, job.RunContinuous(ctx))
}

// BenchmarkEndToEnd is the time from the enqueuing of a single job to the start
// of its handler, on an idle queue.
func BenchmarkEndToEnd(b *testing.B) {
	b.Run("by=raw", func(b *testing.B) {
		r := newRig(b)
		started := make(chan struct{})
		consuming, err := r.raw.Consume(func(m jetstream.Msg) {
			started <- struct{}{}
			if err := m.Ack(); err != nil {
				b.Error(err)
			}
		})
		require.NoError(b, err)
		for b.Loop() {
			if _, err := r.js.Publish(b.Context(), "raw.job", rawData); err != nil {
				b.Fatal(err)
			}
			<-started
		}
		consuming.Stop()
		<-consuming.Closed()
	})
	b.Run("by=queue", func(b *testing.B) {
		r := newRig(b)
		started := make(chan struct{})
		ctx, stop := context.WithCancel(b.Context())
		var worker sync.WaitGroup
		worker.Go(func() {
			job := queue.NewJob(r.q, func(context.Context, *queue.Entry[string]) error {
				started <- struct{}{}
				return nil
			}, queue.JobOptions{Concurrency: drainSlots})
			if err := job.RunContinuous(ctx); err != nil {
				b.Error(err)
			}
		})
		for b.Loop() {
			if _, err := r.q.Enqueue(b.Context(), payload); err != nil {
				b.Fatal(err)
			}
			<-started
		}
		stop()
		worker.Wait()
	})
}
