// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

const (
	// maxBatch is how many messages the server takes in one atomic batch.
	maxBatch = 1000
	// maxBatchBytes keeps a batch well within one try.
	maxBatchBytes = 8 << 20
	oneBatchTry   = 10 * time.Second
)

// batchEnd is where the batch that begins at an index ends.
func batchEnd(jobs []newJob, at int) int {
	bytes := len(jobs[at].data)
	for end := at + 1; end < len(jobs); end++ {
		if bytes += len(jobs[end].data); end-at == maxBatch || bytes > maxBatchBytes {
			return end
		}
	}
	return len(jobs)
}

// enqueueMany stores jobs in batches, one after the other.
func (c *core) enqueueMany(ctx context.Context, jobs []newJob) ([]Receipt, error) {
	if err := checkReplaces(jobs); err != nil {
		return nil, err
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	receipts := make([]Receipt, len(jobs))
	for at, end := 0, 0; at < len(jobs); at = end {
		end = batchEnd(jobs, at)
		if err := c.enqueueBatch(ctx, jobs[at:end], receipts[at:end]); err != nil {
			return receipts, fmt.Errorf("items %d to %d: %w", at, end-1, err)
		}
		for _, r := range receipts[at:end] {
			c.teller.enqueued(r)
		}
	}
	return receipts, nil
}

// checkReplaces refuses to replace what the same call enqueues.
func checkReplaces(jobs []newJob) error {
	seen := map[string]int{}
	for i, j := range jobs {
		if !j.unique {
			continue
		}
		if first, again := seen[j.token]; again && j.replace {
			return itemError{i, fmt.Errorf("ID %q is also that of item %d, and Replace is given: leave one out", j.id(), first)}
		}
		seen[j.token] = i
	}
	return nil
}

// enqueueBatch stores up to maxBatch jobs in one write, all but the duplicates.
func (c *core) enqueueBatch(ctx context.Context, jobs []newJob, receipts []Receipt) error {
	// The same ID again in one batch would make the server refuse it.
	first := map[string]int{}
	open := make([]int, 0, len(jobs)) // the indexes to be stored
	var again []int                   // those of an ID once more
	for i := range jobs {
		if jobs[i].unique {
			if _, seen := first[jobs[i].token]; seen {
				again = append(again, i)
				continue
			}
			first[jobs[i].token] = i
		}
		open = append(open, i)
	}
	if err := c.storeBatch(ctx, jobs, open, receipts); err != nil {
		return err
	}
	for _, i := range again {
		receipts[i] = Receipt{ID: jobs[i].id(), Duplicate: true, State: jobs[first[jobs[i].token]].state()}
	}
	return nil
}

// storeBatch stores the jobs with these indexes, all but the duplicates. If the
// server does not answer, the receipts have IDs to try again with.
func (c *core) storeBatch(ctx context.Context, jobs []newJob, open []int, receipts []Receipt) error {
	replaced := map[int]*stored{}
	unanswered := false
	for try := 0; len(open) > 0; try++ {
		err := c.publishBatch(ctx, c.batch(jobs, open, replaced, unanswered))
		switch {
		case err == nil:
			for _, i := range open {
				receipts[i] = Receipt{ID: jobs[i].id(), Replaced: replaced[i] != nil}
			}
			return nil
		case errors.Is(err, errMoved):
			// Something is there already. The server does not say which.
			still, stored, findErr := c.sortOut(ctx, jobs, open, replaced, unanswered, receipts)
			if findErr == nil {
				if open = still; stored {
					return nil
				}
			}
		case errors.Is(err, errUnanswered):
			unanswered = true
		default:
			return err
		}
		if len(open) > 0 && !pause(ctx, try) {
			if unanswered {
				for _, i := range open {
					receipts[i] = Receipt{ID: jobs[i].id()}
				}
			}
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
	return nil
}

// state is where a job is when it has just been stored.
func (j newJob) state() State {
	if j.due.IsZero() {
		return Waiting
	}
	return Later
}

// batch is the messages of one try.
func (c *core) batch(jobs []newJob, open []int, replaced map[int]*stored, unanswered bool) []*nats.Msg {
	batch := make([]*nats.Msg, len(open))
	for k, i := range open {
		batch[k] = c.newMessage(jobs[i])
		if jobs[i].unique || unanswered {
			c.expectNew(batch[k], jobs[i], replaced[i])
		}
	}
	return batch
}

// sortOut looks up every job that the server may have refused: it fills in the
// receipts of duplicates, notes what is to be replaced, and returns what is
// still to be stored. Since a batch is stored whole or not at all, one job of
// an earlier, unanswered try that is found shows that all of it was stored.
func (c *core) sortOut(ctx context.Context, jobs []newJob, open []int, replaced map[int]*stored, unanswered bool, receipts []Receipt) (still []int, stored bool, err error) {
	for _, i := range open {
		if !jobs[i].unique && !unanswered {
			still = append(still, i)
			continue
		}
		last, err := c.find(ctx, jobs[i].token)
		if err != nil {
			return nil, false, err
		}
		if last == nil {
			delete(replaced, i)
			still = append(still, i)
			continue
		}
		ours, state := c.whose(jobs[i], last)
		switch {
		case unanswered && ours:
			for _, i := range open {
				receipts[i] = Receipt{ID: jobs[i].id(), Replaced: replaced[i] != nil}
			}
			return nil, true, nil
		case jobs[i].replace && state == Later:
			replaced[i] = last
			still = append(still, i)
		default:
			receipts[i] = Receipt{ID: jobs[i].id(), Duplicate: true, State: state}
		}
	}
	return still, false, nil
}

// publishBatch stores all messages or none, and tells apart what publish does.
func (c *core) publishBatch(ctx context.Context, batch []*nats.Msg) error {
	if len(batch) == 1 {
		return c.publish(ctx, batch[0])
	}
	for _, m := range batch {
		if m.Header == nil {
			m.Header = nats.Header{}
		}
	}
	try, cancel := context.WithTimeout(ctx, oneBatchTry)
	defer cancel()
	// Without waiting for the answer to the first message the server prepares for
	// the batch, which takes milliseconds, while the others are on their way. What is
	// wrong with the batch is told only with that answer.
	_, err := jetstreamext.PublishMsgBatch(try, c.js, batch, jetstreamext.BatchFlowControl{})
	if isIncomplete(err) {
		_, err = jetstreamext.PublishMsgBatch(try, c.js, batch)
	}
	if apiErr, ok := errors.AsType[*jetstream.APIError](err); ok {
		switch apiErr.ErrorCode {
		case jetstreamext.JSErrCodeBatchPublishIncomplete, // a part was lost on its way, as by a reconnect
			jetstreamext.JSErrCodeAtomicPublishTooManyInflight:
			return fmt.Errorf("%w (%w)", errUnanswered, err)
		}
		return classify(apiErr)
	}
	return unanswered(err)
}

func isIncomplete(err error) bool {
	apiErr, ok := errors.AsType[*jetstream.APIError](err)
	return ok && apiErr.ErrorCode == jetstreamext.JSErrCodeBatchPublishIncomplete
}
