// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// linger is how long a watch outlives the last who needed it: making one
	// takes a request to the server, at three replicas up to 60 ms.
	linger = 10 * time.Second

	// lookAgain is how long who waits believes the watch without having heard
	// from it. A stalled watch is found by nats.go within about ten seconds.
	lookAgain = 15 * time.Second
)

// watches are the watches of this process, one for each connection and bucket,
// however often that was opened.
var watches = struct {
	mu sync.Mutex // guards all
	by map[watchKey]*watch
}{by: map[watchKey]*watch{}}

type watchKey struct {
	nc      *nats.Conn
	subject string
}

// A watch tells those who wait for keys of a bucket what becomes of them. It runs
// while there are any, and a little longer.
type watch struct {
	id watchKey
	kv jetstream.KeyValue

	mu    sync.Mutex // guards lines and what is in them; taken after watches.mu
	lines map[string]*line
	idle  *time.Timer
	stop  context.CancelFunc
}

// A line is those who wait for one key, and what is known of it.
type line struct {
	w    *watch
	key  string
	refs int           // who waits or observes
	turn chan struct{} // held by the first of those who want the key; the others queue for it

	known   bool
	entry   entry
	seen    time.Time     // when
	changed chan struct{} // closed and replaced when any of the three changes
}

// join enters the line of a key, and starts the watch if need be.
func (c *core) join(key string) *line {
	id := watchKey{c.nc, c.publish}
	watches.mu.Lock()
	defer watches.mu.Unlock()
	w := watches.by[id]
	if w == nil {
		ctx, stop := context.WithCancel(context.Background())
		w = &watch{id: id, kv: c.kv, lines: map[string]*line{}, stop: stop}
		w.idle = time.AfterFunc(linger, w.expire)
		watches.by[id] = w
		go w.run(ctx) // ends linger after the last has left, or with the connection
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.idle.Stop()
	l := w.lines[key]
	if l == nil {
		l = &line{w: w, key: key, turn: make(chan struct{}, 1), changed: make(chan struct{})}
		w.lines[key] = l
	}
	l.refs++
	return l
}

// contended reports whether somebody in this process waits for the key.
func (c *core) contended(key string) bool {
	watches.mu.Lock()
	defer watches.mu.Unlock()
	w := watches.by[watchKey{c.nc, c.publish}]
	if w == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lines[key] != nil
}

func (l *line) leave() {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	if l.refs--; l.refs == 0 {
		delete(l.w.lines, l.key)
	}
	if len(l.w.lines) == 0 {
		l.w.idle.Reset(linger)
	}
}

// expire ends the watch if nobody has come back.
func (w *watch) expire() {
	watches.mu.Lock()
	defer watches.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.lines) == 0 {
		w.retireLocked()
	}
}

// retireLocked ends the watch; who comes next begins another. It expects
// watches.mu.
func (w *watch) retireLocked() {
	if watches.by[w.id] == w {
		delete(watches.by, w.id)
	}
	w.stop()
}

// run watches until ctx ends. Each time it begins to watch, all who wait look at
// their keys once: so nothing is missed, neither before it began nor while the
// connection was down.
func (w *watch) run(ctx context.Context) {
	status := w.id.nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer w.id.nc.RemoveStatusListener(status)
	for n := 0; ctx.Err() == nil; n++ {
		if w.follow(ctx, status) {
			n = 0
		}
		if w.id.nc.IsClosed() {
			watches.mu.Lock()
			w.retireLocked()
			watches.mu.Unlock()
			w.forget() // those who wait find out by themselves
			return
		}
		pause(ctx, n)
	}
}

// follow watches until the watch or the connection breaks, and reports whether it
// had begun.
func (w *watch) follow(ctx context.Context, status <-chan nats.Status) bool {
	ctx, cancel := context.WithCancel(ctx) // nats.go ends the watch with it
	defer cancel()
	slow := time.AfterFunc(oneTry, cancel)
	updates, err := w.kv.WatchFiltered(ctx, []string{lockKind + ".>"}, jetstream.UpdatesOnly())
	if err != nil {
		return false
	}
	slow.Stop()
	defer func() {
		updates.Stop()
		for range updates.Updates() { // else nats.go may wait for ever to hand over one more
		}
	}()
	w.forget()
	for {
		select {
		case <-ctx.Done():
			return true
		case <-status:
			return true
		case u, ok := <-updates.Updates():
			if !ok {
				return true
			}
			w.note(u)
		}
	}
}

// note tells those who wait for a key what became of it.
func (w *watch) note(u jetstream.KeyValueEntry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.lines[u.Key()]
	if l == nil || l.known && u.Revision() < l.entry.rev { // a read was faster
		return
	}
	e := entry{rev: u.Revision(), created: u.Created()}
	if u.Operation() == jetstream.KeyValuePut {
		e.data, e.held = u.Value(), parseRecord(u.Value())
	}
	l.setLocked(e, true)
}

// forget makes everybody look.
func (w *watch) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.lines {
		l.setLocked(entry{}, false)
	}
}

func (l *line) setLocked(e entry, known bool) {
	l.entry, l.known, l.seen = e, known, time.Now()
	close(l.changed)
	l.changed = make(chan struct{})
}

// look returns what stands at the key, as last heard or else as the server says
// now, and a channel that is closed when that has changed.
func (l *line) look(ctx context.Context, c *core) (e entry, changed <-chan struct{}, err error) {
	l.w.mu.Lock()
	e, known, heard := l.entry, l.known, l.changed
	l.w.mu.Unlock()
	if known {
		return e, heard, nil
	}
	if e, err = c.read(ctx, l.key); err != nil {
		return e, heard, err
	}
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	if l.changed == heard { // else what was heard meanwhile may be newer
		l.entry, l.known, l.seen = e, true, time.Now()
	}
	return e, heard, nil
}

// doubt makes the next look ask the server, unless something was heard since
// changed was returned.
func (l *line) doubt(changed <-chan struct{}) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	if l.changed == changed {
		l.known = false
	}
}

// patience is how long to wait for a change before asking the server: until the
// holder's time is over and the server should have said so.
func (l *line) patience(e entry) time.Duration {
	if e.held == nil {
		return lookAgain
	}
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	over := l.seen.Add(time.Duration(e.held.TTL)*time.Second + pauseMax)
	return min(max(time.Until(over), pauseMax), lookAgain)
}

// await waits until something changed, or d is over, when the next look asks the
// server. Its error is that of ctx.
func (l *line) await(ctx context.Context, changed <-chan struct{}, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-changed:
	case <-timer.C:
		l.doubt(changed)
	}
	return nil
}
