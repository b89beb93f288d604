// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queuetest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetjobs/jetjobs/queue"
	"github.com/jetjobs/jetjobs/queue/queuetest"
)

// A Welcome is a job of the program under test.
type Welcome struct{ To string }

// signUp is what enqueues.
func signUp(ctx context.Context, welcomes *queue.Queue[Welcome], address string) error {
	_, err := welcomes.Enqueue(ctx, Welcome{To: address}, queue.ID("welcome-"+address), queue.Delay(time.Hour))
	return err
}

// A mailer is what the handler needs.
type mailer struct{ busy int }

func (m *mailer) deliver(_ context.Context, e *queue.Entry[Welcome]) error {
	if !strings.Contains(e.Value.To, "@") {
		return queue.Permanent(errors.New("no address"))
	}
	if m.busy > 0 {
		m.busy--
		return errors.New("the mail server is busy")
	}
	return nil
}

// What a program enqueues: in real time, on a server that is gone with the test.
func testSignUp(t *testing.T) {
	welcomes, err := queue.Open[Welcome](t.Context(), queuetest.Start(t), "welcomes", queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := signUp(t.Context(), welcomes, "ada@example.com"); err != nil {
		t.Fatal(err)
	}
	queuetest.RequireEnqueued(t, welcomes, Welcome{To: "ada@example.com"}, queuetest.DueIn(time.Hour))
	queuetest.RequireNotEnqueued(t, welcomes, Welcome{To: "grace@example.com"})
}

// What becomes of one job.
func testDeliverRefusesABadAddress(t *testing.T) {
	welcomes, err := queue.Open[Welcome](t.Context(), queuetest.Start(t), "welcomes", queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	outcome := queuetest.Work(t, welcomes, new(mailer).deliver, Welcome{To: "nobody"})
	if outcome.Info.State != queue.Dead || outcome.Info.Error != "no address" {
		t.Errorf("it is %s: %s", outcome.Info.State, outcome.Info.Error)
	}
}

// What becomes of all of them, retries and delays included: in fake time.
func testDeliverTriesAgainForADay(t *testing.T) {
	queuetest.Run(t, func(t *testing.T, js jetstream.JetStream) {
		welcomes, err := queue.Open[Welcome](t.Context(), js, "welcomes", queue.Options{
			MaxAttempts: 24, Backoff: func(int) time.Duration { return time.Hour },
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := signUp(t.Context(), welcomes, "ada@example.com"); err != nil {
			t.Fatal(err)
		}
		drained := queuetest.Drain(t, welcomes, (&mailer{busy: 23}).deliver)
		if drained.Runs != 24 || drained.Completed != 1 || drained.Dead != 0 {
			t.Errorf("%+v", drained)
		}
	})
}

// Tests of a program that enqueues and works, as they stand in its _test files.
func Example() {
	_ = []func(*testing.T){testSignUp, testDeliverRefusesABadAddress, testDeliverTriesAgainForADay}
}
