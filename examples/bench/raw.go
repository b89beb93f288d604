// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// A rawSystem is the shortest program on nats.go that does what the queue does.
type rawSystem struct {
	setup     setup
	text      text
	js        jetstream.JetStream
	stream    string
	consumers []jetstream.Consumer // one for each priority

	subjects bool // each job has its own
	decode   bool // payloads are decoded
}

// openRaw makes a stream and consumers configured as those of a queue, takes
// that queue's place, and removes it.
func (r *rig) openRaw(ctx context.Context, name, by string, setup setup, model string) (system, error) {
	s := &rawSystem{setup: setup, text: r.text, js: r.js, stream: name, subjects: by == bySubjects, decode: by == byJSON}
	stream, err := r.js.Stream(ctx, model)
	if err != nil {
		return nil, err
	}
	config := stream.CachedInfo().Config
	config.Name, config.Subjects, config.Metadata, config.Description = name, []string{name + ".>"}, nil, ""
	r.streams = append(r.streams, name)
	if _, err := r.js.CreateStream(ctx, config); err != nil {
		return nil, err
	}
	for p := range max(1, setup.priorities) {
		durable := "work_" + strconv.Itoa(p)
		consumer, err := stream.Consumer(ctx, durable)
		if err != nil {
			return nil, err
		}
		config := consumer.CachedInfo().Config
		config.FilterSubject = s.subject("ready", p, "*")
		config.Metadata, config.Description = nil, ""
		consumer, err = r.js.CreateConsumer(ctx, name, config)
		if err != nil {
			return nil, err
		}
		s.consumers = append(s.consumers, consumer)
	}
	return s, r.js.DeleteStream(ctx, model)
}

func (s *rawSystem) over(ctx context.Context, js jetstream.JetStream) (system, error) {
	other := *s
	other.js, other.consumers = js, nil
	for _, c := range s.consumers {
		consumer, err := js.Consumer(ctx, s.stream, c.CachedInfo().Name)
		if err != nil {
			return nil, err
		}
		other.consumers = append(other.consumers, consumer)
	}
	return &other, nil
}

func (s *rawSystem) subject(state string, priority int, job string) string {
	return s.stream + "." + state + "." + strconv.Itoa(priority) + "." + job
}

// jobSubject is where a job is sent to be worked on. A name of its own is as long
// as the IDs that the queue makes.
func (s *rawSystem) jobSubject(n int, h how) string {
	switch {
	case !s.subjects:
		return s.subject("ready", h.priority, "job")
	case h.id != "":
		return s.subject("ready", h.priority, h.id)
	}
	return s.subject("ready", h.priority, strconv.Itoa(n+1_000_000_000_000_000_000)+"-job")
}

func (s *rawSystem) enqueue(ctx context.Context, n int, h how) (duplicate bool, err error) {
	subject, data := s.jobSubject(n, h), s.text.json(n)
	switch {
	case !h.due.IsZero():
		m := nats.NewMsg(s.subject("later", h.priority, strconv.Itoa(n)))
		m.Data = data
		m.Header.Set(jetstream.ScheduleHeader, "@at "+h.due.UTC().Format(time.RFC3339Nano))
		m.Header.Set(jetstream.ScheduleTargetHeader, subject)
		_, err = s.js.PublishMsg(ctx, m)
	case h.id != "" && s.subjects:
		_, err = s.js.Publish(ctx, subject, data, jetstream.WithExpectLastSequencePerSubject(0))
		if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
			return true, nil
		}
	case h.id != "":
		var ack *jetstream.PubAck
		if ack, err = s.js.Publish(ctx, subject, data, jetstream.WithMsgID(h.id)); err == nil {
			duplicate = ack.Duplicate
		}
	default:
		_, err = s.js.Publish(ctx, subject, data)
	}
	return duplicate, err
}

func (s *rawSystem) enqueueMany(ctx context.Context, from, to int) error {
	batch := make([]*nats.Msg, 0, to-from)
	for n := from; n < to; n++ {
		batch = append(batch, &nats.Msg{Subject: s.jobSubject(n, how{}), Data: s.text.json(n), Header: nats.Header{}})
	}
	_, err := jetstreamext.PublishMsgBatch(ctx, s.js, batch)
	return err
}

// pullInAdvance is what raw drains fastest with when handlers do nothing.
const pullInAdvance = 4096

func (s *rawSystem) work(ctx context.Context, slots int, handle handler) error {
	pull, buffer := pullInAdvance, pullInAdvance
	if s.setup.slow {
		pull, buffer = max(slots, 2), 0
	}
	messages := make(chan jetstream.Msg, buffer)
	failed := make(chan error, slots)
	var working sync.WaitGroup
	for range slots {
		working.Go(func() {
			for m := range messages {
				if err := s.do(ctx, m, handle); err != nil {
					select {
					case failed <- err:
					default:
					}
				}
			}
		})
	}
	err := s.consume(ctx, pull, messages)
	close(messages)
	working.Wait()
	select {
	case first := <-failed:
		err = errors.Join(err, first)
	default:
	}
	return errors.Join(err, s.js.Conn().Flush())
}

// consume takes messages until ctx ends.
func (s *rawSystem) consume(ctx context.Context, pull int, messages chan<- jetstream.Msg) error {
	var consuming []jetstream.ConsumeContext
	defer func() {
		for _, c := range consuming {
			c.Stop()
			<-c.Closed()
		}
	}()
	for _, consumer := range s.consumers {
		c, err := consumer.Consume(func(m jetstream.Msg) { messages <- m }, jetstream.PullMaxMessages(pull))
		if err != nil {
			return err
		}
		consuming = append(consuming, c)
	}
	<-ctx.Done()
	return nil
}

func (s *rawSystem) do(ctx context.Context, m jetstream.Msg, handle handler) error {
	n := number(m.Data()[1:])
	if s.decode {
		var value string
		if err := json.Unmarshal(m.Data(), &value); err != nil {
			return err
		}
	}
	if handle(n) != nil {
		return m.NakWithDelay(retryDelay)
	}
	if s.setup.retain > 0 {
		_, err := s.js.Publish(context.WithoutCancel(ctx), s.subject("done", 0, strconv.Itoa(n)), nil, jetstream.WithMsgTTL(s.setup.retain))
		if err != nil {
			return err
		}
	}
	return m.Ack()
}
