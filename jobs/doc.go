// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

// Package jobs defines what a job is and runs it: once, again and again, in several instances, or
// in the background, until it is told to stop. It knows nothing of queues, locks or servers, which
// build on it, and uses the standard library only.
//
// A [Job] does one unit of work and says in a [Result] what came of it. [Func] and [ErrFunc] make
// jobs of functions. A [Runner] runs one:
//
//	runner, err := jobs.NewRunner(jobs.ErrFunc(cleanUp), jobs.Options{Name: "clean-up", Interval: time.Hour})
//	if err != nil {
//		return err
//	}
//	return runner.Run(ctx) // until ctx ends
//
// # Guarantees
//
//   - Runs of one instance follow each other and never overlap. Instances are independent: one that
//     panics, fails or cannot be built takes nothing from the others.
//   - No configuration spins on failure. A run that failed or was cancelled is followed by a wait that
//     grows with each such run in a row, or by Options.Interval if that is longer.
//   - A panic, or a runtime.Goexit such as t.FailNow calls, is a failed run with a [PanicError], and the
//     runner goes on.
//   - Once its context has ended, a Runner starts no run, and all its waits end at once. A run in progress
//     keeps a live context for Options.Grace, which then ends with the cause [ErrShutdown]. Its result still
//     counts and is logged.
//   - Run, RunOnce and Handle.Wait return when everything they started has ended, never before.
//
// # What it does not do
//
// It keeps nothing: what must survive the process belongs in a queue. It does not coordinate with
// other processes: each that has a Runner runs the job. It does not limit how long a run takes; wrap
// the context in the job to do so. It cannot end a run that ignores its context: it reports it and
// waits.
//
// A run that succeeded is followed by the next one at once, unless Interval says otherwise, because
// there may be more to do. So a job that often finds nothing to do either has an Interval, waits for
// work inside, or is a [Continuous] job: else it keeps a processor busy with finding nothing.
//
// # Failure
//
// A failed run is logged as a warning, counted in [Runner.Status], and run again after the wait; it
// does not end the Runner. Options that make no sense are all named in the error of [NewRunner]. An
// instance that could not be built is named in the error of Run. A run that is still going ten seconds
// after its context ended is reported once as a warning with its stacks. Running out of memory or of
// stack ends the process, as it does in every Go program.
//
// # Logs
//
// The keys are job, run, took and err, and stack for a panic. Failed and cancelled runs are warnings;
// started, stopped, and succeeded with a message are information; succeeded without one is for
// debugging. While a run goes on, [Logger] returns a logger with the keys job and run, and the CPU
// profile carries them as labels.
//
// The examples show the main ideas; the one of the package is a good start.
package jobs
