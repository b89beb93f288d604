// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

// Package queuetest helps to test code that enqueues, and handlers, with the real
// queue on a real server: there is no mock that could behave otherwise.
//
//	func TestSignUpSendsAnEmail(t *testing.T) {
//		js := queuetest.Start(t)
//		emails, err := queue.Open[Email](t.Context(), js, "emails", queue.Options{})
//		…
//		signUp(t.Context(), emails, "ada@example.com")
//		queuetest.RequireEnqueued(t, emails, Email{To: "ada@example.com"}, queuetest.DueIn(time.Hour))
//	}
//
// [Start] is a server in one line, gone with the test. [Run] is the same in fake time
// (package testing/synctest): an hour's delay passes at once, so that [Drain] can run
// everything there is, retries and delays included. [Work] runs one job through
// the real executor and says what became of it.
//
// # In fake time
//
// Time stands still while anything has to do, and jumps to the next timer when
// nothing has. Goroutines that are left fail the test. What can't be used there:
// t.Parallel and t.Run, connections over TCP, and anything that uses NATS beside
// the bubble in the same process. Use t.Context, which ends with the bubble.
//
// The example has a test of each kind.
package queuetest
