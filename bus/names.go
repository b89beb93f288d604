// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jetjobs/jetjobs/internal/wirename"
)

const (
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

// checkSpace also refuses the words after the namespace that have a meaning of
// their own: queues, and the bus's delayed messages.
func checkSpace(space string) error {
	if slices.Contains([]string{"q", "later"}, space) {
		return fmt.Errorf("space is %q, which jetjobs uses itself: want another name", space)
	}
	return wirename.Check("space", space)
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
			words[i] = wirename.Encode(values[used])
			used++
		case word == ">":
			rest := make([]string, 0, len(values)-used)
			for _, v := range values[used:] {
				rest = append(rest, wirename.Encode(v))
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
				values = append(values, wirename.Decode(word))
			}
			return values, true
		case want == "*":
			values = append(values, wirename.Decode(words[i]))
		case want != words[i]:
			return nil, false
		}
	}
	return values, len(words) == strings.Count(pattern, ".")+1
}
