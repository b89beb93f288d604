// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetjobs/jetjobs/queue"
)

// A usageError says that the program was not understood.
type usageError struct{ text, see string }

func (e *usageError) Error() string {
	if e.see == "" {
		return e.text
	}
	return e.text + " (see " + e.see + ")"
}

func misused(format string, args ...any) error {
	return &usageError{text: fmt.Sprintf(format, args...)}
}

// A connectError says which server could not be reached.
type connectError struct {
	url string
	err error
}

func (e *connectError) Error() string {
	switch {
	case errors.Is(e.err, nats.ErrAuthorization):
		return fmt.Sprintf("%s wants other credentials: give -user and NATS_PASSWORD, or -creds", hideUser(e.url))
	case errors.Is(e.err, nats.ErrNoServers), errors.Is(e.err, nats.ErrTimeout):
		return fmt.Sprintf("no NATS server answers at %s: start it, or give another -url or NATS_URL (inspect -demo needs none)", hideUser(e.url))
	}
	return fmt.Sprintf("connect to %s: %s", hideUser(e.url), e.err)
}

func (e *connectError) Unwrap() error { return e.err }

// hideUser takes user and password out of a list of URLs.
func hideUser(urls string) string {
	all := strings.Split(urls, ",")
	for i, u := range all {
		if at := strings.LastIndexByte(u, '@'); at >= 0 {
			scheme, _, ok := strings.Cut(u, "://")
			if all[i] = u[at+1:]; ok {
				all[i] = scheme + "://" + all[i]
			}
		}
	}
	return strings.Join(all, ",")
}

// An unknownQueueError says what there is instead.
type unknownQueueError struct {
	name, namespace string
	there           []string
}

func (e *unknownQueueError) Error() string {
	if len(e.there) == 0 {
		return fmt.Sprintf("no queue %q: the namespace %q has none at all; is it another -namespace, -url or account?", e.name, e.namespace)
	}
	return fmt.Sprintf("no queue %q in the namespace %q; there are: %s", e.name, e.namespace, strings.Join(e.there, ", "))
}

// A wrongStateError says that a job is not where it was looked for, and what can be
// done about it.
type wrongStateError struct {
	id     string
	state  queue.State
	remedy string
}

func (e *wrongStateError) Error() string {
	return fmt.Sprintf("job %q is %s: %s", e.id, e.state, e.remedy)
}

// A noJobError says that there is no job with an ID.
type noJobError struct{ queue, id string }

func (e *noJobError) Error() string {
	return fmt.Sprintf("no job %q in queue %q: it never was, or is over and was not retained; inspect list %s shows what is there", e.id, e.queue, e.queue)
}

// whyNot explains the failure of a command about one job: remedy says which jobs it is
// for, and which command is for the others.
func (q *opened) whyNot(ctx context.Context, id string, err error, remedy string) error {
	if wrong, ok := errors.AsType[*queue.StateError](err); ok {
		return &wrongStateError{id, wrong.State, remedy}
	}
	if !errors.Is(err, queue.ErrNotFound) {
		return err
	}
	if info, err := q.Get(ctx, id); err == nil {
		return &wrongStateError{id, info.State, remedy}
	}
	return &noJobError{q.Name(), id}
}

// explain makes one line of an error.
func (in *inspector) explain(err error) string {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	denied := in.denied.Load()
	silent := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrNoResponders)
	switch {
	case errors.Is(err, context.Canceled):
		return "interrupted"
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return text + ": start the server with -js, or use an account that has JetStream"
	case silent && denied != nil:
		// The server tells so beside the request, which is then never answered.
		return fmt.Sprintf("the user may not do that: %s; examples/deploy has an operator who may", *denied)
	case silent:
		return text + ": is the server overloaded, or its cluster without a leader? Try again"
	}
	return text
}
