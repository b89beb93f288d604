// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

// A namespace may look like the beginning of another's queues.
func TestQueuesAreThoseOfTheirNamespace(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		for namespace, name := range map[string]string{"jobs_q_a": "orders", "": "mails"} {
			_, err := Open[string](t.Context(), e.JetStream(), name, Options{Namespace: namespace})
			require.NoError(t, err)
		}
		for namespace, want := range map[string][]string{"": {"mails"}, "jobs": {"mails"}, "jobs_q_a": {"orders"}, "job": nil} {
			all, err := Queues(t.Context(), e.JetStream(), namespace)
			require.NoError(t, err)
			require.Equal(t, want, all, namespace)
		}
	})
}

func TestOpenCreatesWhatTheDesignSays(t *testing.T) {
	bubble(t, Options{Priorities: 2, Lease: time.Minute, MaxRunning: 7}, func(t *testing.T, e *natstest.Env, _ *Queue[string]) {
		s, err := e.JetStream().Stream(t.Context(), "jobs_q_q")
		require.NoError(t, err)
		c := s.CachedInfo().Config
		require.Equal(t, []string{"jobs.q.q.>"}, c.Subjects)
		require.Equal(t, jetstream.WorkQueuePolicy, c.Retention)
		require.Equal(t, jetstream.FileStorage, c.Storage)
		require.Equal(t, "1", c.Metadata["jobs.version"])
		require.True(t, c.AllowDirect && c.AllowMsgTTL && c.AllowMsgSchedules && c.AllowAtomicPublish)
		for p, name := range []string{"work_0", "work_1"} {
			consumer, err := s.Consumer(t.Context(), name)
			require.NoError(t, err)
			c := consumer.CachedInfo().Config
			require.Equal(t, []string{"jobs.q.q.ready.0.*", "jobs.q.q.ready.1.*"}[p], c.FilterSubject)
			require.Equal(t, time.Minute, c.AckWait)
			require.Equal(t, 7, c.MaxAckPending)
			require.Equal(t, -1, c.MaxDeliver)
		}
	})
}

func TestManyMayOpenAtOnce(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		var group sync.WaitGroup
		for range 20 {
			js := e.NewJetStream()
			group.Go(func() {
				if _, err := Open[string](t.Context(), js, "q", Options{Priorities: 3}); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
	})
}

func TestOpenWithoutOptionsTakesWhatIsThere(t *testing.T) {
	bubble(t, Options{Priorities: 3, Lease: time.Minute, Storage: jetstream.FileStorage}, func(t *testing.T, e *natstest.Env, _ *Queue[string]) {
		q := openOn(t, e.JetStream(), Options{})
		require.Equal(t, 3, q.c.priorities)
		require.Equal(t, time.Minute, q.c.lease)
	})
}

func TestOpenExplainsDifferencesAndEditsNothing(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		js := e.JetStream()
		openOn(t, js, Options{Priorities: 2})
		for want, opts := range map[string]Options{
			"stream jobs_q_q has priorities 2: want 3; leave Options.Priorities out, or run: nats stream edit jobs_q_q --metadata=jobs.version=1 --metadata=jobs.priorities=3":             {Priorities: 3},
			"stream jobs_q_q has replicas 1: want 3; run: nats stream edit jobs_q_q --replicas 3":                                                                                          {Replicas: 3},
			"stream jobs_q_q has storage File: want Memory; set Options.Storage to what is there":                                                                                          {Storage: jetstream.MemoryStorage},
			"consumer work_0 of stream jobs_q_q has lease (ack wait) 30s: want 1m0s; leave Options.Lease out, or stop the workers and run: nats consumer edit jobs_q_q work_0 --wait=1m0s": {Lease: time.Minute},
		} {
			before := configs(t, js)
			_, err := Open[string](t.Context(), js, "q", opts)
			require.ErrorContains(t, err, want)
			require.ErrorContains(t, err, `queue "q": open: `)
			require.Equal(t, before, configs(t, js))
		}
		_, err := Open[string](t.Context(), js, "q", Options{Priorities: 3, Replicas: 3})
		require.ErrorContains(t, err, "priorities 2: want 3")
		require.ErrorContains(t, err, "replicas 1: want 3", "all differences at once")
	})
}

// configs are those of the stream and its consumers.
func configs(t *testing.T, js jetstream.JetStream) (all []any) {
	t.Helper()
	s, err := js.Stream(t.Context(), "jobs_q_q")
	require.NoError(t, err)
	all = append(all, s.CachedInfo().Config)
	for _, name := range []string{"work_0", "work_1"} {
		c, err := s.Consumer(t.Context(), name)
		require.NoError(t, err)
		all = append(all, c.CachedInfo().Config)
	}
	return all
}

func TestOpenRefusesAStreamThatWouldLoseJobs(t *testing.T) {
	for want, edit := range map[string]func(*jetstream.StreamConfig){
		"a limit of messages 5: want -1; run: nats stream edit jobs_q_q --max-msgs=-1": func(c *jetstream.StreamConfig) { c.MaxMsgs = 5 },
		"a limit of bytes 1000: want -1":                                               func(c *jetstream.StreamConfig) { c.MaxBytes = 1000 },
		"a limit of age 1h0m0s: want 0s":                                               func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
		"a limit of messages per subject 1: want -":                                    func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 },
	} {
		bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
			s, err := e.JetStream().Stream(t.Context(), "jobs_q_q")
			require.NoError(t, err)
			config := s.CachedInfo().Config
			edit(&config)
			_, err = e.JetStream().UpdateStream(t.Context(), config)
			require.NoError(t, err)
			_, err = Open[string](t.Context(), e.JetStream(), "q", Options{})
			require.ErrorContains(t, err, want)
		})
	}
}

func TestOpenRefusesAStreamThatIsNoQueue(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		_, err := e.JetStream().CreateStream(t.Context(), jetstream.StreamConfig{Name: "jobs_q_q", Subjects: []string{"else.>"}})
		require.NoError(t, err)
		_, err = Open[string](t.Context(), e.JetStream(), "q", Options{})
		require.ErrorContains(t, err, "stream jobs_q_q exists and is not a jetjobs queue: use another queue name or Options.Namespace")
	})
}

func TestOpenRefusesBadOptionsAllAtOnce(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		for _, name := range []string{"", "a.b", "a b", "a*", ">", "ü", strings.Repeat("x", 65), "a/b", "a\x00"} {
			_, err := Open[string](t.Context(), e.JetStream(), name, Options{})
			require.ErrorContains(t, err, "the queue's name is ", name)
		}
		_, err := Open[string](t.Context(), e.JetStream(), "q", Options{
			Namespace: "a.b", Replicas: -1, Priorities: 99, Lease: time.Millisecond, MaxRunning: -1, MaxAttempts: -1,
			MaxInterruptions: -1, Retain: -1, Timeout: -1, Storage: 9,
		})
		for _, field := range []string{
			`Options.Namespace is "a.b"`, "Options.Replicas is -1", "Options.Priorities is 99", "Options.Lease is 1ms", "Options.MaxRunning is -1",
			"Options.MaxAttempts is -1", "Options.MaxInterruptions is -1", "Options.Retain is -1ns", "Options.Timeout is -1ns", "Options.Storage is 9",
		} {
			require.ErrorContains(t, err, field)
		}
		for _, replicas := range []int{2, 4, 6} {
			_, err := Open[string](t.Context(), e.JetStream(), "q", Options{Replicas: replicas})
			require.ErrorContains(t, err, fmt.Sprintf("Options.Replicas is %d: want 1, 3 or 5", replicas))
		}
		names := e.JetStream().StreamNames(t.Context())
		for name := range names.Name() {
			t.Errorf("stream %s was created", name)
		}
	})
}

func TestNamespacesAreApart(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := openOn(t, e.JetStream(), Options{Namespace: "a"}), openOn(t, e.JetStream(), Options{Namespace: "b"})
		enqueue(t, a, "v", ID("x"))
		require.False(t, enqueue(t, b, "v", ID("x")).Duplicate)
		require.Equal(t, "q", a.Name())

		// Streams that have the same name by accident.
		_, err := Open[string](t.Context(), e.JetStream(), "q_q", Options{Namespace: "a"})
		require.NoError(t, err)
		_, err = Open[string](t.Context(), e.JetStream(), "q", Options{Namespace: "a_q"})
		require.ErrorContains(t, err, "two namespaces collide: use another Options.Namespace")
	})
}

func TestMustExistCreatesNothing(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		js, must := e.JetStream(), Options{MustExist: true, Logger: slog.New(slog.DiscardHandler)}
		_, err := Open[string](t.Context(), js, "orders", must)
		require.ErrorIs(t, err, ErrNotFound)
		require.EqualError(t, err, `queue "orders": open: stream jobs_q_orders: Options.MustExist is set, and it does not exist: not found`)
		all, err := Queues(t.Context(), js, "")
		require.NoError(t, err)
		require.Empty(t, all)

		memory := Options{Storage: jetstream.MemoryStorage, Logger: slog.New(slog.DiscardHandler)}
		_, err = Open[string](t.Context(), js, "orders", memory)
		require.NoError(t, err)
		_, err = Open[string](t.Context(), js, "orders", must)
		require.NoError(t, err, "whatever its storage is")
		require.NoError(t, js.DeleteConsumer(t.Context(), "jobs_q_orders", "work_0"))
		_, err = Open[string](t.Context(), js, "orders", must)
		require.ErrorIs(t, err, jetstream.ErrConsumerNotFound)
	})
}
