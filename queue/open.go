// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetjobs/jetjobs/internal/apilevel"
	"github.com/jetjobs/jetjobs/internal/wirename"
)

// What the stream's metadata tells about the queue.
const (
	metaVersion    = "jobs.version"
	metaPriorities = "jobs.priorities"
)

const (
	defaultLease = 30 * time.Second
	// maxWaiting is how many pulls may wait at a consumer: one for each process
	// that works. The server's default is 512, and it can't be changed later.
	maxWaiting = 8192
)

// openCore creates or verifies the queue on the server.
func openCore(ctx context.Context, js jetstream.JetStream, queue string, opts Options) (*core, error) {
	if err := errors.Join(wirename.Check("the queue's name", queue), opts.check()); err != nil {
		return nil, err
	}
	ctx, cancel := newCore(js, names{}, opts.withDefaults()).bound(ctx)
	defer cancel()
	if err := apilevel.Check(ctx, js, "message schedules, per-message TTLs and atomic batches"); err != nil {
		return nil, err
	}
	asked := opts
	opts = opts.withDefaults()
	c := newCore(js, newNames(opts.Namespace, queue), opts)

	config, err := c.openStream(ctx, asked)
	if err != nil {
		return nil, err
	}
	if c.priorities, err = strconv.Atoi(config.Metadata[metaPriorities]); err != nil || c.priorities < 1 || c.priorities > maxPriorities {
		return nil, fmt.Errorf("stream %s: metadata %s is %q: want 1 to %d; %s", c.names.stream, metaPriorities,
			config.Metadata[metaPriorities], maxPriorities, c.editPriorities(cmp.Or(asked.Priorities, 1)))
	}
	for p := range c.priorities {
		lease, err := c.openWorker(ctx, p, asked, config.Replicas)
		if err != nil {
			return nil, err
		}
		if p > 0 && lease != c.lease {
			return nil, fmt.Errorf("consumers %s and %s of stream %s have leases of %s and %s: want the same; run: %s",
				c.names.worker(0), c.names.worker(p), c.names.stream, c.lease, lease, c.editLease(p, c.lease))
		}
		c.lease = lease
	}
	return c, nil
}

// streamConfig is what Open creates.
func (c *core) streamConfig(asked Options) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:               c.names.stream,
		Description:        "jetjobs queue " + c.names.queue,
		Subjects:           []string{c.names.all()},
		Retention:          jetstream.WorkQueuePolicy,
		Storage:            asked.Storage,
		Replicas:           cmp.Or(asked.Replicas, 1),
		AllowDirect:        true,
		AllowMsgTTL:        true,
		AllowMsgSchedules:  true,
		AllowAtomicPublish: true,
		Metadata: map[string]string{
			metaVersion:    strconv.Itoa(version),
			metaPriorities: strconv.Itoa(cmp.Or(asked.Priorities, 1)),
		},
	}
}

// asking makes a request to JetStream again when it is not answered: a cluster
// in which several processes create the same thing at once loses some of the
// answers (2.15.2).
func asking[A any](ctx context.Context, request func(context.Context) (A, error)) (A, error) {
	for try := 0; ; try++ {
		one, cancel := context.WithTimeout(ctx, oneTry)
		answer, err := request(one)
		cancel()
		if err == nil || !errors.Is(unanswered(err), errUnanswered) || !pause(ctx, try) {
			return answer, err
		}
	}
}

// openStream creates the stream, or verifies the one that is there.
func (c *core) openStream(ctx context.Context, asked Options) (jetstream.StreamConfig, error) {
	want := c.streamConfig(asked)
	stream, err := asking(ctx, func(ctx context.Context) (jetstream.Stream, error) {
		stream, err := c.js.Stream(ctx, c.names.stream)
		if errors.Is(err, jetstream.ErrStreamNotFound) && asked.MustExist {
			return nil, fmt.Errorf("Options.MustExist is set, and it does not exist: %w", ErrNotFound)
		}
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			// Another process may do the same just now: the same configuration
			// again is no error for the server, another one is looked at below.
			stream, err = c.js.CreateStream(ctx, want)
			if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
				stream, err = c.js.Stream(ctx, c.names.stream)
			}
		}
		return stream, err
	})
	if err != nil {
		return want, fmt.Errorf("stream %s: %w", c.names.stream, err)
	}
	have := stream.CachedInfo().Config
	if len(have.Metadata[metaVersion]) == 0 {
		return have, fmt.Errorf("stream %s exists and is not a jetjobs queue: use another queue name or Options.Namespace", c.names.stream)
	}
	return have, c.compareStream(want, have, asked)
}

// compareStream explains each difference that matters, with the command that
// ends it.
func (c *core) compareStream(want, have jetstream.StreamConfig, asked Options) error {
	var errs []error
	differ := func(field string, want, have any, remedy string) {
		if fmt.Sprint(want) != fmt.Sprint(have) {
			errs = append(errs, fmt.Errorf("stream %s has %s %v: want %v; %s", c.names.stream, field, have, want, remedy))
		}
	}
	edit := "run: nats stream edit " + c.names.stream + " "
	recreate := "it can't be changed: let the queue run empty, then remove it with: nats stream rm " + c.names.stream
	differ("version", want.Metadata[metaVersion], have.Metadata[metaVersion], "use the jetjobs release that fits")
	if asked.Priorities != 0 {
		differ("priorities", want.Metadata[metaPriorities], have.Metadata[metaPriorities],
			"leave Options.Priorities out, or "+c.editPriorities(asked.Priorities))
	}
	if asked.Replicas != 0 {
		differ("replicas", want.Replicas, have.Replicas, edit+"--replicas "+strconv.Itoa(want.Replicas))
	}
	if !asked.MustExist || asked.Storage != 0 {
		differ("storage", want.Storage, have.Storage, "set Options.Storage to what is there, or another queue; "+recreate)
	}
	differ("retention", want.Retention, have.Retention, recreate)
	differ("subjects", want.Subjects, have.Subjects, "two namespaces collide: use another Options.Namespace")
	differ("direct get", want.AllowDirect, have.AllowDirect, edit+"--allow-direct")
	differ("message TTLs", want.AllowMsgTTL, have.AllowMsgTTL, edit+"--allow-msg-ttl")
	differ("schedules", want.AllowMsgSchedules, have.AllowMsgSchedules, edit+"--allow-schedules")
	differ("atomic batches", want.AllowAtomicPublish, have.AllowAtomicPublish, edit+"--allow-batch")
	differ("acknowledgement of publishes", false, have.NoAck, edit+"--ack")
	differ("denied deletes", false, have.DenyDelete, recreate)
	differ("a limit of a message's size", int32(-1), have.MaxMsgSize, edit+"--max-msg-size=-1")
	// A limit would drop jobs silently, the delayed ones first.
	differ("a limit of messages", int64(-1), orNone(have.MaxMsgs), edit+"--max-msgs=-1")
	differ("a limit of messages per subject", int64(-1), orNone(have.MaxMsgsPerSubject), edit+"--max-msgs-per-subject=-1")
	differ("a limit of bytes", int64(-1), orNone(have.MaxBytes), edit+"--max-bytes=-1")
	differ("a limit of age", time.Duration(0), have.MaxAge, edit+"--max-age=0s")
	return errors.Join(errs...)
}

func orNone(limit int64) int64 {
	if limit == 0 {
		return -1
	}
	return limit
}

// workerConfig is the consumer of one priority.
func (c *core) workerConfig(p int, asked Options, replicas int) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       c.names.worker(p),
		Description:   fmt.Sprintf("jetjobs queue %s, priority %d", c.names.queue, p),
		FilterSubject: c.names.lane(p),
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       cmp.Or(asked.Lease, defaultLease),
		MaxDeliver:    -1, // attempts are counted in the job, not by the server
		MaxAckPending: limitOrNone(asked.MaxRunning),
		MaxWaiting:    maxWaiting,
		Replicas:      replicas,
	}
}

// limitOrNone turns zero for no limit into the server's -1.
func limitOrNone(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

// openWorker creates the consumer of a priority, or verifies the one that is
// there, and returns the lease that it gives.
func (c *core) openWorker(ctx context.Context, p int, asked Options, replicas int) (time.Duration, error) {
	want := c.workerConfig(p, asked, replicas)
	consumer, err := asking(ctx, func(ctx context.Context) (jetstream.Consumer, error) {
		consumer, err := c.js.Consumer(ctx, c.names.stream, want.Durable)
		if errors.Is(err, jetstream.ErrConsumerNotFound) && !asked.MustExist {
			consumer, err = c.js.CreateConsumer(ctx, c.names.stream, want)
			if errors.Is(err, jetstream.ErrConsumerExists) {
				consumer, err = c.js.Consumer(ctx, c.names.stream, want.Durable)
			}
		}
		return consumer, err
	})
	if err != nil {
		return 0, fmt.Errorf("consumer %s of stream %s: %w", want.Durable, c.names.stream, err)
	}
	have := consumer.CachedInfo().Config
	if asked.MaxRunning != 0 && asked.MaxRunning != have.MaxAckPending {
		// Changed by SetMaxRunning since; that is what it is for.
		c.log.Info("the server's MaxRunning holds", "have", have.MaxAckPending, "options", asked.MaxRunning)
	}
	return have.AckWait, c.compareWorker(p, want, have, asked)
}

// compareWorker is compareStream for a consumer.
func (c *core) compareWorker(p int, want, have jetstream.ConsumerConfig, asked Options) error {
	var errs []error
	differ := func(field string, want, have any, remedy string) {
		if fmt.Sprint(want) != fmt.Sprint(have) {
			errs = append(errs, fmt.Errorf("consumer %s of stream %s has %s %v: want %v; %s",
				c.names.worker(p), c.names.stream, field, have, want, remedy))
		}
	}
	recreate := fmt.Sprintf("stop the workers and run: nats consumer rm %s %s", c.names.stream, want.Durable)
	if asked.Lease != 0 {
		differ("lease (ack wait)", want.AckWait, have.AckWait,
			"leave Options.Lease out, or stop the workers and run: "+c.editLease(p, want.AckWait))
	}
	differ("filter", want.FilterSubject, have.FilterSubject, recreate)
	differ("ack policy", want.AckPolicy, have.AckPolicy, recreate)
	differ("max deliver", want.MaxDeliver, have.MaxDeliver, recreate)
	differ("backoff", 0, len(have.BackOff), recreate)
	differ("headers only", false, have.HeadersOnly, recreate)
	return errors.Join(errs...)
}

func (c *core) editLease(p int, lease time.Duration) string {
	return fmt.Sprintf("nats consumer edit %s %s --wait=%s", c.names.stream, c.names.worker(p), lease)
}

// editPriorities gives both keys, as the command replaces all metadata.
func (c *core) editPriorities(n int) string {
	return fmt.Sprintf("run: nats stream edit %s --metadata=%s=%d --metadata=%s=%d", c.names.stream, metaVersion, version, metaPriorities, n)
}
