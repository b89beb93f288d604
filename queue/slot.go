// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import "time"

// slot is one place to work, for as long as the worker goes on. A handler that
// ends its goroutine gets a new one.
func (w *worker) slot() {
	ended := false
	defer func() {
		if !ended {
			w.finished()
			w.slots.Go(w.slot)
		}
	}()
	label := newSlot()
	for d := w.take(); d != nil; d = w.take() {
		w.execute(d, label, w.count)
		w.finished()
	}
	ended = true
}

// take waits for a job, of the first priority that has one; nil when it is time
// to stop.
func (w *worker) take() (d *delivery) {
	w.mu.Lock()
	for w.buffered == 0 && !w.stopping {
		w.ready.Wait()
	}
	if w.stopping {
		w.mu.Unlock()
		return nil
	}
	for _, l := range w.lanes {
		if d = l.pop(); d != nil {
			break
		}
	}
	w.buffered--
	w.running++
	w.mu.Unlock()
	return d
}

func (w *worker) count(error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.processed++
}

// finished frees a slot, and asks for as many jobs as there is room for.
func (w *worker) finished() {
	now := time.Now()
	w.mu.Lock()
	w.running--
	w.generation++
	w.pace.finished(now)
	asks := w.asksLocked(now)
	w.mu.Unlock()
	w.send(asks)
	if w.drain {
		w.nudge()
	}
}
