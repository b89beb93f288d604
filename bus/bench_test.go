// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/bus"
	"github.com/jetjobs/jetjobs/hosting/natsd"
)

// purchase is about 200 bytes of JSON.
type purchase struct {
	ID       int64     `json:"id"`
	Customer string    `json:"customer"`
	Email    string    `json:"email"`
	Items    []string  `json:"items"`
	Total    float64   `json:"total"`
	Paid     bool      `json:"paid"`
	At       time.Time `json:"at"`
	Note     string    `json:"note"`
}

func aPurchase() purchase {
	return purchase{
		ID: 4711, Customer: "Ada Lovelace", Email: "ada@example.com", Total: 99.5, Paid: true,
		Items: []string{"analytical engine", "punched cards", "oil can"},
		At:    time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Note: "to the back door",
	}
}

// A flow publishes on one connection what it delivers on another.
type flow func(b *testing.B, pub, sub *nats.Conn, delivered func()) (publish func() error)

// rawFlow is core NATS alone, with a payload that is never encoded or decoded.
func rawFlow(b *testing.B, pub, sub *nats.Conn, delivered func()) func() error {
	payload, _ := json.Marshal(aPurchase())
	_, err := sub.Subscribe("raw.purchases", func(*nats.Msg) { delivered() })
	require.NoError(b, err)
	require.NoError(b, sub.Flush())
	return func() error { return pub.Publish("raw.purchases", payload) }
}

// jsonFlow is core NATS and encoding/json by hand.
func jsonFlow(b *testing.B, pub, sub *nats.Conn, delivered func()) func() error {
	_, err := sub.Subscribe("json.purchases", func(m *nats.Msg) {
		var p purchase
		if json.Unmarshal(m.Data, &p) == nil {
			delivered()
		}
	})
	require.NoError(b, err)
	require.NoError(b, sub.Flush())
	p := aPurchase()
	return func() error {
		data, err := json.Marshal(p)
		if err != nil {
			return err
		}
		return pub.Publish("json.purchases", data)
	}
}

func busFlow[T any](topic bus.Topic[T], value T) flow {
	return func(b *testing.B, pub, sub *nats.Conn, delivered func()) func() error {
		out, _ := open(b, pub, bus.Options{})
		in, _ := open(b, sub, bus.Options{})
		_, err := topic.Subscribe(b.Context(), in, func(context.Context, *bus.Message[T]) error {
			delivered()
			return nil
		})
		require.NoError(b, err)
		ctx := context.Background()
		return func() error { return topic.Publish(ctx, out, value) }
	}
}

// start connects a flow and returns a function that takes n messages through it,
// with at most 4,096 under way, and says how long that took.
func (f flow) start(b *testing.B, srv *natsd.Server) func(n int) time.Duration {
	const window, step = 4096, 64
	var conns [2]*nats.Conn
	for i := range conns {
		var err error
		conns[i], err = nats.Connect(srv.URL())
		require.NoError(b, err)
		b.Cleanup(conns[i].Close)
	}
	var delivered atomic.Int64
	places := make(chan struct{}, window/step)
	publish := f(b, conns[0], conns[1], func() {
		if delivered.Add(1)%step == 0 {
			<-places
		}
	})
	return func(n int) time.Duration {
		began, goal := time.Now(), delivered.Load()+int64(n)
		for i := range n {
			if i%step == 0 {
				places <- struct{}{}
			}
			if err := publish(); err != nil {
				b.Fatal(err)
			}
		}
		for delivered.Load() < goal {
			time.Sleep(10 * time.Microsecond)
		}
		return time.Since(began)
	}
}

// BenchmarkDeliver measures publishing and delivering over loopback TCP, in turns
// of 6,400 messages with what it is compared to, and reports both rates.
func BenchmarkDeliver(b *testing.B) {
	payload, _ := json.Marshal(aPurchase())
	const typed, raw = bus.Topic[purchase]("purchases"), bus.Topic[bus.Raw]("purchases.raw")
	for _, c := range []struct {
		name    string
		ours    flow
		against flow
	}{
		{"JSON beside NATS and encoding/json", busFlow(typed, aPurchase()), jsonFlow},
		{"JSON beside NATS without JSON", busFlow(typed, aPurchase()), rawFlow},
		{"Raw beside NATS without JSON", busFlow(raw, payload), rawFlow},
	} {
		b.Run(c.name, func(b *testing.B) {
			srv, err := natsd.Start(natsd.Options{Listen: "127.0.0.1:0"})
			require.NoError(b, err)
			defer srv.Close()
			ours, against := c.ours.start(b, srv), c.against.start(b, srv)
			ours(6400)
			against(6400)
			var a, o time.Duration
			n := 0
			for b.Loop() {
				a += against(6400)
				o += ours(6400)
				n += 6400
			}
			b.ReportMetric(float64(len(payload)), "bytes")
			b.ReportMetric(float64(n)/o.Seconds(), "bus-msg/s")
			b.ReportMetric(float64(n)/a.Seconds(), "nats-msg/s")
			b.ReportMetric(a.Seconds()/o.Seconds(), "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkRequest is one caller that waits for each answer.
func BenchmarkRequest(b *testing.B) {
	srv, err := natsd.Start(natsd.Options{Listen: "127.0.0.1:0"})
	require.NoError(b, err)
	defer srv.Close()
	caller, err := nats.Connect(srv.URL())
	require.NoError(b, err)
	defer caller.Close()
	responder, err := nats.Connect(srv.URL())
	require.NoError(b, err)
	defer responder.Close()
	b.Run("bus JSON", func(b *testing.B) {
		const echo bus.Endpoint[purchase, purchase] = "echo"
		in, _ := open(b, responder, bus.Options{})
		out, _ := open(b, caller, bus.Options{})
		sub, err := echo.Respond(b.Context(), in, func(_ context.Context, m *bus.Message[purchase]) (purchase, error) { return m.Value, nil })
		require.NoError(b, err)
		defer sub.Close()
		for b.Loop() {
			_, err := echo.Request(b.Context(), out, aPurchase())
			require.NoError(b, err)
		}
	})
	b.Run("NATS without JSON", func(b *testing.B) {
		payload, _ := json.Marshal(aPurchase())
		_, err := responder.Subscribe("raw.echo", func(m *nats.Msg) { _ = m.Respond(m.Data) })
		require.NoError(b, err)
		require.NoError(b, responder.Flush())
		for b.Loop() {
			ctx, cancel := context.WithTimeout(b.Context(), 30*time.Second)
			_, err := caller.RequestWithContext(ctx, "raw.echo", payload)
			require.NoError(b, err)
			cancel()
		}
	})
}
