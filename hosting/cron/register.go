// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package cron

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// register stores the definitions of this host.
func (f *Fleet) register(ctx context.Context) error {
	for _, j := range f.jobs {
		if err := putFor(ctx, f.js, f.kv.Bucket(), f.defKey(j), j.def, definitionTTL); err != nil {
			return fmt.Errorf("register %q: %w", j.name, err)
		}
	}
	return nil
}

// renew keeps the definitions alive, and tells of those that don't hold. It fails
// if the bucket is not the one any more that was made then: all that was known of
// it is void.
func (f *Fleet) renew(ctx context.Context, made time.Time) error {
	every := time.NewTicker(renewEvery)
	defer every.Stop()
	for {
		f.compare()
		_, changed := f.view.all()
		select {
		case <-ctx.Done():
			f.unregister(context.WithoutCancel(ctx)) // and not when the work has ended: others plan no more for it
			return nil
		case <-changed:
		case <-every.C:
			if err := f.renewOnce(ctx, made); errors.Is(err, errBucketGone) {
				return err
			} else if err != nil && ctx.Err() == nil {
				f.log.Warn("schedules, or their lock, are not renewed; they end if this goes on for a minute", "err", err)
			}
		}
	}
}

func (f *Fleet) renewOnce(ctx context.Context, made time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, renewEvery/2)
	defer cancel()
	now, err := bucketMade(ctx, f.js, f.opts)
	if errors.Is(err, jetstream.ErrStreamNotFound) || err == nil && !now.Equal(made) {
		return errBucketGone
	}
	if err == nil {
		err = f.register(ctx)
	}
	if err == nil {
		_, err = f.openLocks(ctx) // the election goes on in a new bucket, if somebody makes it
	}
	return err
}

// errBucketGone says that somebody has deleted the bucket, or the server lost it.
var errBucketGone = errors.New("the bucket of the schedules was deleted: it is made anew, and every schedule counts from then")

// compare warns, once for each, of a definition by another host that holds in
// place of ours.
func (f *Fleet) compare() {
	all, _ := f.view.all()
	for _, s := range all {
		j := f.jobs[s.name]
		if j == nil {
			continue
		}
		if _, seen := s.defs[f.key]; !seen {
			continue // ours may be the one that holds
		}
		d, _ := s.definition()
		text := j.def.differences(d)
		if f.warned[s.name] == text {
			continue
		}
		if f.warned[s.name] = text; text != "" {
			f.log.Warn("another host, which started later, defines the job differently: its definition holds",
				"job", s.name, "host", d.Host, "differences", text)
		}
	}
}

// unregister takes the definitions of this host away.
func (f *Fleet) unregister(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second) // they end by themselves, too
	defer cancel()
	for _, j := range f.jobs {
		if err := f.kv.Purge(ctx, f.defKey(j), jetstream.PurgeTTL(definitionTTL)); err != nil {
			f.log.Debug("schedule not taken away; it ends by itself", "job", j.name, "err", err)
		}
	}
}

// defKey is where a definition of this process stands.
func (f *Fleet) defKey(j *fleetJob) string { return defKey + j.name + "." + f.key }

// keyToken makes a host's name fit for a key.
func keyToken(host string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, host)
}
