// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package cron

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A view is the bucket as this process knows it.
type view struct {
	mu        sync.Mutex // guards the rest
	schedules map[string]*schedule
	changed   chan struct{} // closed, and made anew, when anything changes
}

// A schedule is what the bucket has about a name.
type schedule struct {
	name    string
	defs    map[string]definition // by host
	state   state
	rev     uint64        // of state, 0 if there is none
	at      time.Time     // when state was written
	changed chan struct{} // closed, and made anew, when any of it changes
}

func newView() *view {
	return &view{schedules: map[string]*schedule{}, changed: make(chan struct{})}
}

// watch keeps the view up to date until ctx ends. ready is called when it has seen
// what there is.
func (v *view) watch(ctx context.Context, kv jetstream.KeyValue, ready func()) error {
	watcher, err := kv.WatchAll(ctx)
	if err != nil {
		return err
	}
	defer end(watcher)
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-watcher.Updates():
			switch {
			case !ok:
				return fmt.Errorf("the watch of bucket %s has ended", kv.Bucket())
			case e == nil:
				ready()
			default:
				v.take(e)
			}
		}
	}
}

// end stops a watcher. The server forgets it by itself: if that can't be asked
// nats.go would wait for 5 s (1.55), as long as a host for what it stops, and it
// does so on its own, until then or until the connection is closed.
func end(watcher jetstream.KeyWatcher) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		watcher.Stop()
	}()
	patience := time.NewTimer(2 * time.Second)
	defer patience.Stop()
	select {
	case <-ended:
	case <-patience.C:
	}
}

// take takes in a change of a key.
func (v *view) take(e jetstream.KeyValueEntry) {
	v.mu.Lock()
	defer v.mu.Unlock()
	gone := e.Operation() != jetstream.KeyValuePut
	var s *schedule
	if name, ok := strings.CutPrefix(e.Key(), stateKey); ok {
		s = v.getLocked(name)
		if e.Revision() <= s.rev {
			return // our own write, known already
		}
		s.state, s.rev, s.at = state{}, e.Revision(), e.Created()
		if gone {
			s.rev = 0
		} else if json.Unmarshal(e.Value(), &s.state) != nil {
			return
		}
	}
	if rest, ok := strings.CutPrefix(e.Key(), defKey); ok {
		name, host, _ := strings.Cut(rest, ".")
		s = v.getLocked(name)
		var d definition
		if gone || json.Unmarshal(e.Value(), &d) != nil {
			delete(s.defs, host)
		} else {
			d.seen = time.Now()
			s.defs[host] = d
		}
	}
	if s == nil {
		return
	}
	close(v.changed)
	close(s.changed)
	v.changed, s.changed = make(chan struct{}), make(chan struct{})
}

// reset forgets all, for another bucket.
func (v *view) reset() {
	v.mu.Lock()
	defer v.mu.Unlock()
	close(v.changed)
	v.schedules, v.changed = map[string]*schedule{}, make(chan struct{})
}

func (v *view) getLocked(name string) *schedule {
	s := v.schedules[name]
	if s == nil {
		s = &schedule{name: name, defs: map[string]definition{}, changed: make(chan struct{})}
		v.schedules[name] = s
	}
	return s
}

// wrote takes in what this process has written itself, without waiting for the
// watch to tell.
func (v *view) wrote(w schedule) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if s := v.getLocked(w.name); w.rev > s.rev {
		s.state, s.rev, s.at = w.state, w.rev, w.at
	}
}

// all returns copies of all schedules, by name, and what is closed when they
// change.
func (v *view) all() ([]schedule, <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var all []schedule
	for _, s := range v.schedules {
		all = append(all, s.clone())
	}
	slices.SortFunc(all, func(a, b schedule) int { return cmp.Compare(a.name, b.name) })
	return all, v.changed
}

// get returns a copy of a schedule.
func (v *view) get(name string) schedule {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.getLocked(name).clone()
}

func (s *schedule) clone() schedule {
	c := *s
	c.defs = maps.Clone(s.defs)
	return c
}

// hosts are the names of those that register it.
func (s schedule) hosts() []string {
	var names []string
	for _, d := range s.defs {
		names = append(names, d.Host)
	}
	slices.Sort(names)
	return names
}

// definition is the one that holds: of the host that started last.
func (s schedule) definition() (d definition, ok bool) {
	for _, one := range s.defs {
		if one.expired() {
			continue
		}
		if !ok || one.Since.After(d.Since) || one.Since.Equal(d.Since) && one.Host > d.Host {
			d, ok = one, true
		}
	}
	return d, ok
}

// schedule is the expression that holds, in its zone.
func (s schedule) parsed(d definition) (Schedule, error) {
	return parse(cmp.Or(s.state.Other, d.Spec), d.Zone)
}

// settleTime is how long read waits for keys that are written anew while it
// reads: they come after what it was promised (2.15.2).
const settleTime = 50 * time.Millisecond

// read reads the bucket once.
func read(ctx context.Context, kv jetstream.KeyValue) ([]schedule, error) {
	v := newView()
	watcher, err := kv.WatchAll(ctx)
	if err != nil {
		return nil, err
	}
	defer end(watcher)
	patience := time.NewTimer(10 * time.Second)
	defer patience.Stop()
	complete := false
	for {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-patience.C:
			if !complete {
				return nil, fmt.Errorf("bucket %s: no answer within 10s", kv.Bucket())
			}
			all, _ := v.all()
			return all, nil
		case e := <-watcher.Updates():
			if e == nil {
				complete = true
				patience.Reset(settleTime)
				continue
			}
			v.take(e)
		}
	}
}
