// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"encoding/json"
	"fmt"
	"time"
)

// windowSize is how many grants of a window are kept apart. If the limit is larger
// they are counted by the ends of as many parts of the period, so that a value has
// some 6 kB at most, and a turn waits half a percent of the period too long.
const windowSize = 200

// A window is the turns that were granted in the last period, by the server's
// clock. Each is as old as it may be at the most, or younger.
type window struct {
	Version int     `json:"v"`
	Grants  []grant `json:"grants"`          // oldest first
	Fresh   bool    `json:"fresh,omitempty"` // one more, at the time of the message that holds this
}

// A grant is that so many turns were granted at a time.
type grant struct {
	At int64 `json:"at"` // in microseconds
	N  int   `json:"n,omitempty"`
}

func parseWindow(data []byte) (window, error) {
	w := window{Version: version}
	if data == nil {
		return w, nil
	}
	if err := json.Unmarshal(data, &w); err != nil {
		return w, fmt.Errorf("what is stored is not a throttle's: %w", err)
	}
	if w.Version > version {
		return w, fmt.Errorf("what is stored has version %d: want at most %d; use the jetjobs release that fits", w.Version, version)
	}
	return w, nil
}

func (w window) encode() []byte {
	data, err := json.Marshal(w)
	if err != nil {
		panic(fmt.Sprintf("lock: encode a window: %v", err)) // numbers only
	}
	return data
}

// settled returns the window with the fresh turn at its time, which is stored,
// or later.
func (w window) settled(stored time.Time, limit int, period time.Duration) window {
	if !w.Fresh {
		return w
	}
	w.Fresh = false
	w.Grants = append(w.Grants[:len(w.Grants):len(w.Grants)], grant{At: roundUp(stored, limit, period), N: 1})
	if n := len(w.Grants); n > 1 && w.Grants[n-2].At >= w.Grants[n-1].At {
		w.Grants[n-2].N += w.Grants[n-1].N
		w.Grants = w.Grants[:n-1]
	}
	return w
}

// roundUp returns the time in microseconds, or the end of its part of the period
// if there can be more turns than are kept apart.
func roundUp(t time.Time, limit int, period time.Duration) int64 {
	step := int64(1)
	if limit > windowSize {
		step = max(period.Microseconds()/windowSize, 1)
	}
	µs := t.UnixMicro() + 1 // what is under a microsecond is cut off
	return (µs + step - 1) / step * step
}

// turn returns the window with one more turn at now, the earliest that the server
// can stamp it with, or how long there is none.
func (w window) turn(now time.Time, limit int, period time.Duration) (window, time.Duration) {
	begin := now.Add(-period).UnixMicro()
	for len(w.Grants) > 0 && w.Grants[0].At <= begin {
		w.Grants = w.Grants[1:]
	}
	excess := 1 - limit
	for _, g := range w.Grants {
		excess += g.N
	}
	if excess <= 0 {
		w.Fresh = true
		return w, 0
	}
	for _, g := range w.Grants {
		if excess -= g.N; excess <= 0 {
			return w, time.UnixMicro(g.At).Add(period).Sub(now)
		}
	}
	return w, period // not reached: the limit is at least one
}
