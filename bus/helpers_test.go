// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/bus"
)

// A parcel is what most tests publish.
type parcel struct {
	Number int    `json:"number"`
	To     string `json:"to,omitempty"`
}

const parcels bus.Topic[parcel] = "parcels.sent"

// open makes a bus that logs into the returned book.
func open(t testing.TB, nc *nats.Conn, opts bus.Options) (*bus.Bus, *book) {
	t.Helper()
	log := &book{}
	opts.Logger = slog.New(slog.NewJSONHandler(log, nil))
	b, err := bus.New(nc, opts)
	require.NoError(t, err)
	return b, log
}

func publish(t testing.TB, b *bus.Bus, number int, opts ...bus.PublishOption) {
	t.Helper()
	require.NoError(t, parcels.Publish(t.Context(), b, parcel{Number: number}, opts...))
}

// subscribe subscribes to parcels until the test ends.
func subscribe(t testing.TB, b *bus.Bus, handler func(context.Context, *bus.Message[parcel]) error, opts ...bus.SubscribeOption) *bus.Subscription {
	t.Helper()
	sub, err := parcels.Subscribe(t.Context(), b, handler, opts...)
	require.NoError(t, err)
	t.Cleanup(sub.Close)
	return sub
}

// collect subscribes to parcels and returns the numbers as they come.
func collect(t testing.TB, b *bus.Bus, opts ...bus.SubscribeOption) <-chan int {
	t.Helper()
	return collectFrom(t, b, parcels, opts...)
}

func collectFrom(t testing.TB, b *bus.Bus, topic bus.Topic[parcel], opts ...bus.SubscribeOption) <-chan int {
	t.Helper()
	numbers := make(chan int, 100_000)
	sub, err := topic.Subscribe(t.Context(), b, func(_ context.Context, m *bus.Message[parcel]) error {
		numbers <- m.Value.Number
		return nil
	}, opts...)
	require.NoError(t, err)
	t.Cleanup(sub.Close)
	return numbers
}

// drained is what is in a channel now.
func drained[T any](c <-chan T) (all []T) {
	for {
		select {
		case v := <-c:
			all = append(all, v)
		default:
			return all
		}
	}
}

func upTo(n int) []int {
	numbers := make([]int, n)
	for i := range numbers {
		numbers[i] = i
	}
	return numbers
}

// A book is what was logged.
type book struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// lines are those with this message.
func (b *book) lines(t testing.TB, message string) (lines []map[string]any) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for line := range bytes.Lines(b.text.Bytes()) {
		var fields map[string]any
		require.NoError(t, json.Unmarshal(line, &fields))
		if fields["msg"] == message {
			lines = append(lines, fields)
		}
	}
	return lines
}
