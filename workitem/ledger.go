// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package workitem

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A ledger keeps the latest status of each item of a queue, in a stream with one
// message for each. The server itself publishes what it has stored, so that
// watchers and those who come late see the same.
type ledger struct {
	js     jetstream.JetStream
	names  names
	stream jetstream.Stream
	keep   time.Duration // after the end
}

const (
	// unfinishedFor is how long the status of an item that is not over is kept
	// after its last change: it collects what nobody will ever finish.
	unfinishedFor = 7 * 24 * time.Hour
	// oneTry is how long one request waits for its answer.
	oneTry = 2 * time.Second

	metaVersion = "jobs.version"
)

// errConflict says that the latest status is not the one that was expected, or
// that another write of it was in flight.
var errConflict = errors.New("another status came first")

// openLedger creates the stream, or verifies the one that is there.
func openLedger(ctx context.Context, js jetstream.JetStream, n names, opts Options) (*ledger, error) {
	want := jetstream.StreamConfig{
		Name:              n.stream(),
		Description:       "jetjobs: the latest status of each work item of queue " + n.queue,
		Subjects:          []string{n.allKept()},
		Storage:           opts.Queue.Storage,
		Replicas:          cmp.Or(opts.Queue.Replicas, 1),
		MaxMsgsPerSubject: 1,
		AllowMsgTTL:       true,
		AllowDirect:       true,
		RePublish:         &jetstream.RePublish{Source: n.allKept(), Destination: n.allLive()},
		Metadata:          map[string]string{metaVersion: strconv.Itoa(version)},
	}
	stream, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = js.CreateStream(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			stream, err = js.Stream(ctx, want.Name) // another process was faster
		}
	}
	if err == nil {
		err = verify(want, stream.CachedInfo().Config)
	}
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", want.Name, err)
	}
	return &ledger{js: js, names: n, stream: stream, keep: opts.Keep}, nil
}

// verify reports every difference that matters.
func verify(want, have jetstream.StreamConfig) error {
	if have.Metadata[metaVersion] == "" {
		return errors.New("it exists and is not of jetjobs: use another queue name or Namespace")
	}
	var errs []error
	name := want.Name
	differ := func(what string, want, have any) {
		if w, h := fmt.Sprint(want), fmt.Sprint(have); w != h {
			errs = append(errs, fmt.Errorf("%s is %s: want %s; statuses can be spared, so run: nats stream rm %s, and Open creates it anew", what, h, w, name))
		}
	}
	if have.RePublish == nil {
		have.RePublish = &jetstream.RePublish{}
	}
	differ("version", want.Metadata[metaVersion], have.Metadata[metaVersion])
	differ("subjects", want.Subjects, have.Subjects)
	differ("messages per subject", want.MaxMsgsPerSubject, have.MaxMsgsPerSubject)
	differ("message TTLs", want.AllowMsgTTL, have.AllowMsgTTL)
	differ("direct get", want.AllowDirect, have.AllowDirect)
	differ("republish", *want.RePublish, *have.RePublish)
	return errors.Join(errs...)
}

// read returns the latest status of an item with its revision, or 0 if there is
// none. One that can't be decoded counts as nothing, but has a revision.
func (l *ledger) read(ctx context.Context, id string) (record, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, oneTry)
	defer cancel()
	m, err := l.stream.GetLastMsgForSubject(ctx, l.names.kept(id))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return record{}, 0, nil
	}
	if err != nil {
		return record{}, 0, err
	}
	r, _ := decodeRecord(m.Data)
	return r, m.Sequence, nil
}

// put stores a status in place of the one at a revision, 0 for none, and returns
// its own.
func (l *ledger) put(ctx context.Context, r record, expect uint64) (uint64, error) {
	data, err := r.encode()
	if err != nil {
		return 0, err
	}
	ttl := unfinishedFor
	if r.State.Final() {
		ttl = l.keep
	}
	ctx, cancel := context.WithTimeout(ctx, oneTry)
	defer cancel()
	ack, err := l.js.PublishMsg(ctx, &nats.Msg{Subject: l.names.kept(r.ID), Data: data},
		jetstream.WithExpectLastSequencePerSubject(expect), jetstream.WithMsgTTL(ttl))
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && (api.ErrorCode == wrongSequence || api.ErrorCode == writeInFlight) {
		return 0, errConflict
	}
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// What the server answers to a write that is not on top of the expected one.
const (
	wrongSequence jetstream.ErrorCode = 10071
	writeInFlight jetstream.ErrorCode = 10164 // on replicated streams
)
