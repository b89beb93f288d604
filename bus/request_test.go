// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/bus"
	"github.com/jetjobs/jetjobs/internal/natstest"
)

type price struct {
	Cents int `json:"cents"`
}

const quote bus.Endpoint[parcel, price] = "prices.quote"

func respond(t testing.TB, b *bus.Bus, handler func(context.Context, *bus.Message[parcel]) (price, error), opts ...bus.SubscribeOption) *bus.Subscription {
	t.Helper()
	sub, err := quote.Respond(t.Context(), b, handler, opts...)
	require.NoError(t, err)
	t.Cleanup(sub.Close)
	return sub
}

// slowly answers after a minute, unless its context ends before.
func slowly(ctx context.Context, m *bus.Message[parcel]) (price, error) {
	select {
	case <-time.After(time.Minute):
		return price{Cents: m.Value.Number}, nil
	case <-ctx.Done():
		return price{}, context.Cause(ctx)
	}
}

func TestRequestIsAnsweredByOneOfThoseWhoRespond(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, _ := open(t, e.Connect(), bus.Options{})
		var calls atomic.Int32
		for range 3 {
			other, _ := open(t, e.Connect(), bus.Options{})
			respond(t, other, func(_ context.Context, m *bus.Message[parcel]) (price, error) {
				calls.Add(1)
				if m.CorrelationID != "order-7" || m.Properties["tenant"] != "eu\nwest" {
					return price{}, errors.New("the envelope is lost")
				}
				return price{Cents: 10 * m.Value.Number}, nil
			})
		}
		for n := range 100 {
			p, err := quote.Request(t.Context(), b, parcel{Number: n}, bus.CorrelationID("order-7"), bus.Property("tenant", "eu\nwest"))
			require.NoError(t, err)
			require.Equal(t, price{Cents: 10 * n}, p)
		}
		require.EqualValues(t, 100, calls.Load())
	})
}

func TestHandlersErrorComesBackTyped(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		nc := e.Connect()
		b, log := open(t, nc, bus.Options{})
		respond(t, b, func(_ context.Context, m *bus.Message[parcel]) (price, error) {
			switch m.Value.Number {
			case 1:
				return price{}, errors.New("no price\nfor this")
			case 2:
				return price{}, fmt.Errorf("quote: %w", &bus.ReplyError{Code: "unknown-place", Text: "no such place"})
			case 3:
				panic("boom")
			case 4:
				return price{}, errors.New(strings.Repeat("é", 5000))
			}
			return price{}, nil
		})
		for number, want := range map[int]bus.ReplyError{
			1: {Code: "500", Text: "no price for this"},
			2: {Code: "unknown-place", Text: "no such place"},
			3: {Code: "500", Text: "panic: boom"},
			4: {Code: "500", Text: strings.Repeat("é", 1024) + "…"},
		} {
			_, err := quote.Request(t.Context(), b, parcel{Number: number})
			failed, ok := errors.AsType[*bus.ReplyError](err)
			require.True(t, ok, err)
			require.Equal(t, want, *failed)
			require.NotErrorIs(t, err, bus.ErrNoResponder)
		}
		_, err := quote.Request(t.Context(), b, parcel{Number: 2})
		require.EqualError(t, err, `bus "prices.quote": request: no such place (code unknown-place)`)
		synctest.Wait()
		require.Empty(t, log.lines(t, "handler failed"), "told or logged, not both")
		require.Len(t, log.lines(t, "handler panicked"), 1, "the stack stays here")

		_, err = bus.Endpoint[string, price](quote).Request(t.Context(), b, "not a parcel")
		failed, ok := errors.AsType[*bus.ReplyError](err)
		require.True(t, ok, err)
		require.Equal(t, "400", failed.Code)

		_, err = bus.Endpoint[parcel, string](quote).Request(t.Context(), b, parcel{})
		require.ErrorContains(t, err, `bus "prices.quote": request: decode the message`)

		m, err := nc.Request("jobs.bus.prices.quote", []byte(`{"number":2}`), time.Second)
		require.NoError(t, err)
		require.Equal(t, nats.Header{"Nats-Service-Error": {"no such place"}, "Nats-Service-Error-Code": {"unknown-place"}}, m.Header,
			"as nats.go/micro says it")
	})
}

func TestNoResponderIsAClearErrorAtOnce(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, _ := open(t, e.Connect(), bus.Options{})
		began := time.Now()
		_, err := quote.Request(t.Context(), b, parcel{})
		require.ErrorIs(t, err, bus.ErrNoResponder)
		require.ErrorIs(t, err, nats.ErrNoResponders)
		require.EqualError(t, err, `bus "prices.quote": request: nobody took the request: no process responds to jobs.bus.prices.quote (nats: no responders available for request)`)
		require.Zero(t, time.Since(began))
	})
}

func TestRequestsForWhichThereIsNoRoomAreRefusedAtOnce(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, log := open(t, e.Connect(), bus.Options{})
		sub := respond(t, b, slowly, bus.Buffer(1))
		for n := range 2 { // one is handled and one waits
			go func() { _, _ = quote.Request(t.Context(), b, parcel{Number: n}) }()
			synctest.Wait()
		}
		began := time.Now()
		_, err := quote.Request(t.Context(), b, parcel{})
		require.ErrorIs(t, err, bus.ErrNoResponder)
		require.ErrorContains(t, err, "too many requests waiting")
		require.Zero(t, time.Since(began))
		require.EqualValues(t, 1, sub.Stats().Dropped)
		require.Len(t, log.lines(t, "slow subscriber: messages dropped"), 1)
	})
}

func TestRequestsThatWaitWhenTheResponderEndsAreRefused(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, _ := open(t, e.Connect(), bus.Options{})
		there := e.Link()
		far, _ := open(t, there.JetStream().Conn(), bus.Options{Grace: time.Hour})
		sub := respond(t, far, slowly)
		results := make(chan error, 10)
		ask := func(n int) {
			go func() {
				_, err := quote.Request(t.Context(), b, parcel{Number: n})
				results <- err
			}()
			synctest.Wait()
		}
		ask(1)
		ask(2)
		there.Cut() // the next one is on its way when the responder ends
		ask(3)
		ended := make(chan struct{})
		go func() { defer close(ended); sub.Close() }()
		synctest.Wait()
		there.Heal()
		for range 2 {
			require.ErrorIs(t, <-results, bus.ErrNoResponder, "2 and 3")
		}
		// The time limit of request 1 is that of Options.Timeout, 30 s.
		require.ErrorIs(t, <-results, context.DeadlineExceeded)
		<-ended
	})
}

func TestHandlersContextHasTheDeadlineOfTheCaller(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, _ := open(t, e.Connect(), bus.Options{})
		ends := make(chan time.Time, 2)
		var calls atomic.Int32
		sub := respond(t, b, func(ctx context.Context, _ *bus.Message[parcel]) (price, error) {
			calls.Add(1)
			<-ctx.Done()
			ends <- time.Now()
			return price{}, context.Cause(ctx)
		})
		began := time.Now()
		ask := func(limit time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			_, err := quote.Request(ctx, b, parcel{})
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		go ask(7 * time.Second)
		synctest.Wait()
		ask(5 * time.Second) // it waits behind the first for longer than its caller does
		require.WithinDuration(t, began.Add(7*time.Second), <-ends, 100*time.Millisecond)
		time.Sleep(time.Minute)
		require.EqualValues(t, 1, calls.Load(), "nothing runs for a caller who has given up")
		require.EqualValues(t, 1, sub.Stats().Dropped)
	})
}

func TestRequestsDoNotWaitForEachOtherWithConcurrency(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, _ := open(t, e.Connect(), bus.Options{Timeout: 90 * time.Second})
		respond(t, b, slowly, bus.Concurrency(5))
		results := make(chan error, 5)
		for n := range 5 {
			go func() {
				_, err := quote.Request(t.Context(), b, parcel{Number: n})
				results <- err
			}()
		}
		for range 5 {
			require.NoError(t, <-results)
		}
	})
}

func TestAReplyThatIsTooLargeIsAnError(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, _ := open(t, e.Connect(), bus.Options{})
		const blob bus.Endpoint[bus.Raw, bus.Raw] = "blob"
		sub, err := blob.Respond(t.Context(), b, func(_ context.Context, m *bus.Message[bus.Raw]) (bus.Raw, error) {
			return make(bus.Raw, 2<<20), nil
		})
		require.NoError(t, err)
		defer sub.Close()
		_, err = blob.Request(t.Context(), b, bus.Raw("ask"))
		require.ErrorContains(t, err, "the payload has 2097152 bytes and the server takes messages of 1048576")
	})
}
