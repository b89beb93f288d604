// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package workitem

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

// BenchmarkProgress calls Progress in a tight loop from one handler, and fails if
// more reaches the network than is said.
func BenchmarkProgress(b *testing.B) {
	for name, report := range map[string]func(c *Context[load], n int){
		"Progress": func(c *Context[load], n int) { c.Progress(n%100, "row") },
		"Report":   func(c *Context[load], n int) { _ = c.Report(n%100, "row", load{"a.csv"}) },
	} {
		b.Run(name, func(b *testing.B) {
			e := natstest.Start(b)
			q := open(b, e.JetStream(), Options{})
			tap := wire(b, e.Connect())
			enqueue(b, q, "a.csv")
			var took time.Duration
			_, err := NewJob(q, knows(func(_ context.Context, c *Context[load]) error {
				b.ResetTimer()
				for n := range b.N {
					report(c, n)
				}
				b.StopTimer()
				took = b.Elapsed()
				return nil
			}), nil, JobOptions{}).RunUntilEmpty(b.Context())
			require.NoError(b, err)
			require.NoError(b, e.JetStream().Conn().Flush())
			sent := len(tap.times())
			require.LessOrEqual(b, sent, 4+int(took/reportEvery), "queued, started, completed, and ten a second")
			b.ReportMetric(float64(b.N)/took.Seconds(), "calls/s")
			b.ReportMetric(float64(sent), "messages")
			b.ReportMetric(float64(sent)/took.Seconds(), "messages/s")
		})
	}
}

// BenchmarkItem is the rate of items whose handlers do nothing, statuses included.
func BenchmarkItem(b *testing.B) {
	e := natstest.Start(b)
	q := open(b, e.JetStream(), Options{})
	for range b.N {
		enqueue(b, q, "a.csv")
	}
	job := NewJob(q, knows(func(context.Context, *Context[load]) error { return nil }), nil, JobOptions{Concurrency: 16})
	b.ResetTimer()
	_, err := job.RunUntilEmpty(b.Context())
	require.NoError(b, err)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "items/s")
}
