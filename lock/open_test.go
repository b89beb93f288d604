// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

func TestManyProcessesOpenAtOnce(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		errs := make(chan error)
		for range 8 {
			js := e.NewJetStream()
			go func() {
				_, err := Open(t.Context(), js, Options{})
				errs <- err
			}()
		}
		for range 8 {
			require.NoError(t, <-errs)
		}
	})
}

func TestOpenNamesAllThatIsWrongWithTheOptions(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		_, err := Open(t.Context(), e.JetStream(), Options{Namespace: "a.b", Replicas: 2, TTL: 10 * time.Millisecond})
		require.ErrorContains(t, err, "lock: open: ")
		require.ErrorContains(t, err, `Options.Namespace is "a.b"`)
		require.ErrorContains(t, err, "Options.Replicas is 2: want 1, 3 or 5")
		require.ErrorContains(t, err, "Options.TTL is 10ms: want at least a second")
	})
}

func TestOpenExplainsDifferencesAndEditsNothing(t *testing.T) {
	for field, c := range map[string]struct {
		change func(*jetstream.StreamConfig)
		want   string
	}{
		"storage":       {func(s *jetstream.StreamConfig) { s.Storage = jetstream.MemoryStorage }, "stream KV_jobs_locks has storage Memory: want File; it can't be changed: when nobody holds a lock, remove the bucket with: nats stream rm KV_jobs_locks"},
		"history":       {func(s *jetstream.StreamConfig) { s.MaxMsgsPerSubject = 5 }, "has history (messages per subject) 5: want 1; run: nats stream edit KV_jobs_locks --max-msgs-per-subject=1"},
		"direct get":    {func(s *jetstream.StreamConfig) { s.AllowDirect = true }, "has direct get true: want false; run: nats stream edit KV_jobs_locks --no-allow-direct"},
		"markers":       {func(s *jetstream.StreamConfig) { s.SubjectDeleteMarkerTTL = 0 }, "has marker TTL 0s: want 10s; run: nats stream edit KV_jobs_locks --subject-del-markers-ttl=10s"},
		"max consumers": {func(s *jetstream.StreamConfig) { s.MaxConsumers = -1 }, "has max consumers -1: want 100000; run: nats stream edit KV_jobs_locks --max-consumers=100000"},
		"age":           {func(s *jetstream.StreamConfig) { s.MaxAge = time.Hour }, "has a limit of age 1h0m0s: want 0s; run: nats stream edit KV_jobs_locks --max-age=0s"},
		"bytes":         {func(s *jetstream.StreamConfig) { s.MaxBytes = 1000 }, "has a limit of bytes 1000: want -1"},
		"version":       {func(s *jetstream.StreamConfig) { s.Metadata[metaVersion] = "2" }, "has version 2: want 1; use the jetjobs release that fits"},
	} {
		t.Run(field, func(t *testing.T) {
			natstest.Run(t, func(t *testing.T, e *natstest.Env) {
				config := streamConfig("jobs_locks", Options{})
				c.change(&config)
				_, err := e.JetStream().CreateStream(t.Context(), config)
				require.NoError(t, err)
				_, err = Open(t.Context(), e.JetStream(), Options{})
				require.ErrorContains(t, err, c.want)
				stream, err := e.JetStream().Stream(t.Context(), config.Name)
				require.NoError(t, err)
				require.Equal(t, config.MaxConsumers, stream.CachedInfo().Config.MaxConsumers)
			})
		})
	}
}

func TestOpenTakesWhatSetsTheDifferencesRight(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		_, err := e.JetStream().CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "jobs_locks"})
		require.NoError(t, err)
		_, err = Open(t.Context(), e.JetStream(), Options{})
		require.ErrorContains(t, err, "message TTLs false")

		config := streamConfig("jobs_locks", Options{})
		config.FirstSeq = 0
		_, err = e.JetStream().UpdateStream(t.Context(), config)
		require.NoError(t, err, "each command that is given can be run")
		openLocks(t, e.JetStream(), Options{})
	})
}

func TestReplicasOfTheBucketHoldUnlessAskedFor(t *testing.T) {
	config := streamConfig("jobs_locks", Options{})
	config.Replicas = 3
	require.NoError(t, compare(streamConfig("jobs_locks", Options{}), config, Options{}))
	require.ErrorContains(t, compare(streamConfig("jobs_locks", Options{Replicas: 1}), config, Options{Replicas: 1}),
		"has replicas 3: want 1; run: nats stream edit KV_jobs_locks --replicas=1")
}

func TestFencesGrowEvenIfTheBucketIsRemoved(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		before := acquire(t, openLocks(t, e.JetStream(), Options{}), "x").Fence()
		for range 100 {
			release(t, acquire(t, openLocks(t, e.JetStream(), Options{}), "y"))
		}
		time.Sleep(time.Second)
		require.NoError(t, e.JetStream().DeleteStream(t.Context(), "KV_jobs_locks"))
		require.Greater(t, acquire(t, openLocks(t, e.JetStream(), Options{}), "x").Fence(), before+100)
	})
}

func TestNamespacesHaveNothingToDoWithEachOther(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		a, b := openLocks(t, e.JetStream(), Options{}), openLocks(t, e.JetStream(), Options{Namespace: "test"})
		acquire(t, a, "x")
		acquire(t, b, "x")
	})
}

func TestRecordsOfVersionOneAreUnderstood(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		locks := openLocks(t, e.JetStream(), Options{})
		since := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
		for name, value := range map[string]string{
			"acquired":   `{"v":1,"owner":"web-1:4711","nonce":"N","since":"2026-05-04T03:02:01Z","ttl":30}`,
			"renewed":    `{"v":1,"owner":"web-1:4711","nonce":"N","since":"2026-05-04T03:02:01Z","ttl":30,"fence":77}`,
			"no version": `{"owner":"web-1:4711","nonce":"N","since":"2026-05-04T03:02:01Z","ttl":30}`,
			"later":      `{"v":2,"owner":"web-1:4711","nonce":"N","since":"2026-05-04T03:02:01Z","ttl":30,"more":[1]}`,
		} {
			rev, err := locks.c.put(t.Context(), locks.ref(name).key, 0, []byte(value), time.Minute)
			require.NoError(t, err)
			want := Holder{Name: name, Owner: "web-1:4711", Since: since, TTL: 30 * time.Second, Fence: Fence(rev)}
			if name == "renewed" {
				want.Fence = 77
			}
			got, err := locks.Holder(t.Context(), name)
			require.NoError(t, err)
			require.Equal(t, want, got, name)
			requireHeldBy(t, locks, name, "web-1:4711")
		}
	})
}

func TestAValuePutByHandHoldsTheLock(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		locks := openLocks(t, e.JetStream(), Options{})
		kv, err := e.JetStream().KeyValue(t.Context(), "jobs_locks")
		require.NoError(t, err)
		_, err = kv.PutString(t.Context(), "lock.x", "maintenance")
		require.NoError(t, err)
		requireHeldBy(t, locks, "x", "unknown")
		require.NoError(t, kv.Delete(t.Context(), "lock.x"))
		acquire(t, locks, "x")
	})
}

func TestOpenSaysThatTheServerIsAway(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		e.Stop()
		began := time.Now()
		_, err := Open(t.Context(), e.JetStream(), Options{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, openPatience, time.Since(began))
		e.Begin()
		require.Eventually(t, func() bool { return e.JetStream().Conn().IsConnected() }, time.Minute, time.Second)
	})
}
