// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package workitem

import (
	"context"
	"crypto/rand"
	"errors"
	"time"
)

// A pen writes the statuses of one item for one who has it: a worker for a run,
// who enqueued it, or who cancels it. Each pen takes a turn of its own, by
// compare-and-set, and writes nothing more once another has taken the next. It is
// not for concurrent use.
type pen struct {
	ledger *ledger
	id     string
	by     string

	// mayFollow decides whether the pen takes its turn after this record, which
	// is the zero record if there is none. Nil: after any.
	mayFollow func(last record) bool

	placed bool // turn and rev say where it stands
	wrote  bool // its turn is taken
	barred bool // by another's turn
	turn   uint64
	step   uint64
	rev    uint64
}

// errBarred says that the item is in other hands.
var errBarred = errors.New("another has gone on with the item")

func (l *ledger) pen(id string, mayFollow func(last record) bool) *pen {
	return &pen{ledger: l, id: id, by: rand.Text()[:8], mayFollow: mayFollow}
}

// place finds out where the pen's turn is, and returns what is there.
func (p *pen) place(ctx context.Context) (last record, err error) {
	last, rev, err := p.ledger.read(ctx, p.id)
	if err != nil {
		return last, err
	}
	switch {
	case rev != 0 && last.By == p.by:
		p.wrote = true // its answer was lost
	case p.wrote && rev != 0, p.mayFollow != nil && !p.mayFollow(last):
		p.barred = true
		return last, errBarred
	case !p.wrote:
		p.turn = last.Turn + 1
	}
	p.placed, p.rev = true, rev
	return last, nil
}

// next is r as the next of the pen's turn.
func (p *pen) next(r record) record {
	p.step++
	r.Version, r.Turn, r.Step, r.By = version, p.turn, p.step, p.by
	r.Updated = now()
	return r
}

// write stores a record, and tries until ctx ends.
func (p *pen) write(ctx context.Context, r record) error {
	for try := 0; ; try++ {
		err := p.try(ctx, r)
		if err == nil || errors.Is(err, errBarred) {
			return err
		}
		if !pause(ctx, try) {
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// writeOnce is write for what can be left out: it gives up when the server does
// not answer.
func (p *pen) writeOnce(ctx context.Context, r record) error {
	for try := 0; ; try++ {
		err := p.try(ctx, r)
		if !errors.Is(err, errConflict) || !pause(ctx, try) {
			return err
		}
	}
}

func (p *pen) try(ctx context.Context, r record) error {
	if p.barred {
		return errBarred
	}
	if !p.placed {
		if _, err := p.place(ctx); err != nil {
			return err
		}
	}
	// Whoever was paused finds out here, or by the conflict, that its time is over.
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	rev, err := p.ledger.put(ctx, p.next(r), p.rev)
	if err != nil {
		p.placed = false // an answer may have been lost
		return err
	}
	p.wrote, p.rev = true, rev
	return nil
}

// pause waits before another try, and reports whether to make it.
func pause(ctx context.Context, try int) bool {
	t := time.NewTimer(min(10*time.Millisecond<<min(try, 10), time.Second))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// now is a time that survives being written down.
func now() time.Time { return time.Now().UTC().Round(0) }
