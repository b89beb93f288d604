// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The states that a job's subject can name. A running job stays in ready; the
// consumer knows that it runs.
const (
	ready = "ready"
	later = "later"
	done  = "done"
	dead  = "dead"
)

const maxIDLength = 256

const defaultNamespace = "jobs"

// names says what a queue is called on the server. All of it is fixed here.
type names struct {
	queue  string
	stream string // jobs_q_orders
	prefix string // jobs.q.orders.
	first  string // jobs.q.orders.ready.0.
	ctl    string // jobs.ctl.orders.
	ev     string // jobs.ev.orders.

	progress string // jobs.progress.orders.*: of work items
}

func newNames(namespace, queue string) names {
	return names{
		queue:  queue,
		stream: namespace + "_q_" + queue,
		prefix: namespace + ".q." + queue + ".",
		first:  namespace + ".q." + queue + "." + ready + ".0.",
		ctl:    namespace + ".ctl." + queue + ".",
		ev:     namespace + ".ev." + queue + ".",

		progress: namespace + ".progress." + queue + ".*",
	}
}

// namesOfAll is how the streams of all queues of a namespace begin, and what they
// listen to.
func namesOfAll(namespace string) (streams, subjects string) {
	return namespace + "_q_", namespace + ".q.>"
}

// all matches every subject of the queue; it is what the stream listens to.
func (n names) all() string { return n.prefix + ">" }

// subject is where the job with this token stands in a state.
func (n names) subject(state string, priority int, token string) string {
	return n.prefix + state + "." + strconv.Itoa(priority) + "." + token
}

// filter matches the job with this token in every state and priority. Every
// compare-and-set about a job must use this very string: a replicated stream
// compares writes that are still in flight by it, literally (server 2.15.2).
func (n names) filter(token string) string { return n.prefix + "*.*." + token }

// state matches every job in a state.
func (n names) state(state string) string { return n.prefix + state + ".*.*" }

// lane matches every waiting job of one priority.
func (n names) lane(priority int) string {
	return n.prefix + ready + "." + strconv.Itoa(priority) + ".*"
}

func (n names) worker(priority int) string { return "work_" + strconv.Itoa(priority) }

// counter is the consumer that counts a state for Stats; nobody pulls from it.
func (n names) counter(state string) string { return "count_" + state }

// control is the core subject on which all workers of the queue listen.
func (n names) control(verb string) string { return n.ctl + verb }

// event is the core subject on which events of a type are sent.
func (n names) event(kind string) string { return n.ev + kind }

// parse splits a subject of the queue.
func (n names) parse(subject string) (state string, priority int, token string, ok bool) {
	rest, ok := strings.CutPrefix(subject, n.prefix)
	if !ok {
		return "", 0, "", false
	}
	state, rest, _ = strings.Cut(rest, ".")
	number, token, ok := strings.Cut(rest, ".")
	if !ok || token == "" || strings.Contains(token, ".") {
		return "", 0, "", false
	}
	priority, err := strconv.Atoi(number)
	return state, priority, token, err == nil
}

func checkID(id string) error {
	switch {
	case id == "":
		return errors.New("ID is empty: want that of a job, as its Receipt or a List tells it")
	case !utf8.ValidString(id):
		return fmt.Errorf("ID is %q: want valid UTF-8; encode binary IDs, for instance as hex", id)
	case len(id) > maxIDLength:
		return fmt.Errorf("ID is %d bytes long: want at most %d; use a hash of it", len(id), maxIDLength)
	}
	return nil
}
