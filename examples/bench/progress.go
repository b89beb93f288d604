// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A progress tells on a terminal all the time, and elsewhere now and then, what
// the program is at.
type progress struct {
	out      *os.File
	terminal bool
	jobs     atomic.Pointer[tally]

	mu      sync.Mutex // guards the rest
	what    string
	turn    int
	turns   int
	started time.Time
}

func newProgress(out *os.File) *progress {
	p := &progress{out: out, started: time.Now()}
	if info, err := out.Stat(); err == nil {
		p.terminal = info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

// begin counts a turn. It is called by one goroutine.
func (p *progress) begin(what string) {
	p.jobs.Store(nil)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what = what
	p.turn++
}

// show tells until end is called.
func (p *progress) show(turns int) (end func()) {
	p.mu.Lock()
	p.turns = turns
	p.mu.Unlock()
	every := 5 * time.Second
	if p.terminal {
		every = 250 * time.Millisecond
	}
	done := make(chan struct{})
	var showing sync.WaitGroup
	showing.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-done:
				if p.terminal {
					fmt.Fprint(p.out, "\r\x1b[K")
				}
				return
			case <-tick.C:
				p.print()
			}
		}
	})
	return func() {
		close(done)
		showing.Wait()
	}
}

func (p *progress) print() {
	p.mu.Lock()
	line := fmt.Sprintf("%s: turn %d of %d, %s", time.Since(p.started).Round(time.Second), p.turn, p.turns, p.what)
	p.mu.Unlock()
	if t := p.jobs.Load(); t != nil {
		line += fmt.Sprintf(", %d of %d jobs", t.count.Load(), len(t.seen))
	}
	if p.terminal {
		fmt.Fprint(p.out, "\r\x1b[K", line)
	} else {
		fmt.Fprintln(p.out, line)
	}
}

// A tally counts jobs, each once. Its methods may be called concurrently.
type tally struct {
	seen  []atomic.Bool
	count atomic.Int64
	all   chan struct{} // closed when all were counted
}

// count counts so many jobs, for progress too.
func (r *rig) count(n int) *tally {
	t := &tally{seen: make([]atomic.Bool, n), all: make(chan struct{})}
	r.progress.jobs.Store(t)
	return t
}

// add counts a job, and reports whether it is the first time.
func (t *tally) add(n int) (first bool) {
	if t.seen[n].Swap(true) {
		return false
	}
	if t.count.Add(1) == int64(len(t.seen)) {
		close(t.all)
	}
	return true
}
