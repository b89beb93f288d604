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
// it holds what is sent while it is cut, that a connection was closed included,
// and delivers it late. Its methods may be called concurrently.
type Link struct {
	e     *Env
	pumps sync.WaitGroup

	mu        sync.Mutex // guards the rest, and the fields of its circuits
	changed   *sync.Cond // something guarded has changed
	noSend    bool       // what clients send waits
	noReceive bool       // what the server sends waits
	refuse    bool       // no new connection
	open      map[*circuit]struct{}
}

// A circuit is one connection through the link: two pipes, and the link in the
// middle of them.
type circuit struct {
	near, far net.Conn // the link's end of the client's and of the server's pipe
	pumps     int      // directions that may still deliver something
	broken    bool     // nothing is delivered any more
}

// Link makes a new, healthy link to the server. It breaks when the test ends.
func (e *Env) Link() *Link {
	l := &Link{e: e, open: map[*circuit]struct{}{}}
	l.changed = sync.NewCond(&l.mu)
	e.t.Cleanup(func() {
		l.Break()
		l.pumps.Wait()
	})
	return l
}

// JetStream is JetStream on a new connection over the link.
func (l *Link) JetStream(opts ...nats.Option) jetstream.JetStream {
	l.e.t.Helper()
	return newJetStream(l.e.t, connect(l.e.t, "", append([]nats.Option{nats.InProcessServer(l)}, opts...)...))
}

// Cut holds everything, in both directions; neither side is told, even when the
// other closes the connection. New connections are refused.
func (l *Link) Cut() { l.set(true, true) }

// CutReplies holds what the server sends; what clients send still arrives. New
// connections are refused.
func (l *Link) CutReplies() { l.set(false, true) }

// Break closes every connection at both ends, as a crashed load balancer does,
// loses what they held, and refuses new ones.
func (l *Link) Break() {
	l.mu.Lock()
	l.noSend, l.noReceive, l.refuse = true, true, true
	var broken []*circuit
	for c := range l.open {
		c.broken = true
		broken = append(broken, c)
	}
	l.changed.Broadcast()
	l.mu.Unlock()
	for _, c := range broken {
		c.near.Close()
		c.far.Close()
	}
}

// Heal delivers what was held and lets clients connect again.
func (l *Link) Heal() { l.set(false, false) }

func (l *Link) set(noSend, noReceive bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noSend, l.noReceive, l.refuse = noSend, noReceive, noSend || noReceive
	l.changed.Broadcast()
}

// InProcessConn connects through the link.
func (l *Link) InProcessConn() (net.Conn, error) {
	far, err := l.e.InProcessConn()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse {
		far.Close()
		return nil, net.ErrClosed
	}
	near, client := net.Pipe()
	c := &circuit{near: near, far: far, pumps: 2}
	l.open[c] = struct{}{}
	l.pump(c, near, far, &l.noSend)
	l.pump(c, far, near, &l.noReceive)
	return client, nil
}

// pump begins to copy from one end to the other while *held is false; when the
// one is closed it closes the other, in its turn.
func (l *Link) pump(c *circuit, from, to net.Conn, held *bool) {
	var queue []byte // guarded by l.mu
	var closed bool  // guarded by l.mu
	l.pumps.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			l.mu.Lock()
			queue = append(queue, buf[:n]...)
			closed = err != nil
			l.changed.Broadcast()
			l.mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	l.pumps.Go(func() {
		for {
			l.mu.Lock()
			for !c.broken && (*held || len(queue) == 0 && !closed) {
				l.changed.Wait()
			}
			out, last := queue, closed || c.broken
			if c.broken {
				out = nil
			}
			queue = nil
			l.mu.Unlock()
			// An end that refuses bytes is closed: its own pump will tell.
			to.Write(out)
			if last {
				to.Close()
				l.ended(c)
				return
			}
		}
	})
}

// ended forgets the circuit after its second direction.
func (l *Link) ended(c *circuit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.pumps--; c.pumps == 0 {
		delete(l.open, c)
	}
}
