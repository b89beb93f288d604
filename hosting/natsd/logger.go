// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package natsd

import (
	"fmt"
	"log/slog"
	"sync/atomic"
)

// logger hands the server's log to slog, and keeps what explains a failed
// start: the server reports that nowhere else.
type logger struct {
	to    *slog.Logger
	fatal chan string
	last  atomic.Pointer[string]
}

func newLogger(to *slog.Logger) *logger {
	return &logger{to: to, fatal: make(chan string, 1)}
}

func (l *logger) lastWords() string {
	if s := l.last.Load(); s != nil {
		return *s
	}
	return "none"
}

func (l *logger) Fatalf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	l.last.Store(&text)
	select {
	case l.fatal <- text:
	default: // one reason is enough for Start
		l.to.Error("nats-server: " + text)
	}
}

func (l *logger) Errorf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	l.last.Store(&text)
	l.to.Error("nats-server: " + text)
}

func (l *logger) Warnf(format string, args ...any) {
	l.to.Warn("nats-server: " + fmt.Sprintf(format, args...))
}

func (l *logger) Noticef(format string, args ...any) {
	l.to.Debug("nats-server: " + fmt.Sprintf(format, args...))
}

// Debug and trace are off in the server; the interface asks for them.
func (l *logger) Debugf(string, ...any) {}
func (l *logger) Tracef(string, ...any) {}
