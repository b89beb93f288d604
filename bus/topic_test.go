// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/bus"
	"github.com/jetjobs/jetjobs/internal/natstest"
)

func TestWildcardsMatchAndGiveTheirValues(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		const progress bus.Topic[parcel] = "progress.*.*"
		b, _ := open(t, e.Connect(), bus.Options{})
		all := collectFrom(t, b, progress)
		orders := collectFrom(t, b, progress.With("orders"))
		rest := collectFrom(t, b, "progress.>")
		var topics []string
		_, err := progress.Subscribe(t.Context(), b, func(_ context.Context, m *bus.Message[parcel]) error {
			topics = append(topics, m.Topic)
			return nil
		})
		require.NoError(t, err)
		require.NoError(t, progress.With("orders", "id 7.*").Publish(t.Context(), b, parcel{Number: 1}))
		require.NoError(t, progress.With("mails", "8").Publish(t.Context(), b, parcel{Number: 2}))
		require.ErrorContains(t, progress.With("mails", "").Publish(t.Context(), b, parcel{}), "is empty")
		require.ErrorContains(t, progress.With("mails").Publish(t.Context(), b, parcel{}), "it has wildcards")
		synctest.Wait()
		require.Equal(t, []int{1, 2}, drained(all))
		require.Equal(t, []int{1}, drained(orders))
		require.Equal(t, []int{1, 2}, drained(rest))
		require.Equal(t, []string{"progress.orders.id%207%2E%2A", "progress.mails.8"}, topics)
		values, ok := progress.Values(topics[0])
		require.True(t, ok)
		require.Equal(t, []string{"orders", "id 7.*"}, values)
	})
}

func TestRawLeavesThePayloadAlone(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, _ := open(t, e.Connect(), bus.Options{})
		got := make(chan *bus.Message[bus.Raw], 10)
		_, err := bus.Topic[bus.Raw](">").Subscribe(t.Context(), b, func(_ context.Context, m *bus.Message[bus.Raw]) error {
			got <- m
			return nil
		})
		require.NoError(t, err)
		require.NoError(t, bus.Topic[bus.Raw]("a.b").Publish(t.Context(), b, bus.Raw("\x00\xff")))
		publish(t, b, 7, bus.CorrelationID("c"))
		m := <-got
		require.Equal(t, "\x00\xff", string(m.Value))
		require.Equal(t, "a.b", m.Topic)
		m = <-got
		require.Equal(t, `{"number":7}`, string(m.Value))
		require.Equal(t, "c", m.CorrelationID)
		require.Equal(t, "parcels.sent", m.Topic)
	})
}

// The form on the wire is a promise to other versions and other languages.
func TestWhatIsOnTheWire(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, _ := open(t, e.Connect(), bus.Options{})
		nc := e.Connect()
		all, err := nc.SubscribeSync("jobs.bus.>")
		require.NoError(t, err)
		require.NoError(t, nc.Flush())
		publish(t, b, 1)
		publish(t, b, 2, bus.CorrelationID("c é"), bus.Property("a", "1"), bus.Property("b", "x\ny"), bus.Header("traceparent", "00-1"), bus.Header("traceparent", "00-2"))
		synctest.Wait()
		m, err := all.NextMsg(1)
		require.NoError(t, err)
		require.Nil(t, m.Header)
		require.Equal(t, "jobs.bus.parcels.sent", m.Subject)
		m, err = all.NextMsg(1)
		require.NoError(t, err)
		require.Equal(t, nats.Header{
			"Bus-Correlation-Id": {"c é"}, "Bus-Properties": {`{"a":"1","b":"x\ny"}`}, "traceparent": {"00-1", "00-2"},
		}, m.Header)
	})
}

// upper is a codec that is not JSON.
type upper struct{ _ []int } // not comparable

func (upper) Marshal(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	return append([]byte("!"), data...), err
}
func (upper) Unmarshal(data []byte, v any) error { return json.Unmarshal(data[1:], v) }

func TestCodecIsUsedForEverything(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		b, _ := open(t, e.Connect(), bus.Options{Codec: upper{}})
		numbers := collect(t, b)
		publish(t, b, 1)
		synctest.Wait()
		require.Equal(t, []int{1}, drained(numbers))
		respond(t, b, func(_ context.Context, m *bus.Message[parcel]) (price, error) {
			require.Equal(t, `!{"number":2}`, string(m.Data))
			return price{Cents: m.Value.Number}, nil
		})
		p, err := quote.Request(t.Context(), b, parcel{Number: 2})
		require.NoError(t, err)
		require.Equal(t, 2, p.Cents)
	})
}
