// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"context"
	"errors"
)

// look is read that waits for the server until ctx ends.
func (c *core) look(ctx context.Context, key string) (entry, error) {
	for n := 0; ; n++ {
		e, err := c.read(ctx, key)
		if err == nil || !transient(err) || pause(ctx, n) != nil {
			return e, err
		}
	}
}

// forceRelease frees a key whoever holds it, and returns who did.
func (c *core) forceRelease(ctx context.Context, ref ref) (Holder, error) {
	evicted := entry{}.holder(ref)
	for n := 0; ; n++ {
		e, err := c.look(ctx, ref.key)
		if err != nil || e.held == nil {
			return evicted, err // free, perhaps by a try whose answer was lost
		}
		evicted = e.holder(ref)
		_, err = c.clear(ctx, ref.key, e.rev)
		if err == nil || !errors.Is(err, errConflict) && !transient(err) {
			return evicted, err
		}
		if err := again(ctx, n, err); err != nil {
			return evicted, err
		}
	}
}

// observe calls see with what stands at the key, whenever that is another holder,
// until see returns false or ctx ends.
func (c *core) observe(ctx context.Context, key string, see func(entry) bool) error {
	line := c.join(key)
	defer line.leave()
	var last Fence
	for first, n := true, 0; ctx.Err() == nil; {
		e, changed, err := line.look(ctx, c)
		switch {
		case err != nil && !transient(err):
			return err
		case err != nil:
			n++
			pause(ctx, n) // its error is that of ctx, which ends the loop
			continue
		}
		if fence := e.holder(ref{}).Fence; first || fence != last {
			if !see(e) {
				return nil
			}
			first, last = false, fence
		}
		line.await(ctx, changed, line.patience(e)) // likewise
	}
	return nil
}
