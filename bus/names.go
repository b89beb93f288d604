// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const (
	maxNameLength  = 64   // of a namespace, a space, a group
	maxTopicLength = 1024 // far below the server's limit of 4,096 for a whole line
)

// names says what the topics of one space are called on the server. All of it
// is fixed here.
type names struct {
	namespace string
	space     string
	prefix    string // jobs.bus.
}

func newNames(namespace, space string) names {
	return names{namespace: namespace, space: space, prefix: namespace + "." + space + "."}
}

// subject is where the messages of a topic are published.
func (n names) subject(topic string) string { return n.prefix + topic }

// topic is the topic of one of our subjects.
func (n names) topic(subject string) string { return strings.TrimPrefix(subject, n.prefix) }

// all matches the subjects of all topics.
func (n names) all() string { return n.prefix + ">" }

// stream keeps delayed messages.
func (n names) stream() string { return n.namespace + "_later_" + n.space }

func (n names) later() string { return n.namespace + ".later." + n.space + "." }

// kept matches all subjects of the stream.
func (n names) kept() string { return n.later() + ">" }

// waiting is the subject of one message that is not due yet.
func (n names) waiting(id string) string { return n.later() + "wait." + id }

// due is where the server moves a message of the topic when it is due, and
// from where it publishes it to the topic.
func (n names) due(topic string) string { return n.later() + "due." + topic }

// checkName refuses what can't be part of both a stream's name and a subject.
func checkName(field, name string) error {
	legal := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
	}
	switch {
	case name == "":
		return fmt.Errorf("%s is empty: want a name such as \"mailers\"", field)
	case len(name) > maxNameLength:
		return fmt.Errorf("%s is %d bytes long: want at most %d", field, len(name), maxNameLength)
	case strings.ContainsFunc(name, func(r rune) bool { return !legal(r) }):
		return fmt.Errorf("%s is %q: want only letters, digits, - and _", field, name)
	}
	return nil
}

// checkSpace also refuses the words after the namespace that have a meaning of
// their own: queues, and the bus's delayed messages.
func checkSpace(space string) error {
	if slices.Contains([]string{"q", "later"}, space) {
		return fmt.Errorf("space is %q, which jetjobs uses itself: want another name", space)
	}
	return checkName("space", space)
}

var errWildcard = errors.New("it has wildcards: fill them with With, or write the topic out; wildcards are for subscribing")

// checkTopic refuses what is no subject. It runs for every message, so it only
// looks at each byte once.
func checkTopic(topic string, wildcards bool) error {
	if len(topic) > maxTopicLength {
		return fmt.Errorf("the topic is %d bytes long: want at most %d", len(topic), maxTopicLength)
	}
	token := 0 // where the current one begins
	for i := 0; i <= len(topic); i++ {
		if i < len(topic) && topic[i] != '.' {
			if c := topic[i]; c <= ' ' || c == 0x7f {
				return fmt.Errorf("the topic has the byte %#02x at %d: want no white space or control characters; With encodes them", c, i)
			}
			continue
		}
		word := topic[token:i]
		switch {
		case word == "":
			return errors.New("the topic, or a part between two dots, is empty: want a name such as \"orders.shipped\"")
		case word == ">" && i < len(topic):
			return errors.New("the wildcard > is not at the end: want it last, or * for one part")
		case word == "*" || word == ">":
			if !wildcards {
				return errWildcard
			}
		case strings.ContainsAny(word, "*>"):
			return fmt.Errorf("the part %q mixes a wildcard with text: want * or > alone between dots", word)
		}
		token = i + 1
	}
	return nil
}

// fill replaces the wildcards of a topic, from the left, by encoded values; a >
// takes all that are left. It returns how many values it used.
func fill(topic string, values []string) (string, int) {
	words, used := strings.Split(topic, "."), 0
	for i, word := range words {
		switch {
		case used == len(values):
		case word == "*":
			words[i] = encodeToken(values[used])
			used++
		case word == ">":
			rest := make([]string, 0, len(values)-used)
			for _, v := range values[used:] {
				rest = append(rest, encodeToken(v))
			}
			words[i] = strings.Join(rest, ".")
			used = len(values)
		}
	}
	return strings.Join(words, "."), used
}

// match is the inverse of fill: it returns the values that stand in topic where
// the pattern has wildcards.
func match(pattern, topic string) (values []string, ok bool) {
	words := strings.Split(topic, ".")
	for i, want := range strings.Split(pattern, ".") {
		switch {
		case i == len(words):
			return nil, false
		case want == ">":
			for _, word := range words[i:] {
				values = append(values, decodeToken(word))
			}
			return values, true
		case want == "*":
			values = append(values, decodeToken(words[i]))
		case want != words[i]:
			return nil, false
		}
	}
	return values, len(words) == strings.Count(pattern, ".")+1
}

const hexDigits = "0123456789ABCDEF"

// escaped tells which bytes can't stand in a subject's token, or would make it
// mean something else. All other bytes, UTF-8 included, stand for themselves.
// Queues encode their IDs the same way.
func escaped(b byte) bool {
	return b <= ' ' || b == 0x7f || b == '.' || b == '*' || b == '>' || b == '%'
}

func encodeToken(value string) string {
	b := make([]byte, 0, len(value))
	for i := range len(value) {
		if c := value[i]; escaped(c) {
			b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

func decodeToken(token string) string {
	b := make([]byte, 0, len(token))
	for i := 0; i < len(token); i++ {
		if token[i] == '%' && i+2 < len(token) {
			if v, err := strconv.ParseUint(token[i+1:i+3], 16, 8); err == nil {
				b = append(b, byte(v))
				i += 2
				continue
			}
		}
		b = append(b, token[i])
	}
	return string(b)
}
