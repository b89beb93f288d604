// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/jetjobs/jetjobs/internal/guard"
)

// A Topic is a name on the wire, and the type of what is published there. It is
// best a constant, in a package that publishers and subscribers share:
//
//	const Shipped bus.Topic[OrderShipped] = "orders.shipped"
//
// The name is parts between dots, of any characters but white space and wildcards.
// A topic to subscribe to may have wildcards: * stands for one part, and > at the
// end for one or more.
type Topic[T any] string

// A Message is what a subscriber gets. It and all it refers to are the
// subscriber's own, to keep and to change.
type Message[T any] struct {
	Value         T
	Topic         string // it was published on, without wildcards
	CorrelationID string
	Properties    map[string]string
	Header        nats.Header // all of it, as it came; nil for most messages
	Data          []byte      // the payload that Value was decoded from
}

// Publish sends a value to all who subscribe to the topic now. It returns when
// the connection has the message in its buffer, and does not wait for the server,
// let alone for subscribers; see Flush. With Delay or At it returns when the
// server has stored the message.
func (t Topic[T]) Publish(ctx context.Context, b *Bus, value T, opts ...PublishOption) error {
	return wrap(string(t), "publish", b.publish(ctx, string(t), value, opts))
}

// Subscribe calls handler for every message, one after the other in the order of
// their arrival, until ctx ends, Close is called or the connection is closed. The
// subscription is live when Subscribe returns: the server knows it.
//
// The handler's context has the values of ctx, but outlives it by Options.Grace. An
// error that the handler returns is logged and counted, a panic too, and that is
// all: a message is not delivered twice.
func (t Topic[T]) Subscribe(ctx context.Context, b *Bus, handler func(context.Context, *Message[T]) error, opts ...SubscribeOption) (*Subscription, error) {
	var receive receiver
	if handler != nil {
		receive = func(ctx context.Context, m *nats.Msg, e envelope) ([]byte, error) {
			message, err := newMessage[T](b, m, e)
			if err != nil {
				return nil, err
			}
			return nil, handler(ctx, message)
		}
	}
	s, err := b.subscribe(ctx, plan{topic: string(t), receive: receive, handled: true}, opts)
	return s, wrap(string(t), "subscribe", err)
}

// Listen is Subscribe for a loop. The subscription is live when Listen returns, and
// messages wait until the loop begins. Leaving the loop ends the subscription, and
// so does the end of ctx. If the connection is closed, that error is yielded, last.
// The sequence can be ranged over once.
func (t Topic[T]) Listen(ctx context.Context, b *Bus, opts ...SubscribeOption) (iter.Seq2[*Message[T], error], error) {
	s, err := b.subscribe(ctx, plan{topic: string(t)}, opts)
	if err != nil {
		return nil, wrap(string(t), "listen", err)
	}
	return func(yield func(*Message[T], error) bool) {
		defer s.Close()
		for {
			m, e, ok := s.next()
			if !ok {
				break
			}
			var message *Message[T]
			var err error
			guard.Settle(func() error {
				message, err = newMessage[T](b, m, e)
				return err
			}, s.decoded)
			if message == nil {
				continue
			}
			if !yield(message, nil) {
				return
			}
		}
		if err := s.Wait(); err != nil {
			yield(nil, err)
		}
	}, nil
}

// newMessage decodes a message; it is nil if there is an error.
func newMessage[T any](b *Bus, m *nats.Msg, e envelope) (*Message[T], error) {
	message := &Message[T]{
		Topic: b.names.topic(m.Subject), CorrelationID: e.correlation, Properties: e.properties,
		Header: m.Header, Data: m.Data,
	}
	if err := decode(b.opts.Codec, m.Data, &message.Value); err != nil {
		return nil, err
	}
	return message, nil
}

// With replaces wildcards by values, from the left: With("eu") of "orders.*.*" is
// "orders.eu.*". A > takes all values that are left. Values are any strings but
// the empty one; what can't stand in a subject is encoded. More values than
// wildcards panic.
func (t Topic[T]) With(values ...string) Topic[T] {
	filled, used := fill(string(t), values)
	if used < len(values) {
		panic(fmt.Sprintf("bus %q: With(%q) has %d values for %d wildcards", string(t), strings.Join(values, `", "`), len(values), used))
	}
	return Topic[T](filled)
}

// Values is the inverse of With: what stands in topic, that of a message, where t
// has wildcards. It is false if t does not match.
func (t Topic[T]) Values(topic string) ([]string, bool) { return match(string(t), topic) }
