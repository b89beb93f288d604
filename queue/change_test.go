// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

// It wanted the job to run now, and so it did, by its schedule.
func TestRunNowOfAJobThatComesDueIsNoError(t *testing.T) {
	for _, retain := range []time.Duration{0, time.Hour} {
		bubble(t, Options{Retain: retain}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
			runs := 0
			stop := work(t, q, JobOptions{}, func(context.Context, *Entry[string]) error { runs++; return nil })
			for n := range 50 {
				id := fmt.Sprint(n)
				enqueue(t, q, "v", ID(id), Delay(time.Second))
				time.Sleep(980 * time.Millisecond)
				require.NoError(t, q.RunNow(t.Context(), id))
				time.Sleep(time.Second)
			}
			require.ErrorIs(t, q.RunNow(t.Context(), "never there"), ErrNotFound)
			stop()
			require.Equal(t, 50, runs)
		})
	}
}

// A fragile link breaks at the next answer to a publish, which is lost.
type fragile struct {
	*natstest.Env
	armed *atomic.Bool
}

func (f fragile) InProcessConn() (net.Conn, error) {
	c, err := f.Env.InProcessConn()
	return fragileConn{c, f.armed}, err
}

type fragileConn struct {
	net.Conn
	armed *atomic.Bool
}

func (c fragileConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if bytes.Contains(p[:n], []byte(`{"stream":"`)) && c.armed.CompareAndSwap(true, false) {
		_ = c.Close()
		return 0, io.EOF
	}
	return n, err
}

// The answer is lost, and the job is over when it is looked for.
func TestRunNowWhoseAnswerIsLostIsNoError(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		runs := 0
		stop := work(t, q, JobOptions{}, func(context.Context, *Entry[string]) error { runs++; return nil })
		far := fragile{e, new(atomic.Bool)}
		desk := openOn(t, e.NewJetStream(nats.InProcessServer(far)), Options{})
		enqueue(t, q, "v", ID("now"), Delay(time.Hour))
		enqueue(t, q, "v", ID("past"), Delay(time.Hour))
		far.armed.Store(true)
		require.NoError(t, desk.RunNow(t.Context(), "now"))
		require.False(t, far.armed.Load())
		far.armed.Store(true)
		require.NoError(t, desk.Reschedule(t.Context(), "past", time.Now()))
		require.False(t, far.armed.Load())
		stop()
		require.Equal(t, 2, runs)
	})
}

// It would die without having run, as Enqueue knows.
func TestRescheduleBeyondExpiresIsRefused(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		expires := time.Now().Add(time.Hour)
		enqueue(t, q, "v", ID("x"), Delay(time.Minute), Expires(expires))
		err := q.Reschedule(t.Context(), "x", expires.Add(time.Second))
		require.ErrorContains(t, err, "the time is 2000-01-01T01:00:01Z, after the job expires at 2000-01-01T01:00:00Z: want an earlier one")
		require.NoError(t, q.Reschedule(t.Context(), "x", expires.Add(-time.Second)))
		runs := 0
		stop := work(t, q, JobOptions{}, func(context.Context, *Entry[string]) error {
			if runs++; runs == 1 {
				return RetryAfter(time.Hour, errors.New("started in time"))
			}
			return nil
		})
		time.Sleep(90 * time.Minute)
		require.NoError(t, q.Reschedule(t.Context(), "x", expires.Add(24*time.Hour)))
		time.Sleep(48 * time.Hour)
		stop()
		require.Equal(t, 2, runs)
		requireStats(t, q, Stats{})
	})
}
