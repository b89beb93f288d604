// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package natsd

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// logger hands the server's log to slog, and keeps what explains a failed
// start: the server reports that nowhere else.
type logger struct {
	to *slog.Logger

	mu      sync.Mutex // guards the rest
	fatal   string     // the first
	warning string     // the last
}

// Fatalf is all the server does about a failed start. It goes on as if nothing
// had happened, so what it says next may be a consequence.
func (l *logger) Fatalf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal == "" {
		l.fatal = fmt.Sprintf(format, args...)
	}
}

func (l *logger) Errorf(format string, args ...any) {
	l.to.Error("nats-server: " + fmt.Sprintf(format, args...))
}

func (l *logger) Warnf(format string, args ...any) {
	text := strings.TrimSpace(fmt.Sprintf(format, args...)) // indented while it recovers
	l.mu.Lock()
	l.warning = text
	l.mu.Unlock()
	l.to.Warn("nats-server: " + text)
}

func (l *logger) Noticef(format string, args ...any) {
	l.to.Debug("nats-server: " + fmt.Sprintf(format, args...))
}

// Debug and trace are off in the server; the interface asks for them.
func (l *logger) Debugf(string, ...any) {}
func (l *logger) Tracef(string, ...any) {}

func (l *logger) firstFatal() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

func (l *logger) lastWarning() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.warning
}
