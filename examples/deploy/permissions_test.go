// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/queue"
)

// startServer starts one server from the configuration as it is deployed, but for the cluster, and
// for whether and where it listens and keeps its data.
func startServer(t *testing.T, listen bool) *server.Server {
	t.Helper()
	for _, name := range []string{"PRODUCER", "WORKER", "SCHEDULER", "OBSERVER", "OPERATOR"} {
		t.Setenv(name+"_PASSWORD", "secret-of-"+name)
	}
	t.Setenv("SERVER_NAME", "nats-1")
	opts, err := server.ProcessConfigFile("nats/nats.conf")
	require.NoError(t, err)
	require.Len(t, opts.Routes, 3)
	require.Equal(t, "/data", opts.StoreDir)
	require.Len(t, opts.Users, 5)
	opts.Cluster, opts.Routes = server.ClusterOpts{}, nil
	opts.DontListen, opts.Host, opts.Port = !listen, "127.0.0.1", server.RANDOM_PORT
	opts.HTTPPort, opts.StoreDir, opts.NoSigs = 0, t.TempDir(), true
	srv, err := server.NewServer(opts)
	require.NoError(t, err)
	srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	require.True(t, srv.ReadyForConnections(time.Minute))
	return srv
}

// A user is a connection that remembers what it was not permitted to do.
type user struct {
	js jetstream.JetStream

	mu     sync.Mutex // guards denied
	denied []string
}

func connect(t *testing.T, srv *server.Server, name, password string) *user {
	t.Helper()
	u := &user{}
	nc, err := nats.Connect("", nats.InProcessServer(srv), nats.UserInfo(name, password),
		nats.CustomInboxPrefix("_INBOX_"+name), nats.PermissionErrOnSubscribe(true),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			u.mu.Lock()
			defer u.mu.Unlock()
			u.denied = append(u.denied, err.Error())
		}))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	u.js, err = jetstream.New(nc)
	require.NoError(t, err)
	return u
}

func (u *user) open(t *testing.T) *queue.Queue[string] {
	t.Helper()
	q, err := queue.Open[string](t.Context(), u.js, "emails", queue.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	return q
}

// requireClean fails if anything was refused.
func (u *user) requireClean(t *testing.T) {
	t.Helper()
	require.NoError(t, u.js.Conn().Flush())
	u.mu.Lock()
	defer u.mu.Unlock()
	require.Empty(t, u.denied)
}

// requireDenied fails unless publishing on the subject is refused.
func (u *user) requireDenied(t *testing.T, subject string) {
	t.Helper()
	nc := u.js.Conn()
	reply, err := nc.SubscribeSync(nc.NewInbox())
	require.NoError(t, err)
	defer reply.Unsubscribe()
	require.NoError(t, nc.PublishRequest(subject, reply.Subject, nil))
	require.NoError(t, nc.Flush())
	require.NoError(t, nc.Flush()) // the error is handled on another goroutine
	deadline := time.Now().Add(10 * time.Second)
	for !u.wasDenied(subject) {
		require.True(t, time.Now().Before(deadline), "%s is permitted", subject)
		<-time.After(time.Millisecond)
	}
}

func (u *user) wasDenied(subject string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, d := range u.denied {
		if strings.Contains(d, `"`+subject+`"`) {
			return true
		}
	}
	return false
}

const (
	anEmail = "ada@example.com"
	patient = 30 * time.Second
)

func TestEachUserMayDoItsWorkAndNoMore(t *testing.T) {
	srv := startServer(t, false)
	producer := connect(t, srv, "producer", "secret-of-PRODUCER")
	worker := connect(t, srv, "worker", "secret-of-WORKER")
	observer := connect(t, srv, "observer", "secret-of-OBSERVER")
	operator := connect(t, srv, "operator", "secret-of-OPERATOR")

	made := operator.open(t)
	jobs := producer.open(t)
	produce(t, jobs)
	producer.requireClean(t)

	work(t, worker.open(t))
	oversee(t, made, worker.open(t), jobs)
	producer.requireClean(t)
	worker.requireClean(t)

	for _, who := range []*user{worker, observer, operator} {
		observe(t, who.open(t), worker.open(t), jobs)
		for _, u := range []*user{who, worker, producer} {
			u.requireClean(t)
		}
	}

	for _, who := range []*user{producer, worker, observer, operator} {
		await(t, who.open(t), worker.open(t), jobs)
		who.requireClean(t)
	}

	operate(t, made)
	operator.requireClean(t)

	for _, subject := range []string{
		"$JS.API.STREAM.CREATE.jobs_q_emails", "$JS.API.STREAM.UPDATE.jobs_q_emails", "$JS.API.STREAM.DELETE.jobs_q_emails",
		"$JS.API.STREAM.PURGE.jobs_q_emails", "$JS.API.STREAM.MSG.DELETE.jobs_q_emails",
		"$JS.API.CONSUMER.CREATE.jobs_q_emails.work_0.jobs.q.emails.ready.0.*", "$JS.API.CONSUMER.CREATE.jobs_q_emails.mine",
		"$JS.API.CONSUMER.DELETE.jobs_q_emails.work_0", "$JS.API.CONSUMER.PAUSE.jobs_q_emails.work_0",
		"$JS.API.STREAM.INFO.jobs_q_other", "$JS.API.STREAM.MSG.GET.jobs_q_other", "jobs.q.other.ready.0.x", "anything.else",
	} {
		producer.requireDenied(t, subject)
		worker.requireDenied(t, subject)
		observer.requireDenied(t, subject)
	}
	for _, subject := range []string{
		"$JS.API.CONSUMER.MSG.NEXT.jobs_q_emails.work_0", "$JS.ACK.jobs_q_emails.work_0.1.1.1.1.1",
		"jobs.q.emails.dead.0.x", "jobs.q.emails.done.0.x", "jobs.ctl.emails.cancel",
		"jobs.ctl.other.who", "jobs.ev.other.x",
	} {
		producer.requireDenied(t, subject)
		observer.requireDenied(t, subject)
	}
	for _, subject := range []string{"jobs.q.emails.ready.0.x", "jobs.q.emails.later.0.x", "jobs.ev.emails.enqueued", "jobs.ctl.emails.stop"} {
		observer.requireDenied(t, subject)
	}
	for _, other := range []string{"_INBOX_worker.>", "jobs.q.>"} {
		sub, err := producer.js.Conn().SubscribeSync(other)
		require.NoError(t, err)
		require.NoError(t, producer.js.Conn().Flush())
		_, err = sub.NextMsg(10 * time.Second)
		require.ErrorIs(t, err, nats.ErrPermissionViolation)
	}
	removal(t, made)
}

// produce does what producers do.
func produce(t *testing.T, q *queue.Queue[string]) {
	t.Helper()
	for _, opts := range [][]queue.EnqueueOption{
		nil,
		{queue.ID("order-7")},
		{queue.ID("order-7")}, // taken
		{queue.Delay(time.Hour)},
		{queue.ID("later"), queue.Delay(time.Hour)},
		{queue.ID("later"), queue.Delay(2 * time.Hour), queue.Replace()},
	} {
		_, err := q.Enqueue(t.Context(), anEmail, opts...)
		require.NoError(t, err)
	}
	_, err := q.EnqueueMany(t.Context(), []queue.Item[string]{{Value: "a"}, {Value: "b"}})
	require.NoError(t, err)
}

// observe does what dashboards do, while a worker has a job.
func observe(t *testing.T, seen, worked, produced *queue.Queue[string]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	id := "seen-" + rand.Text()
	started, release, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	work, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		ended <- queue.NewJob(worked, func(_ context.Context, e *queue.Entry[string]) error {
			if e.ID() == id {
				close(started)
				<-release
			}
			return queue.Snooze(24 * time.Hour)
		}, queue.JobOptions{Concurrency: 9}).RunContinuous(work)
	}()
	events := map[queue.EventType]bool{}
	told := make(chan struct{})
	watch, err := seen.Watch(ctx)
	require.NoError(t, err)
	go func() {
		defer close(told)
		for e := range watch {
			if events[e.Type] = true; events[queue.EventEnqueued] && events[queue.EventStarted] && events[queue.EventWorkerUp] {
				return
			}
		}
	}()
	_, err = produced.Enqueue(ctx, "v", queue.ID(id))
	require.NoError(t, err)
	<-started
	for heard := false; !heard; { // a process that is new is heard only after a while
		_, err := produced.Enqueue(ctx, "v")
		require.NoError(t, err)
		select {
		case <-told:
			heard = true
		case <-time.After(200 * time.Millisecond):
		}
	}
	require.NoError(t, ctx.Err(), "heard of %v", events)
	info, err := seen.Get(ctx, id)
	require.NoError(t, err)
	require.Equal(t, queue.Running, info.State)
	require.NotEmpty(t, info.Worker, "the worker may answer")
	workers, err := seen.Workers(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, workers, "the worker may answer")
	found := false
	for i, err := range seen.List(ctx, queue.Filter{}) {
		require.NoError(t, err)
		found = found || i.ID == id
	}
	require.True(t, found)
	for _, err := range seen.DeadLetters().All(ctx) {
		require.NoError(t, err)
	}
	_, err = seen.Stats(ctx)
	require.NoError(t, err)
	close(release)
	stop()
	require.NoError(t, <-ended)
}

// await waits for the end of a job.
func await(t *testing.T, waiting, worked, produced *queue.Queue[string]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	id := "awaited-" + rand.Text()
	_, err := produced.Enqueue(ctx, anEmail, queue.ID(id), queue.Retain(time.Hour))
	require.NoError(t, err)
	working, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- queue.NewJob(worked, func(_ context.Context, e *queue.Entry[string]) error {
			return e.SetResult("sent")
		}, queue.JobOptions{}).RunContinuous(working)
	}()
	result, err := queue.Wait[string](ctx, waiting, id)
	require.NoError(t, err)
	require.Equal(t, "sent", result)
	stop()
	require.NoError(t, <-ended)
}

// work does what workers do: three jobs succeed, one fails and is retried, one is dead.
func work(t *testing.T, q *queue.Queue[string]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	s, err := q.Stats(ctx)
	require.NoError(t, err)
	require.Positive(t, s.Lag())
	var n int
	_, err = queue.NewJob(q, func(context.Context, *queue.Entry[string]) error {
		switch n++; n {
		case 1:
			return errors.New("try again")
		case 2:
			return queue.Permanent(errors.New("no such address"))
		case 3:
			return queue.Snooze(time.Hour)
		}
		return nil
	}, queue.JobOptions{}).RunUntilEmpty(ctx)
	require.NoError(t, err)
	require.GreaterOrEqual(t, n, 4)
	s, err = q.Stats(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, s.Dead)
	receipt, err := q.Enqueue(ctx, "again", queue.ID("later"))
	require.NoError(t, err)
	require.True(t, receipt.Duplicate)
	_, err = q.Enqueue(ctx, "by a worker")
	require.NoError(t, err)
	e, err := q.Dequeue(ctx)
	require.NoError(t, err)
	require.NoError(t, e.Complete(ctx))
}

// oversee asks and tells a worker what operators do.
func oversee(t *testing.T, operator, worker, producer *queue.Queue[string]) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), patient)
	defer stop()
	var group sync.WaitGroup
	defer group.Wait()
	working, stopWork := context.WithCancel(ctx)
	defer stopWork()
	started := make(chan string, 10)
	group.Go(func() {
		_ = queue.NewJob(worker, func(ctx context.Context, e *queue.Entry[string]) error {
			started <- e.ID()
			<-ctx.Done()
			return context.Cause(ctx)
		}, queue.JobOptions{Grace: -1}).RunContinuous(working)
	})
	_, err := producer.Enqueue(ctx, anEmail, queue.ID("endless"))
	require.NoError(t, err)
	for id := ""; id != "endless"; {
		select {
		case id = <-started:
		case <-ctx.Done():
			require.FailNow(t, "the worker has not got it")
		}
		all, err := operator.Workers(ctx)
		require.NoError(t, err)
		require.Len(t, all, 1)
		require.Equal(t, id, all[0].Running[0].ID)
		was, err := operator.Cancel(ctx, id)
		require.NoError(t, err)
		require.Equal(t, queue.Running, was)
	}
	events, err := operator.Watch(ctx)
	require.NoError(t, err)
	for e := range events {
		require.Equal(t, queue.EventWorkerUp, e.Type)
		break
	}
}

// operate does what operators do.
func operate(t *testing.T, q *queue.Queue[string]) {
	t.Helper()
	require.NoError(t, q.Pause(t.Context(), time.Time{}, "a test"))
	require.NoError(t, q.Resume(t.Context()))
	require.NoError(t, q.SetMaxRunning(t.Context(), 3))
	for l, err := range q.DeadLetters().All(t.Context()) {
		require.NoError(t, err)
		require.NotEmpty(t, l.ID)
	}
	_, err := q.Stats(t.Context())
	require.NoError(t, err)
	require.NoError(t, q.Purge(t.Context()))
}

func removal(t *testing.T, q *queue.Queue[string]) {
	t.Helper()
	require.NoError(t, q.Delete(t.Context()))
}
