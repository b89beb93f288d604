// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package jobs

import (
	"context"
	"log/slog"
)

// NewLogHandler returns a handler that adds to each record which run it is from, if it
// was logged with the context of one, as by slog.InfoContext: the keys job and run, or
// queue, id and attempt for a job of a queue. Everything else is up to next. So
// code that knows nothing of jobs logs where it was called from:
//
//	slog.SetDefault(slog.New(jobs.NewLogHandler(slog.NewJSONHandler(os.Stdout, nil))))
//
// What is logged by Logger has these keys already: use one of the two.
func NewLogHandler(next slog.Handler) slog.Handler { return logHandler{next} }

type logHandler struct{ slog.Handler }

func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	if info, ok := FromContext(ctx); ok {
		r = r.Clone()
		if info.Queue != "" {
			r.AddAttrs(slog.String("queue", info.Queue), slog.String("id", info.ID), slog.Int("attempt", info.Number))
		} else {
			r.AddAttrs(slog.String("job", info.Name), slog.String("run", info.ID))
		}
	}
	return h.Handler.Handle(ctx, r)
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.Handler.WithAttrs(attrs)}
}

func (h logHandler) WithGroup(name string) slog.Handler { return logHandler{h.Handler.WithGroup(name)} }
