// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

// Package workitem runs many kinds of work through one queue, and lets anybody watch how far each piece is. It is for
// work that people wait for: imports, exports, reports, deleting what has many parts.
//
// A [Kind] is a name and a type, [Handlers] are the kinds that a process knows, a [Job] is a pool of them, and a
// [Queue] is where items wait:
//
//	const ImportCSV workitem.Kind[Import] = "import-csv"
//
//	items, err := workitem.Open(ctx, js, "items", workitem.Options{})
//	…
//	var handlers workitem.Handlers
//	workitem.Register(&handlers, ImportCSV, func(ctx context.Context, c *workitem.Context[Import]) error {
//		for n, row := range rows {
//			c.Progress(100*n/len(rows), "importing "+row.Name)
//			…
//		}
//		return nil
//	})
//	err = workitem.NewJob(items, &handlers, nil, workitem.JobOptions{Concurrency: 8}).RunContinuous(ctx)
//
// and in any other process:
//
//	receipt, err := workitem.Enqueue(ctx, items, ImportCSV, Import{File: "a.csv"})
//	…
//	for status, err := range items.Watch(ctx, receipt.ID) {
//		fmt.Println(status.State, status.Percent, status.Message)
//	}
//
// # Guarantees
//
// Items are the jobs of a queue, with all its guarantees (see package queue): kept until they are done or dead,
// at least once, leases that renew themselves, attempts, backoff, dead letters. Besides:
//
//   - An item whose kind is not known to a worker, or that a later release wrote, is left for another worker,
//     without an attempt. After JobOptions.UnknownFor it is dead, and the reason says so. It is never completed or
//     dropped.
//   - Items with the same key of [LockBy] never run at the same time, as far as locks can tell. Waiting for the key
//     costs no attempt.
//   - A handler that fails, panics or ends its goroutine disturbs no other.
//   - Reporting progress never waits for anything. At most one report of an item is sent every 100 ms, and at most one
//     is stored every second; the last one is always sent and stored, by itself or with the end of the attempt.
//   - 0 % is told when an attempt starts, and 100 % when and only when the item is completed.
//   - Changes of state are told in order, by compare-and-set on the latest: what a worker that has lost its item still
//     says is neither stored nor yielded by Watch.
//   - [Queue.Get] tells the job and its progress in one, and [Queue.List] and [Queue.CancelAll] find items by kind. Neither
//     disturbs a worker.
//   - [Queue.Watch] yields the latest known status first, whenever it begins, and ends with the final one. It finds
//     what was lost on the way, and items that died without their handler, within ten seconds.
//
// # What it does not do
//
// Statuses are news, not history: only the latest is kept, for Options.Keep (1 h) after the end, and for seven days
// after the last change of what is not over. They follow the work and do not decide about it: an item whose status
// could not be told is worked on all the same. Completed is told when the handler has returned, just before the queue is;
// if the worker ends in between, the item runs again and is Started once more, and for a moment after Completed its
// ID is still taken. Queued is not told when a worker was faster. Statuses have no access control of their own; the
// server's permissions on the subjects below are what there is.
//
// # Renaming
//
// The kind is on the wire, the Go type is not: types may be renamed, moved and extended as their JSON allows. To
// rename a kind while items of it wait, deploy twice:
//
//	// First the workers: they know both names. Wait until all of them run this.
//	workitem.Register(&handlers, "import-file", importFile, workitem.Alias("import-csv"))
//
//	// Then those who enqueue.
//	workitem.Enqueue(ctx, items, "import-file", Import{File: "a.csv"})
//
// When no item of the old name is left, drop the alias. In the other order nothing is lost either: items of the new name
// wait for a worker that knows it.
//
// # On the server
//
// For the queue "orders" in the namespace "jobs", beside the stream of the queue (see package queue):
//
//	stream jobs_status_orders, one message for each subject
//	  jobs.status.orders.<id>    the latest status, removed by its TTL; the server republishes each as
//	core jobs.progress.orders.<id>  all statuses; reports between two that are stored are published here only
//
// Both are JSON, {"v":1,"turn":2,"step":7,"state":"progress","percent":40,…}: the fields of [Status], the version, and
// the order of statuses. The payload of a job is {"v":1,"kind":"import-csv","at":"…","data":{…}}. A missing v means 1.
// Enqueue costs one write beside that of the job; a run costs a read and two writes, and what it reports.
//
// # Failure
//
// While the connection is down handlers go on, within their lease, and reports are dropped but for the last; the status at the
// end of an attempt is tried for 30 s. Watch goes on when it is back. Of a process that was killed the last status
// stays as it was until another worker starts the item, which is when the lease has ended. When the connection is
// closed for good, or the queue deleted, Watch yields that error.
//
// The examples show the main ideas; the one of the package is a good start.
package workitem
