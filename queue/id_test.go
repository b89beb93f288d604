// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/wirename"
)

func TestMadeIDsSortByTimeAndDiffer(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var m, other idMaker
	var ids []string
	for i := range 10_000 {
		ids = append(ids, m.next(now.Add(time.Duration(i)*time.Millisecond/10)))
	}
	require.True(t, slices.IsSorted(ids), "of one process, as they were made")
	require.Less(t, ids[0], other.next(now.Add(idBlock)))
	require.Less(t, other.next(now), ids[1000], "of several, by the block")

	seen := map[string]bool{}
	for range 2 * idsInBlock {
		for _, maker := range []*idMaker{&m, &other} {
			id := maker.next(now)
			require.Len(t, id, 24)
			require.Equal(t, id, wirename.Encode(id))
			require.False(t, seen[id])
			seen[id] = true
		}
	}
	// They sort over the whole range of time, and also if the clock is set back.
	require.Less(t, m.next(time.Unix(0, 0)), m.next(now))
	require.Less(t, m.next(now), m.next(endOfTime))
	require.Less(t, m.next(now), ids[1000])
}

func TestIDsMadeConcurrentlyDiffer(t *testing.T) {
	var m idMaker
	var mu sync.Mutex
	seen := map[string]bool{}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 1000 {
				id := m.next(time.Now())
				mu.Lock()
				if seen[id] {
					t.Error(id)
				}
				seen[id] = true
				mu.Unlock()
			}
		})
	}
	group.Wait()
}
