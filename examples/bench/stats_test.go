// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPercentile(t *testing.T) {
	values := []float64{5, 1, 4, 2, 3}
	for p, want := range map[float64]float64{0: 1, 20: 1, 21: 2, 50: 3, 99: 5, 100: 5} {
		require.Equal(t, want, percentile(values, p), "p%v", p)
	}
}

func TestRatioPairsRounds(t *testing.T) {
	round := func(raw, queue float64) map[string]sample {
		return map[string]sample{byRaw: {rate: raw}, byQueue: {rate: queue}}
	}
	got := ratioTo(byRaw, rate, []map[string]sample{round(100, 90), round(50, 55), round(200, 100), round(0, 1)})
	require.Equal(t, &ratio{To: byRaw, OfMedians: 0.9, Pairwise: &spread{Median: 0.9, Min: 0.5, Max: 1.1}}, got)
	require.Nil(t, ratioTo(bySubjects, rate, []map[string]sample{round(1, 1)}))
}

func TestOutOfOrderCountsPairs(t *testing.T) {
	require.Zero(t, outOfOrder([]int{0, 0, 1, 2, 2}))
	require.Equal(t, 1.0, outOfOrder([]int{2, 1, 0}))
	require.Equal(t, 0.5, outOfOrder([]int{0, 1, 0}))
}

func TestStarvedIsWaitingWhileASlotIsFree(t *testing.T) {
	start := time.Now()
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	jobs := lives{jobs: []life{
		{at(0), at(1), at(101)}, // one of two slots is busy
		{at(0), at(2), at(52)},  // the other one too, until 52
		{at(0), at(72), at(80)}, // waits 20 ms longer than it must
	}}
	require.Equal(t, 20*time.Millisecond, jobs.starved(2))
}

func TestPayloadIsAsLongAsAskedForAndHasTheNumber(t *testing.T) {
	text := newText(minPayload)
	for _, n := range []int{0, 7, 9_999_999} {
		require.Len(t, text.json(n), minPayload)
		require.Equal(t, string(text.json(n)), `"`+text.of(n)+`"`)
		require.Equal(t, n, number(text.of(n)))
		require.Equal(t, n, number(text.json(n)[1:]))
	}
}

func TestFigure(t *testing.T) {
	for v, want := range map[float64]string{0.1234: "0.123", 7.891: "7.89", 45.67: "45.7", 999: "999", 1234: "1,234", 1234567: "1,234,567", -1234: "-1,234"} {
		require.Equal(t, want, figure(v))
	}
}
