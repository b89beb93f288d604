// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
)

// A PublishOption says how one message differs from a default one.
type PublishOption interface{ publish(*spec) }

// A MessageOption is a PublishOption that requests take too.
type MessageOption interface {
	PublishOption
	request(*spec)
}

type messageOption func(*spec)

func (o messageOption) publish(s *spec) { o(s) }
func (o messageOption) request(s *spec) { o(s) }

type publishOption func(*spec)

func (o publishOption) publish(s *spec) { o(s) }

// CorrelationID is carried to the handlers, to tell what belongs together.
func CorrelationID(id string) MessageOption {
	return messageOption(func(s *spec) { s.set("CorrelationID"); s.correlation = id })
}

// Property is carried to the handlers: any UTF-8. It may be given several times.
func Property(key, value string) MessageOption {
	return messageOption(func(s *spec) {
		s.set("Property " + key)
		if s.properties == nil {
			s.properties = map[string]string{}
		}
		s.properties[key] = value
	})
}

// Header adds a value to a NATS header, for what other programs read, such as
// traceparent. Keys that begin with Nats- or Bus- are refused.
func Header(key, value string) MessageOption {
	return messageOption(func(s *spec) {
		if s.header == nil {
			s.header = nats.Header{}
		}
		s.header.Add(key, value)
	})
}

// Delay makes the server keep the message and publish it when d has passed, by
// this process's clock, never earlier and normally at most half a second later.
// It needs JetStream; Publish returns when the message is stored.
func Delay(d time.Duration) PublishOption {
	return publishOption(func(s *spec) { s.set("Delay"); s.delay = d })
}

// At is Delay until t by the server's clock. A t that has passed means at once.
func At(t time.Time) PublishOption {
	return publishOption(func(s *spec) { s.set("At"); s.at = t })
}

// A spec is what the options of one call ask for.
type spec struct {
	given []string // names of the options, to find those given twice
	twice []string

	correlation string
	properties  map[string]string
	header      nats.Header
	delay       time.Duration
	at          time.Time
}

func (s *spec) set(option string) {
	if s.has(option) {
		s.twice = append(s.twice, option)
	}
	s.given = append(s.given, option)
}

func (s *spec) has(option string) bool {
	for _, o := range s.given {
		if o == option {
			return true
		}
	}
	return false
}

// farthest is the last moment that has a name on the server.
var farthest = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

// due is when the message is to be published, zero for at once.
func (s *spec) due(now time.Time) time.Time {
	due := s.at
	if s.delay > 0 {
		due = farthest
		if farthest.Sub(now) > s.delay {
			due = now.Add(s.delay)
		}
	}
	if !due.After(now) {
		return time.Time{}
	}
	return due
}

// check reports everything that is wrong with the options at once.
func (s *spec) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, o := range s.twice {
		bad("option %s is given twice: leave one out", o)
	}
	if s.has("At") && s.has("Delay") {
		bad("At and Delay are both given: leave one out")
	}
	if s.delay < 0 {
		bad("Delay is %s: want zero, for at once, or more", s.delay)
	}
	if s.at.After(farthest) {
		bad("At is %s: want a time before the year 10000", s.at.Format(time.RFC3339))
	}
	if s.has("CorrelationID") && !isHeaderText(s.correlation) {
		bad("CorrelationID is %q: want one line of UTF-8 without white space around it", s.correlation)
	}
	for k, v := range s.properties {
		if k == "" || !utf8.ValidString(k) || !utf8.ValidString(v) {
			bad("Property %q is %q: want UTF-8, and a key that is not empty", k, v)
		}
	}
	for k, values := range s.header {
		errs = append(errs, checkHeader(k, values))
	}
	return errors.Join(errs...)
}

// checkHeader keeps out what would be obeyed by the server, or come out of the
// wire other than it went in.
func checkHeader(key string, values []string) error {
	illegal := func(r rune) bool { return r <= ' ' || r > '~' || r == ':' }
	switch lower := strings.ToLower(key); {
	case key == "" || strings.ContainsFunc(key, illegal):
		return fmt.Errorf("Header key is %q: want printable ASCII without spaces and colons", key)
	case strings.HasPrefix(lower, "nats-") || strings.HasPrefix(lower, "bus-"):
		return fmt.Errorf("Header key is %q, which belongs to NATS or to this package: want another one, or Property", key)
	}
	for _, v := range values {
		if !isHeaderText(v) {
			return fmt.Errorf("Header %s is %q: want one line of UTF-8 without white space around it, or use Property", key, v)
		}
	}
	return nil
}

func isHeaderText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsAny(s, "\r\n") && strings.TrimSpace(s) == s
}

// natsHeader is the header of the message, nil if it needs none.
func (s *spec) natsHeader() nats.Header {
	h := s.header
	set := func(key, value string) {
		if h == nil {
			h = nats.Header{}
		}
		h.Set(key, value)
	}
	if s.correlation != "" {
		set(headerCorrelation, s.correlation)
	}
	if len(s.properties) > 0 {
		// Marshal escapes line breaks, and strings always marshal.
		data, _ := json.Marshal(s.properties)
		set(headerProperties, string(data))
	}
	return h
}
