// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package workitem

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/queue"
)

func TestCancelEndsARunningHandlerWithACause(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		elsewhere := open(t, e.NewJetStream(), Options{})
		for name, answer := range map[string]func(context.Context) error{
			"error": func(ctx context.Context) error { return ctx.Err() },
			"steer": func(ctx context.Context) error { return queue.RetryAfter(time.Second, ctx.Err()) },
			"panic": func(ctx context.Context) error { panic("in a hurry") },
		} {
			id := enqueue(t, q, name)
			wait := watching(t, q, id)
			stop := work(t, q, knows(func(ctx context.Context, c *Context[load]) error {
				require.Equal(t, 1, c.Attempt())
				c.Progress(30, "reading")
				<-ctx.Done()
				require.ErrorIs(t, context.Cause(ctx), queue.ErrCancelled)
				return answer(ctx)
			}), JobOptions{})
			time.Sleep(time.Second)
			was, err := elsewhere.Cancel(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, queue.Running, was)
			all := wait()
			require.Equal(t, []State{Queued, Started, Progress, Cancelled}, states(all), name)
			require.Equal(t, 30, all[len(all)-1].Percent)
			time.Sleep(30 * time.Minute)
			stop()
			_, err = q.Cancel(t.Context(), id)
			require.ErrorIs(t, err, queue.ErrNotFound)
			require.Equal(t, Cancelled, latest(t, q, id).State)
		}
	})
}

func TestCancelEndsAnItemThatWaits(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		for want, opts := range map[queue.State][]queue.EnqueueOption{
			queue.Waiting: nil, queue.Later: {queue.Delay(time.Hour)},
		} {
			id := enqueue(t, q, "a.csv", opts...)
			wait := watching(t, q, id)
			was, err := q.Cancel(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, want, was)
			all := wait()
			require.Equal(t, []State{Queued, Cancelled}, states(all))
			require.Equal(t, "load", all[1].Kind)
		}
		work(t, q, knows(func(context.Context, *Context[load]) error { t.Error("it runs"); return nil }), JobOptions{})
		time.Sleep(2 * time.Hour)
	})
}

func TestHandlerThatSucceedsAfterCancelHasCompleted(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		id := enqueue(t, q, "a.csv")
		work(t, q, knows(func(ctx context.Context, _ *Context[load]) error { <-ctx.Done(); return nil }), JobOptions{})
		time.Sleep(time.Second)
		_, err := q.Cancel(t.Context(), id)
		require.NoError(t, err)
		all := watch(t, q, id)
		require.Equal(t, Completed, all[len(all)-1].State)
	})
}

func TestDuplicateTellsNothing(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		id := enqueue(t, q, "a.csv", queue.ID("one"))
		stop := work(t, q, knows(func(ctx context.Context, _ *Context[load]) error { <-ctx.Done(); return ctx.Err() }), JobOptions{Grace: -1})
		time.Sleep(time.Second)
		r, err := Enqueue(t.Context(), q, loading, load{}, queue.ID("one"))
		require.NoError(t, err)
		require.True(t, r.Duplicate)
		require.Equal(t, Started, latest(t, q, id).State)
		stop()
	})
}

func TestIDUsedAgainBeginsAnew(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		h := knows(slowly)
		for range 3 {
			r, err := Enqueue(t.Context(), q, loading, load{}, queue.ID("one"))
			require.NoError(t, err)
			require.False(t, r.Duplicate)
			id := r.ID
			require.Equal(t, Queued, latest(t, q, id).State)
			wait := watching(t, q, id)
			stop := work(t, q, h, JobOptions{})
			require.Equal(t, []State{Queued, Started, Progress, Completed}, states(wait()))
			stop()
			time.Sleep(10 * time.Millisecond) // the server works acks off a moment later
		}
	})
}

func TestEnqueueRefusesWhatItCanNotStore(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		_, err := Enqueue(t.Context(), q, "", load{})
		require.ErrorContains(t, err, "the kind is empty")
		_, err = Enqueue(t.Context(), q, "f", func() {})
		require.ErrorContains(t, err, "unsupported type")
		_, err = Enqueue(t.Context(), q, loading, load{}, queue.Delay(-1))
		require.ErrorContains(t, err, "Delay")
	})
}

func TestOpenVerifiesWhatIsThere(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		js := e.JetStream()
		_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "jobs_status_q", Subjects: []string{"x"}})
		require.NoError(t, err)
		_, err = Open(t.Context(), js, "q", Options{})
		require.ErrorContains(t, err, `workitem "q": open: stream jobs_status_q: it exists and is not of jetjobs`)
		require.NoError(t, js.DeleteStream(t.Context(), "jobs_status_q"))

		q := open(t, js, Options{})
		open(t, js, Options{}) // the same again
		config := q.ledger.stream.CachedInfo().Config
		config.MaxMsgsPerSubject = 5
		_, err = js.UpdateStream(t.Context(), config)
		require.NoError(t, err)
		_, err = Open(t.Context(), js, "q", Options{})
		require.ErrorContains(t, err, "messages per subject is 5: want 1")
		require.ErrorContains(t, err, "nats stream rm jobs_status_q")

		_, err = Open(t.Context(), js, "q", Options{Keep: -1})
		require.ErrorContains(t, err, "Options.Keep")
		require.NoError(t, q.Delete(t.Context()))
		require.NoError(t, errors.Join(q.Delete(t.Context()), nil))
	})
}

func TestNamespacesDoNotMeet(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		other := open(t, e.JetStream(), Options{Queue: queue.Options{Namespace: "test"}})
		enqueue(t, q, "a.csv", queue.ID("one"))
		_, err := other.Status(t.Context(), "one")
		require.ErrorIs(t, err, queue.ErrNotFound)
		enqueue(t, other, "a.csv", queue.ID("one"))
		wait := watching(t, other, "one")
		work(t, other, knows(slowly), JobOptions{})
		require.Equal(t, []State{Queued, Started, Progress, Completed}, states(wait()))
		require.Equal(t, Queued, latest(t, q, "one").State)
	})
}

// rot13 is a codec whose output is no JSON.
type rot13 struct{}

func (rot13) Marshal(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	return turn(data), err
}

func (rot13) Unmarshal(data []byte, v any) error { return json.Unmarshal(turn(data), v) }

func turn(data []byte) []byte {
	out := make([]byte, len(data))
	for i, b := range data {
		out[i] = b ^ 0x80
	}
	return out
}

func TestValuesAreInTheCodecOfTheQueue(t *testing.T) {
	bubble(t, Options{Queue: queue.Options{Codec: rot13{}}}, func(t *testing.T, e *natstest.Env, q *Queue) {
		id := enqueue(t, q, "a.csv")
		work(t, q, knows(func(_ context.Context, c *Context[load]) error {
			require.Equal(t, "a.csv", c.Value.File)
			return nil
		}), JobOptions{})
		all := watch(t, q, id)
		require.Equal(t, Completed, all[len(all)-1].State)
	})
}

func TestCancelCountsThoughTheContextHadEndedBefore(t *testing.T) {
	for _, why := range []string{"timeout", "shutdown"} {
		t.Run(why, func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue) {
				opts := JobOptions{Grace: -1}
				if why == "timeout" {
					opts.Timeout = 2 * time.Second
				}
				runs := 0
				stop := work(t, q, knows(func(ctx context.Context, c *Context[load]) error {
					runs++
					<-ctx.Done()
					time.Sleep(5 * time.Second)
					return ctx.Err()
				}), opts)
				id := enqueue(t, q, "slow to end")
				time.Sleep(time.Second)
				if why == "shutdown" {
					go stop()
				}
				time.Sleep(2 * time.Second)
				was, err := q.Cancel(t.Context(), id)
				require.NoError(t, err)
				require.Equal(t, queue.Running, was)
				time.Sleep(time.Minute)
				require.Equal(t, Cancelled, latest(t, q, id).State)
				_, err = q.Cancel(t.Context(), id)
				require.ErrorIs(t, err, queue.ErrNotFound)
				require.Equal(t, 1, runs)
			})
		})
	}
}
