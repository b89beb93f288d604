// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetjobs/jetjobs/hosting/natsd"
)

// A step of the demo is a line that one would type, and what watch shows before the
// next one.
type step struct {
	say, command, await string
}

var story = []step{
	{"What is there?", "queues", ""},
	{"", "list orders", ""},
	{"One job waits for a retry. What has become of it?", "get orders order-1004", ""},
	{"An import runs, and tells how far it is.", "get imports import-7", ""},
	{"", "list imports -kind import-csv", ""},
	{"", "workers orders", ""},
	{"From here on watch shows in the margin what happens.", "watch orders", "worker up"},
	{"Order 1002 never ends: end it, wherever it runs.", "cancel orders order-1002", "cancelled    order-1002"},
	{"Order 1005 is due tomorrow: don't wait for that, and see its result.", "run-now orders order-1005", "completed    order-1005"},
	{"", "wait orders order-1005", ""},
	{"", "reschedule orders order-1006 2h", ""},
	{"Two are dead. One has failed through no fault of its own, and runs again.", "list orders -state dead", ""},
	{"", "requeue orders -error carrier", "completed    order-1007"},
	{"The other needs another address: a corrected copy.", "copy orders order-1003 -set address.zip=12345 -id order-1003b", "completed    order-1003b"},
	{"", "delete orders order-1003", ""},
	{"What is meant for many asks to be told which.", "cancel orders", ""},
	{"Hand out nothing for a while.", `pause orders -until 30m -reason stocktaking`, "paused"},
	{"", "stats orders", ""},
	{"", "resume orders", "resumed"},
	{"For scripts there is -json.", "get orders order-1003b -json", ""},
}

// demo plays the story on a server in this process.
func demo(ctx context.Context, out io.Writer, stay bool) error {
	opts := natsd.Options{Logger: slog.New(slog.DiscardHandler)}
	if stay {
		opts.Listen = "127.0.0.1:0"
	}
	srv, err := natsd.Start(opts)
	if err != nil {
		return err
	}
	defer srv.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	b, err := startBusiness(ctx, srv)
	if err != nil {
		return err
	}
	t := &teller{out: out, dial: func(_ string, opts ...nats.Option) (*nats.Conn, error) { return srv.Connect(opts...) }}
	defer func() { // first of all
		stop()
		t.watchers.Wait()
		b.workers.Wait()
	}()
	fmt.Fprintln(out, "A server in this process, with two queues and their workers. What you would type is after a $.")
	for _, s := range story {
		if err := t.play(ctx, s); err != nil {
			return err
		}
	}
	if stay {
		fmt.Fprintf(out, "\nIt is all still there until Ctrl-C. In another terminal:\n\nexport NATS_URL=%s\ngo run ./examples/inspect list orders\n", srv.URL())
		<-ctx.Done()
	}
	return nil
}

// A teller runs commands and prints what comes out.
type teller struct {
	dial     dialer
	watchers sync.WaitGroup

	mu   sync.Mutex // guards the rest, and what is printed
	out  io.Writer
	late *bytes.Buffer // lines of watch while a command runs, else nil
	seen []string      // lines of watch
	read int           // of them, by await
	more chan struct{} // closed with the next line
}

func (t *teller) play(ctx context.Context, s step) error {
	args := strings.Fields(s.command)
	t.mu.Lock()
	if s.say != "" {
		fmt.Fprintf(t.out, "\n# %s\n", s.say)
	}
	fmt.Fprintf(t.out, "\n$ inspect %s\n", s.command)
	t.mu.Unlock()
	if args[0] == "watch" {
		t.watchers.Go(func() { run(ctx, args, &margin{t: t}, io.Discard, t.dial) })
	} else {
		t.mu.Lock()
		t.late = &bytes.Buffer{} // what watch shows comes after what the command prints
		t.mu.Unlock()
		var text bytes.Buffer
		code := run(ctx, args, &text, &text, t.dial)
		if code != 0 {
			fmt.Fprintf(&text, "(exit code %d)\n", code)
		}
		t.mu.Lock()
		t.out.Write(text.Bytes())
		t.out.Write(t.late.Bytes())
		t.late = nil
		t.mu.Unlock()
	}
	return t.await(ctx, s.await)
}

// await waits until watch has shown a line with this text.
func (t *teller) await(ctx context.Context, text string) error {
	if text == "" {
		return ctx.Err()
	}
	limit := time.After(30 * time.Second)
	for {
		t.mu.Lock()
		for t.read < len(t.seen) {
			if t.read++; strings.Contains(t.seen[t.read-1], text) {
				t.mu.Unlock()
				return nil
			}
		}
		if t.more == nil {
			t.more = make(chan struct{})
		}
		more := t.more
		t.mu.Unlock()
		select {
		case <-more:
		case <-limit:
			return fmt.Errorf("watch has not shown %q", text)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// A margin is where watch prints: beside what else is printed. It is written to by one
// goroutine, a line at a time.
type margin struct{ t *teller }

func (m *margin) Write(b []byte) (int, error) {
	m.t.mu.Lock()
	defer m.t.mu.Unlock()
	line := strings.TrimSuffix(string(b), "\n")
	out := m.t.out
	if m.t.late != nil {
		out = m.t.late
	}
	fmt.Fprintf(out, "    | %s\n", line)
	m.t.seen = append(m.t.seen, line)
	if m.t.more != nil {
		close(m.t.more)
		m.t.more = nil
	}
	return len(b), nil
}
