// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package jobs

import (
	"context"
	"sync"
	"time"

	"github.com/jetjobs/jetjobs/internal/guard"
)

// stuckAfter is how long a run may take to end after its context did before it is reported.
const stuckAfter = 10 * time.Second

// A session is one call of Run or RunOnce, from its first instance to the end of the last.
type session struct {
	*Runner
	instances []*instance

	short <-chan struct{}         // closed when Grace ends before its time
	ctx   context.Context         // the caller's: no run starts after its end
	work  context.Context         // what runs see: outlives ctx by Grace
	cut   context.CancelCauseFunc // ends work
}

func newSession(ctx context.Context, r *Runner, instances []*instance, short <-chan struct{}) *session {
	work, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	return &session{Runner: r, instances: instances, short: short, ctx: ctx, work: work, cut: cut}
}

// run calls each for every instance concurrently and returns when all have returned.
func (s *session) run(each func(*instance, *session)) {
	var running, watch sync.WaitGroup
	ended := make(chan struct{})
	watch.Go(func() { s.watch(ended) })
	for _, in := range s.instances {
		running.Go(func() { each(in, s) })
	}
	running.Wait()
	close(ended)
	watch.Wait()
	s.cut(nil)
}

// watch ends the context of the runs when Grace is over, and names those that don't care.
func (s *session) watch(ended <-chan struct{}) {
	select {
	case <-s.ctx.Done():
	case <-ended:
		return
	}
	pause(ended, s.short, s.opts.Grace)
	select {
	case <-ended:
		return
	default:
	}
	s.cut(ErrShutdown)
	if !pause(ended, nil, stuckAfter) {
		return
	}
	for _, in := range s.instances { // no run starts any more, so each is reported once
		if info := in.current.Load(); info != nil {
			s.opts.logger().Warn("job ignores the end of its context; still waiting for it",
				"job", info.Name, "run", info.ID, "stack", guard.Stacks("run", info.ID))
		}
	}
}

// pause waits for d and reports true, or false as soon as one of stop and stop2 is closed. Nil
// channels never are.
func pause(stop, stop2 <-chan struct{}, d time.Duration) bool {
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-stop:
		case <-stop2:
		case <-timer.C:
		}
	}
	// Asked last, because when several are ready select takes any of them.
	select {
	case <-stop:
		return false
	case <-stop2:
		return false
	default:
		return true
	}
}
