// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// oneTry is how long one request waits for its answer before it counts as
	// lost. What is done about that depends on who asks.
	oneTry = time.Second

	// patience is the deadline of operations whose context has none.
	patience = 5 * time.Second

	// releaseFor is how long a release may take of who is done: a host waits for
	// 5 s for what it stops, and the TTL ends the lock in any case.
	releaseFor = 2 * time.Second

	// pauseMax is the longest pause between tries while the server is away.
	pauseMax = 500 * time.Millisecond
)

// A core is what all lockers of one Open share: the requests about a key.
type core struct {
	js      jetstream.JetStream
	nc      *nats.Conn
	stream  jetstream.Stream
	kv      jetstream.KeyValue
	opts    Options // with defaults; immutable
	publish string  // what a key's subject begins with

	mu    sync.Mutex      // guards memos
	memos map[string]memo // by key
	clock clock           // has its own mutex
}

func newCore(js jetstream.JetStream, stream jetstream.Stream, kv jetstream.KeyValue, opts Options) *core {
	c := &core{js: js, nc: js.Conn(), stream: stream, kv: kv, opts: opts, memos: map[string]memo{}}
	c.publish = subjectOf(bucketOf(opts.Namespace), "")
	// As nats.go does it: a stream of another domain or account is published to
	// through that one's API.
	switch o := js.Options(); {
	case o.Domain != "":
		c.publish = "$JS." + o.Domain + ".API." + c.publish
	case o.APIPrefix != "" && o.APIPrefix != jetstream.DefaultAPIPrefix:
		c.publish = strings.TrimSuffix(o.APIPrefix, ".") + "." + c.publish
	}
	return c
}

// errConflict says that the key is not at the expected revision. At three
// replicas it may also be a write under way that will come to nothing.
var errConflict = errors.New("changed by another")

// put stores data at a key that is at revision expect, for ttl.
func (c *core) put(ctx context.Context, key string, expect uint64, data []byte, ttl time.Duration) (uint64, error) {
	return c.write(ctx, key, expect, data, ttl, "")
}

// clear puts a tombstone in place of what is at a key. A purge, because the
// server leaves a second marker when any other message expires (2.15.2).
func (c *core) clear(ctx context.Context, key string, expect uint64) (uint64, error) {
	return c.write(ctx, key, expect, nil, markerTTL, "PURGE")
}

// write publishes to a key at a revision. KeyValue.Update would do the same
// without a TTL, and so make the key immortal (nats.go 1.55).
func (c *core) write(ctx context.Context, key string, expect uint64, data []byte, ttl time.Duration, operation string) (uint64, error) {
	// What is published while disconnected is sent when nobody waits for it.
	if !c.nc.IsConnected() {
		return 0, c.away()
	}
	ctx, cancel := context.WithTimeout(ctx, oneTry)
	defer cancel()
	m := &nats.Msg{Subject: c.publish + key, Data: data, Header: nats.Header{
		jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(expect, 10)},
		jetstream.MsgTTLHeader:              {ttl.String()},
	}}
	if operation != "" {
		m.Header["KV-Operation"] = []string{operation}
	}
	ack, err := c.js.PublishMsg(ctx, m)
	if err != nil {
		return 0, conflictOr(err)
	}
	return ack.Sequence, nil
}

// conflictOr returns errConflict for a refused revision: 10071, or 10164 when a
// write to the key is under way at three replicas.
func conflictOr(err error) error {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant) {
		return errConflict
	}
	return err
}

func (c *core) away() error {
	if c.nc.IsClosed() {
		return nats.ErrConnectionClosed
	}
	return nats.ErrDisconnected
}

// read returns what stands at a key, from the leader.
func (c *core) read(ctx context.Context, key string) (entry, error) {
	if !c.nc.IsConnected() {
		return entry{}, c.away()
	}
	ctx, cancel := context.WithTimeout(ctx, oneTry)
	defer cancel()
	m, err := c.stream.GetLastMsgForSubject(ctx, subjectOf(bucketOf(c.opts.Namespace), key))
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return entry{}, nil
	case err != nil:
		return entry{}, err
	}
	e := entry{rev: m.Sequence, created: m.Time}
	if m.Header.Get("KV-Operation") == "" && m.Header.Get(jetstream.MarkerReasonHeader) == "" {
		e.data = m.Data
		e.held = parseRecord(m.Data)
	}
	return e, nil
}

// transient tells errors that the server or the network gets over from those
// that trying again does not help.
func transient(err error) bool {
	if errors.Is(err, nats.ErrConnectionClosed) {
		return false
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.Code >= 500
	}
	return !errors.Is(err, nats.ErrMaxPayload)
}

// bounded gives a context without a deadline one.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return boundedBy(ctx, patience)
}

func boundedBy(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, limit)
}

// retry waits before the next try like again, if there may be one: else it returns
// why not.
func retry(ctx context.Context, n int, err error) error {
	if err != nil && !transient(err) {
		return err
	}
	if end := again(ctx, n, err); end != nil {
		return cmp.Or(err, end)
	}
	return nil
}

// again waits before the next try after the n-th, counted from 0, which ended
// with err. The first conflict is tried again at once: what it was about has been
// looked at since.
func again(ctx context.Context, n int, err error) error {
	if n == 0 && (err == nil || errors.Is(err, errConflict)) {
		return ctx.Err()
	}
	return pause(ctx, n)
}

// pause waits before the n-th try, from 10 ms up to pauseMax, and returns the
// error of ctx if it ends first.
func pause(ctx context.Context, n int) error {
	timer := time.NewTimer(min(10*time.Millisecond<<min(n, 10), pauseMax))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
