// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jetjobs/jetjobs/workitem"
)

// bars is the display of a terminal: a line for each item, drawn again and again.
type bars struct {
	tally
	lines []string // what is on the screen, the cursor below
}

func newBars(out io.Writer) display { return &bars{tally: tally{out: out}} }

const barWidth = 30

// bar is one line of bars.
func bar(name string, s workitem.Status) string {
	full := barWidth * s.Percent / 100
	note := s.Message
	switch s.State {
	case workitem.Retrying, workitem.Failed:
		note = s.Error
	case workitem.Completed:
		note = ""
	}
	if s.Attempt > 1 {
		note = strings.TrimSpace(fmt.Sprintf("attempt %d %s", s.Attempt, note))
	}
	return fmt.Sprintf("%-14s %s%s %3d%% %-9s %s", name, strings.Repeat("█", full), strings.Repeat("░", barWidth-full), s.Percent, s.State, note)
}

func (b *bars) update(line int, name string, s workitem.Status) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.countLocked(s)
	if up := len(b.lines); up > 0 {
		fmt.Fprintf(b.out, "\x1b[%dA", up) // to the first line
	}
	for len(b.lines) <= line {
		b.lines = append(b.lines, "")
	}
	b.lines[line] = bar(name, s)
	for _, l := range b.lines {
		fmt.Fprintf(b.out, "\r\x1b[K%s\n", l)
	}
}

// lines is the display of a file or a pipe: a line for each change of state, and
// for each quarter.
type lines struct {
	tally
	began time.Time
	shown map[int]string // what the last line of each item was about
}

func newLines(out io.Writer) display {
	return &lines{tally: tally{out: out}, began: time.Now(), shown: map[int]string{}}
}

func (l *lines) update(line int, name string, s workitem.Status) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.countLocked(s)
	about := fmt.Sprint(s.State, s.Attempt, s.Percent/25)
	if l.shown[line] == about {
		return
	}
	l.shown[line] = about
	text := fmt.Sprintf("%5.2fs  %-14s %3d%%  %s", time.Since(l.began).Seconds(), name, s.Percent, s.State)
	if s.Attempt > 1 {
		text += fmt.Sprintf(", attempt %d", s.Attempt)
	}
	switch s.State {
	case workitem.Progress:
		text += ": " + s.Message
	case workitem.Retrying, workitem.Failed:
		text += ": " + s.Error
	}
	fmt.Fprintln(l.out, text)
}
