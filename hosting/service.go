// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package hosting

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/pprof"
	"sync"
	"time"

	"github.com/jetjobs/jetjobs/internal/backoff"
	"github.com/jetjobs/jetjobs/internal/guard"
)

// A service is a Service and how it runs.
type service struct {
	name    string
	svc     Service
	host    *Host
	restart bool // on failure
	late    bool // in the second wave

	stop func()        // ends its context; set when it is started
	done chan struct{} // closed when it has ended

	mu     sync.Mutex // guards the rest
	status ServiceStatus
}

// steady is how long a service must have run for its failure to be the first in
// a row.
const steady = time.Minute

// run runs the service until ctx ends, and restarts it if it may be. The error
// is a failure that stops the host.
func (s *service) run(ctx context.Context) error {
	for failures := 1; ; failures++ {
		began := time.Now()
		s.set(func(st *ServiceStatus) { st.State, st.Since = "running", began })
		err := s.once(ctx)
		log := s.host.log.With("service", s.name, "took", time.Since(began))
		switch {
		case ctx.Err() != nil:
			s.ended("stopped", err)
			if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.Cause(ctx)) {
				log.Warn("service failed as it stopped", "err", err)
			}
			return nil
		case err == nil:
			s.ended("ended", nil)
			log.Info("service ended")
			return nil
		case !s.restart:
			s.ended("failed", err)
			return fmt.Errorf("hosting: service %q: %w", s.name, err)
		}
		if time.Since(began) >= steady {
			failures = 1
		}
		delay := restarts.Delay(failures, rand.Float64)
		log.Warn("service failed; it is restarted", "in", delay, "err", err)
		s.set(func(st *ServiceStatus) {
			st.State, st.Since, st.Error = "restarting", time.Now(), err.Error()
			st.Restarts++
		})
		if !backoff.Sleep(ctx, delay) {
			s.ended("stopped", nil)
			return nil
		}
	}
}

// once runs the service under a label by which its goroutines are found.
func (s *service) once(ctx context.Context) error {
	err := guard.Call(func() (err error) {
		pprof.Do(ctx, pprof.Labels("service", s.name), func(ctx context.Context) { err = s.svc.Run(ctx) })
		return err
	})
	s.host.logPanic("service", s.name, err)
	return err
}

func (s *service) ended(state string, err error) {
	s.set(func(st *ServiceStatus) {
		st.State, st.Since = state, time.Now()
		if err != nil {
			st.Error = err.Error()
		}
	})
}

func (s *service) set(change func(*ServiceStatus)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.status)
}

func (s *service) snapshot() ServiceStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.status
	st.Name = s.name
	if st.State == "" {
		st.State = "waiting"
	}
	return st
}
