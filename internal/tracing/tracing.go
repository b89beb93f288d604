// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

// Package tracing carries the trace of a caller in two headers, as W3C Trace Context
// has them, by the API of OpenTelemetry. It makes no spans.
package tracing

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// The headers, spelled as the recommendation has them.
const (
	Parent = "traceparent"
	State  = "tracestate"
)

// Headers returns the values of the headers for the span that ctx belongs to; parent
// is empty if there is none.
func Headers(ctx context.Context) (parent, state string) {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return "", ""
	}
	c := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, c)
	return c[Parent], c[State]
}

// Context returns a context whose spans are children of the one in the headers. What
// can't be read is left out.
func Context(ctx context.Context, parent, state string) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{Parent: parent, State: state})
}
