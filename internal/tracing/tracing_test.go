// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"
)

func TestHeadersGoThereAndBack(t *testing.T) {
	state, err := trace.ParseTraceState("vendor=1,other=2")
	require.NoError(t, err)
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, TraceState: state})
	parent, states := Headers(trace.ContextWithSpanContext(t.Context(), span))
	require.Equal(t, "00-01000000000000000000000000000000-0200000000000000-01", parent)
	require.Equal(t, "vendor=1,other=2", states)
	got := trace.SpanContextFromContext(Context(t.Context(), parent, states))
	require.True(t, got.IsRemote())
	require.True(t, got.Equal(span.WithRemote(true)))

	parent, states = Headers(t.Context())
	require.Empty(t, parent+states)
}

// What others wrote into the headers of a job does it no harm.
func TestWhatCannotBeReadIsLeftOut(t *testing.T) {
	const good = "00-01000000000000000000000000000000-0200000000000000-01"
	for _, parent := range []string{"", "x", "00-0-0-0", strings.Repeat("0", 10_000), "00-00000000000000000000000000000000-0000000000000000-01", "ff" + good[2:]} {
		require.False(t, trace.SpanContextFromContext(Context(t.Context(), parent, "vendor=1")).IsValid(), parent)
	}
	got := trace.SpanContextFromContext(Context(t.Context(), good, "no,state=="))
	require.True(t, got.IsValid())
	require.Empty(t, got.TraceState().String())
}

// The default path pays nothing for who has no trace.
func TestHeadersOfNoTraceAllocateNothing(t *testing.T) {
	ctx := t.Context()
	require.Zero(t, testing.AllocsPerRun(100, func() { Headers(ctx) }))
}
