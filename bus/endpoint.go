// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"cmp"
	"context"
	"errors"

	"github.com/nats-io/nats.go"
)

// An Endpoint is a name on the wire where requests are answered, with the types of
// both. Names are those of topics.
//
//	const Quote bus.Endpoint[Order, Price] = "prices.quote"
type Endpoint[In, Out any] string

// respondGroup is the group of those who respond, unless they choose another.
const respondGroup = "respond"

// Request sends in to one of those who respond, and returns the answer. It waits
// until ctx ends or, if that has no deadline, for Options.Timeout. The handler's
// context has the same deadline.
//
// What the handler returned as an error is a *ReplyError here. If nobody handled
// the request, the error is ErrNoResponder, at once. If ctx ended first, the request
// may have been handled all the same.
func (t Endpoint[In, Out]) Request(ctx context.Context, b *Bus, in In, opts ...MessageOption) (Out, error) {
	var out Out
	data, err := b.request(ctx, string(t), in, opts)
	if err == nil {
		err = decode(b.opts.Codec, data, &out)
	}
	return out, wrap(string(t), "request", err)
}

// Respond answers requests until ctx ends, Close is called or the connection is
// closed. Each is handled once among all who respond, in all processes, unless
// Group says otherwise. Requests wait for each other unless Concurrency says
// otherwise; one for which there is no place, or that waits when the subscription
// ends, is answered with ErrNoResponder.
//
// The handler's error is sent to the caller and not logged; see ReplyError.
func (t Endpoint[In, Out]) Respond(ctx context.Context, b *Bus, handler func(context.Context, *Message[In]) (Out, error), opts ...SubscribeOption) (*Subscription, error) {
	var receive receiver
	if handler != nil {
		receive = func(ctx context.Context, m *nats.Msg, e envelope) ([]byte, error) {
			message, err := newMessage[In](b, m, e)
			if err != nil {
				return nil, err
			}
			out, err := handler(ctx, message)
			if err != nil {
				return nil, err
			}
			return encode(b.opts.Codec, out)
		}
	}
	s, err := b.subscribe(ctx, plan{topic: string(t), group: respondGroup, receive: receive, handled: true, responds: true}, opts)
	return s, wrap(string(t), "respond", err)
}

// answer sends what became of a request.
func (s *Subscription) answer(m *nats.Msg, data []byte, failure error) {
	if !s.plan.responds || m.Reply == "" {
		return
	}
	reply := &nats.Msg{Subject: m.Reply, Data: data}
	if failure != nil {
		reply.Data, reply.Header = nil, errorHeader(replyError(failure))
	}
	err := s.bus.nc.PublishMsg(reply)
	if errors.Is(err, nats.ErrMaxPayload) {
		err = cmp.Or(s.bus.nc.PublishMsg(&nats.Msg{
			Subject: m.Reply, Header: errorHeader(replyError(s.bus.tooLarge(err, len(data)))),
		}), err)
	}
	if err != nil {
		s.warn(&s.failed, "reply not sent", "err", err)
	}
}

var (
	errBusy   = &ReplyError{Code: codeUnavailable, Text: "the responder has too many requests waiting"}
	errEnding = &ReplyError{Code: codeUnavailable, Text: "the responder is about to stop"}
)
