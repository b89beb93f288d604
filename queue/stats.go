// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Stats are the numbers of a queue, over all processes.
type Stats struct {
	Waiting int // could be taken now
	Running int // taken by a worker and not settled; crashed ones until they are taken again after their lease
	Later   int // delayed, snoozed or waiting for a retry
	Dead    int
	Done    int // retained

	// OldestWaiting is when the job was enqueued, or came due, that waits
	// longest; the zero time if none waits. What is waiting again after its
	// lease has ended does not count.
	OldestWaiting time.Time

	// MaxRunning is the limit for each priority, 0 for none.
	MaxRunning int

	// Paused tells whether the queue hands out nothing, until PausedUntil (the
	// zero time: until Resume), for PauseReason.
	Paused      bool
	PausedUntil time.Time
	PauseReason string

	// Created is when the queue was created.
	Created time.Time
}

// Lag is how long the oldest waiting job has waited, zero if none does.
func (s Stats) Lag() time.Duration {
	if s.OldestWaiting.IsZero() {
		return 0
	}
	return max(0, time.Since(s.OldestWaiting))
}

// counterLife is how long the server keeps counting after the last Stats.
const counterLife = time.Hour

// Stats asks the server for the numbers of the queue. They are not taken at one
// instant, and may be a moment behind what was just enqueued or settled. The cost does not depend on the number of jobs: the server counts as
// it goes along. Only the first call in an hour makes it count from the start
// (60 ns a job).
func (q *Queue[T]) Stats(ctx context.Context) (Stats, error) {
	ctx, cancel := q.c.bound(ctx)
	defer cancel()
	s, err := q.c.stats(ctx)
	return s, q.c.wrap("stats", err)
}

func (c *core) stats(ctx context.Context) (s Stats, err error) {
	stream, err := c.js.Stream(ctx, c.names.stream)
	if err != nil {
		return s, err
	}
	s.Created = stream.CachedInfo().Created
	for p := range c.priorities {
		consumer, err := c.js.Consumer(ctx, c.names.stream, c.names.worker(p))
		if err != nil {
			return s, err
		}
		info := consumer.CachedInfo()
		s.Waiting += int(info.NumPending)
		s.Running += info.NumAckPending
		if info.NumPending > 0 {
			at, err := c.oldestWaiting(ctx, p, info.Delivered.Stream+1)
			if err != nil {
				return s, err
			}
			if !at.IsZero() && (s.OldestWaiting.IsZero() || at.Before(s.OldestWaiting)) {
				s.OldestWaiting = at
			}
		}
		if p == 0 {
			s.MaxRunning = max(0, info.Config.MaxAckPending)
			s.setPause(info)
		}
	}
	for state, n := range map[string]*int{later: &s.Later, dead: &s.Dead, done: &s.Done} {
		if *n, err = c.count(ctx, state, stream.CachedInfo().Config.Replicas); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *Stats) setPause(info *jetstream.ConsumerInfo) {
	if s.Paused = info.Paused; !s.Paused {
		return
	}
	s.PauseReason = info.Config.Metadata[metaPauseReason]
	if until := info.Config.PauseUntil; until != nil && until.Before(endOfTime) {
		s.PausedUntil = *until
	}
}

// count asks the counter of a state, a consumer from which nobody pulls. It is
// made when it is first asked for, so that a queue without an observer has
// none, and removed by the server an hour after it was last made.
func (c *core) count(ctx context.Context, state string, replicas int) (int, error) {
	name := c.names.counter(state)
	consumer, err := c.js.Consumer(ctx, c.names.stream, name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		consumer, err = c.js.CreateOrUpdateConsumer(ctx, c.names.stream, jetstream.ConsumerConfig{
			Durable:           name,
			Description:       "jetjobs queue " + c.names.queue + ": only counts, do not pull from it",
			FilterSubject:     c.names.state(state),
			AckPolicy:         jetstream.AckExplicitPolicy,
			MaxDeliver:        -1,
			InactiveThreshold: counterLife,
			Replicas:          replicas,
		})
	}
	if err != nil {
		return 0, err
	}
	return int(consumer.CachedInfo().NumPending), nil
}

// oldestWaiting is the time of the first job of a priority from a sequence on.
func (c *core) oldestWaiting(ctx context.Context, p int, from uint64) (time.Time, error) {
	body := []byte(`{"seq":` + strconv.FormatUint(from, 10) + `,"next_by_subj":"` + c.names.lane(p) + `"}`)
	m, err := c.nc.RequestWithContext(ctx, c.api+"DIRECT.GET."+c.names.stream, body)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return time.Time{}, nil
	case err != nil:
		return time.Time{}, err
	case m.Header.Get("Status") != "":
		return time.Time{}, nil // taken in the meantime
	}
	return time.Parse(time.RFC3339Nano, m.Header.Get(jetstream.TimeStampHeaer))
}
