// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/bus"
	"github.com/jetjobs/jetjobs/internal/natstest"
)

func ignore(context.Context, *bus.Message[parcel]) error { return nil }

func TestSubscribeReturnsWhenTheServerKnowsIt(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		link := e.Link()
		far, _ := open(t, link.JetStream().Conn(), bus.Options{})
		near, _ := open(t, e.Connect(), bus.Options{})

		link.Cut()
		healed := make(chan struct{})
		time.AfterFunc(3*time.Second, func() { close(healed); link.Heal() })
		numbers := collect(t, far)
		select {
		case <-healed:
		default:
			t.Error("Subscribe returned though the server could not know of it")
		}
		publish(t, near, 7)
		synctest.Wait()
		require.Equal(t, []int{7}, drained(numbers))
	})
}

func TestSubscribeSaysThatTheServerDidNotAnswer(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		link := e.Link()
		b, _ := open(t, link.JetStream().Conn(), bus.Options{Timeout: 5 * time.Second})
		link.Cut()
		_, err := parcels.Subscribe(t.Context(), b, ignore)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, `bus "parcels.sent": subscribe: no answer within Options.Timeout 5s`)
		require.Empty(t, b.Stats())
		link.Heal()
	})
}

func TestSubscribeOutlastsARestartInItsMiddle(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		link := e.Link()
		b, _ := open(t, link.JetStream().Conn(), bus.Options{})
		link.Cut()
		time.AfterFunc(time.Second, link.Break)
		time.AfterFunc(3*time.Second, link.Heal)
		numbers := collect(t, b)
		publish(t, b, 1)
		synctest.Wait()
		require.Equal(t, []int{1}, drained(numbers))
	})
}

func TestSubscriptionsOutliveARestart(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, _ := open(t, e.Connect(), bus.Options{})
		numbers := collect(t, b)
		e.Restart(10 * time.Second)
		time.Sleep(time.Second)
		publish(t, b, 1)
		synctest.Wait()
		require.Equal(t, []int{1}, drained(numbers))
	})
}

func TestMessagesOfOnePublisherArriveOnceAndInOrder(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, _ := open(t, e.Connect(), bus.Options{})
		other, _ := open(t, e.Connect(), bus.Options{})
		here, there, wild := collect(t, b), collect(t, other), collectFrom(t, other, "parcels.>")
		for n := range 5000 {
			publish(t, b, n)
		}
		require.NoError(t, b.Flush(t.Context()))
		time.Sleep(time.Hour)
		for _, numbers := range []<-chan int{here, there, wild} {
			require.Equal(t, upTo(5000), drained(numbers))
		}
	})
}

func TestEachMessageGoesToOneOfAGroup(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, _ := open(t, e.Connect(), bus.Options{})
		other, _ := open(t, e.Connect(), bus.Options{})
		first, second := collect(t, b, bus.Group("mailers")), collect(t, other, bus.Group("mailers"))
		alone := collect(t, b)
		for n := range 1000 {
			publish(t, b, n)
		}
		time.Sleep(time.Second)
		one, two := drained(first), drained(second)
		require.ElementsMatch(t, upTo(1000), append(one, two...))
		require.NotEmpty(t, one)
		require.NotEmpty(t, two)
		require.Equal(t, upTo(1000), drained(alone))
	})
}

func TestConcurrencyHandlesSoManyAtATime(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, _ := open(t, e.Connect(), bus.Options{})
		var running, most atomic.Int32
		subscribe(t, b, func(context.Context, *bus.Message[parcel]) error {
			most.Store(max(most.Load(), running.Add(1)))
			time.Sleep(time.Minute)
			running.Add(-1)
			return nil
		}, bus.Concurrency(3))
		for n := range 9 {
			publish(t, b, n)
		}
		time.Sleep(3*time.Minute + time.Second)
		require.EqualValues(t, 3, most.Load())
		require.EqualValues(t, 9, b.Stats()[0].Handled)
	})
}

func TestSlowSubscriberLosesMessagesAndNobodyElseDoes(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, log := open(t, e.Connect(), bus.Options{})
		got := make(chan int, 2000)
		slow := subscribe(t, b, func(_ context.Context, m *bus.Message[parcel]) error {
			got <- m.Value.Number
			time.Sleep(time.Minute)
			return nil
		}, bus.Buffer(10))
		fast := collect(t, b)

		publish(t, b, 0)
		synctest.Wait() // it is being handled
		began := time.Now()
		for n := 1; n < 1000; n++ {
			publish(t, b, n)
		}
		require.NoError(t, b.Flush(t.Context()))
		require.Zero(t, time.Since(began), "the publisher waits for nobody")
		synctest.Wait()
		require.Equal(t, upTo(1000), drained(fast))
		require.EqualValues(t, 989, slow.Stats().Dropped)
		require.EqualValues(t, 10, slow.Stats().Waiting)

		lines := log.lines(t, "slow subscriber: messages dropped")
		require.Len(t, lines, 1, "not one for each")
		require.Equal(t, "parcels.sent", lines[0]["topic"])
		require.Regexp(t, `^bus/helpers_test\.go:\d+$`, lines[0]["subscriber"])

		time.Sleep(time.Hour)
		require.Equal(t, upTo(11), drained(got), "the oldest are kept, in order")
		publish(t, b, 1000)
		synctest.Wait()
		require.Equal(t, []int{1000}, drained(got), "it goes on")
	})
}

func TestBytesThatWaitAreLimitedToo(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, _ := open(t, e.Connect(), bus.Options{})
		const blobs bus.Topic[bus.Raw] = "blobs"
		sub, err := blobs.Subscribe(t.Context(), b, func(context.Context, *bus.Message[bus.Raw]) error {
			time.Sleep(time.Hour)
			return nil
		})
		require.NoError(t, err)
		t.Cleanup(sub.Close)
		for range 100 {
			require.NoError(t, blobs.Publish(t.Context(), b, make(bus.Raw, 1_000_000)))
		}
		synctest.Wait()
		require.EqualValues(t, 64<<20/1_000_000, sub.Stats().Waiting, "64 MiB")
		require.EqualValues(t, 100-67-1, sub.Stats().Dropped)
	})
}

func TestUndecodableMessagesAreReportedAndSkipped(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, log := open(t, e.Connect(), bus.Options{})
		numbers := make(chan int, 10)
		sub := subscribe(t, b, func(_ context.Context, m *bus.Message[parcel]) error {
			numbers <- m.Value.Number
			return nil
		})
		looped, err := parcels.Listen(t.Context(), b)
		require.NoError(t, err)

		nc := e.Connect()
		for _, m := range []*nats.Msg{
			{Data: []byte(`{"number":1}`)},
			{Data: []byte(`{"number":"two"}`)},
			{Data: []byte(`no JSON`)},
			{Data: []byte(`{"number":3}`), Header: nats.Header{"Bus-Properties": {"no JSON"}}},
			{Data: []byte(`{"number":4}`), Header: nats.Header{"Bus-Version": {"2"}}},
			{Data: []byte(`{"number":5}`), Header: nats.Header{"Bus-Version": {"1"}}},
		} {
			m.Subject = "jobs.bus.parcels.sent"
			require.NoError(t, nc.PublishMsg(m))
		}
		require.NoError(t, nc.Flush())
		synctest.Wait()
		require.Equal(t, []int{1, 5}, drained(numbers))
		require.EqualValues(t, 4, sub.Stats().Undecodable)
		lines := log.lines(t, "undecodable message skipped")
		require.Len(t, lines, 1)
		require.Contains(t, lines[0]["err"], "decode the message: json: cannot unmarshal string")

		var seen []int
		for m, err := range looped {
			require.NoError(t, err)
			if seen = append(seen, m.Value.Number); len(seen) == 2 {
				break
			}
		}
		require.Equal(t, []int{1, 5}, seen)
	})
}

// A touchy value panics when it is decoded.
type touchy struct{}

func (*touchy) UnmarshalJSON([]byte) error { panic("ouch") }

func TestOneSubscriberDisturbsNoOther(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, log := open(t, e.Connect(), bus.Options{})
		var bad []*bus.Subscription
		for _, handler := range []func(context.Context, *bus.Message[parcel]) error{
			func(context.Context, *bus.Message[parcel]) error { return errors.New("disk full") },
			func(context.Context, *bus.Message[parcel]) error { panic("boom") },
			func(context.Context, *bus.Message[parcel]) error { runtime.Goexit(); return nil },
		} {
			bad = append(bad, subscribe(t, b, handler))
		}
		ouch, err := bus.Topic[touchy](parcels).Subscribe(t.Context(), b, func(context.Context, *bus.Message[touchy]) error { return nil })
		require.NoError(t, err)
		numbers := collect(t, b)
		for n := range 100 {
			publish(t, b, n)
		}
		synctest.Wait()
		require.Equal(t, upTo(100), drained(numbers))
		for _, sub := range append(bad, ouch) {
			require.EqualValues(t, 100, sub.Stats().Failed, "each goes on after its failures")
			sub.Close()
		}

		failed := log.lines(t, "handler failed")
		require.Len(t, failed, 1)
		require.Equal(t, "disk full", failed[0]["err"])
		panicked := log.lines(t, "handler panicked")
		require.Len(t, panicked, 3)
		require.Contains(t, panicked[0]["stack"], "subscribe_test.go")
	})
}

func TestTroubleIsLoggedAgainAfterAWhile(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, log := open(t, e.Connect(), bus.Options{})
		subscribe(t, b, func(context.Context, *bus.Message[parcel]) error { return errors.New("disk full") })
		for n := range 25 {
			publish(t, b, n)
			time.Sleep(time.Second)
		}
		lines := log.lines(t, "handler failed")
		require.Len(t, lines, 3)
		require.EqualValues(t, 21, lines[2]["count"])
	})
}

func TestSubscribeTellsThatItIsNotAllowed(t *testing.T) {
	srv := startServer(t, &server.Options{Users: []*server.User{{
		Username: "ada", Password: "a",
		Permissions: &server.Permissions{Subscribe: &server.SubjectPermission{Deny: []string{"jobs.bus.secret.>"}}},
	}}})
	nc, err := nats.Connect("", nats.InProcessServer(srv), nats.UserInfo("ada", "a"),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	require.NoError(t, err)
	defer nc.Close()
	b, _ := open(t, nc, bus.Options{})
	for range 2 {
		_, err = bus.Topic[parcel]("secret.plans").Subscribe(t.Context(), b, ignore)
		require.ErrorIs(t, err, nats.ErrPermissionViolation)
	}
	sub, err := parcels.Subscribe(t.Context(), b, ignore)
	require.NoError(t, err, "an old refusal of another topic is no refusal of this one")
	sub.Close()
}

// startServer starts a server that natsd does not offer: without JetStream, or
// with users.
func startServer(t *testing.T, opts *server.Options) *server.Server {
	t.Helper()
	opts.DontListen, opts.NoSigs, opts.NoLog = true, true, true
	srv, err := server.NewServer(opts)
	require.NoError(t, err)
	srv.Start()
	require.True(t, srv.ReadyForConnections(10*time.Second))
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	return srv
}

func TestBadOptionsAreAllNamedAtOnce(t *testing.T) {
	_, err := bus.New(nil, bus.Options{Namespace: "a.b", Buffer: -1, Timeout: -1, Storage: 9, Replicas: 7})
	for _, want := range []string{
		"bus: the connection is nil", `Options.Namespace is "a.b"`, "Options.Buffer is -1", "Options.Timeout is -1ns",
		"Options.Storage is 9", "Options.Replicas is 7",
	} {
		require.ErrorContains(t, err, want)
	}

	e := natstest.Start(t)
	b, _ := open(t, e.Connect(), bus.Options{})
	_, err = bus.Topic[parcel]("a..b").Subscribe(t.Context(), b, nil, bus.Group("x y"), bus.Buffer(0), bus.Concurrency(0))
	for _, want := range []string{
		`bus "a..b": subscribe: the topic, or a part between two dots, is empty`, "the handler is nil", `Group is "x y"`,
		"Buffer is 0", "Concurrency is 0",
	} {
		require.ErrorContains(t, err, want)
	}
	_, err = parcels.Listen(t.Context(), b, bus.Concurrency(2))
	require.ErrorContains(t, err, "a loop takes one message at a time")
	err = parcels.Publish(t.Context(), b, parcel{}, bus.Delay(-1), bus.Delay(-1), bus.At(time.Now()),
		bus.CorrelationID("a\nb"), bus.Property("", ""), bus.Header("Nats-TTL", "1s"), bus.Header("X Y", ""), bus.Header("X", " y"))
	for _, want := range []string{
		"option Delay is given twice", "At and Delay are both given", "Delay is -1ns", `CorrelationID is "a\nb"`,
		`Property "" is ""`, `Header key is "Nats-TTL"`, `Header key is "X Y"`, `Header X is " y"`,
	} {
		require.ErrorContains(t, err, want)
	}
	err = bus.Topic[parcel]("a.*").Publish(t.Context(), b, parcel{})
	require.ErrorContains(t, err, "it has wildcards: fill them with With")
	err = bus.Topic[bus.Raw]("a").Publish(t.Context(), b, make(bus.Raw, 2<<20))
	require.ErrorIs(t, err, nats.ErrMaxPayload)
	require.ErrorContains(t, err, "the payload has 2097152 bytes and the server takes messages of 1048576")
	err = bus.Topic[func()]("a").Publish(t.Context(), b, func() {})
	require.ErrorContains(t, err, `bus "a": publish: encode the value: json: unsupported type`)

	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	require.ErrorContains(t, parcels.Publish(ended, b, parcel{}), "enough")
	_, err = parcels.Subscribe(ended, b, ignore)
	require.ErrorContains(t, err, "enough")
	require.Panics(t, func() { b.Space("q") })
	require.Panics(t, func() { b.Space("a b") })
	require.Panics(t, func() { parcels.With("x") })
	require.NotContains(t, strings.ToLower(err.Error()), "parcel{")
}
