// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package hosting

import (
	"context"
	"fmt"

	"github.com/jetjobs/jetjobs/hosting/cron"
	"github.com/jetjobs/jetjobs/jobs"
)

// AddCron adds a job that this process runs by the clock, see cron.Parse:
//
//	host.AddCron("0 3 * * *", "nightly-report", jobs.ErrFunc(report), cron.Options{Zone: "Europe/Paris"})
//
// Every process that adds it runs it: for once in the whole fleet take
// AddDistributedCron.
func (h *Host) AddCron(spec, name string, job jobs.Job, opts cron.Options) {
	h.mustBeNew("cron job", name) // the table would take it, but its error would be lost
	if !h.timed {
		h.timed = true
		h.AddJob(h.table, jobs.Options{})
		h.AddReport("cron", func(ctx context.Context) (any, error) { return h.table.List(ctx) })
	}
	h.problem(h.table.Add(spec, name, job, opts))
}

// Cron is the control of what AddCron has added: list, trigger, enable, disable,
// reschedule.
func (h *Host) Cron() cron.Control { return h.table }

// AddDistributedCron adds a job that runs once at each tick in all processes that
// add it to a fleet of the same namespace. The fleet is also the control of all
// its schedules, from any process. A host can have several, each of a namespace
// of its own.
func (h *Host) AddDistributedCron(fleet *cron.Fleet, spec, name string, job jobs.Job, opts cron.FleetJobOptions) {
	h.mustBeNew("distributed cron job", name) // the fleet looked at its jobs as it began
	if fleet == nil {
		h.problem(fmt.Errorf("distributed cron job %q: the fleet is nil", name))
		return
	}
	if !h.fleets[fleet] {
		h.fleets[fleet] = true
		h.AddJob(fleet, jobs.Options{})
		h.AddReport(fleet.Name(), func(ctx context.Context) (any, error) {
			all, err := fleet.List(ctx)
			if err != nil {
				return nil, err
			}
			leader, err := fleet.Leader(ctx)
			return fleetReport{leader.Owner, all}, err
		})
	}
	h.problem(fleet.Add(spec, name, job, opts))
}

type fleetReport struct {
	Leader    string        `json:"leader"`
	Schedules []cron.Status `json:"schedules"`
}
