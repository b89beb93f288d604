// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// read reads the messages on subjects with the sequences from low to high, in
// pages, without touching the consumers. A page comes from any replica, and one
// that lags, as after a restart, does not know all there is (2.15.2: a follower
// answers from 90 % of the log on): an end is one only if the leader says so.
func (c *core) read(ctx context.Context, subjects string, low, high uint64) iter.Seq2[*jetstream.RawStreamMsg, error] {
	return func(yield func(*jetstream.RawStreamMsg, error) bool) {
		for next := low; next <= high; {
			page, last, err := c.pagePatiently(ctx, subjects, next)
			if err == nil && last && len(page) == 0 {
				page, err = c.fromLeader(ctx, subjects, next)
			}
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if len(page) == 0 {
				return
			}
			for _, m := range page {
				if next = m.Sequence + 1; m.Sequence > high || ctx.Err() != nil || !yield(m, nil) {
					return
				}
			}
		}
	}
}

// fromLeader is a page of the first message that the leader has, if any.
func (c *core) fromLeader(ctx context.Context, subjects string, from uint64) ([]*jetstream.RawStreamMsg, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	first, err := c.patiently(ctx, func(ctx context.Context) (*stored, error) {
		return c.askLeader(ctx, map[string]any{"seq": from, "next_by_subj": subjects})
	})
	if err != nil || first == nil {
		return nil, err
	}
	h, err := first.header()
	return []*jetstream.RawStreamMsg{{
		Subject: first.Subject, Sequence: first.Seq, Header: nats.Header(h), Data: first.Data, Time: first.Time,
	}}, err
}

// pagePatiently is page, tried until ctx ends or, if it has no deadline, for
// Options.Timeout. A whole page is read before anybody sees it, so that its time
// is not that of who looks at it.
func (c *core) pagePatiently(ctx context.Context, subjects string, next uint64) (all []*jetstream.RawStreamMsg, last bool, err error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	for try := 0; ; try++ {
		one, cancel := context.WithTimeout(ctx, time.Duration(min(try+1, 5))*oneTry)
		all, last, err = c.page(one, subjects, next)
		cancel()
		if err == nil || goneForGood(err) || !pause(ctx, try) {
			return all, last, err
		}
	}
}

// page reads at most pageSize messages, and reports whether none follow. What has
// come before the answer broke off is a page as well.
func (c *core) page(ctx context.Context, subjects string, next uint64) (all []*jetstream.RawStreamMsg, last bool, err error) {
	answers, err := jetstreamext.GetBatch(ctx, c.js, c.names.stream, pageSize,
		jetstreamext.GetBatchSeq(next), jetstreamext.GetBatchSubject(subjects),
		jetstreamext.GetBatchMaxBytes(pageBytes))
	if err != nil {
		return nil, false, err
	}
	for m, err := range answers {
		switch {
		case errors.Is(err, jetstreamext.ErrNoMessages):
			return all, true, nil
		case err != nil && len(all) == 0:
			return nil, false, err
		case err != nil:
			return all, false, nil
		}
		all = append(all, m)
	}
	if len(all) == 0 {
		return nil, false, errUnanswered // an end is told as such
	}
	return all, false, nil
}

const (
	pageSize  = 250
	pageBytes = 4 << 20
)
