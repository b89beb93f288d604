// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// A Bus publishes and subscribes on one connection. Its methods may be called
// concurrently. It needs no closing; it lives as long as its connection.
type Bus struct {
	nc    *nats.Conn
	opts  Options // with defaults; immutable after New returns
	names names
	live  *registry // of all spaces
	later *later
}

// New returns a bus on a connection, which stays the caller's. It sends nothing
// to the server. The error names everything that is wrong.
func New(nc *nats.Conn, opts Options) (*Bus, error) {
	var missing error
	if nc == nil {
		missing = errors.New("the connection is nil: want one made by nats.Connect")
	}
	if err := errors.Join(missing, opts.check()); err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	opts = opts.withDefaults()
	b := &Bus{nc: nc, opts: opts, live: newRegistry()}
	return b.in("bus"), nil
}

// Space returns a bus whose topics are elsewhere: those of New have subjects
// that begin with jobs.bus, those of Space("progress") begin with jobs.progress.
// The rest is the same. A name that is not made of letters, digits, - and _, or
// that jetjobs uses itself, panics: it is a constant of the program.
func (b *Bus) Space(name string) *Bus {
	if err := checkSpace(name); err != nil {
		panic(fmt.Sprintf("bus: %v", err))
	}
	return b.in(name)
}

func (b *Bus) in(space string) *Bus {
	n := newNames(b.opts.Namespace, space)
	return &Bus{nc: b.nc, opts: b.opts, names: n, live: b.live, later: &later{nc: b.nc, opts: b.opts, names: n}}
}

// Flush returns nil when the server has processed all that was published on the
// connection before. A program that publishes and ends calls it in between.
func (b *Bus) Flush(ctx context.Context) error {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	err := b.nc.FlushWithContext(ctx)
	if b.lostConnection(err) {
		err = nats.ErrDisconnected
	}
	if err != nil {
		return fmt.Errorf("bus: flush: what was published may be lost: %w", explain(ctx, err))
	}
	return nil
}

// lostConnection says that err is what the client returns to all who wait when
// the connection is interrupted: that it is closed, though it may come back.
func (b *Bus) lostConnection(err error) bool {
	return errors.Is(err, nats.ErrConnectionClosed) && !b.nc.IsClosed()
}

// confirm returns when the server knows every subscription made before.
func (b *Bus) confirm(ctx context.Context) error {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	for {
		err := b.nc.FlushWithContext(ctx)
		if !b.lostConnection(err) {
			return explain(ctx, err)
		}
		select { // the client subscribes again when it is back, before it flushes
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// bound gives a context without a deadline that of Options.Timeout.
func (b *Bus) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, b.opts.Timeout,
		fmt.Errorf("no answer within Options.Timeout %s: %w", b.opts.Timeout, context.DeadlineExceeded))
}

// explain replaces the end of a context by its cause.
func explain(ctx context.Context, err error) error {
	if err != nil && errors.Is(err, ctx.Err()) {
		return context.Cause(ctx)
	}
	return err
}

// publish is Topic.Publish without the type.
func (b *Bus) publish(ctx context.Context, topic string, value any, opts []PublishOption) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := checkTopic(topic, false); err != nil {
		return err
	}
	data, err := encode(b.opts.Codec, value)
	if err != nil {
		return err
	}
	if len(opts) == 0 {
		return b.tooLarge(b.nc.Publish(b.names.subject(topic), data), len(data))
	}
	var s spec
	for _, o := range opts {
		o.publish(&s)
	}
	if err := s.check(); err != nil {
		return err
	}
	m := &nats.Msg{Subject: b.names.subject(topic), Header: s.natsHeader(), Data: data}
	if due := s.due(time.Now()); !due.IsZero() {
		ctx, cancel := b.bound(ctx)
		defer cancel()
		return b.tooLarge(b.later.publish(ctx, topic, due, m), len(data))
	}
	return b.tooLarge(b.nc.PublishMsg(m), len(data))
}

// request is Endpoint.Request without the types. It returns the reply's payload.
func (b *Bus) request(ctx context.Context, endpoint string, value any, opts []MessageOption) ([]byte, error) {
	if err := checkTopic(endpoint, false); err != nil {
		return nil, err
	}
	data, err := encode(b.opts.Codec, value)
	if err != nil {
		return nil, err
	}
	var s spec
	for _, o := range opts {
		o.request(&s)
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	ctx, cancel := b.bound(ctx)
	defer cancel()
	m := &nats.Msg{Subject: b.names.subject(endpoint), Header: s.natsHeader(), Data: data}
	if deadline, ok := ctx.Deadline(); ok {
		if m.Header == nil {
			m.Header = nats.Header{}
		}
		m.Header.Set(headerTimeout, time.Until(deadline).String())
	}
	reply, err := b.nc.RequestMsgWithContext(ctx, m)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, fmt.Errorf("%w: no process responds to %s (%w)", ErrNoResponder, m.Subject, err)
	case err != nil:
		return nil, b.tooLarge(explain(ctx, err), len(data))
	}
	return reply.Data, readError(reply.Header)
}

// tooLarge gives the numbers of an error that leaves them out.
func (b *Bus) tooLarge(err error, size int) error {
	if errors.Is(err, nats.ErrMaxPayload) {
		return fmt.Errorf("the payload has %d bytes and the server takes messages of %d: keep large things elsewhere and send a reference (%w)",
			size, b.nc.MaxPayload(), err)
	}
	return err
}
