// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package workitem

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/queue"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// What is stored must be read by later releases: these texts may not change, only
// others be added.
func TestEnvelopeOfTheFirstVersionIsRead(t *testing.T) {
	c := envelopeCodec{queue.JSON}
	for text, want := range map[string]Envelope{
		`{"kind":"load","data":{"file":"a.csv"}}`:                                   {Kind: "load", Data: []byte(`{"file":"a.csv"}`), Version: 1},
		`{"v":1,"kind":"load","at":"2026-01-02T12:00:00Z","data":{"file":"a.csv"}}`: {Kind: "load", Data: []byte(`{"file":"a.csv"}`), Version: 1, Enqueued: noon},
		`{"v":1,"kind":"load","bytes":"AQI="}`:                                      {Kind: "load", Data: []byte{1, 2}, Version: 1},
		`{"v":2,"kind":"load","data":{},"something":"new"}`:                         {Kind: "load", Data: []byte(`{}`), Version: 2},
		`{"v":2,"something":"new"}`:                                                 {Version: 2},
	} {
		var e Envelope
		require.NoError(t, c.Unmarshal([]byte(text), &e), text)
		require.Equal(t, want, e, text)
	}
	var e Envelope
	require.ErrorContains(t, c.Unmarshal([]byte(`{"file":"a.csv"}`), &e), "no kind")
	require.Error(t, c.Unmarshal([]byte(`nonsense`), &e))
}

func TestEnvelopeIsWrittenAsItAlwaysWas(t *testing.T) {
	data, err := envelopeCodec{queue.JSON}.Marshal(Envelope{Kind: "load", Data: []byte(`{"file":"a.csv"}`), Enqueued: noon})
	require.NoError(t, err)
	require.Equal(t, `{"v":1,"kind":"load","at":"2026-01-02T12:00:00Z","data":{"file":"a.csv"}}`, string(data))
	data, err = envelopeCodec{rot13{}}.Marshal(Envelope{Kind: "load", Data: []byte{1, 2}})
	require.NoError(t, err)
	require.Equal(t, `{"v":1,"kind":"load","bytes":"AQI="}`, string(data))
}

func TestStatusOfTheFirstVersionIsRead(t *testing.T) {
	want := record{Version: 1, Turn: 2, Step: 3, By: "me", Status: Status{
		Queue: "q", ID: "x", Kind: "load", State: Progress, Percent: 40, Message: "m", Data: json.RawMessage(`{"a":1}`),
		Attempt: 1, MaxAttempts: 20, Error: "disk full", Enqueued: noon, Started: noon, Updated: noon,
	}}
	const text = `"turn":2,"step":3,"by":"me","queue":"q","id":"x","kind":"load","state":"progress","percent":40,"message":"m","data":{"a":1},` +
		`"attempt":1,"max_attempts":20,"error":"disk full","enqueued":"2026-01-02T12:00:00Z","started":"2026-01-02T12:00:00Z","updated":"2026-01-02T12:00:00Z"}`
	for _, text := range []string{"{" + text, `{"v":1,` + text} {
		got, err := decodeRecord([]byte(text))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	data, err := want.encode()
	require.NoError(t, err)
	require.Equal(t, `{"v":1,`+text, string(data))
	_, err = decodeRecord([]byte(`{}`))
	require.Error(t, err)
}

func TestItemEnqueuedByTheFirstVersionIsWorkedOn(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		// The payload as it was before envelopes had a version or a time.
		_, err := e.JetStream().Publish(t.Context(), "jobs.q.q.ready.0.old", []byte(`{"kind":"load","data":{"file":"a.csv"}}`))
		require.NoError(t, err)
		work(t, q, knows(func(_ context.Context, c *Context[load]) error {
			require.Equal(t, "a.csv", c.Value.File)
			return nil
		}), JobOptions{})
		all := watch(t, q, "old")
		require.Equal(t, Completed, all[len(all)-1].State)
		require.False(t, all[len(all)-1].Enqueued.IsZero())
	})
}

func TestLateStatusDoesNotOverwriteANewerOne(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		s := Status{Queue: "q", ID: "x", State: Started, Attempt: 1, Enqueued: noon}
		first, second := q.ledger.pen("x", nil), q.ledger.pen("x", nil)
		require.NoError(t, first.write(t.Context(), record{Status: s}))
		s.Attempt = 2
		require.NoError(t, second.write(t.Context(), record{Status: s}))

		s.Attempt, s.State = 1, Completed
		require.ErrorIs(t, first.write(t.Context(), record{Status: s}), errBarred)
		require.ErrorIs(t, first.writeOnce(t.Context(), record{Status: s}), errBarred)
		require.Equal(t, 2, latest(t, q, "x").Attempt)
		require.Equal(t, Started, latest(t, q, "x").State)
	})
}

func TestWriterOfALostAnswerGoesOn(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		link := e.Link()
		far := open(t, link.JetStream(), Options{})
		p := far.ledger.pen("x", nil)
		s := Status{Queue: "q", ID: "x", State: Started, Enqueued: noon}
		_, err := p.place(t.Context())
		require.NoError(t, err)
		link.CutReplies()
		require.Error(t, p.writeOnce(t.Context(), record{Status: s}))
		require.Equal(t, Started, latest(t, q, "x").State, "it was stored")
		link.Heal()
		s.State = Completed
		require.NoError(t, p.write(t.Context(), record{Status: s}))
		r, _, err := q.ledger.read(t.Context(), "x")
		require.NoError(t, err)
		require.Equal(t, Completed, r.State)
		require.EqualValues(t, 1, r.Turn, "in its own turn")
	})
}

func TestQueuedDoesNotOverwriteAFasterWorker(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		envelope := Envelope{Kind: "load", Enqueued: noon}
		s := Status{Queue: "q", ID: "x", State: Completed, Enqueued: noon}
		require.NoError(t, q.ledger.pen("x", nil).write(t.Context(), record{Status: s}))
		q.tellQueued(t.Context(), envelope, "x")
		require.Equal(t, Completed, latest(t, q, "x").State)
		envelope.Enqueued = noon.Add(time.Second)
		q.tellQueued(t.Context(), envelope, "x")
		require.Equal(t, Queued, latest(t, q, "x").State)
	})
}

func TestWatchPassesOverStatusesOfEarlierTurns(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		wait := watching(t, q, "x")
		nc := e.Connect()
		for _, r := range []record{
			{Turn: 2, Step: 1, Status: Status{State: Started}},
			{Turn: 1, Step: 9, Status: Status{State: Progress, Message: "late"}},
			{Turn: 2, Step: 3, Status: Status{State: Progress}},
			{Turn: 2, Step: 2, Status: Status{State: Progress, Message: "late"}},
			{Turn: 3, Step: 1, Status: Status{State: Completed}},
		} {
			r.Version, r.ID = 1, "x"
			data, err := r.encode()
			require.NoError(t, err)
			require.NoError(t, nc.PublishMsg(&nats.Msg{Subject: "jobs.progress.q.x", Data: data}))
			time.Sleep(time.Millisecond)
		}
		all := wait()
		require.Equal(t, []State{Started, Progress, Completed}, states(all))
		require.Len(t, all, 3)
	})
}

func TestNamesAreFixed(t *testing.T) {
	n := names{"jobs", "orders"}
	require.Equal(t, "jobs_status_orders", n.stream())
	require.Equal(t, "jobs.status.orders.a%2Eb", n.kept("a.b"))
	require.Equal(t, "jobs.status.orders.>", n.allKept())
	require.Equal(t, "jobs.progress.orders.>", n.allLive())
	require.EqualValues(t, "orders.a%2Eb", n.topic("a.b"))
	require.EqualValues(t, "orders.*", n.topics())
}
