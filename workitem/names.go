// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package workitem

import "github.com/jetjobs/jetjobs/bus"

// names says what the statuses of one queue are called on the server. All of it
// is fixed here.
type names struct{ namespace, queue string }

// space is the word after the namespace under which the bus carries statuses.
const space = "progress"

// live is a topic of statuses on the bus: of a queue and an item. Payloads are
// ours, whatever codec the bus has.
const live bus.Topic[bus.Raw] = "*.*"

// topic is where the statuses of one item are published, as the bus calls it.
func (n names) topic(id string) bus.Topic[bus.Raw] { return live.With(n.queue, id) }

// topics are those of all items.
func (n names) topics() bus.Topic[bus.Raw] { return live.With(n.queue) }

// stream keeps the latest status of each item.
func (n names) stream() string { return n.namespace + "_status_" + n.queue }

// kept is the subject of the latest status of one item in the stream.
func (n names) kept(id string) string { return n.namespace + ".status." + string(n.topic(id)) }

// allKept matches all subjects of the stream.
func (n names) allKept() string { return n.namespace + ".status." + n.queue + ".>" }

// allLive is where the server publishes what the stream has stored: the topics,
// with the bus's own prefix.
func (n names) allLive() string { return n.namespace + "." + space + "." + n.queue + ".>" }
