// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package workitem

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jetjobs/jetjobs/queue"
)

// An Envelope is the payload of the jobs in the queue: a value with its kind.
// Programs meet it among the dead letters, see Queue.Jobs.
type Envelope struct {
	Kind     string
	Data     []byte    // the value, as the queue's codec encoded it
	Enqueued time.Time // by the clock of who enqueued it
	Version  int       // of the envelope
}

// envelopeVersion is that of the envelopes written here; one without a version
// has 1.
const envelopeVersion = 1

// newer reports whether a later release wrote the envelope.
func (e Envelope) newer() bool { return e.Version > envelopeVersion }

// An envelopeCodec is the codec of the queue: values inside are in the codec of
// its Options, the envelope around them is always JSON:
//
//	{"v":1,"kind":"import-csv","at":"2026-01-02T15:04:05Z","data":{"file":"a.csv"}}
//
// Another codec than JSON has its output in "bytes", as base64, in place of "data".
type envelopeCodec struct{ values queue.Codec }

type wireEnvelope struct {
	Version int             `json:"v"`
	Kind    string          `json:"kind"`
	At      time.Time       `json:"at,omitzero"`
	Data    json.RawMessage `json:"data,omitempty"`
	Bytes   []byte          `json:"bytes,omitempty"`
}

func (c envelopeCodec) Marshal(v any) ([]byte, error) {
	e, ok := v.(Envelope)
	if !ok {
		return c.values.Marshal(v)
	}
	w := wireEnvelope{Version: envelopeVersion, Kind: e.Kind, At: e.Enqueued}
	if c.values == queue.JSON {
		w.Data = e.Data
	} else {
		w.Bytes = e.Data
	}
	return json.Marshal(w)
}

func (c envelopeCodec) Unmarshal(data []byte, v any) error {
	e, ok := v.(*Envelope)
	if !ok {
		return c.values.Unmarshal(data, v)
	}
	w := wireEnvelope{Version: 1}
	if err := json.Unmarshal(data, &w); err != nil {
		return fmt.Errorf("the envelope of a work item: %w", err)
	}
	if w.Kind == "" && w.Version <= envelopeVersion {
		return errors.New("the envelope of a work item has no kind: was it enqueued by workitem.Enqueue?")
	}
	*e = Envelope{Kind: w.Kind, Data: w.Data, Enqueued: w.At, Version: w.Version}
	if w.Bytes != nil {
		e.Data = w.Bytes
	}
	return nil
}
