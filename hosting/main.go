// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package hosting

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// A signalled is the reason of a host that was stopped by a signal.
type signalled struct{ os.Signal }

func (s signalled) Error() string { return "received " + s.String() }

// listenForSignals stops the host at the first SIGINT or SIGTERM and cuts it at
// the second. After that signals do what they do in any program.
func (r *run) listenForSignals() (end func()) {
	if r.opts.IgnoreSignals {
		return func() {}
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	ended := make(chan struct{})
	var listening sync.WaitGroup
	listening.Go(func() {
		select {
		case s := <-signals:
			r.stop(signalled{s})
		case <-ended:
			return
		}
		select {
		case s := <-signals:
			signal.Stop(signals)
			r.log.Warn("cut short", "signal", s.String())
			r.cutNow()
		case <-ended:
		}
	})
	return func() {
		signal.Stop(signals)
		close(ended)
		listening.Wait()
	}
}

// The exit codes of Main.
const (
	ExitOK     = 0 // stopped as asked
	ExitFailed = 1 // something failed
	ExitConfig = 2 // the error matches ErrConfig: nothing was started
	ExitCut    = 3 // ErrCut or ErrStuck: work was left unfinished
)

// Main is the main of a program: it calls run, logs its error, and ends the
// process with ExitCode of it. run makes the host, closes what it opened by
// defer, and returns what Host.Run returned:
//
//	func main() { hosting.Main(run) }
func Main(run func(ctx context.Context) error) {
	err := run(context.Background())
	if err != nil {
		slog.Error("ended", "err", err)
	}
	os.Exit(ExitCode(err))
}

// ExitCode is the exit code for an error of Host.Run.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, ErrConfig):
		return ExitConfig
	case errors.Is(err, ErrCut), errors.Is(err, ErrStuck):
		return ExitCut
	}
	return ExitFailed
}
