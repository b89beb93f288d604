// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"sync"
	"time"
)

// spillAfter is how long a job may wait behind busy slots in this process before it
// is handed back for others: with the looks at it, and what handing back takes, it
// is less than 0.1 s until another worker can have it.
const spillAfter = 80 * time.Millisecond

// spill takes out of the buffers what has waited too long behind busy slots. The
// pulls that are open are given up, as they would bring it back here.
func (w *worker) spill(now time.Time) (spilled []*delivery) {
	w.mu.Lock()
	defer w.mu.Unlock()
	spilled = w.takeBackLocked(now.Add(-spillAfter))
	if len(spilled) > 0 {
		w.pace.spilled(now)
		for _, l := range w.lanes {
			if l.pulls.outstanding() > 0 {
				l.giveUp()
			}
		}
	}
	return spilled
}

// takeBackLocked takes out of the buffers what came before a time.
func (w *worker) takeBackLocked(before time.Time) (all []*delivery) {
	for _, l := range w.lanes {
		for d := l.first(); d != nil && d.arrived.Before(before); d = l.first() {
			all = append(all, l.pop())
			w.buffered--
		}
	}
	return all
}

// handBack returns jobs that were not started to the queue.
func (w *worker) handBack(unstarted []*delivery) {
	var group sync.WaitGroup
	limit := make(chan struct{}, 64)
	for _, d := range unstarted {
		limit <- struct{}{}
		group.Go(func() {
			defer func() { <-limit }()
			w.settle(d, settlement{verdict: returnJob}, d.arrived)
		})
	}
	group.Wait()
}
