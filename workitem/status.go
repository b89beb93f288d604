// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package workitem

import (
	"encoding/json"
	"fmt"
	"time"
)

// A State says where an item stands, in one word.
type State string

// The states. Completed, Failed and Cancelled are final.
const (
	Queued    State = "queued"    // waiting, or put aside without an attempt counted; Message may say why
	Started   State = "started"   // a handler has it, and has not reported yet
	Progress  State = "progress"  // a handler has it, and has reported
	Retrying  State = "retrying"  // an attempt failed, as Error says, and another follows
	Completed State = "completed" // done
	Failed    State = "failed"    // failed for good; kept among the dead letters of the queue
	Cancelled State = "cancelled" // ended by Cancel
)

// Final reports whether nothing follows.
func (s State) Final() bool { return s == Completed || s == Failed || s == Cancelled }

// A Status is what is known of an item at a time. It marshals to JSON as it
// travels, fit for a browser.
type Status struct {
	Queue string `json:"queue"`
	ID    string `json:"id"`
	Kind  string `json:"kind,omitempty"`
	State State  `json:"state"`

	// Percent is 0 when an attempt starts, then what its handler reported, at
	// most 99, and 100 when and only when the item is Completed. After a failed
	// attempt it stays where it was until the next one starts.
	Percent int `json:"percent"`

	// Message is what the handler last reported, or why the item waits.
	Message string `json:"message,omitempty"`

	// Data is what the handler last reported with Report, as JSON.
	Data json.RawMessage `json:"data,omitempty"`

	// Attempt is the one that runs, or ran last, from 1; 0 if none has.
	Attempt int `json:"attempt,omitempty"`

	// MaxAttempts is after how many failed attempts the item has failed.
	MaxAttempts int `json:"max_attempts,omitempty"`

	// Error is that of the last failed attempt.
	Error string `json:"error,omitempty"`

	// Times are by the clock of the process that wrote them.
	Enqueued time.Time `json:"enqueued,omitzero"`
	Started  time.Time `json:"started,omitzero"` // the attempt
	Updated  time.Time `json:"updated,omitzero"` // the status
}

// version is that of the records written here; a record without one has 1.
const version = 1

// A record is a status as it is stored and travels.
type record struct {
	Version int `json:"v"`

	// Turn grows each time that somebody else goes on with the item, by
	// compare-and-set, and Step with each status of a turn: the order of statuses.
	Turn uint64 `json:"turn"`
	Step uint64 `json:"step"`

	// By tells apart two who took the same turn.
	By string `json:"by,omitempty"`

	// Unknown is since when no worker has known the kind.
	Unknown time.Time `json:"unknown,omitzero"`

	Status
}

func (r record) encode() ([]byte, error) { return json.Marshal(r) }

// decodeRecord reads a record. One of a later version is read as far as it is
// understood: what orders statuses stays.
func decodeRecord(data []byte) (record, error) {
	r := record{Version: version}
	if err := json.Unmarshal(data, &r); err != nil {
		return record{}, fmt.Errorf("decode a status: %w", err)
	}
	if r.State == "" {
		return record{}, fmt.Errorf("decode a status: %q has no state", data)
	}
	return r, nil
}

// after reports whether r is to follow o. Turns begin anew when the record was
// forgotten and the ID is used again, which the times tell.
func (r record) after(o record) bool {
	switch {
	case !r.Enqueued.Equal(o.Enqueued):
		return r.Updated.After(o.Updated)
	case r.Turn != o.Turn:
		return r.Turn > o.Turn
	}
	return r.Step > o.Step
}
