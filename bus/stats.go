// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"cmp"
	"slices"
	"sync"
)

// Stats tell what became of the messages that reached one subscription. Received
// is the sum of the numbers after it, and of those that are being handled.
type Stats struct {
	Topic      string
	Group      string // "" for none
	Subscriber string // where Subscribe, Listen or Respond was called: dir/file.go:12

	Received    uint64
	Waiting     uint64 // for the handler, now
	Handled     uint64
	Failed      uint64 // the handler returned an error or panicked
	Undecodable uint64 // not what the topic says; skipped
	Dropped     uint64 // for want of room, or as the subscription ended
}

// Stats returns those of this subscription, also after its end.
func (s *Subscription) Stats() Stats { return s.stats() }

func (s *Subscription) stats() Stats {
	return Stats{
		Topic: s.plan.topic, Group: s.plan.group, Subscriber: s.plan.place,
		Received:    s.received.Load(),
		Waiting:     uint64(s.box.waiting()),
		Handled:     s.handled.Load(),
		Failed:      s.failed.count.Load() + s.panicked.count.Load(),
		Undecodable: s.undecodable.count.Load(),
		Dropped:     s.dropped.count.Load(),
	}
}

// Stats returns those of all live subscriptions of all spaces of this bus, in the
// order in which they were made.
func (b *Bus) Stats() []Stats {
	var all []Stats
	for _, s := range b.live.all() {
		all = append(all, s.stats())
	}
	return all
}

// A registry knows the live subscriptions.
type registry struct {
	mu   sync.Mutex // guards the rest
	next uint64
	subs map[*Subscription]uint64 // its number
}

func newRegistry() *registry { return &registry{subs: map[*Subscription]uint64{}} }

func (r *registry) add(s *Subscription) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
	r.subs[s] = r.next
}

func (r *registry) remove(s *Subscription) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.subs, s)
}

func (r *registry) all() []*Subscription {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*Subscription, 0, len(r.subs))
	for s := range r.subs {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *Subscription) int { return cmp.Compare(r.subs[a], r.subs[b]) })
	return all
}
