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
	name      string               // of the stream
	consumers []jetstream.Consumer // one for each priority

	subjects bool // each job has its own
	decode   bool // payloads are decoded
}

// A model is how the stream and the consumers of a queue are configured.
type model struct {
	stream    jetstream.StreamConfig
	consumers []jetstream.ConsumerConfig // one for each priority
}

// model looks at a queue that it makes and removes.
func (r *rig) model(ctx context.Context, name string, priorities int) (m model, err error) {
	if m, known := r.models[priorities]; known {
		return m, nil
	}
	if _, err := r.openQueue(ctx, r.js, name, setup{priorities: priorities}); err != nil {
		return m, err
	}
	stream, err := r.js.Stream(ctx, "jobs_q_"+name)
	if err != nil {
		return m, err
	}
	m.stream = stream.CachedInfo().Config
	m.stream.Metadata, m.stream.Description = nil, ""
	for p := range max(1, priorities) {
		consumer, err := stream.Consumer(ctx, "work_"+strconv.Itoa(p))
		if err != nil {
			return m, err
		}
		config := consumer.CachedInfo().Config
		config.Metadata, config.Description = nil, ""
		m.consumers = append(m.consumers, config)
	}
	r.models[priorities] = m
	return m, r.js.DeleteStream(ctx, m.stream.Name)
}

// openRaw makes a stream and consumers after a model.
func (r *rig) openRaw(ctx context.Context, name, by string, setup setup, m model) (system, error) {
	s := &rawSystem{setup: setup, text: r.text, js: r.js, name: name, subjects: by == bySubjects, decode: by == byJSON}
	m.stream.Name, m.stream.Subjects = name, []string{name + ".>"}
	r.streams = append(r.streams, name) // before it is made, as in openQueue
	if _, err := r.js.CreateStream(ctx, m.stream); err != nil {
		return nil, err
	}
	for p, config := range m.consumers {
		config.FilterSubject = s.subject("ready", p, "*")
		consumer, err := r.js.CreateConsumer(ctx, name, config)
		if err != nil {
			return nil, err
		}
		s.consumers = append(s.consumers, consumer)
	}
	return s, nil
}

func (s *rawSystem) over(ctx context.Context, js jetstream.JetStream) (system, error) {
	other := *s
	other.js, other.consumers = js, nil
	for _, c := range s.consumers {
		consumer, err := js.Consumer(ctx, s.name, c.CachedInfo().Name)
		if err != nil {
			return nil, err
		}
		other.consumers = append(other.consumers, consumer)
	}
	return &other, nil
}

func (s *rawSystem) stream() string { return s.name }

func (s *rawSystem) subject(state string, priority int, job string) string {
	return s.name + "." + state + "." + strconv.Itoa(priority) + "." + job
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
	case h.id != "":
		var ack *jetstream.PubAck
		if ack, err = s.js.Publish(ctx, subject, data, jetstream.WithMsgID(h.id)); err == nil {
			duplicate = ack.Duplicate
		}
	default:
		_, err = s.js.Publish(ctx, subject, data)
	}
	if isThere(err) {
		return true, nil
	}
	return duplicate, err
}

// isThere reports whether an error says that there is such a job already, or, on
// a replicated stream, that one is on its way.
func isThere(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	if !ok {
		return false
	}
	const idInProcess = 10158 // for which nats.go has no name
	switch api.ErrorCode {
	case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant, idInProcess:
		return true
	}
	return false
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
	if s.setup.advance > 0 {
		pull, buffer = max(s.setup.advance, 2), len(s.consumers) // Consume has a buffer of its own
	}
	messages := make(chan jetstream.Msg, buffer)
	failed := make(chan error, slots)
	var working sync.WaitGroup
	for range slots {
		working.Go(func() {
			for m := <-messages; m != nil; m = <-messages {
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
	for range slots {
		messages <- nil // not closed: a consumer may hand over its last one after it says that it is
	}
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
