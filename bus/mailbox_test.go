// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"strconv"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

func numbered(n int) letter { return letter{msg: &nats.Msg{Subject: strconv.Itoa(n)}} }

func TestMailboxKeepsOrderThroughGrowthAndBursts(t *testing.T) {
	b := newMailbox(5000, 1<<20)
	in, out := 0, 0
	put := func(n int) {
		for range n {
			require.True(t, b.put(numbered(in)))
			in++
		}
	}
	take := func(n int) {
		for range n {
			l, ok := b.take()
			require.True(t, ok)
			require.Equal(t, strconv.Itoa(out), l.msg.Subject)
			out++
		}
	}
	put(10)
	take(7)
	put(20) // grows while it is wrapped around
	take(23)
	put(5000)
	require.False(t, b.put(numbered(in)), "full")
	take(5000)
	require.Empty(t, b.ring, "a burst does not stay in memory")
	put(3)
	take(1)
	left := b.close()
	require.Len(t, left, 2)
	require.Equal(t, strconv.Itoa(out), left[0].msg.Subject)
	require.False(t, b.put(numbered(0)))
	_, ok := b.take()
	require.False(t, ok)
	require.Zero(t, b.bytes)
}

func TestMailboxLimitsBytesAndTakesOneThatIsLarger(t *testing.T) {
	b := newMailbox(100, 10)
	large := letter{msg: &nats.Msg{Data: make([]byte, 11)}}
	require.True(t, b.put(large), "or it would never be delivered")
	require.False(t, b.put(numbered(1)))
	_, _ = b.take()
	require.True(t, b.put(letter{msg: &nats.Msg{Data: make([]byte, 5)}}))
	require.True(t, b.put(letter{msg: &nats.Msg{Data: make([]byte, 5)}}))
	require.False(t, b.put(numbered(1)))
}
