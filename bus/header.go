// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// What travels with a message beside its payload. A message published without
// options has no header at all.
const (
	headerVersion     = "Bus-Version" // of these headers; absent means 1
	headerCorrelation = "Bus-Correlation-Id"
	headerProperties  = "Bus-Properties" // a JSON object of strings
	headerTimeout     = "Bus-Timeout"    // of a request: for how long its caller waits

	// How a reply says that the handler failed: that of nats.go/micro (ADR-32),
	// so that its clients and the nats CLI understand it too.
	headerError     = "Nats-Service-Error"
	headerErrorCode = "Nats-Service-Error-Code"
)

// version is that of the headers written here.
const version = 1

// An envelope is a message's header, understood.
type envelope struct {
	correlation string
	properties  map[string]string
	timeout     time.Duration // 0: none
}

// readEnvelope understands a header; nil is that of most messages.
func readEnvelope(h nats.Header) (envelope, error) {
	if len(h) == 0 {
		return envelope{}, nil
	}
	if v := h.Get(headerVersion); v != "" {
		if n, err := strconv.Atoi(v); err != nil || n > version {
			return envelope{}, &decodeError{fmt.Errorf("header %s is %q and this process understands %d: upgrade it", headerVersion, v, version)}
		}
	}
	e := envelope{correlation: h.Get(headerCorrelation)}
	if v := h.Get(headerProperties); v != "" {
		if err := json.Unmarshal([]byte(v), &e.properties); err != nil {
			return e, &decodeError{fmt.Errorf("header %s is %q: %w", headerProperties, v, err)}
		}
	}
	if v := h.Get(headerTimeout); v != "" {
		var err error
		if e.timeout, err = time.ParseDuration(v); err != nil {
			return e, &decodeError{fmt.Errorf("header %s is %q: %w", headerTimeout, v, err)}
		}
	}
	return e, nil
}

// errorHeader is the header of a reply that says what went wrong.
func errorHeader(e *ReplyError) nats.Header {
	text := oneLine(e.Text)
	if len(text) > maxErrorText {
		text = strings.ToValidUTF8(text[:maxErrorText], "") + "…"
	}
	return nats.Header{headerError: {text}, headerErrorCode: {cmp.Or(oneLine(e.Code), codeFailed)}}
}

func oneLine(text string) string {
	return strings.Join(strings.Fields(strings.ToValidUTF8(text, "\uFFFD")), " ")
}

// readError is the error that a reply carries, or nil.
func readError(h nats.Header) error {
	code, text := h.Get(headerErrorCode), h.Get(headerError)
	if code == "" && text == "" {
		return nil
	}
	return &ReplyError{Code: code, Text: text}
}
