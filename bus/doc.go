// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

// Package bus publishes typed messages to whoever listens now, and asks questions of whoever answers, on
// core NATS. It is for what is worth hearing only while it happens: progress, events, cache evictions. What
// must not be lost belongs in a queue.
//
// A [Topic] is a name and a type; a [Bus] is a connection:
//
//	const Shipped bus.Topic[OrderShipped] = "orders.shipped"
//
//	b, err := bus.New(nc, bus.Options{})
//	…
//	sub, err := Shipped.Subscribe(ctx, b, func(ctx context.Context, m *bus.Message[OrderShipped]) error {
//		return notify(ctx, m.Value.Customer)
//	})
//	…
//	err = Shipped.Publish(ctx, b, OrderShipped{Customer: "Ada"})
//
// An [Endpoint] is the same for requests and their replies.
//
// # Guarantees
//
// Delivery is at most once. Every subscription that is live when a message reaches the server gets it, or one of
// each [Group] does, unless the connection between is interrupted or the subscriber is too slow; nothing is
// delivered later instead, and nothing again. In detail:
//
//   - A subscription is live when Subscribe, Listen or Respond returns: the server has confirmed it.
//   - Messages of one publisher reach a subscription in the order in which they were published, over all topics
//     that it matches, and its handler is called with one after the other. There is no order among publishers,
//     or among the members of a group, or with [Concurrency].
//   - There are no duplicates. A delayed message, too, is stored once, even if the answer to the publish was lost.
//   - A publisher waits for no subscriber. Messages that a subscription can't take in time wait in a buffer of its
//     own, limited in number and bytes; what does not fit is dropped, the newest first, and counted in [Stats].
//   - A subscriber that fails, panics, ends its goroutine or stands still takes nothing from any other, nor from
//     its own next message.
//   - A message that can't be decoded is reported, counted and skipped; the handler does not see it.
//   - When a subscription's context ends, or Close is called, its running handler ends in peace: its context lives
//     for Options.Grace, and then ends with the cause [ErrClosed]. Nothing is handled after it.
//   - A request is handled once or not at all. [ErrNoResponder] means: not at all, and says so at once.
//   - A delayed message ([Delay], [At]) is kept by the server once Publish has returned. It is published by the
//     server, never early, also when the publisher is long gone and the server has restarted in the meantime.
//
// # What it does not do
//
// It keeps nothing for subscribers that come later, and tries nothing twice. It does not tell a publisher whether
// anybody listened. The type's name does not travel: the topic is the type's name, so what is published there by
// others must decode to it, and JSON decodes a great deal. Subscribe a topic of [Raw] to see several types.
//
// To rename a topic, first deploy subscribers that subscribe to both names with the same handler, then publishers
// that use the new name; then drop the old one.
//
// # On the server
//
//	subjects  jobs.bus.<topic>             messages and requests, core NATS; another word for bus with [Bus.Space]
//	stream    jobs_later_bus               made by the first delayed publish, see below
//	          jobs.later.bus.wait.<id>     a delayed message, as a schedule
//	          jobs.later.bus.due.<topic>   the same when it is due, for a second; republished as jobs.bus.<topic>
//
// The first word is Options.Namespace. The payload is what the codec made, JSON by default. A message published
// without options has no header; otherwise there are Bus-Correlation-Id, Bus-Properties (a JSON object of strings)
// and those given with [Header]. A request says in Bus-Timeout for how long its caller waits. A reply that is an
// error has Nats-Service-Error and Nats-Service-Error-Code, as those of the micro package of nats.go. A message
// with a Bus-Version above 1 is from a later release, and skipped as undecodable.
//
// The stream needs JetStream of nats-server 2.12 or newer; without a delayed publish, or with Options.CoreOnly,
// the package uses core NATS alone. A stream that is there is verified and never edited.
//
// # Failure
//
// While the connection is down, Publish fills the client's buffer (8 MiB, nats.ReconnectBufSize), which is sent
// when it is back, and then fails with nats.ErrReconnectBufExceeded. What was written to the connection
// but had not reached the server when it broke is lost; [Bus.Flush] tells. Subscriptions come back by themselves and
// miss what was published meanwhile. Subscribe, Request and a delayed Publish wait, within their context or
// Options.Timeout. When the connection is closed for good, subscriptions end, and Wait and the loop of Listen say so.
// Close subscriptions before the connection: draining it does not wait for handlers.
//
// A delayed message that falls due while the only server is down is published 250 to 500 ms after it is up again.
// Subscribers that take longer to reconnect miss it: nats.go waits two seconds unless nats.ReconnectWait says less.
// In a cluster, with Options.Replicas 3, this concerns only the subscribers that were connected to the server that went
// away. A server that is out of storage when a message is due does not publish it before it is restarted.
//
// A request whose context ended may have been handled. Somebody else's plain subscription, or a stream, on the
// subject of an endpoint counts as a responder for the server, so that ErrNoResponder can't be told; a stream even
// answers.
//
// # Logs
//
// Warnings name the subscription by topic, group, and subscriber, the line where it was made; err, stack and count,
// which is how many there were so far, tell the rest. The first of a kind is logged at once and then at most one in ten
// seconds. Subscribed and ended are for debugging.
//
// The examples show the main ideas; the one of the package is a good start.
package bus
