// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

// Package cron runs jobs by the clock: in one process ([Table]), or once in a whole
// fleet of them ([Fleet]). Both have the same [Control]: list, trigger, enable,
// disable, reschedule. Package hosting adds them to a program, with AddCron and
// AddDistributedCron; they run without it as well.
//
//	fleet, err := cron.OpenFleet(ctx, js, cron.FleetOptions{})
//	…
//	err = fleet.Add("0 3 * * *", "nightly-report", jobs.ErrFunc(report), cron.FleetJobOptions{Zone: "Europe/Paris"})
//	…
//	return fleet.RunContinuous(ctx)
//
// # Guarantees of a Fleet
//
//   - Each due tick has exactly one occurrence, however many hosts, restarts, changes
//     of leader and differences of clocks there are. It is a job with the ID
//     name@tick in the queue of the schedule, which the server stores once; what was
//     planned is written down by compare-and-set, and a leader that ends in between
//     leaves its intent to the next one. A leader that was cut off for longer than
//     FleetJobOptions.Retain, in the middle of a tick, may enqueue that one again.
//   - With a live leader a tick is enqueued at most 250 ms after it is due, whatever
//     becomes of other schedules. After the death of a leader it is enqueued within
//     FleetOptions.LeaderTTL and a second, and none is missed by it. With Skip, the
//     default, one that is planned together with others is left out, and counted, if
//     one before it is not over. What no host was up to plan for more than a
//     minute is missed, and made up for as FleetJobOptions.Missed says.
//   - An occurrence runs at least once, with the leases, attempts and backoff of package
//     queue: again if its host ended, or was cut off, before it could say that it had
//     finished. So jobs are idempotent, or use the ID (jobs.FromContext).
//   - Disable, Enable and Reschedule hold for all hosts at once, and over restarts.
//   - A new or changed schedule counts from the moment when the leader sees it, and
//     makes up for nothing; what was due before the change, in the last minute, is
//     planned as it was. One that was disabled counts from Enable.
//   - Of several hosts that define a job differently, the one that started last is
//     right: in a rolling deployment the new version. The others say once, in the log,
//     that theirs does not hold. When it leaves, the next one is right.
//   - A schedule ends when no host registers it any more: at once when they are told to stop,
//     within a minute and a half if they crashed. Its history stays readable for FleetJobOptions.Retain.
//
// # Guarantees of a Table
//
//   - A job runs at each tick, in every process that has it. Ticks that the process could not
//     run, because the machine slept or the clock was set forward, are one, run at
//     once. A clock that is set back by up to three hours repeats nothing.
//   - A panic or a failure is logged and kept, and the next tick comes.
//   - When it is told to stop, runs in progress have the Grace of the host or runner.
//
// # Clocks
//
// A Fleet goes by the clock of its leader: ticks come early or late by as much as it is
// wrong, and after a change of leader by the difference. None comes twice, since what was
// planned is remembered, and not when; what was planned more than three hours ahead is
// forgotten, as the clock of that leader was wrong. For zones whose clock jumps see [Parse].
//
// # What it does not do
//
// It does not run a job exactly once, only plan it so. It does not start what is due in a
// certain process, nor in order of names. It keeps no history of a Table over restarts. Ticks
// are whole seconds.
//
// # On the server
//
// In the namespace "jobs", for the schedule "report":
//
//	KV bucket jobs_cron
//	  def.report.<host>-<id>  the definition of a host, renewed each 20 s, with a TTL of a minute
//	  state.report            the last tick that was planned, the one being planned, what Control has set
//	KV bucket jobs_locks: the lock "cron", which the leader holds
//	queue cron-report (see package queue): the occurrences, and as done and dead jobs the history
//
// # Failure
//
// Without a connection nothing is planned and nothing new is taken; after the reconnect the leader
// plans what was due. A queue that fails or was deleted is opened anew, until that works, and the
// other schedules go on; it is logged once. If the connection is closed, or a queue can't be opened
// at the start, RunContinuous returns the error, and a jobs.Runner calls it again. So it does within
// 20 s if the bucket of the schedules was deleted, or the server came back empty: all is made anew,
// and every schedule counts from then.
package cron
