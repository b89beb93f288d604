// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"
)

// Options say where the locks are and how long they last. The zero value is for
// most.
type Options struct {
	// Namespace is the beginning of the bucket's name; locks of different
	// namespaces have nothing to do with each other. At most 32 letters, digits,
	// - and _. Default "jobs".
	Namespace string

	// Replicas is how many servers of a cluster keep the bucket, when Open
	// creates it: 1, 3 or 5. Default 1; if the bucket is there, whatever it has.
	Replicas int

	// TTL is how long a lock outlives a holder that has crashed or is cut off, if
	// an operation doesn't say otherwise. At least a second, and rounded up to
	// whole ones. Default 30 s.
	TTL time.Duration

	// Owner names this process to others. Default: host name and process ID,
	// such as "web-1:4711".
	Owner string

	// Logger gets warnings about lost locks and news of elections. Default:
	// slog.Default().
	Logger *slog.Logger
}

const defaultTTL = 30 * time.Second

func (o Options) withDefaults() Options {
	o.Namespace = cmp.Or(o.Namespace, "jobs")
	o.TTL = wholeSeconds(cmp.Or(o.TTL, defaultTTL))
	o.Owner = cmp.Or(o.Owner, defaultOwner())
	return o
}

func defaultOwner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s:%d", host, os.Getpid())
}

func (o Options) check() error {
	errs := []error{checkNamespace(o.Namespace)}
	if !slices.Contains([]int{0, 1, 3, 5}, o.Replicas) {
		errs = append(errs, fmt.Errorf("Options.Replicas is %d: want 1, 3 or 5, or zero for the default", o.Replicas))
	}
	if o.TTL != 0 {
		errs = append(errs, checkTTL("Options.TTL", o.TTL))
	}
	return errors.Join(errs...)
}

// logger is asked for every line, so that slog.SetDefault works after Open.
func (o Options) logger() *slog.Logger {
	if o.Logger != nil {
		return o.Logger
	}
	return slog.Default()
}

func checkTTL(field string, ttl time.Duration) error {
	if ttl < time.Second {
		return fmt.Errorf("%s is %s: want at least a second, which is how finely the server counts", field, ttl)
	}
	return nil
}

// wholeSeconds rounds up, because the server truncates (2.15.2: 1.999 s is 1 s).
func wholeSeconds(d time.Duration) time.Duration {
	if rest := d % time.Second; rest > 0 {
		d += time.Second - rest
	}
	return d
}

// An Option changes one acquisition. Where several names are acquired at once
// it holds for all.
type Option interface{ apply(*settings) }

type optionFunc func(*settings)

func (f optionFunc) apply(s *settings) { f(s) }

// settings are what the Options of an acquisition amount to.
type settings struct {
	ttl       time.Duration
	wait      time.Duration // negative: as long as ctx
	noRelease bool
}

// TTL sets how long the lock outlives a holder that has crashed or is cut off:
// at least a second, rounded up to whole ones. Default: Options.TTL.
func TTL(d time.Duration) Option { return optionFunc(func(s *settings) { s.ttl = d }) }

// Wait limits the wait for a lock, and not what is done with it, as a deadline
// of ctx would. When it is over the error is ErrHeld. Zero or less does not wait
// at all. Default: no limit but ctx; a Job, TryDo and TryAcquire don't wait.
func Wait(d time.Duration) Option { return optionFunc(func(s *settings) { s.wait = max(d, 0) }) }

// NoRelease lets Do, TryDo, DoAll and a Job leave the lock alone when the
// function has returned, also with an error: it stays held for one more TTL. So
// with a TTL of an hour something is done at most once an hour, by whichever
// process comes first.
func NoRelease() Option { return optionFunc(func(s *settings) { s.noRelease = true }) }

func (o Options) settings(wait time.Duration, opts []Option) (settings, error) {
	s := settings{ttl: o.TTL, wait: wait}
	for _, opt := range opts {
		opt.apply(&s)
	}
	if err := checkTTL("TTL", s.ttl); err != nil {
		return s, err
	}
	s.ttl = wholeSeconds(s.ttl)
	return s, nil
}

// forever is the wait without a limit.
const forever time.Duration = -1
