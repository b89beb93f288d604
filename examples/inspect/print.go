// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/jetjobs/jetjobs/queue"
	"github.com/jetjobs/jetjobs/workitem"
)

// A table aligns columns. It prints what it holds every few rows, so that a long list
// shows at once and takes no memory.
type table struct {
	w      *tabwriter.Writer
	rows   int
	failed error
}

func newTable(out io.Writer) *table {
	return &table{w: tabwriter.NewWriter(&trimmer{out: out}, 0, 0, 2, ' ', 0)}
}

// A trimmer cuts the blanks off the ends of lines: a row has all of its cells, empty ones
// too, or the columns of those above and below it would differ.
type trimmer struct {
	out    io.Writer
	blanks int // held back: more may follow
}

func (t *trimmer) Write(b []byte) (int, error) {
	var text []byte
	for _, c := range b {
		if c == ' ' {
			t.blanks++
			continue
		}
		if c != '\n' {
			text = append(text, bytes.Repeat([]byte{' '}, t.blanks)...)
		}
		t.blanks = 0
		text = append(text, c)
	}
	if _, err := t.out.Write(text); err != nil {
		return 0, err
	}
	return len(b), nil
}

const rowsAtOnce = 200

func (t *table) row(cells ...string) {
	for i, cell := range cells {
		cells[i] = oneLine(cell, 0)
	}
	_, err := fmt.Fprintln(t.w, strings.Join(cells, "\t"))
	t.failed = errors.Join(t.failed, err)
	if t.rows++; t.rows%rowsAtOnce == 0 {
		t.flush()
	}
}

// field is a row of a name and a value, which is left out when empty.
func (t *table) field(name, value string) {
	if value == "" {
		return
	}
	for line := range strings.Lines(value) {
		t.row(name, strings.TrimRight(line, "\r\n"))
		name = ""
	}
}

func (t *table) flush() error {
	t.failed = errors.Join(t.failed, t.w.Flush())
	return t.failed
}

// oneLine makes a line of what a program somewhere has written, that neither breaks a
// table nor a terminal, of at most so many characters (0: any).
func oneLine(s string, most int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; most > 0 && n > most {
			b.WriteString("…")
			break
		}
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
}

// span is a duration as people say it.
func span(d time.Duration) string {
	switch d = d.Abs(); {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// relative says how far off a time is.
func relative(t time.Time) string {
	if d := time.Until(t); d > 0 {
		return "in " + span(d)
	}
	return span(time.Since(t)) + " ago"
}

// moment is a time with how far off it is, or nothing for none.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05.000 MST") + ", " + relative(t)
}

// of shows an attempt, with how many there are if the job itself says so.
func of(attempt, most int) string {
	if most == 0 || most == unsaid {
		return strconv.Itoa(attempt)
	}
	return fmt.Sprintf("%d of %d", attempt, most)
}

// shown is a payload or result as it is if it is JSON, else quoted.
func shown(data []byte) string {
	if len(data) == 0 || json.Valid(data) {
		return string(data)
	}
	return fmt.Sprintf("%d bytes that are not JSON: %q", len(data), data)
}

// A job is what -json prints of one.
type job struct {
	ID            string            `json:"id"`
	Kind          string            `json:"kind,omitempty"` // of a work item
	State         queue.State       `json:"state"`
	Reason        string            `json:"reason,omitempty"`
	Attempt       int               `json:"attempt"`
	MaxAttempts   int               `json:"max_attempts,omitempty"` // none: only its workers know
	Interruptions int               `json:"interruptions,omitempty"`
	Priority      int               `json:"priority"`
	Enqueued      time.Time         `json:"enqueued"`
	Since         time.Time         `json:"since"`
	Due           time.Time         `json:"due,omitzero"`
	RetainSeconds float64           `json:"retain_seconds,omitempty"`
	Error         string            `json:"error,omitempty"`
	Worker        string            `json:"worker,omitempty"`
	CorrelationID string            `json:"correlation_id,omitempty"`
	Properties    map[string]string `json:"properties,omitempty"`
	CopyOf        string            `json:"copy_of,omitempty"`
	Undecodable   string            `json:"undecodable,omitempty"`
	Payload       json.RawMessage   `json:"payload,omitempty"`
	PayloadBase64 []byte            `json:"payload_base64,omitempty"` // of one that is not JSON
	Result        json.RawMessage   `json:"result,omitempty"`
	ResultBase64  []byte            `json:"result_base64,omitempty"`
	Progress      *workitem.Status  `json:"progress,omitempty"`
}

func newJob(i listed) job {
	j := job{
		ID: i.ID, Kind: i.kind, State: i.State, Reason: i.Reason, Attempt: i.Attempt, MaxAttempts: i.MaxAttempts,
		Interruptions: i.Interruptions, Priority: i.Priority, Enqueued: i.Enqueued, Since: i.Since, Due: i.Due,
		RetainSeconds: i.Retain.Seconds(), Error: i.Error, Worker: i.Worker, CorrelationID: i.CorrelationID,
		Properties: i.Properties, CopyOf: i.CopyOf,
	}
	if j.MaxAttempts == unsaid {
		j.MaxAttempts = 0
	}
	if i.Undecodable != nil {
		j.Undecodable = i.Undecodable.Error()
	}
	j.Payload, j.PayloadBase64 = jsonOrNot(i.Payload)
	j.Result, j.ResultBase64 = jsonOrNot(i.Result)
	return j
}

func jsonOrNot(data []byte) (json.RawMessage, []byte) {
	if json.Valid(data) {
		return data, nil
	}
	return nil, data
}

// detail says in a few words what else there is to know of a job in a list.
func detail(i queue.Info[json.RawMessage]) string {
	var words []string
	add := func(s string) {
		if s != "" {
			words = append(words, s)
		}
	}
	add(i.Reason)
	switch i.State {
	case queue.Later:
		add("due " + relative(i.Due))
	case queue.Done:
		add(oneLine(shown(i.Result), 60))
	}
	add(oneLine(i.Error, 60))
	return strings.Join(words, ", ")
}

// sorted lists properties.
func sorted(properties map[string]string) string {
	var all []string
	for k, v := range properties {
		all = append(all, k+"="+v)
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}
