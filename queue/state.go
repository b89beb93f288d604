// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import "fmt"

// State is where a job stands.
type State string

// The states of a job. Done, Dead and Cancelled are the ends; a job that is not
// retained leaves nothing when it is done or cancelled.
const (
	Waiting   State = "waiting"   // could be taken now
	Running   State = "running"   // taken and not settled, crashed or not: until it is taken again
	Later     State = "later"     // delayed, snoozed or waiting for a retry
	Done      State = "done"      // retained
	Dead      State = "dead"      // failed for good
	Cancelled State = "cancelled" // retained
)

// Over reports whether the state is an end.
func (s State) Over() bool { return s == Done || s == Dead || s == Cancelled }

func (s State) check() error {
	switch s {
	case Waiting, Running, Later, Done, Dead, Cancelled:
		return nil
	}
	return fmt.Errorf("State is %q: want Waiting, Running, Later, Done, Dead or Cancelled", string(s))
}

// wire is the word for it in subjects.
func (s State) wire() string {
	switch s {
	case Later:
		return later
	case Done, Cancelled:
		return done
	case Dead:
		return dead
	}
	return ready
}

// stateOf is the state of what is stored on a subject with this word. Whether a
// waiting job runs only the consumer knows.
func stateOf(wire string, h header) State {
	switch wire {
	case later:
		return Later
	case dead:
		return Dead
	case done:
		if h.get(headerOutcome) == outcomeCancelled {
			return Cancelled
		}
		return Done
	}
	return Waiting
}

// Why a job is Later, for Info.Reason.
const (
	ReasonDelayed  = "delayed"  // by At, Delay or Reschedule
	ReasonRetrying = "retrying" // its last attempt failed
	ReasonSnoozed  = "snoozed"  // its handler said so
	ReasonDeferred = "deferred" // by a worker, for a second or two
)

// A StateError says that a job is not in a state in which it can be done to it
// what was asked for.
type StateError struct {
	ID    string
	State State
}

func (e *StateError) Error() string { return fmt.Sprintf("job %q is %s", e.ID, e.State) }
