// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"sync"

	"github.com/nats-io/nats.go"
)

// The waiters are the calls of Wait in this process. The record of a job that is
// over is stored by a publish, which core NATS hands to subscribers like any
// other: so nothing has to be sent for them. It is a hint, as the stream may have
// refused the record.
type waiters struct {
	c *core

	// joining is held while the first one subscribes, which waits for nobody; taken
	// before mu.
	joining sync.Mutex

	mu      sync.Mutex // guards the rest
	byToken map[string]map[*waiter]struct{}
	n       int
	end     func() // of the subscriptions, while there are waiters
}

// A waiter is one call of Wait.
type waiter struct {
	token string
	told  chan struct{} // has room for one word
}

func (w *waiter) tell() {
	select {
	case w.told <- struct{}{}:
	default:
	}
}

// join adds a waiter. It is told of all that comes after a request that it makes
// from now on has been answered: the server reads the subscriptions before that.
func (ws *waiters) join(token string) (*waiter, error) {
	w := &waiter{token, make(chan struct{}, 1)}
	ws.joining.Lock()
	defer ws.joining.Unlock()
	ws.mu.Lock()
	if ws.byToken == nil {
		ws.byToken = map[string]map[*waiter]struct{}{}
	}
	if ws.byToken[token] == nil {
		ws.byToken[token] = map[*waiter]struct{}{}
	}
	ws.byToken[token][w] = struct{}{}
	ws.n++
	listening := ws.end != nil
	ws.mu.Unlock()
	if listening {
		return w, nil
	}
	end, err := ws.listen()
	ws.mu.Lock()
	ws.end = end
	ws.mu.Unlock()
	if err != nil {
		ws.leave(w)
		return nil, err
	}
	return w, nil
}

// leave takes a waiter away, and with the last one the subscriptions.
func (ws *waiters) leave(w *waiter) {
	ws.mu.Lock()
	delete(ws.byToken[w.token], w)
	if len(ws.byToken[w.token]) == 0 {
		delete(ws.byToken, w.token)
	}
	var end func()
	if ws.n--; ws.n == 0 {
		end, ws.end = ws.end, nil
	}
	ws.mu.Unlock()
	if end != nil {
		end()
	}
}

// listen subscribes to the records of jobs that are over, and to reconnects,
// after each of which everybody looks.
func (ws *waiters) listen() (end func(), err error) {
	nc := ws.c.nc
	var subs []*nats.Subscription
	status := nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	over := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-status:
				ws.tellAll()
			case <-over:
				return
			}
		}
	})
	end = func() {
		for _, s := range subs {
			s.Unsubscribe()
		}
		close(over)
		nc.RemoveStatusListener(status)
		watching.Wait()
	}
	for _, state := range []string{done, dead} {
		sub, err := nc.Subscribe(ws.c.names.state(state), ws.hear)
		if err != nil {
			return end, err
		}
		subs = append(subs, sub)
		if err := sub.SetPendingLimits(-1, -1); err != nil { // a word is handled at once
			return end, err
		}
	}
	return end, nil
}

// hear tells those who wait for the job.
func (ws *waiters) hear(m *nats.Msg) {
	_, _, token, ok := ws.c.names.parse(m.Subject)
	if !ok {
		return
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.byToken[token] {
		w.tell()
	}
}

func (ws *waiters) tellAll() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, all := range ws.byToken {
		for w := range all {
			w.tell()
		}
	}
}
