// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/wirename"
)

func TestNamesOnTheServer(t *testing.T) {
	n := newNames("jobs", "bus")
	require.Equal(t, "jobs.bus.orders.shipped", n.subject("orders.shipped"))
	require.Equal(t, "orders.shipped", n.topic("jobs.bus.orders.shipped"))
	require.Equal(t, "jobs_later_bus", n.stream())
	require.Equal(t, "jobs.later.bus.>", n.kept())
	require.Equal(t, "jobs.later.bus.wait.X", n.waiting("X"))
	require.Equal(t, "jobs.later.bus.due.orders.shipped", n.due("orders.shipped"))
}

func TestCheckTopic(t *testing.T) {
	for topic, want := range map[string]string{
		"orders.shipped": "", "o": "", "größe.ok": "", "$x.a-b_c": "",
		"*": "wild", "a.*.b": "wild", ">": "wild", "a.>": "wild",
		"": "empty", ".a": "empty", "a.": "empty", "a..b": "empty",
		"a b": "byte 0x20 at 1", "a\n": "byte 0x0a", "a\x7f": "byte 0x7f",
		"a*": "mixes", "a.>b": "mixes", ">.a": "not at the end", "a.>.": "not at the end",
		strings.Repeat("a", 1025): "1025 bytes long",
	} {
		literal, wild := checkTopic(topic, false), checkTopic(topic, true)
		switch want {
		case "":
			require.NoError(t, literal, topic)
			require.NoError(t, wild, topic)
		case "wild":
			require.ErrorIs(t, literal, errWildcard, topic)
			require.NoError(t, wild, topic)
		default:
			require.ErrorContains(t, literal, want, topic)
			require.ErrorContains(t, wild, want, topic)
		}
	}
}

func TestFillAndMatch(t *testing.T) {
	for _, c := range []struct {
		pattern string
		values  []string
		filled  string
		used    int
	}{
		{"a.*.*", []string{"x", "y.z"}, "a.x.y%2Ez", 2},
		{"a.*.*", []string{"x"}, "a.x.*", 1},
		{"a.>", []string{"x", "y"}, "a.x.y", 2},
		{"*.b.>", []string{"x"}, "x.b.>", 1},
		{"a.*", []string{"x", "y"}, "a.x", 1},
		{"a", nil, "a", 0},
	} {
		filled, used := fill(c.pattern, c.values)
		require.Equal(t, c.filled, filled)
		require.Equal(t, c.used, used)
	}
	for _, c := range []struct {
		pattern, topic string
		want           []string
		ok             bool
	}{
		{"a.*.*", "a.x.y%2Ez", []string{"x", "y.z"}, true},
		{"a.>", "a.x.y", []string{"x", "y"}, true},
		{"a.*", "a.x.y", []string{"x"}, false},
		{"a.*.c", "a.x", []string{"x"}, false},
		{"a.>", "a", nil, false},
		{"a", "b", nil, false},
		{"a", "a", nil, true},
	} {
		values, ok := match(c.pattern, c.topic)
		require.Equal(t, c.ok, ok, c)
		if ok {
			require.Equal(t, c.want, values)
		}
	}
}

func FuzzTokens(f *testing.F) {
	for _, seed := range []string{"order-7", "a b.c*>%", "%41", "é\x00\xff", "%"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		token := wirename.Encode(value)
		if wirename.Decode(token) != value {
			t.Errorf("%q became %q and then %q", value, token, wirename.Decode(token))
		}
		if value != "" && len(token) <= maxTopicLength && checkTopic(token, false) != nil || strings.Contains(token, ".") {
			t.Errorf("%q became %q, which is no token", value, token)
		}
		_ = checkTopic(value, true)
		_ = wirename.Decode(value)
	})
}
