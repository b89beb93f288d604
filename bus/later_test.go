// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/bus"
	"github.com/jetjobs/jetjobs/internal/natstest"
)

// arrivals subscribes to parcels and tells when each came.
func arrivals(t *testing.T, b *bus.Bus) <-chan time.Time {
	t.Helper()
	times := make(chan time.Time, 1000)
	subscribe(t, b, func(context.Context, *bus.Message[parcel]) error {
		times <- time.Now()
		return nil
	})
	return times
}

// kept is what the stream of delayed messages holds.
func kept(t *testing.T, e *natstest.Env) uint64 {
	t.Helper()
	s, err := e.JetStream().Stream(t.Context(), "jobs_later_bus")
	require.NoError(t, err)
	return s.CachedInfo().State.Msgs
}

func TestDelayedMessageIsNeverEarlyAndKeepsItsEnvelope(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, _ := open(t, e.Connect(), bus.Options{})
		got := make(chan *bus.Message[parcel], 10)
		var came time.Time
		subscribe(t, b, func(_ context.Context, m *bus.Message[parcel]) error {
			came = time.Now()
			got <- m
			return nil
		})
		time.Sleep(900 * time.Millisecond) // where cutting to seconds would show
		began := time.Now()
		publish(t, b, 7, bus.Delay(2*time.Hour+50*time.Millisecond), bus.CorrelationID("order-7"), bus.Property("k", "v"), bus.Header("X-Trace", "t"))
		require.EqualValues(t, 1, kept(t, e))
		time.Sleep(3 * time.Hour)
		require.Len(t, got, 1)
		m := <-got
		require.Equal(t, 7, m.Value.Number)
		require.Equal(t, "parcels.sent", m.Topic)
		require.Equal(t, "order-7", m.CorrelationID)
		require.Equal(t, map[string]string{"k": "v"}, m.Properties)
		require.Equal(t, "t", m.Header.Get("X-Trace"))
		require.False(t, came.Before(began.Add(2*time.Hour+50*time.Millisecond)))
		require.WithinDuration(t, began.Add(2*time.Hour+50*time.Millisecond), came, 500*time.Millisecond)
		require.Zero(t, kept(t, e), "nothing stays behind")
	})
}

func TestDelayedMessageOutlivesItsPublisherAndARestart(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		here, _ := open(t, e.Connect(), bus.Options{})
		times := arrivals(t, here)
		nc := e.Connect()
		gone, _ := open(t, nc, bus.Options{})
		began := time.Now()
		publish(t, gone, 1, bus.Delay(time.Hour))
		nc.Close()
		e.Restart(10 * time.Second)
		time.Sleep(2 * time.Hour)
		all := drained(times)
		require.Len(t, all, 1)
		require.WithinDuration(t, began.Add(time.Hour), all[0], 500*time.Millisecond)
	})
}

func TestMessageDueInAnOutageComesAfterIt(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, _ := open(t, e.Connect(), bus.Options{}) // reconnects within 50 ms
		times := arrivals(t, b)
		publish(t, b, 1, bus.Delay(30*time.Second))
		e.Restart(time.Minute)
		back := time.Now()
		time.Sleep(time.Hour)
		all := drained(times)
		require.Len(t, all, 1)
		require.WithinDuration(t, back.Add(250*time.Millisecond), all[0], 250*time.Millisecond)
	})
}

func TestDelayedPublishWhoseAnswerWasLostStoresOneMessage(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		near, _ := open(t, e.Connect(), bus.Options{})
		times := arrivals(t, near)
		link := e.Link()
		far, _ := open(t, link.JetStream().Conn(), bus.Options{})
		publish(t, far, 0, bus.Delay(time.Second)) // opens the stream
		time.Sleep(time.Minute)
		require.Len(t, drained(times), 1)

		link.CutReplies()
		time.AfterFunc(17*time.Second, link.Heal)
		began := time.Now()
		publish(t, far, 1, bus.Delay(time.Hour))
		require.Greater(t, time.Since(began), 15*time.Second, "it was tried several times")
		require.EqualValues(t, 1, kept(t, e))
		time.Sleep(2 * time.Hour)
		require.Len(t, drained(times), 1)
	})
}

func TestDelayedPublishWhoseAnswerWasLostUntilItWasDueStoresOneMessage(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		near, _ := open(t, e.Connect(), bus.Options{})
		times := arrivals(t, near)
		link := e.Link()
		far, _ := open(t, link.JetStream().Conn(), bus.Options{})
		publish(t, far, 0, bus.Delay(time.Second))
		time.Sleep(time.Minute)
		require.Len(t, drained(times), 1)

		link.CutReplies()
		time.AfterFunc(17*time.Second, link.Heal)
		publish(t, far, 1, bus.Delay(time.Second)) // gone from the stream at the second try
		time.Sleep(2 * time.Hour)
		require.Len(t, drained(times), 1)
	})
}

func TestDelayedPublishSaysWhenItIsNotKnownWhetherItIsStored(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		link := e.Link()
		b, _ := open(t, link.JetStream().Conn(), bus.Options{Timeout: 12 * time.Second})
		publish(t, b, 0, bus.Delay(time.Second))
		link.CutReplies()
		err := parcels.Publish(t.Context(), b, parcel{}, bus.Delay(time.Hour))
		require.ErrorContains(t, err, `bus "parcels.sent": publish: it is not known whether the message is stored: no answer within Options.Timeout 12s`)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		link.Heal()
	})
}

func TestDelayedPublishWaitsForAServerThatIsAway(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, _ := open(t, e.Connect(), bus.Options{})
		times := arrivals(t, b)
		e.Stop()
		time.AfterFunc(10*time.Second, e.Begin)
		publish(t, b, 1, bus.Delay(time.Hour))
		require.EqualValues(t, 1, kept(t, e))
		time.Sleep(2 * time.Hour)
		require.Len(t, drained(times), 1)
	})
}

func TestDelayedPublishMakesItsStreamAgain(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, _ := open(t, e.Connect(), bus.Options{})
		publish(t, b, 1, bus.Delay(time.Hour))
		require.NoError(t, e.JetStream().DeleteStream(t.Context(), "jobs_later_bus"))
		publish(t, b, 2, bus.Delay(time.Hour))
		require.EqualValues(t, 1, kept(t, e))
	})
}

func TestTimesThatHavePassedMeanAtOnce(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, _ := open(t, e.Connect(), bus.Options{CoreOnly: true})
		numbers := collect(t, b)
		publish(t, b, 1, bus.Delay(0))
		publish(t, b, 2, bus.At(time.Now().Add(-time.Hour)))
		synctest.Wait()
		require.Equal(t, []int{1, 2}, drained(numbers))
	})
}

func TestEverySpaceHasItsOwnSubjectsAndDelays(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, _ := open(t, e.Connect(), bus.Options{Namespace: "acme"})
		progress := b.Space("progress")
		here, there := collect(t, b), collect(t, progress)
		raw, err := e.Connect().SubscribeSync("acme.progress.parcels.sent")
		require.NoError(t, err)
		require.NoError(t, b.Flush(t.Context()))
		time.Sleep(time.Second)

		publish(t, progress, 1)
		publish(t, progress, 2, bus.Delay(time.Hour))
		time.Sleep(2 * time.Hour)
		require.Equal(t, []int{1, 2}, drained(there))
		require.Empty(t, drained(here))
		m, err := raw.NextMsg(time.Second)
		require.NoError(t, err)
		require.Equal(t, `{"number":1}`, string(m.Data))
		require.Nil(t, m.Header, "nothing but the payload")
		require.Len(t, b.Stats(), 2)
	})
}

func TestCoreOnlyRefusesADelay(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, _ := open(t, e.Connect(), bus.Options{CoreOnly: true})
		err := parcels.Publish(t.Context(), b, parcel{}, bus.Delay(time.Second))
		require.ErrorContains(t, err, "Options.CoreOnly is set")
		publish(t, b, 1)
		_, err = e.JetStream().Stream(t.Context(), "jobs_later_bus")
		require.ErrorIs(t, err, jetstream.ErrStreamNotFound)
	})
}

func TestDelayWithoutJetStreamIsRefused(t *testing.T) {
	srv := startServer(t, &server.Options{})
	nc, err := nats.Connect("", nats.InProcessServer(srv))
	require.NoError(t, err)
	defer nc.Close()
	b, _ := open(t, nc, bus.Options{})
	err = parcels.Publish(t.Context(), b, parcel{}, bus.Delay(time.Second))
	require.ErrorContains(t, err, "start nats-server with -js")
	require.ErrorIs(t, err, jetstream.ErrJetStreamNotEnabled)
	publish(t, b, 1)
}

func TestAStreamThatDiffersIsExplainedAndNotEdited(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		config := jetstream.StreamConfig{
			Name: "jobs_later_bus", Subjects: []string{"jobs.later.bus.>"}, Storage: jetstream.MemoryStorage, MaxMsgs: 5,
		}
		_, err := e.JetStream().CreateStream(t.Context(), config)
		require.NoError(t, err)
		b, _ := open(t, e.Connect(), bus.Options{Replicas: 3})
		err = parcels.Publish(t.Context(), b, parcel{}, bus.Delay(time.Second))
		require.ErrorContains(t, err, "stream jobs_later_bus exists and was not made by jetjobs")

		config.Metadata = map[string]string{"jobs.version": "2"}
		_, err = e.JetStream().UpdateStream(t.Context(), config)
		require.NoError(t, err)
		err = parcels.Publish(t.Context(), b, parcel{}, bus.Delay(time.Second))
		for _, want := range []string{
			"has storage Memory: want File", "has replicas 1: want 3; run: nats stream edit jobs_later_bus --replicas 3",
			"has schedules false: want true; run: nats stream edit jobs_later_bus --allow-schedules", "a limit of messages 5: want -1",
			"--republish-source='jobs.later.bus.due.>' --republish-destination='jobs.bus.>'", "has version 2: want 1",
		} {
			require.ErrorContains(t, err, want)
		}
	})
}
