// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/jetjobs/jetjobs/internal/wirename"
)

// A SubscribeOption says how one subscription differs from a default one.
type SubscribeOption interface{ subscribe(*plan) }

type subscribeOption func(*plan)

func (o subscribeOption) subscribe(p *plan) { o(p) }

// Group makes the subscription one of several that share the messages: each goes
// to one of the group, in whatever process. It is a NATS queue group. Letters,
// digits, - and _.
func Group(name string) SubscribeOption {
	return subscribeOption(func(p *plan) { p.grouped, p.group = true, name })
}

// Buffer is how many messages may wait for the handler before new ones are
// dropped. Default: Options.Buffer.
func Buffer(messages int) SubscribeOption {
	return subscribeOption(func(p *plan) { p.buffered, p.buffer = true, messages })
}

// Concurrency lets n messages be handled at a time, which gives up their order.
// Default: 1.
func Concurrency(n int) SubscribeOption {
	return subscribeOption(func(p *plan) { p.concurrent, p.concurrency = true, n })
}

// A receiver handles one message; the payload is the reply to a request.
type receiver func(ctx context.Context, m *nats.Msg, e envelope) ([]byte, error)

// A plan is what a subscription is to be.
type plan struct {
	topic       string
	group       string
	buffer      int
	concurrency int
	receive     receiver // nil if the messages are taken by a loop
	handled     bool     // there must be a receiver
	responds    bool
	place       string // where Subscribe was called, as dir/file.go:12

	grouped, buffered, concurrent bool // the option was given
}

// check reports everything that is wrong at once.
func (p *plan) check() error {
	errs := []error{checkTopic(p.topic, true)}
	if p.handled && p.receive == nil {
		errs = append(errs, errors.New("the handler is nil: want a function"))
	}
	if p.grouped {
		errs = append(errs, wirename.Check("Group", p.group))
	}
	if p.buffered && p.buffer < 1 {
		errs = append(errs, fmt.Errorf("Buffer is %d: want 1 or more, or leave the option out", p.buffer))
	}
	if p.concurrent && p.concurrency < 1 {
		errs = append(errs, fmt.Errorf("Concurrency is %d: want 1 or more, or leave the option out", p.concurrency))
	}
	if p.concurrent && !p.handled {
		errs = append(errs, fmt.Errorf("Concurrency is %d, but a loop takes one message at a time: use Subscribe, or leave the option out", p.concurrency))
	}
	return errors.Join(errs...)
}

// subscribe is called by an exported method, whose caller is named in logs.
func (b *Bus) subscribe(ctx context.Context, p plan, opts []SubscribeOption) (*Subscription, error) {
	p.buffer, p.concurrency = b.opts.Buffer, 1
	for _, o := range opts {
		o.subscribe(&p)
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	p.place = caller(2)
	s := newSubscription(ctx, b, p)
	if err := s.register(ctx); err != nil {
		s.end(err)
		return nil, err
	}
	s.begin()
	return s, nil
}

// register returns when the server knows the subscription.
func (s *Subscription) register(ctx context.Context) (err error) {
	b, subject := s.bus, s.bus.names.subject(s.plan.topic)
	before := b.nc.LastError()
	if s.nats, err = b.nc.QueueSubscribe(subject, s.plan.group, s.deliver); err != nil {
		return err
	}
	s.nats.SetClosedHandler(func(string) { s.end(nats.ErrConnectionClosed) })
	if err = b.confirm(ctx); err == nil {
		err = b.refused(subject, before)
	}
	if err != nil {
		_ = s.nats.Unsubscribe() // fails if the connection is closed, which does as well
	}
	return err
}

// refused returns the server's refusal of a subscription. The client passes it
// to the connection's error handler only, before it has the answer to a flush.
func (b *Bus) refused(subject string, before error) error {
	last := b.nc.LastError()
	if last == before || !errors.Is(last, nats.ErrPermissionViolation) || !strings.Contains(last.Error(), strconv.Quote(subject)) {
		return nil
	}
	return last
}

// caller is where the function was called that called the one skip above.
func caller(skip int) string {
	_, file, line, ok := runtime.Caller(skip + 1)
	if !ok {
		return "unknown"
	}
	return filepath.Join(filepath.Base(filepath.Dir(file)), filepath.Base(file)) + ":" + strconv.Itoa(line)
}
