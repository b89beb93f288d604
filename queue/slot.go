// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import "time"

// slot is one place to work, for as long as the worker goes on. A handler that
// ends its goroutine gets a new one.
func (w *worker) slot() {
	var d *delivery
	ended := false
	defer func() {
		if !ended {
			w.free(d)
			w.slots.Go(w.slot)
		}
	}()
	label := newSlot()
	for d = w.next(nil); d != nil; d = w.next(d) {
		w.execute(d, label, w.count)
	}
	ended = true
}

func (w *worker) count(error) { w.processed.Add(1) }

// next waits for a job, of the first priority that has one; nil when it is time
// to stop. The slot's previous one, if any, is over.
func (w *worker) next(previous *delivery) (d *delivery) {
	if previous != nil {
		w.free(previous)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.buffered == 0 && !w.stopping {
		w.idle++
		w.ready.Wait()
		w.idle--
		w.waking = false
	}
	if w.stopping {
		return nil
	}
	for _, l := range w.lanes {
		if d = l.pop(); d != nil {
			break
		}
	}
	w.buffered--
	w.running++
	w.wakeLocked()
	return d
}

// wakeLocked wakes a slot if there is work for it. The slot that takes a job
// wakes the next one: so jobs of no length, which one slot works off as fast as
// they come, don't pay for a change of goroutines each.
func (w *worker) wakeLocked() {
	if w.buffered > 0 && w.idle > 0 && !w.waking {
		w.waking = true
		w.ready.Signal()
	}
}

// free frees the slot that d was in, and asks for as many jobs as there is room
// for.
func (w *worker) free(d *delivery) {
	now := time.Now()
	w.mu.Lock()
	w.running--
	w.generation++
	w.pace.finished(now, d.run.took)
	asks := w.asksLocked(now)
	w.mu.Unlock()
	w.send(asks)
	if w.drain {
		w.nudge()
	}
}
