// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

// A tap counts all that anybody sends to the server but answers, by the first
// words of its subject.
type tap struct {
	mu   sync.Mutex
	sent map[string]int
}

func (p *tap) hear(m *nats.Msg) {
	words := strings.SplitN(m.Subject, ".", 6)
	kind := m.Subject
	switch {
	case words[0] == "_INBOX", strings.HasPrefix(m.Reply, "$JS.ACK."):
		return // an answer, or a job that is handed out
	case strings.HasPrefix(m.Subject, "$JS.ACK."):
		kind = "ack " + string(m.Data)
	case words[0] == "$JS":
		kind = strings.Join(words[2:5], ".")
	case words[1] == "q":
		kind = words[3]
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent[kind]++
}

// reset returns what was counted, without pulls, whose number goes by how fast
// things are.
func (p *tap) reset() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.sent
	p.sent = map[string]int{}
	delete(all, "CONSUMER.MSG.NEXT")
	return all
}

// Nothing is sent on the default path but what raw JetStream sends as well; with
// Retain, one record a job.
func TestDefaultPathSendsNothingElse(t *testing.T) {
	const n = 500
	for _, c := range []struct {
		retain time.Duration
		want   map[string]int
	}{
		{0, map[string]int{"ready": n, "ack +ACK": n}},
		{time.Hour, map[string]int{"ready": n, "ack +ACK": n, "done": n}},
	} {
		bubble(t, Options{Retain: c.retain}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
			p := &tap{sent: map[string]int{}}
			tapped := e.Connect()
			_, err := tapped.Subscribe(">", p.hear)
			require.NoError(t, err)
			require.NoError(t, tapped.Flush())
			worker := openOn(t, e.NewJetStream(), Options{Retain: c.retain})
			var done times
			work(t, worker, JobOptions{Concurrency: 4}, func(_ context.Context, e *Entry[string]) error {
				done.add()
				return nil
			})
			time.Sleep(time.Second)
			p.reset()
			before := q.c.nc.Stats().OutMsgs
			for range n {
				enqueue(t, q, "v")
			}
			require.EqualValues(t, n, q.c.nc.Stats().OutMsgs-before, "of who enqueues")
			time.Sleep(time.Second)
			require.Len(t, done.all(), n)
			require.Equal(t, c.want, p.reset())

			stop := watch(t, q)
			time.Sleep(3 * time.Second)
			p.reset()
			enqueue(t, q, "v", ID("seen"))
			time.Sleep(500 * time.Millisecond)
			sent := p.reset()
			require.Equal(t, []int{1, 1, 1}, []int{sent["jobs.ev.q.enqueued"], sent["jobs.ev.q.started"], sent["jobs.ev.q.completed"]}, "the tap works: %v", sent)
			stop()
		})
	}
}
