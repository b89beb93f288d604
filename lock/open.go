// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetjobs/jetjobs/internal/apilevel"
)

const (
	// maxWatches is how many processes may wait or observe at once. Without a
	// limit of the stream's own the server's default of 1,000 holds (2.15).
	maxWatches = 100_000

	// markerTTL is how long a key that was released or has expired leaves a mark
	// for those who watch. Who misses it looks again by himself.
	markerTTL = 10 * time.Second

	metaVersion = "jobs.version"
)

// Open opens the locks of a namespace, and creates their bucket on the server
// if it is not there. Any number of processes may do so at once. What is there
// is verified and never edited: a difference is an error that gives both values
// and the command that ends it.
//
// A Locker needs no closing; it lives as long as its connection.
func Open(ctx context.Context, js jetstream.JetStream, opts Options) (*Locker, error) {
	c, err := open(ctx, js, opts)
	if err != nil {
		return nil, fmt.Errorf("lock: open: %w", err)
	}
	return &Locker{c: c}, nil
}

func open(ctx context.Context, js jetstream.JetStream, asked Options) (*core, error) {
	if err := asked.check(); err != nil {
		return nil, err
	}
	ctx, cancel := boundedBy(ctx, openPatience)
	defer cancel()
	if err := apilevel.Check(ctx, js, "per-message TTLs with markers"); err != nil {
		return nil, err
	}
	opts := asked.withDefaults()
	bucket := bucketOf(opts.Namespace)
	want := streamConfig(bucket, asked)
	stream, kv, err := openBucket(ctx, js, bucket, want)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", bucket, err)
	}
	if err := compare(want, stream.CachedInfo().Config, asked); err != nil {
		return nil, err
	}
	return newCore(js, stream, kv, opts), nil
}

const (
	// openPatience is the deadline of Open if its context has none: enough for a
	// cluster to elect a leader.
	openPatience = 15 * time.Second

	// openTry is how long Open waits for an answer before it looks again.
	openTry = 2 * time.Second
)

// streamConfig is the KV bucket as nats.go makes it, so that its tools work,
// but for three things that it has no options for.
func streamConfig(bucket string, asked Options) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:                   streamOf(bucket),
		Description:            "jetjobs locks",
		Subjects:               []string{subjectOf(bucket, ">")},
		Storage:                jetstream.FileStorage,
		Replicas:               cmp.Or(asked.Replicas, 1),
		Discard:                jetstream.DiscardNew,
		MaxMsgsPerSubject:      1,
		MaxMsgs:                -1,
		MaxBytes:               -1,
		AllowRollup:            true,
		DenyDelete:             true,
		AllowMsgTTL:            true,
		SubjectDeleteMarkerTTL: markerTTL,
		Metadata:               map[string]string{metaVersion: strconv.Itoa(version)},

		// Revisions, and with them fences, must grow even if the bucket is removed
		// and made again: what has stored a fence would refuse all smaller ones.
		FirstSeq:     uint64(time.Now().UnixMicro()),
		MaxConsumers: maxWatches,
		AllowDirect:  false, // reads come from the leader, never from a stale replica
	}
}

// openBucket creates the bucket, or opens the one that is there. It asks again if
// there is no answer: a cluster leaves one in three of those who create a stream at
// the same time without any, and for a moment says that there is no such stream
// (2.15.2, three replicas, six at once).
func openBucket(ctx context.Context, js jetstream.JetStream, bucket string, want jetstream.StreamConfig) (jetstream.Stream, jetstream.KeyValue, error) {
	for n := 0; ; n++ {
		stream, kv, err := tryBucket(ctx, js, bucket, want)
		if err == nil {
			return stream, kv, nil
		}
		moment := errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) || errors.Is(err, jetstream.ErrBucketNotFound)
		if !moment && !transient(err) || pause(ctx, n) != nil {
			return nil, nil, err
		}
	}
}

func tryBucket(ctx context.Context, js jetstream.JetStream, bucket string, want jetstream.StreamConfig) (jetstream.Stream, jetstream.KeyValue, error) {
	ctx, cancel := context.WithTimeout(ctx, openTry)
	defer cancel()
	stream, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = js.CreateStream(ctx, want)
	}
	if err != nil {
		return nil, nil, err
	}
	kv, err := js.KeyValue(ctx, bucket)
	return stream, kv, err
}

// compare explains each difference that matters, with the command that ends it.
func compare(want, have jetstream.StreamConfig, asked Options) error {
	var errs []error
	name := have.Name
	differ := func(field string, want, have any, remedy string) {
		if fmt.Sprint(want) != fmt.Sprint(have) {
			errs = append(errs, fmt.Errorf("stream %s has %s %v: want %v; %s", name, field, have, want, remedy))
		}
	}
	edit := "run: nats stream edit " + have.Name + " "
	recreate := "it can't be changed: when nobody holds a lock, remove the bucket with: nats stream rm " + have.Name
	if v := have.Metadata[metaVersion]; v != "" { // without one it is 1
		differ("version", want.Metadata[metaVersion], v, "use the jetjobs release that fits")
	}
	if asked.Replicas != 0 {
		differ("replicas", want.Replicas, have.Replicas, edit+"--replicas="+strconv.Itoa(want.Replicas))
	}
	differ("storage", want.Storage, have.Storage, recreate)
	differ("retention", want.Retention, have.Retention, recreate)
	differ("subjects", want.Subjects, have.Subjects, "use another Options.Namespace")
	differ("history (messages per subject)", want.MaxMsgsPerSubject, have.MaxMsgsPerSubject, edit+"--max-msgs-per-subject=1")
	differ("message TTLs", want.AllowMsgTTL, have.AllowMsgTTL, edit+"--allow-msg-ttl")
	differ("direct get", want.AllowDirect, have.AllowDirect, edit+"--no-allow-direct")
	if have.SubjectDeleteMarkerTTL == 0 {
		differ("marker TTL", want.SubjectDeleteMarkerTTL, have.SubjectDeleteMarkerTTL, edit+"--subject-del-markers-ttl="+markerTTL.String())
	}
	if have.MaxConsumers < maxWatches {
		differ("max consumers", want.MaxConsumers, have.MaxConsumers, edit+"--max-consumers="+strconv.Itoa(maxWatches))
	}
	// A limit would forget locks, the longest held first, or refuse them.
	differ("a limit of age", time.Duration(0), have.MaxAge, edit+"--max-age=0s")
	differ("a limit of messages", int64(-1), have.MaxMsgs, edit+"--max-msgs=-1")
	differ("a limit of bytes", int64(-1), have.MaxBytes, edit+"--max-bytes=-1")
	return errors.Join(errs...)
}
