// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

// runsOnce lets a worker have the only job, for an hour.
func runsOnce(t *testing.T, q *Queue[string]) {
	t.Helper()
	runs := 0
	stop := work(t, q, JobOptions{}, func(context.Context, *Entry[string]) error { runs++; return nil })
	time.Sleep(time.Hour)
	stop()
	require.Equal(t, 1, runs)
}

func TestJobCanBeRetainedForUpToAHundredYears(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		for _, d := range []time.Duration{maxRetain + 1, 250 * 365 * 24 * time.Hour, 1<<63 - 1} {
			_, err := q.Enqueue(t.Context(), "v", Retain(d))
			require.ErrorContains(t, err, "want at most 876000h0m0s")
		}
		requireStats(t, q, Stats{})
		enqueue(t, q, "v", Retain(maxRetain))
		runsOnce(t, q)
		requireStats(t, q, Stats{Done: 1})
	})
}

func TestJobCanExpireUpToTheEndOfTime(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		for _, at := range []time.Time{endOfTime.Add(1), time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)} {
			_, err := q.Enqueue(t.Context(), "v", Expires(at))
			require.ErrorContains(t, err, "want a time before the year 2262")
		}
		requireStats(t, q, Stats{})
		enqueue(t, q, "v", Expires(endOfTime))
		runsOnce(t, q)
		requireStats(t, q, Stats{})
	})
}

// Also before the years that a wire format can hold.
func TestAtInAFarPastIsAtOnce(t *testing.T) {
	for _, at := range []time.Time{
		time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(1, 1, 1, 0, 0, 0, 0, time.FixedZone("x", 3600)),
		time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		t.Run(at.String(), func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
				enqueue(t, q, "v", At(at))
				time.Sleep(time.Minute)
				requireStats(t, q, Stats{Waiting: 1})
			})
		})
	}
}

// The largest header that is accepted leaves room for what a job gains until it
// is dead, an error each byte of which JSON writes as six included.
func TestLargestHeaderCanBeBuried(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		opts := func(size int) []EnqueueOption {
			return []EnqueueOption{ID("x"), Property("k", strings.Repeat("x", size)), MaxAttempts(1)}
		}
		largest := sort.Search(maxHeader, func(size int) bool {
			_, err := q.c.newJob([]byte(`"v"`), opts(size), time.Now())
			return err != nil
		}) - 1
		require.Greater(t, largest, maxHeader/2)
		_, err := q.Enqueue(t.Context(), "v", opts(largest+1)...)
		require.ErrorContains(t, err, "put more into the value")
		enqueue(t, q, "v", opts(largest)...)
		runs := 0
		stop := work(t, q, JobOptions{}, func(context.Context, *Entry[string]) error {
			runs++
			return errors.New(strings.Repeat("\x01", 2000))
		})
		time.Sleep(time.Hour)
		stop()
		require.Equal(t, 1, runs)
		all := deadLetters(t, q)
		require.Len(t, all, 1)
		require.Equal(t, ReasonAttempts, all[0].Reason)
		require.Equal(t, strings.Repeat("\x01", 2000), all[0].Error)
	})
}

// Whatever a subject, a header line or JSON might stumble over comes back as it
// was given, over a retry and among the dead.
func TestOddStringsComeBackUnchanged(t *testing.T) {
	const correlation, key, value = "c\x00\x7f\u0085d", "k\r\n", "\r\nNats-Rollup: all\x00"
	bubble(t, Options{Retain: time.Hour}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		for _, id := range []string{
			"a\x00b", " ", "\u2028", "<&>", "%41", "$JS", "ü\u0085x", "{{wildcard(1)}}", strings.Repeat("é ", 85), "a\tb",
		} {
			enqueue(t, q, "v", ID(id), CorrelationID(correlation), Property(key, value))
			e := dequeue(t, q)
			require.Equal(t, id, e.ID())
			require.Equal(t, correlation, e.CorrelationID())
			require.Equal(t, value, e.Property(key))
			require.NoError(t, e.Abandon(t.Context(), RetryAfter(0, errors.New("\r\n\x00"))))
			e = dequeue(t, q)
			require.Equal(t, id, e.ID())
			require.Equal(t, correlation, e.CorrelationID())
			require.Equal(t, value, e.Property(key))
			require.Equal(t, "\r\n\x00", e.LastError())
			require.NoError(t, e.Reject(t.Context(), errors.New("\r\n\xff")))
			l, err := q.DeadLetters().Get(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, id, l.ID)
			require.Equal(t, correlation, l.CorrelationID)
			require.Equal(t, "\r\n\ufffd", l.Error, "what is no UTF-8 is replaced")
			require.NoError(t, q.DeadLetters().Delete(t.Context(), id))
		}
		requireStats(t, q, Stats{})
	})
}

func TestLaneThatIsNeverEmptyDoesNotGrow(t *testing.T) {
	l := &lane{}
	l.push(&delivery{})
	for range 1_000_000 {
		l.push(&delivery{})
		l.pop()
	}
	require.Less(t, cap(l.queue), 1000)
}
