// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package natstest

import (
	"net"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A Link is the network between some clients and the server. Like a real one
// it holds what is sent while it is cut, and delivers it late.
type Link struct {
	e *Env

	mu        sync.Mutex // guards the rest
	changed   *sync.Cond // some field below has changed
	noSend    bool       // bytes to the server wait
	noReceive bool       // bytes to the clients wait
	broken    bool       // no new connection
	open      map[net.Conn]struct{}
}

// Link makes a new, healthy link to the server.
func (e *Env) Link() *Link {
	l := &Link{e: e, open: map[net.Conn]struct{}{}}
	l.changed = sync.NewCond(&l.mu)
	return l
}

// JetStream is JetStream on a new connection over the link.
func (l *Link) JetStream(opts ...nats.Option) jetstream.JetStream {
	l.e.t.Helper()
	return newJetStream(l.e.t, connect(l.e.t, l, opts...))
}

// Cut holds everything, in both directions; the clients are not told.
func (l *Link) Cut() { l.set(true, true, true) }

// CutReplies holds what the server sends; what clients send still arrives.
func (l *Link) CutReplies() { l.set(false, true, true) }

// Break closes every connection, as a crashed load balancer does, loses what
// they held, and refuses new ones.
func (l *Link) Break() {
	l.mu.Lock()
	conns := make([]net.Conn, 0, len(l.open))
	for c := range l.open {
		conns = append(conns, c)
	}
	l.mu.Unlock()
	l.set(true, true, true)
	for _, c := range conns {
		c.Close()
	}
}

// Heal delivers what was held and lets clients connect again.
func (l *Link) Heal() { l.set(false, false, false) }

func (l *Link) set(noSend, noReceive, broken bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noSend, l.noReceive, l.broken = noSend, noReceive, broken
	l.changed.Broadcast()
}

// InProcessConn connects through the link.
func (l *Link) InProcessConn() (net.Conn, error) {
	l.mu.Lock()
	broken := l.broken
	l.mu.Unlock()
	if broken {
		return nil, net.ErrClosed
	}
	far, err := l.e.InProcessConn()
	if err != nil {
		return nil, err
	}
	near, client := net.Pipe()
	l.mu.Lock()
	l.open[client] = struct{}{}
	l.mu.Unlock()
	go l.pump(near, far, &l.noSend)
	go l.pump(far, near, &l.noReceive)
	return &linkConn{Conn: client, link: l}, nil
}

// pump copies from one end to the other while *held is false. It ends, and
// closes both ends, when either is closed.
func (l *Link) pump(from, to net.Conn, held *bool) {
	var queue []byte // guarded by l.mu
	var closed bool  // guarded by l.mu
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			l.mu.Lock()
			queue = append(queue, buf[:n]...)
			closed = closed || err != nil
			l.changed.Broadcast()
			l.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	for {
		l.mu.Lock()
		for !closed && (len(queue) == 0 || *held) {
			l.changed.Wait()
		}
		out, end := queue, closed
		if *held {
			out = nil // a closed connection loses what it held
		}
		queue = nil
		l.mu.Unlock()
		if _, err := to.Write(out); err != nil || end {
			from.Close()
			to.Close()
			return
		}
	}
}

// A linkConn forgets itself when it is closed.
type linkConn struct {
	net.Conn
	link *Link
}

func (c *linkConn) Close() error {
	c.link.mu.Lock()
	delete(c.link.open, c.Conn)
	c.link.mu.Unlock()
	return c.Conn.Close()
}
