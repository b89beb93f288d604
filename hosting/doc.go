// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

// Package hosting makes a program of jobs: it starts what has to be started, in
// order, runs services and jobs, tells whether they are well, and stops it all so
// that nothing is lost.
//
//	host := hosting.New(hosting.Options{Grace: 20 * time.Second, Listen: ":8080"})
//	host.AddStartup("migrate", migrate, hosting.Timeout(time.Minute))
//	host.AddService("api", server)
//	host.AddJob(queue.NewJob(emails, deliver, queue.JobOptions{Concurrency: 8}), jobs.Options{})
//	host.AddJob(jobs.ErrFunc(cleanUp), jobs.Options{Name: "clean-up", Interval: time.Hour})
//	return host.Run(ctx)
//
// # Guarantees
//
//   - Nothing starts if anything was added wrongly: the error of Run names all of
//     it and matches [ErrConfig].
//   - The order is: startup actions by [Priority], equal ones together; then
//     services and then jobs, each in the order added; then the same once more for
//     what was given [AfterStartup]. A startup action that fails stops the host,
//     and what comes after it has never run.
//   - The first failure stops the host, and its error says who failed and why.
//     The failure of a job's run is none: a jobs.Runner tries again. A panic is a
//     failure.
//   - To stop, jobs take nothing new and have Options.Grace to finish; then their
//     contexts end. Unfinished queue jobs go back to the queue at once and it costs
//     them no attempt. Services stop after the jobs that may need them, the last
//     added first. A second signal ends all contexts at once.
//   - After Run returned no goroutine, subscription or lease of what it started is
//     left, if all of it heeds the end of its context. (A queue.Queue that you opened
//     and used holds two subscriptions until you close it, or its connection.) Run
//     returns within Grace + 10 s of the order to stop in any case: what does not heed
//     it is named in the error.
//   - /readyz says 200 only between the end of startup and the order to stop, and
//     while every check passes.
//
// # What it does not do
//
// It makes no connection and closes none: who opens something closes it, after Run
// has returned. It restarts no process, and does not retry a service unless told
// ([RestartOnFailure]). It can't end code that ignores its context; [Main] can, by
// ending the process.
//
// # Signals
//
// SIGINT and SIGTERM stop the host, and a second one cuts it short; after that they do what they
// do to any program. It needs no terminal and works as process 1 of a
// container. With Options.IgnoreSignals the context of Run is the only way, as a
// Windows service or a test needs it.
//
// # Failure
//
// A lost connection to NATS stops nothing: jobs go on after the reconnect, and a
// check made by [Connected] takes the host out of the load balancer meanwhile. A
// host that stops then gives up telling the server after some 3 s: what it held is
// free when its lease ends.
//
// # Logs
//
// The host says starting, ready, stopping with the reason, and stopped, and when a
// startup action is done, a service starts, ends or is restarted. The keys are
// host, action, service, job, took and err. A panic anywhere in what was added is
// logged with its stack.
package hosting
