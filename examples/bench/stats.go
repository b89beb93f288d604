// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"slices"
)

// percentile is the smallest value that p in a hundred values don't exceed, NaN
// of none.
func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	i := int(math.Ceil(p/100*float64(len(sorted)))) - 1
	return sorted[max(0, i)]
}

// A spread is the middle and the ends of a number of values.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// spreadOf is that of some values, nil of none.
func spreadOf(values []float64) *spread {
	if len(values) == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return &spread{Median: median, Min: sorted[0], Max: sorted[len(sorted)-1]}
}

// A ratio is what the queue has for each one of another system.
type ratio struct {
	To        string  `json:"to"`
	OfMedians float64 `json:"of_medians"`
	Pairwise  *spread `json:"pairwise"` // round by round
}

// ratioTo compares the queue with another system in one metric; nil if it can't
// be: a value is not known or not positive.
func ratioTo(other, metric string, rounds []map[string]sample) *ratio {
	var theirs, ours, pairs []float64
	for _, round := range rounds {
		their, known := round[other][metric]
		our, too := round[byQueue][metric]
		if !known || !too || their <= 0 || our <= 0 {
			continue
		}
		theirs, ours, pairs = append(theirs, their), append(ours, our), append(pairs, our/their)
	}
	if len(pairs) == 0 {
		return nil
	}
	return &ratio{To: other, OfMedians: spreadOf(ours).Median / spreadOf(theirs).Median, Pairwise: spreadOf(pairs)}
}
