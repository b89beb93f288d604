// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

// Package queue is a durable queue of typed jobs on one NATS JetStream stream:
// enqueued by any process, worked on by any number of others, retried, delayed,
// unique by ID, and kept when they fail for good. The server does the work; this
// package composes its leases, schedules, compare-and-set and limits.
//
// # Guarantees
//
// Delivery.
//
//   - A job whose Enqueue returned without an error is handed out until it is
//     done or dead. It survives the end of any client, and of the server as far
//     as the server's storage does (see Durability).
//   - Delivery is at least once. A job runs again when its worker ended before
//     it was acknowledged, so handlers are idempotent, or use the ID.
//   - A batch of EnqueueMany is stored whole or not at all.
//   - A dead job is kept until somebody requeues or deletes it. A payload that a
//     worker can't decode, or that a later release wrote, is kept as well.
//
// Duplicates.
//
//   - At most one job with an ID given by the caller is anywhere in the queue,
//     whatever its state, retained and dead ones included. The server checks it
//     in the write itself.
//   - An Enqueue whose answer was lost is tried again in such a way that no
//     second job comes of it. Two exceptions remain, for jobs with default
//     options: the first try was stored and its job done in between; or it was
//     held up in a broken connection and reaches the server after the second. An
//     ID excludes the latter, an ID with Retain both.
//   - An entry is settled once. Every move of a job is fenced by compare-and-set
//     on the message that was delivered, so whoever lost a job can't move it.
//
// Time.
//
//   - Nothing that is delayed, snoozed or retried starts early by the server's
//     clock.
//   - The context of a handler ends with ErrLeaseLost before the server gives the
//     job to another worker, also when the server can't be reached: the local
//     clock decides, counted from before the last confirmed renewal was sent.
//     This does not stop a handler that ignores its context, nor a process that
//     was paused: until it notices, both may run.
//   - Failures count as attempts. Snoozes, shutdowns and crashes do not; crashes
//     count as interruptions, and a job that was interrupted MaxInterruptions
//     times is dead.
//   - A worker that is told to stop hands back at once what it has not finished,
//     and nothing counts.
//
// Order. Priorities first, and within one the order of enqueuing, as a rule and
// not as a promise: several slots and workers overtake each other, a lower
// priority may be taken in the moment before a higher one arrives, and what is
// retried or handed back waits behind those already waiting. A worker takes a few
// jobs in advance, as many as it finishes in 20 ms, and hands back those that it
// could not start within 80 ms because its handlers turned out to be slower, so that
// none waits here for more than 0.1 s while another worker has a free slot.
//
// No more than MaxRunning jobs of a priority run at a time, over all processes.
//
// Looking and changing. Get, List, Wait and Stats take nothing and disturb no
// worker, and List holds some pages of a million jobs. None waits for a server that
// is away for longer than its context or, without a deadline, Options.Timeout, but
// for Wait, which waits for as long as it is let. Cancel, RunNow and Reschedule are compare-and-set against the job as it
// was found: a job that is removed, or made to run now, in the moment in which its
// schedule fires or a worker takes it, is removed or runs, once: of a job that is due
// within 50 ms they wait until its schedule has fired. Wait returns
// what the stream says, and never what only the word of it says.
//
// Events and workers. Events (Watch) are sent only while somebody watches, or by a
// process that can't know yet, and may be lost. Nothing is stored of workers: one that does not answer is gone, at once for
// Workers, within four seconds for who watches. A queue that retains nothing and that
// nobody watches sends no message but the jobs, pulls and acks; Retain adds one a job.
//
// Middleware wraps all that this process enqueues and all that its workers run, the
// first one outermost. The trace that a caller has (W3C Trace Context) is in the
// context of the handler, in each attempt.
//
// # What it does not do
//
// It does not run a job exactly once; nobody can. It does not order jobs that
// run at the same time. It keeps no history of finished jobs that are not
// retained. A lower priority gets nothing while a higher one always has jobs.
// At three replicas the server compares a write with others in flight by their
// filter alone, so a Replace in the very millisecond in which the job's schedule
// fires may find it still there: then the old one runs when due, and the new one
// later.
//
// # Durability
//
// JetStream acknowledges from the page cache, and syncs to disk every two
// minutes unless its sync_interval is "always". The crash of a server process
// loses nothing. A power cut may lose what that server took in the meantime; with
// three replicas on separate power that is unlikely, with sync_interval always it
// is excluded as far as disks tell the truth. Memory storage is lost with the
// server.
//
// # On the server
//
// For the queue "orders" in the namespace "jobs":
//
//	stream jobs_q_orders, work-queue retention, no limits
//	  jobs.q.orders.ready.<priority>.<id>  waiting or running: consumer work_<priority>
//	  jobs.q.orders.later.<priority>.<id>  a schedule, moved to ready by the server when due
//	  jobs.q.orders.done.<priority>.<id>   retained with its result, removed by its TTL
//	  jobs.q.orders.dead.<priority>.<id>   failed for good
//	  core subjects jobs.ctl.orders.cancel, .find, .who, .watch, .quiet, .resume, .stop:
//	    what workers are asked and told; jobs.ev.orders.>: events, while somebody watches
//	  consumers count_later, count_dead, count_done: made by Stats, gone after an hour
//
// The characters of an ID that subjects can't hold are written %XX. A default
// job has no header and its publish no expectation: a plain publish is all that
// it costs. Others have Job-… headers. A move to another state is a publish that
// expects the last sequence over jobs.q.orders.*.*.<id> to be that of the message
// delivered, followed by the ack of that message. After a crash between the two,
// whoever gets the message again looks for the job and, if it stands elsewhere,
// only acknowledges. If the moved job was done and gone by then, the older message
// runs again: that is the price of at-least-once, and what Retain or an
// idempotent handler is for. The same holds for a requeue of a dead job that
// crashed in the middle.
//
// The server must be nats-server 2.12 or newer. Don't pull from the consumers by
// other means: what is acknowledged there is gone.
//
// # Failure
//
// While the connection is down, Enqueue waits and tries again within its
// context, and workers go on with what they have until its lease ends; after the
// reconnect they pull again, and send again the acks that the server may not
// have read. A new leader of a replicated stream takes a few seconds, in which the
// same holds; acks that were on their way to the old one may be lost, and those
// jobs run again after their lease. After the crash of a worker its jobs wait for
// the rest of their lease. A handler that ignores the end of its context for ten
// seconds is reported with its stack; it keeps its slot and its job until it returns.
//
// The server stops sending jobs to a worker that has ended because nobody listens
// there any more. Who listens to everything (nats sub ">") hides that, for as long
// as the worker's last pull would have lasted: what is sent there waits for its lease.
//
// The example of the package shows the main job.
package queue
