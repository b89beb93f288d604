// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

// Package lock lets one process at a time do something, and lets the thing it touches tell a late
// holder from the current one. It needs NATS JetStream and nothing else of this module but jobs.
//
// [Locker.Do] waits for a lock and runs a function while holding it; [Locker.TryDo] does not wait and
// returns [ErrHeld]. The lock is renewed meanwhile, the function's context ends when the lock is lost,
// and its fence is larger than that of every earlier holder:
//
//	err := locks.Do(ctx, "invoices", func(ctx context.Context, fence lock.Fence) error {
//		_, err := db.ExecContext(ctx, `UPDATE invoices SET state = $1, fence = $2 WHERE id = $3 AND fence <= $2`, state, fence, id)
//		return err
//	})
//
// [NewJob] puts a job under a lock, an [Election] runs a function in one process of many, a [Throttle]
// limits how often something happens in all of them, and a [Lease] is for those who want to renew and
// release by hand.
//
// # Guarantees
//
//   - At most one lease on a name is live: a holder's context has ended, by its own monotonic clock,
//     before the key can expire at the server. It ends a tenth of the TTL before the TTL has passed
//     since the last request that the server confirmed was *sent*. Neither a cut connection nor a lost
//     answer nor a restart of the server prolongs it: a renewal without an answer is none.
//   - A [Fence] grows with every holder of a name and stays the same while the lock is renewed. Fences of
//     all names of a bucket come from one counter, which starts at the clock in microseconds, so they
//     grow even if the bucket is removed and made again.
//   - A release never frees the lock of somebody else, however late it comes, and may be repeated.
//   - Several names ([Locker.AcquireAll], [Locker.DoAll]) are held all or not at all. They are taken in
//     byte order, so holders of several never wait for one another in a circle.
//   - A TTL is at least as long as asked for: the server counts in seconds, so 1.5 s becomes 2 s.
//     Renewing keeps it.
//   - An acquisition whose answer was lost is recognised and used by the next try of the same [Locker].
//   - A [Throttle] never grants more than n turns in any period, wherever it begins, by the server's clock.
//
// # What it does not do
//
// No lock on a network can stop a process that does not look. Three things remain, and the fence is
// for all of them, if what the holder writes to refuses a smaller fence than it has seen:
//
//   - Code that ignores its context goes on after it. So does what it has sent: a write may arrive long
//     after the lock was lost.
//   - A process that was paused (SIGSTOP, a long swap, a moved virtual machine) may have looked just
//     before. Its context has ended when it wakes: ctx.Err asks the clock, and ctx.Done is closed at
//     once. But if the machine was suspended and its monotonic clock stood still, it finds out by its
//     next renewal, within a third of the TTL.
//   - Clocks: a server whose clock is set forward by more than the margin, or a new leader of a cluster
//     whose clock is ahead by that much, lets keys expire early.
//
// [Locker.ForceRelease] does not wait for the holder either; it finds out by its next renewal.
//
// There is no fairness between processes; within one, those who wait for a name get it in the order in
// which they asked. There is no re-entry: who asks for a lock that he holds waits for himself. Between a
// crash and the TTL nobody holds the lock.
//
// # On the server
//
// All locks and throttles of a namespace, "jobs" by default, are keys of one KV bucket: file storage,
// history 1, limit markers, reads answered by the leader. An election is the lock of its name.
//
//	bucket  jobs_locks                    stream KV_jobs_locks
//	key     lock.<name>                   JSON: owner, since when, TTL, fence; the message has the TTL
//	        lock.<scope>.<name>           of a Locker made by Scope
//	        throttle.<name>               JSON: when turns were granted
//
// Letters, digits, "-", "_" and "/" of a name stand for themselves in the key, every other byte is "=" and
// two hexadecimal digits. [Open] creates the bucket, or compares the one that is there and never edits it.
//
// A lock costs one request to take and one to release, and one for each third of the TTL. A process in
// which somebody waits, or observes, has one watch on the bucket for each connection, whatever the number
// of names; a release reaches it in the time of a message. The bucket allows 100,000 such watches, where
// the server's own default is 1,000.
//
// # Failure
//
// While the server is away, Acquire and Do wait for it as they wait for the lock, and leases end when
// their time is over, with the cause [ErrLost]. Everything else waits for the server until ctx ends, or
// five seconds if it has no deadline (Open: 15). When a function under a lock has returned, Do tries for
// five seconds to release it; if that fails the lock ends with its TTL, which is logged and no error of
// Do. A server that restarts keeps the locks: a holder that can renew in time loses nothing. A cluster
// whose leader crashes has none for four to six seconds, so it may cost a lock with a TTL under ten.
//
// The fence is as durable as JetStream: a server that syncs lazily may, after a power cut, forget its
// last writes, locks and revisions among them. Where that matters, use three replicas
// (Options.Replicas) or sync_interval: always.
//
// # Logs
//
// The keys are lock, fence, owner and err. A lost lock is a warning, won and lost elections are
// information, the rest is for debugging.
//
// The example of [Locker.Do] is a good start.
package lock
