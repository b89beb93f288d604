// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package cron

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A definition is what a host registers of a job. It has a TTL, and the host
// renews it for as long as it lives.
type definition struct {
	Spec     string        `json:"spec"`
	Zone     string        `json:"zone"`
	Overlap  Overlap       `json:"overlap"`
	Missed   Missed        `json:"missed"`
	Window   time.Duration `json:"window_ns"`
	Attempts int           `json:"attempts"`
	Retain   time.Duration `json:"retain_ns"`
	Host     string        `json:"host"`
	Since    time.Time     `json:"since"` // when the host started: of several definitions the latest holds

	Jitter     time.Duration `json:"jitter_ns,omitempty"`
	RunAtStart bool          `json:"run_at_start,omitempty"`

	seen time.Time // when this process heard of it last; not of our own
}

// expired reports whether a definition was not renewed for so long that the
// server has removed it, though this process has not heard of that: it was cut
// off at the time.
func (d definition) expired() bool {
	return !d.seen.IsZero() && time.Since(d.seen) > definitionTTL+renewEvery
}

// differences tells what another definition has differently, empty for nothing.
func (d definition) differences(other definition) string {
	var all []string
	differ := func(what string, ours, theirs any) {
		if ours != theirs {
			all = append(all, fmt.Sprintf("%s %v, ours %v", what, theirs, ours))
		}
	}
	differ("schedule", d.Spec+" "+d.Zone, other.Spec+" "+other.Zone)
	differ("Overlap", d.Overlap, other.Overlap)
	differ("Missed", d.Missed, other.Missed)
	differ("Window", d.Window, other.Window)
	differ("MaxAttempts", d.Attempts, other.Attempts)
	differ("Retain", d.Retain, other.Retain)
	differ("Jitter", d.Jitter, other.Jitter)
	differ("RunAtStart", d.RunAtStart, other.RunAtStart)
	return strings.Join(all, "; ")
}

// A state is what the fleet remembers of a schedule, whoever leads. It is changed
// by compare-and-set only.
type state struct {
	Spec    string    `json:"spec"` // that Planned belongs to
	Zone    string    `json:"zone"`
	Overlap Overlap   `json:"overlap"`         // that the queue is set to
	Planned time.Time `json:"planned"`         // the last tick that is settled: enqueued, or left out
	Intent  time.Time `json:"intent,omitzero"` // the tick that is being enqueued
	Other   string    `json:"other,omitempty"` // the expression given by Reschedule

	Disabled bool      `json:"disabled,omitempty"`
	Why      string    `json:"why,omitempty"`
	By       string    `json:"by,omitempty"`
	Changed  time.Time `json:"changed,omitzero"` // by Enable, Disable or Reschedule

	Skipped  int       `json:"skipped,omitempty"`
	LastSkip time.Time `json:"last_skip,omitzero"`
}

// The keys of the bucket: def.<name>.<host> and state.<name>.
const (
	defKey   = "def."
	stateKey = "state."
)

const defaultNamespace = "jobs"

func bucketOf(namespace string) string { return namespace + "_cron" }

func queueOf(name string) string { return "cron-" + name }

// tickID names the occurrence of a tick; there is never a second one.
func tickID(name string, tick time.Time) string {
	return name + "@" + tick.UTC().Format(time.RFC3339)
}

// tickOf is the tick of an occurrence, zero for one that was triggered by hand.
func tickOf(id string) time.Time {
	_, at, _ := strings.Cut(id, "@")
	tick, _ := time.Parse(time.RFC3339, at)
	return tick
}

const (
	maxName = 64
	// definitionTTL is how long a schedule outlives the last host that
	// registered it, if that crashed; one that stops takes it along.
	definitionTTL = time.Minute
	renewEvery    = definitionTTL / 3
)

func checkName(name string) error {
	if name == "" {
		return errors.New("the name is empty")
	}
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	if len(name) > maxName || strings.ContainsFunc(name, func(r rune) bool { return !strings.ContainsRune(allowed, r) }) {
		return fmt.Errorf("the name is %q: want at most %d letters, digits, - and _, as a queue has it", name, maxName)
	}
	return nil
}

// openBucket creates the bucket or opens the one that is there.
func openBucket(ctx context.Context, js jetstream.JetStream, opts FleetOptions) (jetstream.KeyValue, error) {
	name := bucketOf(opts.Namespace)
	kv, err := js.KeyValue(ctx, name)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		kv, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: name, Description: "jetjobs cron", Replicas: cmp.Or(opts.Replicas, 1), LimitMarkerTTL: time.Minute,
		})
		if errors.Is(err, jetstream.ErrBucketExists) {
			kv, err = js.KeyValue(ctx, name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", name, err)
	}
	return kv, nil
}

// bucketMade returns when the bucket was made: one that was deleted and made anew
// counts its revisions from one again.
func bucketMade(ctx context.Context, js jetstream.JetStream, opts FleetOptions) (time.Time, error) {
	stream, err := js.Stream(ctx, "KV_"+bucketOf(opts.Namespace))
	if err != nil {
		return time.Time{}, fmt.Errorf("bucket %s: %w", bucketOf(opts.Namespace), err)
	}
	return stream.CachedInfo().Created, nil
}

// putFor stores a value that the server removes after ttl, unless it is stored
// again: KeyValue.Put can't.
func putFor(ctx context.Context, js jetstream.JetStream, bucket, key string, value any, ttl time.Duration) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	m := &nats.Msg{Subject: "$KV." + bucket + "." + key, Data: data}
	_, err = js.PublishMsg(ctx, m, jetstream.WithMsgTTL(ttl))
	return err
}
