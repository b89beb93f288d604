// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

func (r report) print(out io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(r)
	}
	fmt.Fprintf(out, "%s, %s/%s, %d CPUs, %s, nats.go %s\nserver %s %s, sync_interval %s, replicas %d, payload %d bytes, %d jobs, medians of up to %d rounds\n",
		r.Date.Format(time.DateOnly), r.Machine.OS, r.Machine.Arch, r.Machine.CPUs, r.Machine.Go, r.Machine.NATS,
		r.Server.Version, r.Server.Where, r.Server.Sync, r.Setting.Replicas, r.Setting.Payload, r.Setting.Jobs, r.Setting.Rounds)
	fmt.Fprintln(out, "ratios: queue to raw, of the medians (median, least-largest round by round)")
	for i := 0; i < len(r.Workloads); {
		n := 1
		for w := r.Workloads[i]; w.curve != "" && i+n < len(r.Workloads) && r.Workloads[i+n].curve == w.curve; {
			n++
		}
		if err := printPoints(out, r.Workloads[i:i+n]); err != nil {
			return err
		}
		i += n
	}
	return nil
}

// printPoints prints a workload, or several that are points of one curve.
func printPoints(out io.Writer, points []workloadReport) error {
	w := points[0]
	if len(points) == 1 {
		return w.print(out)
	}
	fmt.Fprintf(out, "\n%s: %s\n", w.curve, w.Doc)
	table := newTable(out)
	fmt.Fprint(table, " \t \t")
	for _, p := range points {
		fmt.Fprint(table, strings.TrimPrefix(p.Name, w.curve+"-"), "\t")
	}
	fmt.Fprintln(table)
	for i, m := range w.Metrics { // the points have the same
		line := func(label string, value func(metricReport) any) {
			fmt.Fprint(table, m.Name, "\t", label, "\t")
			for _, p := range points {
				fmt.Fprint(table, value(p.Metrics[i]), "\t")
			}
			fmt.Fprintln(table)
		}
		for _, by := range w.systems {
			line(by, func(m metricReport) any { return m.Systems[by] })
		}
		for _, by := range w.systems[:len(w.systems)-1] {
			line("to "+by, func(m metricReport) any { return m.ratioTo(by) })
		}
	}
	return table.Flush()
}

func newTable(out io.Writer) *tabwriter.Writer {
	return tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
}

func (w workloadReport) print(out io.Writer) error {
	fmt.Fprintf(out, "\n%s: %s\n", w.Name, w.Doc)
	if w.Skipped != "" {
		fmt.Fprintln(out, "  n/a:", w.Skipped)
		return nil
	}
	table := newTable(out)
	fmt.Fprint(table, " \t")
	for _, by := range w.systems {
		fmt.Fprint(table, by, "\t")
	}
	for _, by := range w.systems[:len(w.systems)-1] {
		fmt.Fprint(table, "to ", by, "\t")
	}
	fmt.Fprintln(table)
	for _, m := range w.Metrics {
		fmt.Fprint(table, m.Name, "\t")
		for _, by := range w.systems {
			fmt.Fprint(table, m.Systems[by], "\t")
		}
		for _, by := range w.systems[:len(w.systems)-1] {
			fmt.Fprint(table, m.ratioTo(by), "\t")
		}
		fmt.Fprintln(table)
	}
	return table.Flush()
}

func (m metricReport) ratioTo(by string) *ratio {
	for _, r := range m.Ratios {
		if r.To == by {
			return r
		}
	}
	return nil
}

func (s *spread) String() string {
	if s == nil {
		return "n/a"
	}
	return figure(s.Median)
}

func (r *ratio) String() string {
	if r == nil {
		return "-"
	}
	if r.Pairwise.Min == r.Pairwise.Max {
		return fmt.Sprintf("%.2f", r.OfMedians) // of one round
	}
	return fmt.Sprintf("%.2f (%.2f, %.2f-%.2f)", r.OfMedians, r.Pairwise.Median, r.Pairwise.Min, r.Pairwise.Max)
}

// figure has three digits that mean something, and separators.
func figure(v float64) string {
	if math.Abs(v) < 1000 {
		digits := 0
		for limit := 100.0; digits < 3 && math.Abs(v) < limit; limit /= 10 {
			digits++
		}
		return strconv.FormatFloat(v, 'f', digits, 64)
	}
	text := strconv.FormatFloat(v, 'f', 0, 64)
	var b strings.Builder
	for i, digit := range text {
		if i > 0 && (len(text)-i)%3 == 0 && text[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteRune(digit)
	}
	return b.String()
}
