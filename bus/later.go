// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetjobs/jetjobs/internal/apilevel"
)

// later keeps delayed messages of one space in a stream. Each waits on a subject
// of its own, as a schedule. When it is due, the server moves it to the topic's
// due subject, from where the stream republishes it to the topic itself; a second
// later it is gone.
type later struct {
	nc    *nats.Conn
	opts  Options
	names names

	mu sync.Mutex // guards js; held while the stream is opened, once
	js jetstream.JetStream
}

const (
	metaVersion = "jobs.version"
	// republished is how long a message stays in the stream when it was due; the
	// least that the server takes.
	republished = time.Second
	// tryFor limits how long a publish is tried again: for less than the server
	// remembers the IDs of messages, so that no second one is stored.
	tryFor        = time.Minute
	rememberedFor = 2 * time.Minute
	// oneTry is how long one try waits. A new leader takes 4 to 9 s.
	oneTry = 5 * time.Second
)

// publish stores a message that is due later. It tries again, until ctx ends, if
// there is no answer.
func (l *later) publish(ctx context.Context, topic string, due time.Time, m *nats.Msg) error {
	if l.opts.CoreOnly {
		return errors.New("a delay is refused, as it needs JetStream and Options.CoreOnly is set: leave CoreOnly out, or publish without a delay")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, tryFor, fmt.Errorf("no answer within %s: %w", tryFor, context.DeadlineExceeded))
	defer cancel()
	id := rand.Text()
	m.Subject = l.names.waiting(id)
	if m.Header == nil {
		m.Header = nats.Header{}
	}
	// jetstream.WithScheduleAt cuts to seconds and would publish too early.
	m.Header.Set(jetstream.ScheduleHeader, "@at "+due.UTC().Format(time.RFC3339Nano))
	m.Header.Set(jetstream.ScheduleTargetHeader, l.names.due(topic))
	m.Header.Set(jetstream.ScheduleTTLHeader, republished.String())
	for {
		err := l.store(ctx, id, m)
		if err == nil || !worthAnother(err) {
			return explain(ctx, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it is not known whether the message is stored: %w (%w)", context.Cause(ctx), err)
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// store makes one try; with the same ID any number of them stores one message.
func (l *later) store(ctx context.Context, id string, m *nats.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, oneTry)
	defer cancel()
	js, err := l.open(ctx)
	if err != nil {
		return err
	}
	_, err = js.PublishMsg(ctx, m, jetstream.WithMsgID(id), jetstream.WithExpectStream(l.names.stream()))
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		l.forget() // perhaps somebody removed the stream
	}
	return err
}

// worthAnother tells apart the errors that pass.
func worthAnother(err error) bool {
	const inFlight = 10158 // the same ID is being stored just now, replicated streams only
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.ErrorCode == inFlight
	}
	for _, passing := range []error{
		jetstream.ErrNoStreamResponse, nats.ErrNoResponders, nats.ErrReconnectBufExceeded, nats.ErrTimeout,
		nats.ErrDisconnected, context.DeadlineExceeded,
	} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

func (l *later) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.js = nil
}

// open creates or verifies the stream, once.
func (l *later) open(ctx context.Context) (jetstream.JetStream, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.js != nil {
		return l.js, nil
	}
	js, err := jetstream.New(l.nc)
	if err != nil {
		return nil, err
	}
	if err := apilevel.Check(ctx, js, "a delay"); err != nil {
		return nil, err
	}
	if err := l.openStream(ctx, js); err != nil {
		return nil, err
	}
	l.js = js
	return js, nil
}

// streamConfig is what open creates. It has no limits: with one the server would
// drop the messages that wait longest.
func (l *later) streamConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              l.names.stream(),
		Description:       "jetjobs delayed messages of " + l.names.all(),
		Subjects:          []string{l.names.kept()},
		Storage:           l.opts.Storage,
		Replicas:          cmp.Or(l.opts.Replicas, 1),
		Duplicates:        rememberedFor,
		AllowMsgTTL:       true,
		AllowMsgSchedules: true,
		RePublish:         &jetstream.RePublish{Source: l.names.due(">"), Destination: l.names.all()},
		Metadata:          map[string]string{metaVersion: strconv.Itoa(version)},
	}
}

// openStream creates the stream, or verifies the one that is there.
func (l *later) openStream(ctx context.Context, js jetstream.JetStream) error {
	want := l.streamConfig()
	stream, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		// Another process may do the same just now: the same configuration
		// again is no error for the server, another one is looked at below.
		stream, err = js.CreateStream(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			stream, err = js.Stream(ctx, want.Name)
		}
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", want.Name, err)
	}
	have := stream.CachedInfo().Config
	if have.Metadata[metaVersion] == "" {
		return fmt.Errorf("stream %s exists and was not made by jetjobs: use another Options.Namespace", want.Name)
	}
	return l.compare(want, have)
}

// compare explains each difference that matters, with the command that ends it.
func (l *later) compare(want, have jetstream.StreamConfig) error {
	var errs []error
	differ := func(field string, want, have any, remedy string) {
		if fmt.Sprint(want) != fmt.Sprint(have) {
			errs = append(errs, fmt.Errorf("stream %s has %s %v: want %v; %s", l.names.stream(), field, have, want, remedy))
		}
	}
	edit := "run: nats stream edit " + want.Name + " "
	recreate := "it can't be changed: when nothing waits in it, run: nats stream rm " + want.Name
	differ("version", want.Metadata[metaVersion], have.Metadata[metaVersion], "use the jetjobs release that fits, or another Options.Namespace")
	differ("subjects", want.Subjects, have.Subjects, "two namespaces collide: use another Options.Namespace")
	differ("retention", want.Retention, have.Retention, recreate)
	differ("storage", want.Storage, have.Storage, "set Options.Storage to what is there; "+recreate)
	if l.opts.Replicas != 0 {
		differ("replicas", want.Replicas, have.Replicas, edit+"--replicas "+strconv.Itoa(want.Replicas))
	}
	if have.RePublish == nil {
		have.RePublish = &jetstream.RePublish{}
	}
	differ("republish", *want.RePublish, *have.RePublish,
		fmt.Sprintf("%s--republish-source='%s' --republish-destination='%s'", edit, want.RePublish.Source, want.RePublish.Destination))
	differ("message TTLs", want.AllowMsgTTL, have.AllowMsgTTL, edit+"--allow-msg-ttl")
	differ("schedules", want.AllowMsgSchedules, have.AllowMsgSchedules, edit+"--allow-schedules")
	differ("a limit of messages", int64(-1), orNone(have.MaxMsgs), edit+"--max-msgs=-1")
	differ("a limit of bytes", int64(-1), orNone(have.MaxBytes), edit+"--max-bytes=-1")
	differ("a limit of age", time.Duration(0), have.MaxAge, edit+"--max-age=0s")
	return errors.Join(errs...)
}

func orNone(limit int64) int64 {
	if limit == 0 {
		return -1
	}
	return limit
}
