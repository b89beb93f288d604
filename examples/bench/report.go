// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"runtime"
	"time"

	"github.com/nats-io/nats.go"
)

// A report is what a run prints.
type report struct {
	Date      time.Time        `json:"date"`
	Machine   machine          `json:"machine"`
	Server    serverReport     `json:"server"`
	Setting   settings         `json:"settings"`
	Workloads []workloadReport `json:"workloads"`
}

type machine struct {
	OS   string `json:"os"`
	Arch string `json:"arch"`
	CPUs int    `json:"cpus"`
	Go   string `json:"go"`
	NATS string `json:"nats_go"`
}

type serverReport struct {
	Where   string `json:"where"`
	Version string `json:"version"`
	Sync    string `json:"sync_interval"`
}

type settings struct {
	Jobs        int `json:"jobs"`
	Payload     int `json:"payload"`
	Producers   int `json:"producers"`
	Concurrency int `json:"concurrency"`
	Replicas    int `json:"replicas"`
	Rounds      int `json:"rounds"`
}

type workloadReport struct {
	Name    string              `json:"name"`
	Doc     string              `json:"doc"`
	Skipped string              `json:"skipped,omitempty"`
	Metrics []metricReport      `json:"metrics"`
	Rounds  []map[string]sample `json:"rounds"` // by system, then metric
	systems []string
	curve   string
}

type metricReport struct {
	Name    string             `json:"name"`
	Better  string             `json:"better"`
	Systems map[string]*spread `json:"systems"` // null: not known
	Ratios  []*ratio           `json:"ratios"`  // of the queue to the others
}

// metrics are all that there are, in the order in which they are printed, with
// what is better.
var metrics = []struct{ name, better string }{
	{rate, "more"}, {clientCPU, "less"}, {serverCPU, "less"}, {allocations, "less"},
	{whileEnqueuing + rate, "more"}, {whileEnqueuing + clientCPU, "less"}, {whileEnqueuing + serverCPU, "less"}, {whileEnqueuing + allocations, "less"},
	{slotUse, "more"}, {overtaken, "less"}, {starved, "less"}, {clientIdle, "less"}, {serverIdle, "less"}, {serverMemory, "less"},
	{medianWait, "less"}, {p99Wait, "less"}, {p999Wait, "less"}, {longest, "less"}, {early, "less"},
}

func newReport(r *rig, results []result) report {
	sync := "2m (the server's default)"
	switch {
	case r.cfg.sync:
		sync = "always"
	case r.cfg.url != "":
		sync = "as it has it"
	}
	report := report{
		Date:    r.progress.started.UTC().Truncate(time.Second),
		Machine: machine{runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), nats.Version},
		Server:  serverReport{r.srv.where, r.conn().ConnectedServerVersion(), sync},
		Setting: settings{r.cfg.jobs, r.cfg.payload, r.cfg.producers, r.cfg.concurrency, r.cfg.replicas, r.cfg.rounds},
	}
	for _, done := range results {
		report.Workloads = append(report.Workloads, done.report())
	}
	return report
}

func (done result) report() workloadReport {
	w := workloadReport{Name: done.name, Doc: done.doc, Skipped: done.skipped, Rounds: done.rounds, systems: done.systems, curve: done.curve}
	for _, m := range metrics {
		values := map[string]*spread{}
		known := false
		for _, by := range done.systems {
			values[by] = spreadOf(done.values(by, m.name))
			known = known || values[by] != nil
		}
		if !known {
			continue
		}
		line := metricReport{Name: m.name, Better: m.better, Systems: values}
		for _, by := range done.systems {
			if r := ratioTo(by, m.name, done.rounds); by != byQueue && r != nil {
				line.Ratios = append(line.Ratios, r)
			}
		}
		w.Metrics = append(w.Metrics, line)
	}
	return w
}

// values are those of a system in a metric, round by round.
func (done result) values(by, metric string) (values []float64) {
	for _, round := range done.rounds {
		if v, known := round[by][metric]; known {
			values = append(values, v)
		}
	}
	return values
}
