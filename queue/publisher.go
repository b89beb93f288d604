// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// A publisher sends messages to the stream, and gives each caller the server's
// answer. It is what a request of nats.go does, with places that are used again
// instead of a channel, a timer and two contexts for each call: from 64 callers
// that is 6.0 µs of client CPU an enqueued job in place of 7.7, 8 allocations in place
// of 17, and, as the server has the other core, 1.2 times the rate (nats.go 1.55, two
// cores; go test -bench Enqueue$).
type publisher struct {
	nc *nats.Conn

	mu    sync.Mutex         // guards the rest, and the places
	sub   *nats.Subscription // to the answers; nil before the first call
	inbox string             // answers come to inbox.<place>.<use>
	all   []*place
	free  []*place
}

// A place is where one call waits for its answer, and the next one after it.
type place struct {
	number  int
	use     uint64 // grows when a call got no ack: what comes for it later is no other call's
	reply   string // where answers to this use go: the same for many calls, as the server finds known subjects faster
	waiting bool
	answer  *nats.Msg
	told    chan struct{} // that there is an answer, or will be none; has room for it
	patient *time.Timer
}

// publish sends m, once, and waits for the answer: until ctx ends, but no longer
// than limit. The error is one of the client's, as of a request; m.Reply is set.
func (p *publisher) publish(ctx context.Context, m *nats.Msg, limit time.Duration) (*nats.Msg, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	here, err := p.take()
	if err != nil {
		return nil, err
	}
	m.Reply = here.reply
	if err := p.nc.PublishMsg(m); err != nil {
		p.leave(here)
		return nil, err
	}
	here.patient.Reset(limit)
	select {
	case <-here.told:
		err = nats.ErrConnectionClosed // if there is no answer
	case <-ctx.Done():
		err = ctx.Err()
	case <-here.patient.C:
		err = nats.ErrTimeout
	}
	here.patient.Stop()
	answer := p.leave(here)
	switch {
	case answer == nil:
		return nil, err
	case len(answer.Data) == 0 && answer.Header.Get("Status") == "503":
		return nil, nats.ErrNoResponders
	}
	return answer, nil
}

// take gives a call a place.
func (p *publisher) take() (*place, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sub == nil {
		if err := p.listenLocked(); err != nil {
			return nil, err
		}
	}
	var here *place
	if n := len(p.free); n > 0 {
		here, p.free = p.free[n-1], p.free[:n-1]
	} else {
		here = &place{number: len(p.all), told: make(chan struct{}, 1), patient: time.NewTimer(time.Hour)}
		here.patient.Stop()
		p.all = append(p.all, here)
		p.nameLocked(here)
	}
	here.waiting = true
	return here, nil
}

func (p *publisher) nameLocked(here *place) {
	here.use++
	here.reply = p.inbox + "." + strconv.Itoa(here.number) + "." + strconv.FormatUint(here.use, 10)
}

// listenLocked subscribes to the answers, until close or for as long as the
// connection lives.
func (p *publisher) listenLocked() error {
	inbox := p.nc.NewInbox()
	sub, err := p.nc.Subscribe(inbox+".*.*", p.hear)
	if err != nil {
		return err
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil { // what comes was asked for
		return fmt.Errorf("listen for answers: %w", err)
	}
	sub.SetClosedHandler(func(string) { p.end(sub) })
	p.sub, p.inbox = sub, inbox
	return nil
}

// close gives the subscription back, unless a call waits for its answer.
func (p *publisher) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sub == nil || len(p.free) < len(p.all) {
		return
	}
	_ = p.sub.Unsubscribe() // fails if the connection is closed, which has ended it
	p.sub, p.all, p.free = nil, nil, nil
}

// end tells all who wait that the connection is closed.
func (p *publisher) end(sub *nats.Subscription) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sub != sub {
		return
	}
	for _, here := range p.all {
		if here.waiting {
			here.waiting = false
			here.told <- struct{}{}
		}
	}
}

// hear hands an answer to the call that waits for it, if it still does.
func (p *publisher) hear(m *nats.Msg) {
	dot := strings.LastIndexByte(m.Subject, '.')
	n, _ := parseUint(m.Subject[strings.LastIndexByte(m.Subject[:dot], '.')+1 : dot])
	p.mu.Lock()
	defer p.mu.Unlock()
	if n >= uint64(len(p.all)) {
		return
	}
	if here := p.all[n]; here.waiting && here.reply == m.Subject {
		here.waiting, here.answer = false, m
		here.told <- struct{}{}
	}
}

// leave frees a place, and returns the answer if it has come. Only after an ack, of
// which there is one for each message, its name is used again: after anything else
// the ack may be still to come.
func (p *publisher) leave(here *place) (answer *nats.Msg) {
	p.mu.Lock()
	defer p.mu.Unlock()
	here.waiting = false
	select {
	case <-here.told: // in the moment in which the call gave up
	default:
	}
	if answer, here.answer = here.answer, nil; answer == nil || !isPlainAck(answer.Data) {
		p.nameLocked(here)
	}
	p.free = append(p.free, here)
	return answer
}
